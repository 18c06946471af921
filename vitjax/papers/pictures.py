"""The pictures that a paper's figures are drawn from, and the masks of their objects as a model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.data.scenes import TEST_SEED, Scenes
from vitjax.execution.arguments import check_whole_number
from vitjax.explaining.inputs import Images, prepare
from vitjax.explaining.masks import mask_files, mask_of_image
from vitjax.images.geometry import geometry
from vitjax.images.reading import check_images
from vitjax.models.model import Model


@dataclass(frozen=True)
class Pictures:
    """The pictures of one command, with what belongs to them.

    sources: files, or uint8 arrays [h, w, 3]. masks: for each a file or an array, or None.
    ids: of pictures that are arrays. targets: for each the classes to explain, where the pictures themselves say so.
    """

    sources: Sequence[Any]
    masks: Sequence[Path | np.ndarray | None]
    ids: tuple[str, ...] | None = None
    targets: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def have_masks(self) -> bool:
        """Whether each of the pictures has a mask."""
        return all(mask is not None for mask in self.masks)

    def take(self, indices: Sequence[int]) -> Pictures:
        """The pictures at these indices, in this order."""

        def chosen(values: Sequence[Any]) -> list[Any]:
            return [values[index] for index in indices]

        return Pictures(
            chosen(self.sources),
            chosen(self.masks),
            None if self.ids is None else tuple(chosen(self.ids)),
            None if self.targets is None else chosen(self.targets),
        )


def pictures_of_files(files: Sequence[Path], masks: Path | None) -> Pictures:
    """Image files, with masks `<image name>.png` of a folder.

    Raises:
        ImageError: a file does not exist; the folder does not, or contains no mask of any image.
    """
    check_images(files)
    if masks is None:
        return Pictures(list(files), [None] * len(files))
    return Pictures(list(files), mask_files(files, masks))


def pictures_of_scenes(count: int) -> Pictures:
    """Bundled scenes of two objects, with the mask of the larger one.

    Raises:
        ConfigError: count is below 1.
    """
    check_whole_number("scenes", count, 1)
    scenes = list(Scenes(count, seed=TEST_SEED, objects=2))
    return Pictures(
        [scene.image for scene in scenes],
        [np.where(scene.masks[0], 255, 0).astype(np.uint8) for scene in scenes],
        tuple(f"scene{scene.index}" for scene in scenes),
        [scene.labels.tolist() for scene in scenes],
    )


def images_for(model: Model, pictures: Pictures) -> Images:
    """The pictures as the model sees them, upright by their EXIF orientation.

    Raises:
        ImageError: a picture cannot be decoded; names the file and the cause.
    """
    images = prepare(model, list(pictures.sources))
    return images if pictures.ids is None else replace(images, ids=pictures.ids)


def masks_for(model: Model, pictures: Pictures) -> tuple[np.ndarray | None, ...]:
    """The masks, resized and cropped as the model's images: uint8 [H, W], 0 background, 128 ignored, 255 object.

    Raises:
        ImageError: a mask cannot be read, has another aspect ratio than its picture, or values of uncertain meaning.
    """
    return tuple(
        None if mask is None else _mask_for(model, source, mask)
        for source, mask in zip(pictures.sources, pictures.masks, strict=True)
    )


def _mask_for(model: Model, source: Any, mask: Path | np.ndarray) -> np.ndarray:
    values = mask_of_image(source, mask)
    height, width = values.shape
    return geometry(width, height, model.preprocessing).mask(values)
