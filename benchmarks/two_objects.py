"""Do class-specific methods follow the class? Photographs with two objects, explained for the class of each.

Run:     python -m benchmarks.two_objects --weights FILE --photographs DIR --classics DIR
         [--model deit_tiny_patch16_224]
Prints:  a Markdown table with one line per method: the share of the map's positive part on the object whose class is
         explained, the share on the other object, and the number of photographs in which both objects get more when
         their own class is explained; then the path of the results
Writes:  benchmarks/results/two_objects_DEVICE.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

import vitjax
from benchmarks.harness import write
from vitjax.images.geometry import geometry
from vitjax.maps import upsample
from vitjax.methods import METHODS

OBJECT = 255
# Image -> for both objects the class and the box (left, top, right, bottom) as shares of the image, drawn by hand.
CLASSICS = {
    "catdog": ((242, (0.35, 0.05, 0.74, 0.53)), (282, (0.20, 0.53, 0.90, 1.00))),
    "dogbird": ((161, (0.46, 0.00, 1.00, 1.00)), (90, (0.02, 0.20, 0.43, 1.00))),
    "el1": ((386, (0.45, 0.08, 1.00, 0.90)), (340, (0.00, 0.38, 0.34, 0.80))),
    "el4": ((386, (0.07, 0.15, 0.90, 0.46)), (340, (0.00, 0.46, 1.00, 1.00))),
}


class Pair(NamedTuple):
    """A photograph with two objects, their classes and their masks."""

    file: Path
    classes: tuple[int, int]
    masks: tuple[np.ndarray, np.ndarray]  # bool, of the photograph's size


def masked_pairs(folder: Path) -> Iterator[Pair]:
    """The photographs listed in the folder's index.json that have two masks."""
    for item in json.loads((folder / "index.json").read_text())["items"]:
        if "mask2" in item:
            masks = [np.asarray(Image.open(folder / item[key])) == OBJECT for key in ("mask", "mask2")]
            yield Pair(folder / item["image"], (item["target_class"], item["target_class2"]), (masks[0], masks[1]))


def boxed_pairs(folder: Path) -> Iterator[Pair]:
    """The two-object images of CLASSICS, which papers on explanations show, with boxes as masks."""
    for name, objects in CLASSICS.items():
        file = folder / f"{name}.png"
        with Image.open(file) as image:
            width, height = image.size
        masks = []
        for _, (left, top, right, bottom) in objects:
            mask = np.zeros((height, width), bool)
            mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
            masks.append(mask)
        yield Pair(file, (objects[0][0], objects[1][0]), (masks[0], masks[1]))


def shares(model: vitjax.Model, pairs: list[Pair]) -> dict[str, Any]:
    """Shares of the map's positive part on the objects, in [0, 1].

    Returns:
        For each method and pair: [on object 0 when its class is explained, on object 1 when its class is explained,
        on object 1 when object 0's class is explained, on object 0 when object 1's class is explained].
    """
    files = [pair.file for pair in pairs for _ in range(2)]
    targets = [target for pair in pairs for target in pair.classes]
    explanations = vitjax.explain_many(
        model, files, [{"method": name} for name, method in METHODS.items() if not method.slow], targets
    )
    masks = []
    for pair in pairs:
        height, width = pair.masks[0].shape
        crop = geometry(width, height, model.preprocessing)
        masks.append([crop.mask(mask) for mask in pair.masks])
    return {
        name: [
            [_share(explanation.maps[2 * i + k], masks[i][k]) for k in (0, 1)]
            + [_share(explanation.maps[2 * i + k], masks[i][1 - k]) for k in (0, 1)]
            for i in range(len(pairs))
        ]
        for name, explanation in explanations.items()
    }


def _share(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Share of the map's positive part inside the mask; NaN if no value is positive."""
    positive = np.maximum(np.asarray(upsample(jnp.asarray(heatmap), mask.shape)), 0)
    return float((positive * mask).sum() / positive.sum()) if positive.any() else float("nan")


def main(weights: Path, photographs: Path, classics: Path, model: str = "deit_tiny_patch16_224") -> None:
    """Measure where the maps of every fast method lie, and print a Markdown table.

    Args:
        weights: checkpoint file.
        photographs: folder with an index.json; items with mask2 and target_class2 are used.
        classics: folder with catdog.png, dogbird.png, el1.png and el4.png.
        model: architecture of the checkpoint.
    """
    loaded = vitjax.load(model, weights)
    pairs = [*masked_pairs(photographs), *boxed_pairs(classics)]
    shares_by_method = shares(loaded, pairs)
    figures = {}
    print("| method | on the explained object | on the other | pairs that follow the class |\n|---|---|---|---|")
    for name, values in shares_by_method.items():
        array = np.asarray(values)
        explained, other = array[:, :2], array[:, 2:]
        # Both objects get more when their own class is explained than when the other object's class is.
        follows = (explained[:, 0] > other[:, 1]) & (explained[:, 1] > other[:, 0])
        kind = "" if METHODS[name].class_specific else " (class-agnostic)"
        figures[name] = {
            "asked": round(float(np.nanmean(explained)), 4),
            "other": round(float(np.nanmean(other)), 4),
            "moved": int(follows.sum()),
            "pairs": {pair.file.stem: [round(v, 3) for v in one] for pair, one in zip(pairs, values, strict=True)},
        }
        line = figures[name]
        print(f"| `{name}`{kind} | {line['asked']:.1%} | {line['other']:.1%} | {line['moved']} of {len(pairs)} |")
    print(write("two_objects", {"model": model, "weights": loaded.weights["sha256"], "methods": figures}))


if __name__ == "__main__":
    tyro.cli(main)
