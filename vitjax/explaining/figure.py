"""`figure`: explanations of the same images side by side, as a matplotlib figure for print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vitjax.errors import ConfigError
from vitjax.explaining.figure_grid import Request, grid_of, labels_of, titles_of
from vitjax.explaining.figure_options import DEFAULT, Colormaps, FigureOptions, check_choice
from vitjax.explaining.map_batch import MapBatch
from vitjax.plots.figures import ONE_COLUMN, TWO_COLUMNS
from vitjax.plots.grid import draw_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES_OF_ONE, IMAGES_OF_SEVERAL = 6, 3
"""Maps of each method in a notebook."""
IMAGES_OF_OVERVIEW = 60
"""Maps of each method on the page of `overview`: thirty methods by so many take 300 MB to draw."""


def figure(
    explanations: MapBatch | Mapping[str, MapBatch] | Sequence[MapBatch],
    *,
    rows: Literal["images", "methods"] = "images",
    width_mm: float = 183,
    dpi: float = 300,
    cmap: Colormaps = None,
    alpha: float | None = None,
    percentile: float | None = None,
    titles: Literal["short", "full", "id"] | Mapping[str, str] | Sequence[str] = "short",
    row_labels: Literal["target", "image"] | Sequence[str] | None = "target",
    notes: Mapping[str, Sequence[str]] | None = None,
    masks: Any = None,
    background: Literal["input", "original"] = "input",
    columns: int | None = None,
    font_size: float = 6.5,
    colour_bars: bool = True,
) -> Figure:
    """A grid of overlays for print: columns of methods, and rows of images or of the classes of an image.

    Where an image has several targets, maps of class-agnostic methods stand once for all of them, next to the image.
    Everywhere such methods are marked with a dagger. A constant map, and one that is not finite, is stamped as such.

    Args:
        explanations: what `explain_many` returns, or a list of explanations of the same images, or one.
        rows: "images"; or "methods", to have images from left to right and methods from top to bottom.
        width_mm: width in print, 20 to 2000; 89 and 183 are one and two columns of a journal.
        dpi: resolution of PNGs, 50 to 2400. PDFs keep the pixels of the model's input.
        cmap: a colour map of matplotlib, or its name; or two of them, for maps without and with negative relevance.
        alpha: opacity of the colour at full relevance, in [0, 1]; None: 0.85.
        percentile: colours end at this percentile of a map's magnitude, in (0, 100]; None: at the 99th for maps of
            pixels, at the largest value for others.
        titles: "short" ("GMAR"), "full" ("GMAR (Jo et al., 2025)"), "id" ("gmar"), or texts by label, or one text for
            each method.
        row_labels: "target" (what is explained, with its probability), "image" (its id), one text for each map, or
            None for none.
        notes: label -> one short text for each map, written under it, such as a score.
        masks: a mask for each image, [H, W] at the size of the model's input or of the image as stored, whose border is
            drawn; None in the list for an image without.
        background: "input", the image as the model sees it; or "original", the whole image with the part that the
            model sees outlined, for images from files.
        columns: methods side by side before the grid goes on below; None: as many as are wide enough to be read.
        font_size: of titles and labels in points, 3 to 20; smaller, down to 5, where a text would be cut.
        colour_bars: whether the scales are drawn below.

    Returns:
        The figure, without pyplot: it shows itself in notebooks, and its `savefig` writes PNG, and PDF and SVG whose
        text is text.

    Raises:
        ConfigError: explanations of different images, an argument that is out of range or of another length, images
            that are not from files for `background="original"`, or a figure that is too tall to be drawn.
        UnknownNameError: there is no such colour map.

    Example:
        >>> es = vitjax.explain_many(model, image, ["rollout", "transformer_mm", "gmar"], target=[["top3"]])
        >>> figure = vitjax.figure(es, width_mm=89)
        >>> [round(25.4 * side) for side in figure.get_size_inches()]
        [89, 79]
    """
    options = FigureOptions(
        cmap=cmap,
        alpha=alpha,
        percentile=percentile,
        width_mm=width_mm,
        dpi=dpi,
        font_size=font_size,
        rows=rows,
        titles=titles,
        row_labels=row_labels,
        background=background,
        columns=columns,
        colour_bars=colour_bars,
    )
    return _drawn(_by_label(explanations), options, notes=notes, masks=masks)


def _drawn(
    by_label: Mapping[str, MapBatch],
    options: FigureOptions,
    *,
    notes: Mapping[str, Sequence[str]] | None = None,
    masks: Any = None,
    most: int | None = None,
) -> Figure:
    """The figure; of more than `most` maps of each method the first ones, and a footnote that says so."""
    options.check()
    if options.background == "original":
        _check_files(by_label)
    all_masks, count = masks_of_maps(by_label, masks), len(next(iter(by_label.values())))
    shown = {label: explanation[:most] for label, explanation in by_label.items()}
    agnostic = all(explanation.class_agnostic for explanation in shown.values())
    request = Request(
        shown,
        options.colours,
        options.percentile,
        titles_of(shown, options.titles),
        _row_labels(next(iter(shown.values())), options.row_labels, agnostic),
        _notes(shown, notes),
        all_masks[:most] if all_masks is not None else None,
        options.background == "original",
        options.colour_bars,
    )
    grid = grid_of(request, transposed=options.rows == "methods")
    if most is not None and count > most:
        grid = grid._replace(footnotes=[*grid.footnotes, f"The first {most} of {count} maps of each method."])
    return draw_grid(
        grid,
        width_mm=options.width_mm,
        dpi=options.dpi,
        columns=options.columns,
        size=options.font_size,
        colours=options.colours,
    )


def _by_label(explanations: Any) -> dict[str, MapBatch]:
    """The explanations by label, all of the same images.

    Raises:
        ConfigError: there are none, or they are of other images.
    """
    if isinstance(explanations, MapBatch):
        explanations = [explanations]
    if not isinstance(explanations, Mapping):
        explanations = list(explanations)
        models = {explanation.model.name for explanation in explanations if isinstance(explanation, MapBatch)}
        several = len(models) > 1
        pairs = [
            (f"{explanation.model.name} {explanation.label}" if several else explanation.label, explanation)
            for explanation in explanations
        ]
        explanations = dict(pairs)
        if len(explanations) < len(pairs):
            raise ConfigError("figure: two explanations have the same label; pass a dict with a name for each")
    by_label = dict(explanations)
    if not by_label:
        raise ConfigError("figure: no explanations")
    for label, explanation in by_label.items():
        if not isinstance(explanation, MapBatch):
            raise ConfigError(f"figure: {label!r} is a {type(explanation).__name__}, not an explanation")
    first = next(iter(by_label.values()))
    if not len(first):
        raise ConfigError("figure: explanations of no images")
    for label, explanation in by_label.items():
        if explanation.images.ids != first.images.ids:
            raise ConfigError(f"figure: {label!r} explains other images than {next(iter(by_label))!r}")
    return by_label


def _row_labels(first: MapBatch, wanted: Any, agnostic: bool) -> list[str] | None:
    if wanted is None:
        return None
    if isinstance(wanted, str):
        check_choice("row_labels", wanted, ("target", "image"))
        return labels_of(first, wanted, agnostic=agnostic)
    texts = [str(text) for text in wanted]
    if len(texts) != len(first):
        raise ConfigError(f"figure: {len(texts)} row_labels for {len(first)} maps of each method")
    return texts


def _notes(explanations: Mapping[str, MapBatch], notes: Any) -> dict[str, Sequence[str]]:
    """Notes by label; maps of another model than the first one's have its prediction, if they have no other note."""
    first = next(iter(explanations.values()))
    written: dict[str, Sequence[str]] = {
        label: [explanation.verdict(index) for index in range(len(explanation))]
        for label, explanation in explanations.items()
        if explanation.model.name != first.model.name
    }
    for label, texts in (notes or {}).items():
        if label not in explanations:
            raise ConfigError(f"figure: notes name {label!r}; the explanations are {', '.join(explanations)}")
        if isinstance(texts, str) or len(texts) != len(first):
            raise ConfigError(f"figure: notes of {label!r}: expected one text for each of {len(first)} maps")
        written[label] = [str(text) for text in texts]
    return written


def masks_of_maps(explanations: Mapping[str, MapBatch], masks: Any) -> list[Any] | None:
    """One mask for each map, of the size of the model's input or of its image as stored, or None.

    Raises:
        ConfigError: there are not as many as images, or one has another size.
    """
    if masks is None:
        return None
    first, given = next(iter(explanations.values())), list(masks)
    images = dict.fromkeys(first.image_index.tolist())
    if len(given) == len(images):
        numbers = {image: number for number, image in enumerate(images)}
        given = [given[numbers[image]] for image in first.image_index.tolist()]
    if len(given) != len(first):
        raise ConfigError(f"figure: {len(given)} masks for {len(images)} images")
    for index, mask in enumerate(given):
        for explanation in explanations.values():
            sizes = [list(explanation.size), list(explanation.images.sources[index]["size"])]
            if mask is not None and list(np.shape(mask)) not in sizes:
                raise ConfigError(
                    f"figure: the mask of {first.images.ids[index]} is {list(np.shape(mask))}; the model's input is "
                    f"{sizes[0]}, the image as stored {sizes[1]}"
                )
    return given


def _check_files(explanations: Mapping[str, MapBatch]) -> None:
    for explanation in explanations.values():
        for image_id, source in zip(explanation.images.ids, explanation.images.sources, strict=True):
            if not source.get("file"):
                raise ConfigError(f"figure: background='original' needs images from files; {image_id} is an array")


def overview(
    explanations: Mapping[str, MapBatch],
    options: FigureOptions | None = None,
    *,
    masks: Any = None,
    automatic_width: bool = True,
) -> Figure:
    """The first maps of all methods on one page, as `vitjax compare` and `vitjax demo` write it.

    Args:
        explanations: by label, all of the same images.
        options: of the figure; those of `vitjax.figure` if None.
        masks: as for `vitjax.figure`.
        automatic_width: up to a dozen maps of each method have the width of a journal's page; for more, the page is as
            wide as all methods side by side. False: as wide as the options say.
    """
    by_label, options = _by_label(explanations), options or DEFAULT
    if automatic_width:
        many = len(next(iter(by_label.values()))) > 12
        width = max(TWO_COLUMNS, 17.0 * (len(by_label) + 1) + 12) if many else TWO_COLUMNS
        options = replace(options, width_mm=width)
    return _drawn(by_label, options, masks=masks, most=IMAGES_OF_OVERVIEW)


def notebook_png(explanations: Any) -> tuple[bytes, dict[str, int]]:
    """A figure of the first images for a notebook: PNG, and its size on the screen in pixels.

    One method has its images from left to right; several methods have them from top to bottom.
    """
    by_label = _by_label(explanations)
    count = len(next(iter(by_label.values())))
    beside = len(by_label) == 1 and count > 1
    most = IMAGES_OF_ONE if beside else IMAGES_OF_SEVERAL
    wide = len(by_label) > 4 or (beside and min(count, most) > 3)
    rows, width = "methods" if beside else "images", TWO_COLUMNS if wide else ONE_COLUMN
    drawn: Any = _drawn(by_label, FigureOptions(rows=rows, width_mm=width), most=most)
    return drawn._repr_png_()
