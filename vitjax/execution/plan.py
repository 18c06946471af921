"""How the programs of a model are laid out on one kind of device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.nn.kernels import PLAIN, Kernels, has_cudnn_attention, using
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig

WIDE = 384
"""From this width on, a block's weights exceed a core's cache: reading them once for two images pays."""
SAVED_BYTES, OF_WIDTH = 16 * 2**20, 192
"""On a CPU, outputs of linear layers are saved up to this size for a model of this width. Recomputing a byte of a wider
layer costs more, and its weights grow with the square of the width, so the limit does, too."""
ALIGNED_BYTES = 16
"""Tensor cores of NVIDIA GPUs load rows that are aligned to this many bytes."""


class ExecutionPlan(NamedTuple):
    """Choices that change a program's speed and memory, never its results but for rounding in half precision. Hashable:
    programs are cached by it.

    forward_microbatch, backward_microbatch: images computed together by programs that only run forward, and by those
        that also run backward; None computes the whole batch at once.
    forward_queries, backward_queries: perturbed copies of ONE image computed together, likewise.
    saved_bytes: outputs of qkv and fc1 are saved for the backward pass where those of all layers of one image take at
        most this many bytes; otherwise the backward pass recomputes them.
    kernels: how primitives are written.
    """

    forward_microbatch: int | None
    backward_microbatch: int | None
    forward_queries: int
    backward_queries: int
    saved_bytes: float
    kernels: Kernels = PLAIN

    def microbatch(self, *, backward: bool) -> int | None:
        """Images computed together."""
        return self.backward_microbatch if backward else self.forward_microbatch

    def queries(self, *, backward: bool) -> int:
        """Perturbed copies of one image computed together."""
        return self.backward_queries if backward else self.forward_queries

    def saves_linear_outputs(self, config: ViTConfig, dtype: Any) -> bool:
        """Whether the forward pass saves what the backward pass would recompute."""
        hidden = config.mlp_dim * (2 if config.gated else 1)
        numbers = config.depth * config.tokens * (3 * config.width + hidden)
        return numbers * jnp.dtype(dtype).itemsize <= self.saved_bytes


def plan_for(config: Config, platform: str | None = None) -> ExecutionPlan:
    """The plan for programs of this model on a platform.

    Args:
        platform: "cpu", "gpu" or "tpu", as `jax.Device.platform` names it ("cuda" and "rocm" are "gpu"); None: where
            JAX puts arrays now.

    Measured on CPUs: benchmarks/NOTES.md. Accelerators take whole batches and recompute; the section "plans" of
    `python -m benchmarks.accelerator` measures the alternatives.
    """
    platform = platform or default_platform()
    if platform in ("gpu", "cuda", "rocm"):
        kernels = Kernels(separate_softmax=True, aligned_bytes=ALIGNED_BYTES, cudnn_attention=_runs_cudnn_attention())
        return ExecutionPlan(None, None, 8, 8, 0.0, kernels)
    if platform != "cpu":
        return ExecutionPlan(None, None, 8, 8, 0.0)
    width = config.width if isinstance(config, ViTConfig) else WIDE
    backward = 1 if width < WIDE else 2
    saved = SAVED_BYTES * (width / OF_WIDTH) ** 2
    return ExecutionPlan(2, backward, 2, backward, saved)


def compiler_options(platform: str | None = None) -> dict[str, Any]:
    """Options of XLA's compiler for programs on a platform, as `jax.stages.Lowered.compile` takes them.

    Args:
        platform: as in `plan_for`.

    Without them, XLA writes softmax and LayerNorm as single Triton kernels and times the tilings of each, which takes
    most of the compilation, and it multiplies matrices with Triton kernels where cuBLAS is faster. Measured on GPUs:
    benchmarks/NOTES.md.
    """
    if (platform or default_platform()) not in ("gpu", "cuda"):
        return {}
    return {"xla_gpu_enable_triton_gemm": False, "xla_disable_hlo_passes": "triton-softmax-rewriter"}


def _runs_cudnn_attention() -> bool:
    """Whether the first GPU runs cuDNN's attention; False without a GPU, where programs for one are only compiled."""
    try:
        return has_cudnn_attention(jax.devices("gpu")[0])
    except RuntimeError:
        return False


def default_platform() -> str:
    """The platform of the device that JAX puts arrays on: `jax.default_device` where set, else the default backend."""
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform


_active: ContextVar[ExecutionPlan | None] = ContextVar("vitjax_execution_plan", default=None)


@contextmanager
def executing(plan: ExecutionPlan) -> Iterator[None]:
    """Programs traced in this context are laid out by `plan`. Part of no jit cache key: use `planned` for jit."""
    token = _active.set(plan)
    try:
        with using(plan.kernels):
            yield
    finally:
        _active.reset(token)


def planned(plan: ExecutionPlan, run: Callable[..., Any]) -> Callable[..., Any]:
    """`run`, traced under `plan`. A new function: jit caches its traces apart from those of other plans."""

    @wraps(run)
    def under_plan(*arguments: Any) -> Any:
        with executing(plan):
            return run(*arguments)

    return under_plan


def active_plan(config: Config) -> ExecutionPlan:
    """The plan of the program being traced; outside of any, the one for the default device."""
    return _active.get() or plan_for(config)
