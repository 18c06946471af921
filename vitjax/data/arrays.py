"""Decoded images in memory, at the model's input size."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vitjax.data.source import NO_LABEL, OK, Raw, Samples
from vitjax.errors import ConfigError
from vitjax.images.mask_values import IGNORE, OBJECT

_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Arrays:
    """A `Source` of decoded images, which are neither resized nor cropped.

    Args:
        pixels: uint8 [n, H, W, 3], at the model's input size.
        masks: uint8 [n, H, W] with values 0 (background), 128 (ignored) and 255 (object); None if there are no masks.
        given_labels: class numbers [n]; None if there are no labels.
        name: name of the data set in records and error messages.

    Raises:
        ConfigError: an array has another dtype or shape, or a mask contains another value.

    Cost: the constructor reads the masks once; `digest` reads all arrays once.

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
            raise ConfigError(f"{self.name}: pixels are {_dtype_and_shape(self.pixels)}, not uint8 [n, H, W, 3]")
        if self.masks is not None and (self.masks.dtype != np.uint8 or self.masks.shape != shape[:3]):
            raise ConfigError(f"{self.name}: masks are {_dtype_and_shape(self.masks)}, not uint8 {list(shape[:3])}")
        if self.given_labels is not None and len(self.given_labels) != len(self.pixels):
            raise ConfigError(f"{self.name}: {len(self.given_labels)} labels for {len(self.pixels)} images")

        for start in range(0, 0 if self.masks is None else len(self.masks), _BLOCK):
            block = self.masks[start : start + _BLOCK]  # type: ignore[index]
            valid = (block == 0) | (block == IGNORE) | (block == OBJECT)
            if not valid.all():
                index, value = start + int(np.argmin(valid.all((1, 2)))), int(block[~valid][0])
                raise ConfigError(
                    f"{self.name}: mask {index} contains the value {value}; valid values are 0 (background), {IGNORE} "
                    f"(ignored) and {OBJECT} (object). Multiply masks of 0 and 1 by {OBJECT}"
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
        return Raw(self.pixels[index], None if self.masks is None else self.masks[index], IGNORE)

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
        """Yield one `Samples` per chunk.

        Args:
            plan: the chunks, each a sequence of indices into the source.
            size: (height, width) of the model's input [pixels].

        Raises:
            ConfigError: the images have another size.
        """
        if self.pixels.shape[1:3] != size:
            height, width = self.pixels.shape[1:3]
            raise ConfigError(
                f"{self.name}: images are {height} x {width} pixels; the model takes {size[0]} x {size[1]}"
            )
        for chunk in plan:
            yield self._samples(np.asarray(chunk, np.int64))

    def _samples(self, indices: np.ndarray) -> Samples:
        count, pixels = len(indices), self.pixels[indices]
        if self.masks is None:
            masks, states = np.full(pixels.shape[:3], IGNORE, np.uint8), ("none",) * count
            notes = ("",) * count
        else:
            masks = self.masks[indices]
            has_object, has_background = ((masks == value).any((1, 2)) for value in (OBJECT, 0))
            object_states = np.where(has_background, "object", "all_foreground")
            states = tuple(np.where(has_object, object_states, "all_background").tolist())
            notes = tuple(np.where((masks == IGNORE).any((1, 2)), "mask_ignored", "").tolist())
        height, width = pixels.shape[1:3]
        return Samples(
            index=indices,
            ids=tuple(self.ids[index] for index in indices),
            labels=np.asarray([self.labels[index] for index in indices], np.int32),
            pixels=pixels,
            masks=masks,
            status=(OK,) * count,
            cause=("",) * count,
            mask_state=states,
            mode=("RGB",) * count,
            size=(f"{height} x {width}",) * count,
            notes=notes,
        )


def _dtype_and_shape(array: Any) -> str:
    return f"{array.dtype} {list(array.shape)}"
