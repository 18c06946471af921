"""What is reproduced of a paper: its figures and its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.models.model import Model
from vitjax.papers.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Needed = Literal["masks", "cnn"]
NEEDS: dict[Needed, tuple[str, str]] = {
    "masks": (
        "needs object masks",
        "--masks DIR with <image name>.png of each image (`python -m vitjax.data.detector` writes Mask R-CNN's), or "
        "--scenes N",
    ),
    "cnn": (
        "needs a ResNet",
        "--cnn resnet50, with --cnn-weights FILE unless its default weights are to be downloaded",
    ),
}
"""What some figures need beside images and a model, and how to pass it."""


@dataclass(frozen=True)
class Materials:
    """What a figure is drawn from. All explanations have the same maps in the same order.

    explanations: by column title, of the paper's model. cnn: those of the ResNet.
    masks: for each image uint8 [H, W] as the paper's model sees it (0 background, 128 ignored, 255 object), or None.
    cnn_features: of each image the outputs of the ResNet's stages, by name; empty unless the figure asks for them.
    """

    explanations: Mapping[str, Explanation]
    cnn: Mapping[str, Explanation]
    masks: tuple[np.ndarray | None, ...]
    cnn_features: tuple[Mapping[str, np.ndarray], ...] = ()

    @property
    def first(self) -> Explanation:
        """The first explanation of the paper's model: it has the images, the targets and the predictions of all."""
        return next(iter(self.explanations.values()))

    @property
    def mask_of_map(self) -> list[np.ndarray | None]:
        """The mask that belongs to each map; images of several targets have several maps."""
        return [self.masks[index] for index in self.first.image_index]


Draw = Callable[[Materials], "dict[str, Drawing]"]


@dataclass(frozen=True)
class Figure:
    """A figure of a paper.

    name: unique within the paper; also of its files. title: what it shows, in a sentence.
    methods: requests for `vitjax.explain_many` by column title. cnn_methods: those for the ResNet.
    draw: Materials -> matplotlib figures by the image that they belong to; "" for one figure of all images.
    needs: what it needs beside images.
    features: whether it needs the outputs of the ResNet's stages.
    targets: what is explained if the command names no target; None for the predicted class.
    min_confidence: images whose predicted class has a lower probability are left out.
    """

    name: str
    title: str
    methods: Mapping[str, str | dict[str, Any]]
    draw: Draw
    cnn_methods: Mapping[str, str | dict[str, Any]] = field(default_factory=dict)
    needs: frozenset[Needed] = frozenset()
    features: bool = False
    targets: str | None = None
    min_confidence: float = 0.0


@dataclass(frozen=True)
class Paper:
    """A paper.

    name: as on the command line. title: authors, year and subject. tables, figures: to reproduce.
    model, weights: of the figures; weights is a hub id, or None for the model's default weights.
    model_as, cnn_as: change model and ResNet to the paper's preprocessing, for the figures.
    """

    name: str
    title: str
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    model: str
    weights: str | None = None
    model_as: Callable[[Model], Model] = lambda model: model
    cnn_as: Callable[[Model], Model] = lambda model: model
