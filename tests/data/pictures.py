"""Small image files and data sets shared by the tests of `vitjax.data`."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vitjax.data.source import NO_LABEL, Raw
from vitjax.images.geometry import Preprocessing

SMALL = Preprocessing(size=(32, 32), crop_pct=0.9)


def pixels(width=60, height=40, seed=0):
    """Random colours, uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, width=60, height=40, seed=0, mode="RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(width, height, seed)).convert(mode).save(path)
    return path


def save_mask(path: Path, width=60, height=40, values=None) -> Path:
    """Write a mask with the given values, or one whose left half is the object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        values = np.where(np.arange(width) < width // 2, 255, 0)[None].repeat(height, 0)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


def encoded(width=60, height=40, kind="JPEG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(width, height)).save(out, kind)
    return out.getvalue()


@dataclass
class ListSource:
    """A source of the given `Raw`s in memory.

    die: exit codes by index; reading such an image ends the process.
    count_file: file that the index of every image read is appended to.
    """

    raws: list[Raw]
    die: dict[int, int] = field(default_factory=dict)
    name: str = "list:test"
    resize: str = "timm"
    count_file: str = ""

    @property
    def ids(self):
        return tuple(f"p{index}" for index in range(len(self.raws)))

    @property
    def labels(self):
        return tuple(index if index % 2 else NO_LABEL for index in range(len(self.raws)))

    @property
    def has_masks(self):
        return any(raw.mask is not None for raw in self.raws)

    def read(self, index):
        if self.count_file:
            with Path(self.count_file).open("a") as stream:
                stream.write(f"{index}\n")
        if index in self.die:
            os._exit(self.die[index])
        return self.raws[index]

    def digest(self):
        return f"list of {len(self.raws)}"


def numbered(count: int, **options) -> ListSource:
    """A source of uniform images with pixel values 0, 1, 2, ..., which identify them; every third has a mask."""
    mask = np.where(np.arange(32) < 16, 255, 0)[None].repeat(32, 0).astype(np.uint8)
    raws = [Raw(np.full((32, 32, 3), index, np.uint8), mask if index % 3 == 0 else None) for index in range(count)]
    return ListSource(raws, **options)
