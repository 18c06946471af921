"""Overlays of single images of a run, computed again: a report shows the best and the worst without stored maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitjax.data.loader import load_chunks
from vitjax.data.source import OK, Samples, Source
from vitjax.explaining.inputs import Images
from vitjax.explaining.run import explain_many
from vitjax.images.reading import normalise
from vitjax.models.model import Model

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class Pictures:
    """(image ids, method label) -> overlay by image id; images that have vanished since are left out.

    targets: explained class by image id. config: the run's, which says how maps were made.
    """

    def __init__(self, model: Model, source: Source, config: Mapping[str, Any], targets: Mapping[str, int]) -> None:
        self.model, self.source, self.config, self.targets = model, source, config, targets
        self._places = {name: place for place, name in enumerate(source.ids[: config["count"]])}
        self._methods = {each["label"]: {"method": each["method"], **each["options"]} for each in config["methods"]}

    def __call__(self, ids: Sequence[str], label: str) -> dict[str, Picture]:
        known = [name for name in ids if name in self._places and name in self.targets]
        if not known:
            return {}
        places = [self._places[name] for name in known]
        (samples,) = load_chunks(self.source, self.model.preprocessing, [places], workers=0)
        images = as_images(samples, self.model)
        if not len(images):
            return {}
        targets = [self.targets[name] for name in images.ids]
        found = explain_many(self.model, images, [self._methods[label]], targets, seed=self.config["seed"])
        (explanation,) = found.values()
        return {name: explanation.overlay(i) for i, name in enumerate(images.ids)}


def as_images(samples: Samples, model: Model) -> Images:
    """The pictures of a chunk that could be read, as `explain` takes them."""
    rows = [row for row, status in enumerate(samples.status) if status == OK]
    pixels = samples.pixels[rows]
    sources = tuple({"file": None, "mode": samples.mode[row], "size": samples.size[row]} for row in rows)
    return Images(
        normalise(pixels, model.preprocessing) if rows else np.zeros((0, *pixels.shape[1:]), np.float32),
        pixels,
        tuple(samples.ids[row] for row in rows),
        sources,
    )
