"""What all attention and gradient methods of one sweep cost together, against transformer_mm alone and a forward."""

from __future__ import annotations

from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.harness import case_of, random_model, ratio, rounds, write
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request
from vitjax.layerwise.fold import PREDICTED
from vitjax.methods import METHODS, Method
from vitjax.nn.vit_config import ViTConfig

ALL, BASE = "all of them", "transformer_mm"


def _by_attention(method: Method, config: ViTConfig) -> bool:
    """Attention and gradient methods: no relevance rules, no maps at pixels, no baseline."""
    assert method.fold is not None
    return method.level == "token" and method.cost != "0" and method.fold(config).rules is None


def main(model: str = "deit_tiny_patch16_224", batch: int = 16, repeats: int = 9, alone: bool = False) -> None:
    """Time every fold method together and transformer_mm, in the same rounds.

    Args:
        model: architecture; its weights are random.
        batch: images per call.
        repeats: rounds.
        alone: also time every fold method by itself.
    """
    subject = random_model(model)
    folds = [name for name, method in METHODS.items() if method.fold and _by_attention(method, subject.config)]
    together = {BASE: [BASE], ALL: folds}
    if alone:
        together |= {name: [name] for name in folds}
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(batch, *subject.config.image_size, 3)), jnp.float32)
    targets, seeds = np.full(batch, PREDICTED, np.int32), np.arange(batch, dtype=np.uint32)
    arguments = (subject.params, x, targets, seeds, np.uint32(0))

    with jax.default_matmul_precision(subject.precision):
        found = {
            case: case_of(compiled(subject.config, tuple(request(name) for name in names)), *arguments, items=batch)
            for case, names in together.items()
        }
    seconds = rounds({case: each.run for case, each in found.items()} | {"logits": lambda: subject.logits(x)}, repeats)
    rows = {
        case: {
            "images_per_s": round(batch / median(times), 2),
            f"times_{BASE}": round(ratio(seconds, case, BASE), 3),
            "temporary_MiB": found[case].memory() if case in found else None,
        }
        for case, times in seconds.items()
    }
    path = write("fold_methods", {"model": model, "batch": batch, "rounds": repeats, "folds": folds, "cases": rows})
    for case, row in rows.items():
        print(f"{case:18s}", "  ".join(f"{key} {value}" for key, value in row.items()))
    print(path)


if __name__ == "__main__":
    tyro.cli(main)
