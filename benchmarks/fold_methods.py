"""What all attention and gradient methods cost together in one shared pass, relative to transformer_mm and a forward.

Run:     python -m benchmarks.fold_methods [--model deit_tiny_patch16_224] [--batch 16] [--repeats 9] [--alone]
Prints:  for each case ("all of them", transformer_mm, logits, with --alone every method by itself) images per second,
         time as a multiple of transformer_mm's, and temporary memory in MiB; then the path of the results
Writes:  benchmarks/results/fold_methods_DEVICE.json
"""

from __future__ import annotations

from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.harness import case_of, fold_methods, random_model, ratio, rounds, write
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request
from vitjax.layerwise.target import PREDICTED

ALL, BASE = "all of them", "transformer_mm"


def main(model: str = "deit_tiny_patch16_224", batch: int = 16, repeats: int = 9, alone: bool = False) -> None:
    """Time all attention and gradient methods in one program, transformer_mm and a forward, in the same rounds.

    Args:
        model: architecture; its weights are random.
        batch: images per call.
        repeats: number of rounds.
        alone: also time every method by itself.
    """
    subject = random_model(model)
    folds = fold_methods(subject.config)
    together = {BASE: [BASE], ALL: folds}
    if alone:
        together |= {name: [name] for name in folds}
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(batch, *subject.config.image_size, 3)), jnp.float32)
    targets, seeds = np.full(batch, PREDICTED, np.int32), np.arange(batch, dtype=np.uint32)
    arguments = (subject.params, x, targets, seeds, np.uint32(0))

    with jax.default_matmul_precision(subject.precision):
        cases = {
            name: case_of(compiled(subject.config, tuple(map(request, methods))), *arguments, items=batch)
            for name, methods in together.items()
        }
    runs = {name: case.run for name, case in cases.items()}
    seconds = rounds(runs | {"logits": lambda: subject.logits(x)}, repeats)
    figures = {
        name: {
            "images_per_s": round(batch / median(times), 2),
            f"times_{BASE}": round(ratio(seconds, name, BASE), 3),
            "temporary_MiB": cases[name].memory() if name in cases else None,
        }
        for name, times in seconds.items()
    }
    path = write("fold_methods", {"model": model, "batch": batch, "rounds": repeats, "folds": folds, "cases": figures})
    for name, values in figures.items():
        print(f"{name:18s}", "  ".join(f"{key} {value}" for key, value in values.items()))
    print(path)


if __name__ == "__main__":
    tyro.cli(main)
