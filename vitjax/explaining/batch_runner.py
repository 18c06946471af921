"""Maps of all requested methods for one batch of images: what `explain_many` and evaluations have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.execution.progress import OnProgress
from vitjax.execution.worker_threads import worker_count
from vitjax.explaining.programs import compiled, image_keys, parallel_map_reduce
from vitjax.explaining.requests import Request
from vitjax.models.model import Model
from vitjax.shapes import accumulation_dtype


class BatchRunner:
    """Computes maps of a model, batch by batch.

    Quick methods share one program. A slow method has its own program and smaller batches; a method on the host has
    neither.

    Args:
        model: the model, at the size of the images.
        requests: the methods, built for the model.
        seed: of methods that draw random numbers.
        params: the model's parameters where programs run; None takes `model.params`.
        plan: how programs are laid out; None takes the active plan.
        place: puts a tree of arrays that lead with the batch axis where programs run.
        call: (key, program, *arguments) -> results. Executes a program; the key says program and shapes.
    """

    def __init__(
        self,
        model: Model,
        requests: Sequence[Request],
        seed: int,
        *,
        params: Any = None,
        plan: ExecutionPlan | None = None,
        place: Callable[[Any], Any] = lambda arrays: arrays,
        call: Callable[..., Any] = lambda key, program, *arguments: program(*arguments),
    ) -> None:
        self.model, self.plan = model, plan or active_plan(model.config)
        self.quick = tuple(wanted for wanted in requests if not wanted.method.slow)
        self.slow = tuple(wanted for wanted in requests if wanted.method.slow)
        self._params = model.params if params is None else params
        self._seed, self._place, self._call = np.uint32(seed), place, call
        self._host_lock = threading.Lock()

    def quick_maps(self, x: Any, targets: Any, seeds: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        """Logits [b, k], targets with their classes, and the maps of all quick methods, which may still be computing.

        Args:
            x: model input [b, H, W, 3]. targets: `Targets.values`, b of them. seeds: of the images, uint32 [b]. All are
                placed.
        """
        return self._explain(self.quick, x, targets, seeds)

    def slow_maps(
        self,
        wanted: Request,
        x: np.ndarray,
        targets: Any,
        seeds: np.ndarray,
        *,
        batch_size: int,
        on_progress: OnProgress = lambda count: None,
        divide_images: bool = False,
    ) -> np.ndarray:
        """Maps of one slow method.

        Args:
            wanted: the method.
            x: model input [b, H, W, 3] of any number of images, in host memory.
            targets, seeds: [b], the targets with their classes, and the seeds of the images.
            batch_size: images in one call.
            on_progress: called after each call with its number of images, or with the fraction of an image.
            divide_images: on a CPU, where there is one image, or fewer than worker threads, divide the evaluations of
                each image among the threads, and report fractions of it as progress.
        """
        if wanted.method.explain_on_host is not None:
            return self._host_maps(wanted, x, targets, seeds, on_progress)
        few = jax.default_backend() == "cpu" and len(x) < max(2, worker_count())
        if divide_images and few and wanted.method.explain is not None:
            program = parallel_map_reduce(self.model.config, wanted, self.plan)
            images = [take((x, targets, seeds), index) for index in range(len(x))]
            return program(self._params, images, self._seed, on_progress)
        parts = []
        for indices in batches(np.arange(len(x)), batch_size):
            arrays = self._place(tuple(take_padded(array, indices, batch_size) for array in (x, targets, seeds)))
            _, _, (maps,) = self._explain((wanted,), *arrays)
            parts.append(jax.device_get(maps)[: len(indices)])
            on_progress(len(indices))
        return np.concatenate(parts)

    def _explain(self, requests: tuple[Request, ...], x: Any, targets: Any, seeds: Any) -> Any:
        program = compiled(self.model.config, requests, self.plan)
        key: Hashable = ("explain", requests, len(x))
        return self._call(key, program, self._params, x, targets, seeds, self._seed)

    def _host_maps(
        self, wanted: Request, x: np.ndarray, targets: Any, seeds: np.ndarray, on_progress: OnProgress
    ) -> np.ndarray:
        assert wanted.method.explain_on_host is not None
        keys = image_keys(jnp.asarray(self._seed), jnp.asarray(seeds))
        images, model = jnp.asarray(x, self.model.dtype), self.model
        with self._host_lock:  # one call uses all cores with its own processes
            maps = wanted.method.explain_on_host(
                model.config, model.params, images, targets, keys=keys, on_progress=on_progress, **dict(wanted.options)
            )
        return np.asarray(maps, accumulation_dtype(model.dtype))


def batches(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Consecutive parts of `indices`, each of `size` entries but the last, which may be shorter."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def take(tree: Any, indices: Any) -> Any:
    """The entries at `indices` of every array of a tree."""
    return jax.tree.map(lambda array: array[indices], tree)


def take_padded(tree: Any, indices: np.ndarray, size: int) -> Any:
    """`take(tree, indices)` padded to `size` entries with the last one, so that all batches have one shape."""
    return take(tree, indices[np.minimum(np.arange(size), len(indices) - 1)])
