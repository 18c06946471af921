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

    softmax_of_rows: softmax merges all axes but the last. XLA's compiler for GPUs compares the run times of all tilings
        of every fusion with a softmax, and their number grows exponentially with the number of axes.
    cudnn_attention: passes of which only the logits are read compute attention with cuDNN, which does not write the
        scores and the attention to memory. In half precision only; the results differ by rounding. No plan sets it
        before its speed is measured (section "plans" of `python -m benchmarks.accelerator`).
    """

    softmax_of_rows: bool = False
    cudnn_attention: bool = False


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
