"""A jitted function of a batch; on a CPU its batch is cut over worker threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from vitjax.execution.jax_settings import setting
from vitjax.execution.plan import ExecutionPlan, planned
from vitjax.execution.worker_threads import run_in_threads, worker_count
from vitjax.shapes import ceil_div


class Program:
    """`jax.jit` of a function of a batch, traced under a plan; results lead with the batch axis. On a CPU in lanes.

    Called inside another transformation, with arrays on several devices, or on a device that is no CPU, it is the
    jitted function and nothing else. In lanes results are numpy arrays, and the call returns when they are there.

    in_axes: 0 or None for each argument, as of `jax.vmap`.
    """

    def __init__(self, run: Callable[..., Any], in_axes: Sequence[int | None], plan: ExecutionPlan) -> None:
        self.jitted: Any = jax.jit(planned(plan, run))
        self._in_axes = tuple(in_axes)
        self._executables: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        starts, size = self._cut(arguments)
        if len(starts) == 1:
            return self.jitted(*arguments)
        parts = [self._part(arguments, start, size) for start in starts]
        executable = self.executable(*parts[0])
        found = run_in_threads(lambda part: jax.device_get(executable(*part)), parts)
        skipped = [number * size - start for number, start in enumerate(starts)]
        return jax.tree.map(lambda *each: np.concatenate([a[n:] for a, n in zip(each, skipped, strict=True)]), *found)

    def parts(self, *arguments: Any) -> list[Any]:
        """The arguments of every lane of a call with these: one list, of all of them, where there are no lanes."""
        starts, size = self._cut(arguments)
        return [self._part(arguments, start, size) for start in starts]

    def executable(self, *part: Any) -> Any:
        """What a lane runs. Compiled once, before the lanes, which would all do it at the same time."""
        leaves, structure = jax.tree.flatten(part)
        settings = setting("jax_default_matmul_precision"), setting("jax_enable_x64")
        key = (structure, settings, *map(jax.typeof, leaves))
        if key not in self._executables:
            self._executables[key] = self.lower(*part).compile()
        return self._executables[key]

    def lower(self, *arguments: Any) -> Any:
        """As of the jitted function."""
        return self.jitted.lower(*arguments)

    def trace(self, *arguments: Any) -> Any:
        """As of the jitted function."""
        return self.jitted.trace(*arguments)

    def _part(self, arguments: Sequence[Any], start: int, size: int) -> list[Any]:
        pairs = zip(arguments, self._in_axes, strict=True)
        return [each if axis is None else jax.tree.map(lambda a: a[start : start + size], each) for each, axis in pairs]

    def _cut(self, arguments: Sequence[Any]) -> tuple[list[int], int]:
        """Where parts begin, and their size: one for all, so that there is one program. Where it does not fit, the last
        part begins with images that the one before has, too."""
        batched = [each for each, axis in zip(arguments, self._in_axes, strict=True) if axis == 0]
        count = jax.tree.leaves(batched)[0].shape[0]
        here = not setting("jax_default_device") and all(map(_lies_here, jax.tree.leaves(arguments)))
        size = ceil_div(count, min(worker_count(), count) if here else 1)
        return [min(start, count - size) for start in range(0, count, size)], size


def _lies_here(leaf: Any) -> bool:
    """Whether a lane can compute with it: a value, in memory or on the default device."""
    if isinstance(leaf, jax.core.Tracer):
        return False
    return not isinstance(leaf, jax.Array) or leaf.devices() == {jax.local_devices()[0]}
