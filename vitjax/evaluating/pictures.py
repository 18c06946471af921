"""Pictures of selected images of a run. Maps are recomputed, so that a report needs no stored maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vitjax.data.loader import load_chunks
from vitjax.data.source import OK, Samples, Source
from vitjax.explaining.inputs import Images
from vitjax.explaining.run import explain_many
from vitjax.images.mask_values import OBJECT
from vitjax.images.reading import normalise
from vitjax.layerwise.target import NOT_A_CLASS
from vitjax.models.model import Model
from vitjax.plots.cells import outlines
from vitjax.report.pictures import Picture


class Overlays:
    """A function of (image ids, method label) that returns overlays with the contours of masks, by image id.

    Images that are no longer readable are left out.

    Args:
        model: the model of the run.
        source: the data set of the run.
        config: the run's configuration, with the methods and the seed.
        targets: explained classes by image id.
    """

    def __init__(self, model: Model, source: Source, config: Mapping[str, Any], targets: Mapping[str, int]) -> None:
        self.model, self.source, self.config, self.targets = model, source, config, targets
        self._index_of_id = {name: index for index, name in enumerate(source.ids[: config["count"]])}
        self._methods = {
            method["label"]: {"method": method["method"], **method["options"]} for method in config["methods"]
        }

    def __call__(self, ids: Sequence[str], label: str) -> dict[str, Picture]:
        indices = [self._index_of_id[name] for name in ids if name in self._index_of_id and name in self.targets]
        if not indices:
            return {}
        (samples,) = load_chunks(self.source, self.model.preprocessing, [indices], workers=0)
        images = as_images(samples, self.model)
        if not len(images):
            return {}
        targets = [self._target(name) for name in images.ids]
        explanations = explain_many(self.model, images, [self._methods[label]], targets, seed=self.config["seed"])
        (explanation,) = explanations.values()
        masks = dict(zip(samples.ids, samples.masks, strict=True))
        return {
            name: Picture(explanation.overlay(i), outlines(masks[name] == OBJECT), explanation.verdict(i))
            for i, name in enumerate(images.ids)
        }

    def _target(self, name: str) -> Any:
        """The output that the record of an image names; the run's target where it is a difference; None for none."""
        index = self.targets[name]
        return index if index >= 0 else self.config["target"] if index == NOT_A_CLASS else None


def as_images(samples: Samples, model: Model) -> Images:
    """The usable images of a chunk, in the form that `explain` takes."""
    indices = [index for index, status in enumerate(samples.status) if status == OK]
    pixels = samples.pixels[indices]
    sources = tuple(
        {"file": None, "mode": samples.mode[index], "size": samples.size[index], "notes": samples.notes[index].split()}
        for index in indices
    )
    return Images(
        normalise(pixels, model.preprocessing) if indices else np.zeros((0, *pixels.shape[1:]), np.float32),
        pixels,
        tuple(samples.ids[index] for index in indices),
        sources,
    )
