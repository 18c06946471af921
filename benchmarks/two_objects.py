"""Do class-specific methods follow the class? Photographs with two objects, each explained for both."""

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
CLASSICS = {  # picture: two of (class, box (left, top, right, bottom) in shares of the picture, drawn by eye)
    "catdog": ((242, (0.35, 0.05, 0.74, 0.53)), (282, (0.20, 0.53, 0.90, 1.00))),
    "dogbird": ((161, (0.46, 0.00, 1.00, 1.00)), (90, (0.02, 0.20, 0.43, 1.00))),
    "el1": ((386, (0.45, 0.08, 1.00, 0.90)), (340, (0.00, 0.38, 0.34, 0.80))),
    "el4": ((386, (0.07, 0.15, 0.90, 0.46)), (340, (0.00, 0.46, 1.00, 1.00))),
}


class Pair(NamedTuple):
    file: Path
    classes: tuple[int, int]
    masks: tuple[np.ndarray, np.ndarray]  # bool, of the photograph's size


def masked_pairs(folder: Path) -> Iterator[Pair]:
    """Items of an index.json that have a second mask."""
    for item in json.loads((folder / "index.json").read_text())["items"]:
        if "mask2" in item:
            masks = [np.asarray(Image.open(folder / item[key])) == OBJECT for key in ("mask", "mask2")]
            yield Pair(folder / item["image"], (item["target_class"], item["target_class2"]), (masks[0], masks[1]))


def boxed_pairs(folder: Path) -> Iterator[Pair]:
    """The two-object pictures that explanation papers show, with boxes."""
    for name, objects in CLASSICS.items():
        file = folder / f"{name}.png"
        with Image.open(file) as picture:
            width, height = picture.size
        masks = []
        for _, (left, top, right, bottom) in objects:
            mask = np.zeros((height, width), bool)
            mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
            masks.append(mask)
        yield Pair(file, (objects[0][0], objects[1][0]), (masks[0], masks[1]))


def shares(model: vitjax.Model, pairs: list[Pair]) -> dict[str, Any]:
    """Per method and pair: share of the map's positive part on [asked object, other object], for both classes."""
    files = [pair.file for pair in pairs for _ in range(2)]
    targets = [wanted for pair in pairs for wanted in pair.classes]
    found = vitjax.explain_many(
        model, files, [{"method": name} for name, method in METHODS.items() if not method.slow], targets
    )
    masks = []
    for pair in pairs:
        height, width = pair.masks[0].shape
        cut = geometry(width, height, model.preprocessing)
        masks.append([cut.mask(mask) for mask in pair.masks])
    return {
        name: [
            [_share(each.maps[2 * i + k], masks[i][k]) for k in (0, 1)]  # asked
            + [_share(each.maps[2 * i + k], masks[i][1 - k]) for k in (0, 1)]  # other
            for i in range(len(pairs))
        ]
        for name, each in found.items()
    }


def _share(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """nan where the map has no positive part."""
    positive = np.maximum(np.asarray(upsample(jnp.asarray(heatmap), mask.shape)), 0)
    return float((positive * mask).sum() / positive.sum()) if positive.any() else float("nan")


def main(weights: Path, photographs: Path, classics: Path, model: str = "deit_tiny_patch16_224") -> None:
    """Print a Markdown table and write results/two_objects_DEVICE.json.

    Args:
        weights: checkpoint.
        photographs: folder with an index.json whose items may have mask2 and target_class2.
        classics: folder with catdog.png, dogbird.png, el1.png, el4.png.
        model: architecture of the checkpoint.
    """
    loaded = vitjax.load(model, weights)
    pairs = [*masked_pairs(photographs), *boxed_pairs(classics)]
    table = shares(loaded, pairs)
    rows = {}
    print("| method | on the asked object | on the other | pairs where asking moves it there |\n|---|---|---|---|")
    for name, values in table.items():
        array = np.asarray(values)  # [pair, (first asked, second asked, second while first asked, first while second)]
        asked, other = array[:, :2], array[:, 2:]
        # Object k gets more when it is asked for than when the other one is.
        moved = (asked[:, 0] > other[:, 1]) & (asked[:, 1] > other[:, 0])
        kind = "" if METHODS[name].class_specific else " (class-agnostic)"
        rows[name] = {
            "asked": round(float(np.nanmean(asked)), 4),
            "other": round(float(np.nanmean(other)), 4),
            "moved": int(moved.sum()),
            "pairs": {pair.file.stem: [round(v, 3) for v in one] for pair, one in zip(pairs, values, strict=True)},
        }
        row = rows[name]
        print(f"| `{name}`{kind} | {row['asked']:.1%} | {row['other']:.1%} | {row['moved']} of {len(pairs)} |")
    print(write("two_objects", {"model": model, "weights": loaded.weights["sha256"], "methods": rows}))


if __name__ == "__main__":
    tyro.cli(main)
