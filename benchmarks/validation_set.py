"""As many pictures as ImageNet's validation set has, decoded and in a cache, through all methods of one sweep.

python -m benchmarks.validation_set [--model vit_base_patch16_224] [--dtype bfloat16] [--images 50000]
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
import tyro

from benchmarks.harness import fold_methods, random_model, write
from vitjax.data.source import Raw
from vitjax.evaluation import Run, evaluate

METRICS = ("complexity",)
"""One that is cheap: what is measured are explanations and their way to the disk."""


@dataclass(frozen=True)
class Painted:
    """`Source` of pictures of the model's size; `distinct` of them, again and again under names of their own."""

    count: int
    size: tuple[int, int]
    distinct: int = 64
    name: str = "painted"
    has_masks: bool = False
    resize: str = "squash"

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{number:06d}" for number in range(self.count))

    @cached_property
    def labels(self) -> tuple[int, ...]:
        return (-1,) * self.count

    @cached_property
    def _pictures(self) -> np.ndarray:
        coarse = np.random.default_rng(0).integers(0, 256, (self.distinct, 14, 14, 3), dtype=np.uint8)
        down, across = (np.arange(side) * 14 // side for side in self.size)
        return coarse[:, down][:, :, across]

    def read(self, index: int) -> Raw:
        return Raw(self._pictures[index % self.distinct])

    def digest(self) -> str:
        return f"{self.count} {self.size} {self.distinct}"


def main(
    model: str = "vit_base_patch16_224",
    dtype: str = "bfloat16",
    images: int = 50_000,
    batch: int = 256,
    precision: str = "default",
    workers: int | None = None,
) -> None:
    """Fill the cache (not timed), compile (timed by itself), then time `vitjax.evaluate` from cache to records.

    Args:
        model: architecture; its weights are random.
        dtype: of the model; relevance is float32 at least.
        images: how many pictures.
        batch: images in one call on each device.
        precision: of the matrix products of a float32 model.
        workers: processes that decode while the cache is filled.
    """
    subject = replace(random_model(model, dtype=dtype), precision=precision)
    methods = fold_methods(subject.config)
    source = Painted(images, subject.config.image_size)
    chunk = 4 * batch * jax.local_device_count()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)

        def timed(name: str, names: list[str], count: int) -> tuple[float, Run]:
            started = time.perf_counter()
            run = evaluate(
                subject,
                source,
                names,
                METRICS,
                root / name,
                limit=count,
                chunk_size=chunk,
                batch_size=batch,
                cache=root / "cache",
                workers=workers,
                profile=False,
            )
            return time.perf_counter() - started, run

        filling, _ = timed("fill", ["centre"], images)
        compiling, _ = timed("compile", methods, min(chunk, images))
        seconds, run = timed("run", methods, images)
        rows = run.records().num_rows
    assert rows == images * len(methods)
    figures = {
        "model": model,
        "dtype": dtype,
        "images": images,
        "batch": batch,
        "methods": methods,
        "filling_the_cache_s": round(filling, 1),
        "first_chunk_with_compilation_s": round(compiling, 1),
        "seconds": round(seconds, 3),
        "images_per_s": round(images / seconds, 1),
        "seconds_for_50000": round(50_000 * seconds / images, 1),
    }
    for key, value in figures.items():
        print(f"{key}: {value}")
    print(write(f"validation_set_{model}", figures))


if __name__ == "__main__":
    tyro.cli(main)
