"""Writes a small data set for docs/walkthrough.md: scenes in five class folders by the shape of their largest object.

    python examples/write_shapes.py data --train 1000 --test 2000

data/train/SHAPE/N.png, data/test/SHAPE/N.png, and the masks of the largest objects in data/test/masks/SHAPE/N.png.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from vitjax.data.scenes import CLASSES, Scenes

SEEDS = {"train": 11, "test": 12}  # other scenes than those that the bundled model was trained on


def write(folder: Path, count: int, seed: int, *, masks: bool) -> None:
    written: Counter[str] = Counter()
    for scene in Scenes(count, seed=seed):
        shape = CLASSES[scene.labels[0]].split()[-1]
        name = f"{shape}/{written[shape]:04d}.png"
        written[shape] += 1
        save(scene.image, folder / name)
        if masks:
            save(np.uint8(255 * scene.masks[0]), folder / "masks" / name)


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=2000)
    arguments = parser.parse_args()
    write(arguments.folder / "train", arguments.train, SEEDS["train"], masks=False)
    write(arguments.folder / "test", arguments.test, SEEDS["test"], masks=True)
