"""How far variants and options of a method are from its default, on photographs.

Run:     python -m benchmarks.variants --weights FILE --photographs DIR [--model deit_tiny_patch16_224]
Prints:  for each variant Spearman's rank correlation of its maps with the default's, median and smallest over the
         images; then the path of the results
Writes:  benchmarks/results/variants_DEVICE.json
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tyro
from scipy.stats import spearmanr

import vitjax
from benchmarks.harness import write
from vitjax.explaining.inputs import prepare

# Name of a default (a method, or a key of DEFAULTS) -> options that are compared with it.
VARIANTS: dict[str, list[dict[str, object]]] = {
    "rollout": [
        {"head_fusion": "max"},
        {"head_fusion": "min"},
        {"per_head": True},
        {"alpha": 1.0},
        {"variant": "first_left"},
    ],
    "rollout max discard": [{"variant": "vit_explain"}],
    "grad_rollout": [
        {"head_fusion": "max"},
        {"head_fusion": "min"},
        {"variant": "vit_explain"},
        {"variant": "das2025"},
        {"discard_ratio": 0.9},
    ],
    "gmar": [{"norm": "l2"}, {"normalize": True}, {"order": "first_left"}, {"variant": "joita2025"}],
    "legrad": [{"pool": "mean"}, {"layers": 2}, {"variant": "joita2025"}],
    "tam": [{"start_layer": 0}, {"integral": False}],
    "attcat": [{"weights": "cls"}, {"hidden": "output"}],
    "transformer_mm": [{"score": "probability"}],
    "vtranm": [
        {"score": "logit"},
        {"necc": False},
        {"length": False},
        {"length": False, "necc": False},
        {"aggregate": False},
    ],
}
DEFAULTS: dict[str, dict[str, object]] = {
    "rollout max discard": {"method": "rollout", "head_fusion": "max", "discard_ratio": 0.9},
}


def main(weights: Path, photographs: Path, model: str = "deit_tiny_patch16_224") -> None:
    """Compare the maps of each variant with the default's, and print a line for each variant.

    Args:
        weights: checkpoint file.
        photographs: folder with photographs and an index.json that lists them.
        model: architecture of the checkpoint.
    """
    loaded = vitjax.load(model, weights)
    items = json.loads((photographs / "index.json").read_text())["items"]
    images = prepare(loaded, [photographs / item["image"] for item in items])
    figures: dict[str, dict[str, object]] = {}
    for name, variants in VARIANTS.items():
        default = DEFAULTS.get(name, {"method": name})
        requests = [default, *({**default, **options} for options in variants)]
        first, *others = vitjax.explain_many(loaded, images, requests).values()
        reference = first.maps.reshape(len(images), -1)
        for other in others:
            maps = other.maps.reshape(len(images), -1)
            ranks = [spearmanr(a, b).statistic for a, b in zip(reference, maps, strict=True)]
            middle, low = round(float(np.nanmedian(ranks)), 3), round(float(np.nanmin(ranks)), 3)
            figures[other.label] = {"default": first.label, "median": middle, "smallest": low}
            print(f"{other.label:60s} median {middle:6.3f}  smallest {low:6.3f}")
    print(write("variants", {"model": model, "images": len(images), "spearman": figures}))


if __name__ == "__main__":
    tyro.cli(main)
