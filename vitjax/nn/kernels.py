"""How two primitives are written for the platform that a program is compiled for. The values they compute are the same.

An `ExecutionPlan` contains the `Kernels` of its platform; `using` makes them those of the programs being traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.shapes import Array

LARGEST_HEAD, HEAD_MULTIPLE = 128, 8
"""cuDNN's attention takes heads of at most this width, and of a multiple of this width."""


class Kernels(NamedTuple):
    """Choices of a platform.

    separate_softmax: the maximum, the sum and the quotient of a softmax are kernels of their own, and its derivative
        reads the softmax as it was rounded. XLA's compiler for GPUs otherwise compares the run times of all tilings of
        every fusion with a softmax, and the backward pass reads and writes float32 arrays of the size of the scores.
    cudnn_attention: passes that do not read a block's attention compute it with cuDNN, which writes neither scores nor
        attention to memory. In half precision only; the results differ by rounding.
    aligned_bytes: rows of scores and attention are padded to a multiple of this many bytes. Tensor cores read rows that
        are not aligned to 16 bytes at a fraction of their rate.
    """

    separate_softmax: bool = False
    cudnn_attention: bool = False
    aligned_bytes: int = 1

    def padding(self, tokens: int, dtype: Any) -> int:
        """Tokens to append to `tokens`, so that rows of scores of this dtype are aligned."""
        return -tokens % max(1, self.aligned_bytes // jnp.dtype(dtype).itemsize)


PLAIN = Kernels()
_active: ContextVar[Kernels] = ContextVar("vitjax_kernels", default=PLAIN)


@contextmanager
def using(kernels: Kernels) -> Iterator[None]:
    """Programs traced in this context are written with these kernels."""
    token = _active.set(kernels)
    try:
        yield
    finally:
        _active.reset(token)


def active_kernels() -> Kernels:
    """The kernels of the program being traced."""
    return _active.get()


def has_cudnn_attention(device: Any) -> bool:
    """Whether cuDNN's attention runs on a device: an NVIDIA GPU of compute capability 8.0 or later."""
    if device.platform != "gpu" or "cuda" not in device.client.platform_version:
        return False
    return int(device.compute_capability.split(".")[0]) >= 8


def cudnn_takes(dtype: Any, width: int) -> bool:
    """Whether cuDNN's attention takes values of this dtype in heads of this width."""
    return jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16) and width <= LARGEST_HEAD and width % HEAD_MULTIPLE == 0


def fused_attention(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k^T / √d) v for [n, h, d] each, by cuDNN. Returns [n, h, d].

    Its derivative is that of the same expression in JAX, because cuDNN's backward pass is not deterministic.
    """
    return _attention(q, k, v)


def _plain_attention(q: Array, k: Array, v: Array) -> Array:
    scores = jnp.einsum("nhd,mhd->hnm", q * q.shape[-1] ** -0.5, k)
    attention = jax.nn.softmax(scores.astype(jnp.float32)).astype(v.dtype)
    return jnp.einsum("hnm,mhd->nhd", attention, v)


@jax.custom_vjp
def _attention(q: Array, k: Array, v: Array) -> Array:
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


_attention.defvjp(lambda *heads: jax.vjp(_plain_attention, *heads), lambda vjp, cotangent: vjp(cotangent))
