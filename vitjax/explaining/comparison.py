"""The figure of several explanations of the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vitjax.explaining.explanation import Explanation
from vitjax.explaining.probabilities import with_probability

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison(explanations: Mapping[str, Explanation]) -> Figure:
    """A figure with a row for each image, or for each of its targets, and a column for each explanation.

    Args:
        explanations: by label, all of the same images. Explanations of another model than that of the first one are
            drawn over the images in that model's preprocessing, with its predictions.
    """
    from vitjax import plots

    first = next(iter(explanations.values()))
    captions = [first.caption(i) for i in range(len(first))]
    other_model = {label: other for label, other in explanations.items() if other.model.name != first.model.name}
    return plots.comparison_grid(
        list(first.images.pixels),
        {label: list(explanation.maps) for label, explanation in explanations.items()},
        signed={label for label, explanation in explanations.items() if explanation.signed},
        row_labels=[
            with_probability(
                caption["target"],
                caption["target_probability"],
                ".0f",
                "\N{NO-BREAK SPACE}",
                sigmoid=caption["sigmoid"],
            )
            for caption in captions
        ],
        own_photos={label: list(other.images.pixels) for label, other in other_model.items()},
        notes={label: [other.verdict(i) for i in range(len(other))] for label, other in other_model.items()},
    )
