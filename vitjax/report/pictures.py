"""Overlays on a page: a picture as an embedded file, with the contour of the object mask as lines above it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vitjax.errors import VitjaxError
from vitjax.report.extremes import Extremes

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

THUMBNAIL = 224
"""Largest side of an embedded overlay [pixels]."""
NO_OVERLAYS = "No overlays: the model or the data of the run was not available when this page was generated."


class Picture(NamedTuple):
    """An overlay.

    Attributes:
        image: the overlay.
        contours: borders of the object mask, each [points, 2] of (x, y) in pixels of the image.
        caption: what the model predicts, and what is explained if it is something else.
    """

    image: PILImage
    contours: Sequence[np.ndarray] = ()
    caption: str = ""


MakePictures = Callable[[Sequence[str], str], Mapping[str, Picture]]
"""(image ids, method label) -> pictures by image id; ids without a picture may be missing."""


class Thumbnail(NamedTuple):
    """A picture on the page: data URI of a JPEG, its size, and the contours as the data of an SVG path."""

    uri: str
    width: int
    height: int
    path: str
    caption: str


def thumbnails(
    extremes: Sequence[Extremes], pictures: MakePictures | None
) -> tuple[dict[tuple[str, str], Thumbnail], str]:
    """Thumbnails by (method, image id), and the reason why some are missing, "" if none is.

    Args:
        extremes: which images are shown for which method.
        pictures: called once for each method; None if there are none.
    """
    if pictures is None:
        return {}, NO_OVERLAYS
    wanted: dict[str, dict[str, None]] = {}
    for entry in extremes:
        ids = wanted.setdefault(entry.method, {})
        ids.update(dict.fromkeys(image.image_id for image in (*entry.best, *entry.worst)))
    made = {}
    try:
        for method, ids in wanted.items():
            for image_id, picture in pictures(list(ids), method).items():
                made[method, image_id] = thumbnail(picture)
    except VitjaxError as error:
        return made, f"Some overlays are missing: {error}"
    return made, ""


def thumbnail(picture: Picture) -> Thumbnail:
    """The picture with an image of at most THUMBNAIL x THUMBNAIL pixels."""
    from PIL import Image

    image = picture.image.convert("RGB")
    width, height = image.size
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    path = svg_path(picture.contours)
    return Thumbnail(data_uri("image/jpeg", buffer.getvalue()), width, height, path, picture.caption)


def svg_path(contours: Sequence[np.ndarray]) -> str:
    """Closed lines, each [points, 2] of (x, y), as the data of an SVG path; "" for none."""
    lines = [" L".join(f"{x:.0f},{y:.0f}" for x, y in points) for points in contours]
    return " ".join(f"M{line} Z" for line in lines)


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64," + base64.b64encode(data).decode()
