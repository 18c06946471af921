"""A jitted function of a batch; on a CPU its batch is divided among worker threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from vitjax.execution.jax_settings import setting
from vitjax.execution.plan import ExecutionPlan, compiler_options, planned
from vitjax.execution.worker_threads import run_in_threads, worker_count
from vitjax.shapes import ceil_div


class Program:
    """`jax.jit` of a function of a batch, traced under an execution plan; its results lead with the batch axis.

    On a CPU a call divides the batch among worker threads, which run one executable, and returns numpy arrays. On a GPU
    it is compiled with `compiler_options`. Inside another transformation, with arrays on several devices, or on another
    platform it is the jitted function.

    Args:
        run: function of a batch.
        in_axes: 0 or None for each argument, as of `jax.vmap`.
        plan: how the function is laid out.
    """

    def __init__(self, run: Callable[..., Any], in_axes: Sequence[int | None], plan: ExecutionPlan) -> None:
        self.jitted: Any = jax.jit(planned(plan, run))
        self._in_axes = tuple(in_axes)
        self._executables: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        starts, size = self._division(arguments)
        if len(starts) == 1:
            with_options = compiler_options() and _on_first_device(arguments)
            return self.executable(*arguments)(*arguments) if with_options else self.jitted(*arguments)
        parts = [self._part(arguments, start, size) for start in starts]
        executable = self.executable(*parts[0])
        results = run_in_threads(lambda part: jax.device_get(executable(*part)), parts)
        repeated = [number * size - start for number, start in enumerate(starts)]

        def join(*arrays: np.ndarray) -> np.ndarray:
            return np.concatenate([array[skip:] for array, skip in zip(arrays, repeated, strict=True)])

        return jax.tree.map(join, *results)

    def parts(self, *arguments: Any) -> list[Any]:
        """The arguments of each worker thread in a call with these; one list where the batch is not divided."""
        starts, size = self._division(arguments)
        return [self._part(arguments, start, size) for start in starts]

    def executable(self, *part: Any) -> Any:
        """The executable for these arguments, compiled once with the options of the platform (`compiler_options`).

        On a CPU worker threads run it on their parts of a batch.
        """
        leaves, structure = jax.tree.flatten(part)
        settings = setting("jax_default_matmul_precision"), setting("jax_enable_x64")
        key = (structure, settings, *map(jax.typeof, leaves))
        if key not in self._executables:
            self._executables[key] = self.lower(*part).compile(compiler_options())
        return self._executables[key]

    def lower(self, *arguments: Any) -> Any:
        """`lower` of the jitted function."""
        return self.jitted.lower(*arguments)

    def trace(self, *arguments: Any) -> Any:
        """`trace` of the jitted function."""
        return self.jitted.trace(*arguments)

    def _part(self, arguments: Sequence[Any], start: int, size: int) -> list[Any]:
        def cut(argument: Any, axis: int | None) -> Any:
            return argument if axis is None else jax.tree.map(lambda array: array[start : start + size], argument)

        return [cut(argument, axis) for argument, axis in zip(arguments, self._in_axes, strict=True)]

    def _division(self, arguments: Sequence[Any]) -> tuple[list[int], int]:
        """Where the parts of a batch begin, and their common size, so that one executable serves all.

        Where the batch is not a multiple, the last part begins with images that the part before it computes, too.
        """
        batched = [argument for argument, axis in zip(arguments, self._in_axes, strict=True) if axis == 0]
        count = jax.tree.leaves(batched)[0].shape[0]
        size = ceil_div(count, min(worker_count(), count) if _on_first_device(arguments) else 1)
        return [min(start, count - size) for start in range(0, count, size)], size


def _on_first_device(arguments: Any) -> bool:
    """Whether all leaves are concrete values in host memory or on the first device, where JAX then computes."""

    def is_there(leaf: Any) -> bool:
        if isinstance(leaf, jax.core.Tracer):
            return False
        return not isinstance(leaf, jax.Array) or leaf.devices() == {jax.local_devices()[0]}

    return not setting("jax_default_device") and all(map(is_there, jax.tree.leaves(arguments)))
