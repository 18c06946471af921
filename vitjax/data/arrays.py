"""Pictures that are decoded already: arrays in memory, of the size that the model takes."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vitjax.data.decode import IGNORE, OBJECT
from vitjax.data.source import NO_LABEL, OK, Raw, Samples
from vitjax.errors import ConfigError

_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Arrays:
    """A `Source` whose pictures need no decoding, resizing or cropping.

    Args:
      pixels: uint8 [n, H, W, 3], of the model's input size.
      masks: uint8 [n, H, W] of 0 (background), 128 (ignore) and 255 (object); None: there are none.
      given_labels: class numbers [n]; None: there are none.
      name: what records and errors call the data.

    Raises: ConfigError for another dtype or shape, or another value in a mask.
    Cost: masks are read once here, everything once for `digest`.

    Example: `vitjax.evaluate(model, Arrays(pixels, masks), ["rollout"], ["mean_iou"], "runs/x")`
    """

    pixels: np.ndarray
    masks: np.ndarray | None = None
    given_labels: Sequence[int] | None = None
    name: str = "arrays"
    resize = "squash"

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3:
            raise ConfigError(f"{self.name}: pixels are {_described(self.pixels)}, not uint8 [n, H, W, 3]")
        if self.masks is not None and (self.masks.dtype != np.uint8 or self.masks.shape != shape[:3]):
            raise ConfigError(f"{self.name}: masks are {_described(self.masks)}, not uint8 {list(shape[:3])}")
        if self.given_labels is not None and len(self.given_labels) != len(self.pixels):
            raise ConfigError(f"{self.name}: {len(self.given_labels)} labels for {len(self.pixels)} pictures")

        for start in range(0, 0 if self.masks is None else len(self.masks), _BLOCK):
            block = self.masks[start : start + _BLOCK]  # type: ignore[index]
            known = (block == 0) | (block == IGNORE) | (block == OBJECT)
            if not known.all():
                place, value = start + int(np.argmin(known.all((1, 2)))), int(block[~known][0])
                raise ConfigError(
                    f"{self.name}: mask {place} holds the value {value}; a mask is 0 (background), {IGNORE} (ignore) "
                    f"and {OBJECT} (object): multiply a mask of 0 and 1 by {OBJECT}"
                )

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{number:06d}" for number in range(len(self.pixels)))

    @cached_property
    def labels(self) -> tuple[int, ...]:
        given = self.given_labels
        return (NO_LABEL,) * len(self.pixels) if given is None else tuple(int(label) for label in given)

    @property
    def has_masks(self) -> bool:
        return self.masks is not None

    def read(self, index: int) -> Raw:
        return Raw(self.pixels[index], None if self.masks is None else self.masks[index])

    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        sha = hashlib.sha256(repr((self.pixels.shape, self.labels)).encode())
        for array in (self.pixels, self.masks):
            if array is not None:
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    def chunks(self, plan: Sequence[Sequence[int]], size: tuple[int, int]) -> Generator[Samples, None, None]:
        """`Samples` of these places, chunk by chunk. Raises ConfigError where pictures are not of that `size`."""
        if self.pixels.shape[1:3] != size:
            height, width = self.pixels.shape[1:3]
            raise ConfigError(f"{self.name}: pictures of {height} x {width}; the model takes {size[0]} x {size[1]}")
        for chunk in plan:
            yield self._samples(np.asarray(chunk, np.int64))

    def _samples(self, index: np.ndarray) -> Samples:
        count, pixels = len(index), self.pixels[index]
        if self.masks is None:
            masks, states = np.full(pixels.shape[:3], IGNORE, np.uint8), ("none",) * count
        else:
            masks = self.masks[index]
            object_there, background_there = ((masks == value).any((1, 2)) for value in (OBJECT, 0))
            known = np.where(background_there, "object", "all_foreground")
            states = tuple(np.where(object_there, known, "all_background").tolist())
        height, width = pixels.shape[1:3]
        return Samples(
            index=index,
            ids=tuple(self.ids[place] for place in index),
            labels=np.asarray([self.labels[place] for place in index], np.int32),
            pixels=pixels,
            masks=masks,
            status=(OK,) * count,
            cause=("",) * count,
            mask_state=states,
            mode=("RGB",) * count,
            size=(f"{height} x {width}",) * count,
        )


def _described(array: Any) -> str:
    return f"{array.dtype} {list(array.shape)}"
