"""How a batch of images goes through a program: whole where the device likes that, else in portions and lanes.

On a CPU, XLA runs a batched matrix product, most of attention, on one core, whatever the machine has. So a batch is cut
into as many parts as there are cores, each computed by a thread of its own (a lane), image after image: every core is
busy all the time, and one block's intermediates of so few images stay in its cache.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vitjax.execution.plan import ExecutionPlan, planned

T, R = TypeVar("T"), TypeVar("R")

_lane = threading.local()


def over_images(one: Callable[..., Any], in_axes: Sequence[int | None], *, at_once: int | None) -> Callable[..., Any]:
    """`jax.vmap(one, in_axes)`, in a loop over equal microbatches of at most `at_once` images; None: all at once.

    One image alone goes through without a batch axis: with one of length 1 inside another `vmap`, XLA's CPU backend no
    longer fuses the softmax with its matrix product.

    in_axes: 0 or None for each argument. Where the batch is not a multiple, the last image fills the last portion up.
    Memory: that of one portion, and the results.
    """

    def together(count, *arguments):
        if count > 1:
            return jax.vmap(one, tuple(in_axes))(*arguments)
        pairs = zip(arguments, in_axes, strict=True)
        alone = (each if axis is None else jax.tree.map(lambda a: a[0], each) for each, axis in pairs)
        return jax.tree.map(lambda a: jnp.asarray(a)[None], one(*alone))

    def run(*arguments):
        batched = [each for each, axis in zip(arguments, in_axes, strict=True) if axis == 0]
        count = jax.tree.leaves(batched)[0].shape[0]
        if at_once is None or count <= at_once:
            return together(count, *arguments)
        portions = -(-count // at_once)
        size = -(-count // portions)
        places = jnp.minimum(jnp.arange(portions * size), count - 1).reshape(portions, size)

        def portion(rows):
            parts = iter(jax.tree.map(lambda each: each[rows], batched))
            mixed = (next(parts) if axis == 0 else each for each, axis in zip(arguments, in_axes, strict=True))
            return together(size, *mixed)

        found = lax.map(portion, places)
        return jax.tree.map(lambda each: each.reshape(portions * size, *each.shape[2:])[:count], found)

    return run


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
        found = side_by_side(lambda part: jax.device_get(executable(*part)), parts)
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
        size = -(-count // (min(lanes(), count) if here else 1))
        return [min(start, count - size) for start in range(0, count, size)], size


def setting(name: str) -> Any:
    """Of JAX, in force in this thread; mypy does not know them."""
    return getattr(jax.config, name)


def _lies_here(leaf: Any) -> bool:
    """Whether a lane can compute with it: a value, in memory or on the default device."""
    if isinstance(leaf, jax.core.Tracer):
        return False
    return not isinstance(leaf, jax.Array) or leaf.devices() == {jax.local_devices()[0]}


def lanes() -> int:
    """Programs that are run side by side: one on each core of a CPU; one inside a lane, and on other devices."""
    if jax.default_backend() != "cpu" or getattr(_lane, "taken", False):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(run: Callable[[T], R], items: Iterable[T], stop: threading.Event | None = None) -> list[R]:
    """[run(each) for each in items], as many at a time as there are lanes, under the caller's settings of precision.

    Raises what the first of them raises, or the interrupt of the caller, once those that have begun have ended; `stop`
    is set before that, for whoever wants to end early.
    """
    items = list(items)
    if lanes() == 1 or len(items) < 2:
        return [run(each) for each in items]
    precision, wide = setting("jax_default_matmul_precision"), setting("jax_enable_x64")

    def in_lane(each: T) -> R:
        _lane.taken = True
        with jax.default_matmul_precision(precision), jax.enable_x64(wide):
            return run(each)

    futures = [_threads().submit(in_lane, each) for each in items]
    try:
        return [future.result() for future in futures]
    except BaseException:
        if stop is not None:
            stop.set()
        raise
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(lanes(), "lane")


if hasattr(os, "register_at_fork"):  # threads do not come along
    os.register_at_fork(after_in_child=_threads.cache_clear)
