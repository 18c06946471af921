"""How far bfloat16 changes the maps of every fast method on photographs: rank correlation and largest difference.

Run:     python -m benchmarks.half_precision --weights FILE --photographs DIR [--model deit_tiny_patch16_224]
Prints:  the share of images with the same predicted class; for each method Spearman's rank correlation of the bfloat16
         and the float32 map (median and smallest over the images) and the largest difference relative to the largest
         value of the map (median and worst); then the path of the results
Writes:  benchmarks/results/half_precision_DEVICE.json

The model computes in bfloat16; relevance, readout rows and maps are float32 at any precision of the model. Both
precisions explain the class that float32 predicts.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tyro
from scipy.stats import spearmanr

import vitjax
from benchmarks.harness import write
from vitjax.methods import METHODS


def main(weights: Path, photographs: Path, model: str = "deit_tiny_patch16_224") -> None:
    """Compare the maps of bfloat16 with those of float32, and print a line for each method.

    Args:
        weights: checkpoint file.
        photographs: folder with photographs and an index.json that lists them.
        model: architecture of the checkpoint.
    """
    loaded = {dtype: vitjax.load(model, weights, dtype=dtype) for dtype in ("float32", "bfloat16")}
    paths = [photographs / item["image"] for item in json.loads((photographs / "index.json").read_text())["items"]]
    names = [name for name, method in METHODS.items() if not method.slow and method.cost != "0"]
    full = vitjax.explain_many(loaded["float32"], paths, names)
    target = full[names[0]].target
    half = vitjax.explain_many(loaded["bfloat16"], paths, names, list(map(int, target)))
    same = float((half[names[0]].logits.argmax(-1) == target).mean())
    print(f"same predicted class: {same:.1%} of {len(paths)}")
    figures = {}
    for name in names:
        a, b = (explanations[name].maps.reshape(len(paths), -1) for explanations in (full, half))
        images = [image for image in range(len(a)) if np.ptp(a[image]) > 0]  # a constant map has no ranks
        ranks = [spearmanr(a[image], b[image]).statistic for image in images]
        share = [np.abs(a[image] - b[image]).max() / np.abs(a[image]).max() for image in images]
        figures[name] = {
            "images": len(images),
            "spearman": {"median": round(float(np.median(ranks)), 4), "smallest": round(float(np.nanmin(ranks)), 4)},
            "largest_difference": {"median": round(float(np.median(share)), 4), "worst": round(float(max(share)), 4)},
        }
        print(f"{name:26s}", *(f"{key} {value}" for key, value in figures[name].items()))
    print(write("half_precision", {"model": model, "images": len(paths), "same_class": same, "methods": figures}))


if __name__ == "__main__":
    tyro.cli(main)
