"""What bfloat16 does to every quick method's maps, on photographs: rank correlation and largest difference.

The model computes in bfloat16; relevance, rows and maps are float32, as always. Both precisions explain the class that
float32 predicts.
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
    """Print a line a method and write results/half_precision_DEVICE.json.

    Args:
        weights: checkpoint.
        photographs: folder with an index.json.
        model: architecture of the checkpoint.
    """
    loaded = {dtype: vitjax.load(model, weights, dtype=dtype) for dtype in ("float32", "bfloat16")}
    paths = [photographs / item["image"] for item in json.loads((photographs / "index.json").read_text())["items"]]
    names = [name for name, method in METHODS.items() if not method.slow and method.cost != "0"]
    wide = vitjax.explain_many(loaded["float32"], paths, names)
    target = wide[names[0]].target
    half = vitjax.explain_many(loaded["bfloat16"], paths, names, list(map(int, target)))
    same = float((half[names[0]].logits.argmax(-1) == target).mean())
    print(f"same predicted class: {same:.1%} of {len(paths)}")
    rows = {}
    for name in names:
        a, b = (found[name].maps.reshape(len(paths), -1) for found in (wide, half))
        kept = [row for row in range(len(a)) if np.ptp(a[row]) > 0]
        ranks = [spearmanr(a[row], b[row]).statistic for row in kept]
        share = [np.abs(a[row] - b[row]).max() / np.abs(a[row]).max() for row in kept]
        rows[name] = {
            "images": len(kept),
            "spearman": {"median": round(float(np.median(ranks)), 4), "smallest": round(float(np.nanmin(ranks)), 4)},
            "largest_difference": {"median": round(float(np.median(share)), 4), "worst": round(float(max(share)), 4)},
        }
        found = rows[name]
        print(f"{name:26s}", *(f"{key} {value}" for key, value in found.items()))
    print(write("half_precision", {"model": model, "images": len(paths), "same_class": same, "methods": rows}))


if __name__ == "__main__":
    tyro.cli(main)
