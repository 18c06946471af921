"""What `vitjax.figure` shows, as a grid of cells: which image stands where, and what is written beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vitjax.errors import ConfigError
from vitjax.explaining.map_batch import MapBatch
from vitjax.explaining.probabilities import with_probability
from vitjax.images.geometry import Geometry, geometry
from vitjax.images.picture import read_picture
from vitjax.methods.titles import title_of
from vitjax.output.wording import ordinal
from vitjax.plots.cells import Cell, Colours, inside_original, overlay_cell
from vitjax.plots.grid import Grid, Placed

NO_BREAK = "\N{NO-BREAK SPACE}"
DAGGER = "†"
AGNOSTIC = f"{DAGGER} Class-agnostic: the map is the same whichever class is explained."


class Request(NamedTuple):
    """What is drawn: by label the explanations, of one image each row or column, and how.

    titles, notes, masks, row_labels: as for `vitjax.figure`, checked; None in row_labels for none.
    """

    explanations: Mapping[str, MapBatch]
    colours: Colours
    percentile: float | None
    titles: Mapping[str, str]
    row_labels: Sequence[str] | None
    notes: Mapping[str, Sequence[str]]
    masks: Sequence[Any] | None
    original: bool
    bars: bool

    @property
    def first(self) -> MapBatch:
        """The explanation whose images stand beside the maps."""
        return next(iter(self.explanations.values()))


def grid_of(request: Request, *, transposed: bool) -> Grid:
    """The grid. Of images with several targets, maps that no target changes stand once, in the middle of its rows."""
    first = request.first
    groups = first.image_index.tolist()
    starts = first.starts
    several = len(starts) < len(groups)
    agnostic = [label for label, explanation in request.explanations.items() if explanation.class_agnostic]
    if several and len(agnostic) == len(request.explanations):
        return grid_of(_one_map_for_each_image(request, starts), transposed=transposed)
    labels = list(request.explanations)
    if several:
        labels.sort(key=lambda label: label not in agnostic)
    counts = np.diff([*starts, len(groups)]).tolist()
    placed = [Placed(_photo(request, start), start, 0, down=count) for start, count in zip(starts, counts, strict=True)]
    for column, label in enumerate(labels, start=1):
        if several and label in agnostic:
            spans = zip(starts, counts, strict=True)
            placed += [Placed(_map(request, label, start), start, column, down=count) for start, count in spans]
        else:
            placed += [Placed(_map(request, label, index), index, column) for index in range(len(groups))]
    headers = [
        "Input",
        *(_marked(request.titles[label]) if label in agnostic else request.titles[label] for label in labels),
    ]
    row_labels = request.row_labels if request.row_labels is not None else [""] * len(groups)
    bars = _bars(request) if request.bars else ()
    footnotes = [AGNOSTIC] if agnostic else []
    before = 1 + len(agnostic) if several else 0
    grouped = groups if several else ()
    if transposed:
        turned = [Placed(cell, column, row, across, down) for cell, row, column, down, across in placed]
        return Grid(turned, row_labels, headers, (), grouped, 0, before, 0, bars, footnotes)
    return Grid(placed, headers, row_labels, grouped, (), before, 0, 1, bars, footnotes)


def _marked(title: str) -> str:
    """The title of a class-agnostic method, with a dagger at the end of its first line."""
    first, line_break, rest = title.partition("\n")
    return f"{first}{DAGGER}{line_break}{rest}"


def _one_map_for_each_image(request: Request, starts: list[int]) -> Request:
    """The request without the repetitions of an image, where no map depends on the target."""

    def chosen(values: Sequence[Any] | None) -> list[Any] | None:
        return None if values is None else [values[start] for start in starts]

    return request._replace(
        explanations={label: explanation[starts] for label, explanation in request.explanations.items()},
        row_labels=chosen(request.row_labels),
        notes={label: chosen(texts) or () for label, texts in request.notes.items()},
        masks=chosen(request.masks),
    )


def labels_of(explanation: MapBatch, kind: str, *, agnostic: bool) -> list[str] | None:
    """The labels of rows: what is explained with its probability, or the image's id; None where there is no name."""
    if kind == "image" or agnostic:
        return list(explanation.images.ids) if kind == "image" or len(explanation) > 1 else None
    captions = [explanation.caption(index) for index in range(len(explanation))]
    return [
        with_probability(caption["target"], caption["target_probability"], 0, NO_BREAK, sigmoid=caption["sigmoid"])
        for caption in captions
    ]


def titles_of(explanations: Mapping[str, MapBatch], style: Any) -> dict[str, str]:
    """The header of each column; a reference, or options, start a line of their own.

    Raises:
        ConfigError: no such style, or texts that do not fit the explanations.
    """
    labels = list(explanations)
    if isinstance(style, Mapping):
        if unknown := [label for label in style if label not in explanations]:
            raise ConfigError(f"figure: titles name {unknown[0]!r}; the explanations are {', '.join(labels)}")
        return {
            label: str(style.get(label, titles_of({label: explanations[label]}, "short")[label])) for label in labels
        }
    if isinstance(style, str):
        if style not in ("short", "full", "id"):
            raise ConfigError(f"figure: titles={style!r} is not one of 'short', 'full', 'id', and no list of texts")
        titles = labels if style == "id" else [title_of(label, full=style == "full") for label in labels]
        return {
            label: text.replace(" (", "\n(", 1).replace("× ", f"×{NO_BREAK}")
            for label, text in zip(labels, titles, strict=True)
        }
    texts = list(style)
    if len(texts) != len(labels):
        raise ConfigError(f"figure: {len(texts)} titles for {len(labels)} explanations")
    return dict(zip(labels, map(str, texts), strict=True))


def _photo(request: Request, index: int) -> Cell:
    first = request.first
    cell = Cell(first.images.pixels[index], mask=_mask(request, first, index))
    return _in_original(cell, first, index) if request.original else cell


def _map(request: Request, label: str, index: int) -> Cell:
    explanation = request.explanations[label]
    heatmap = explanation.heatmap(index, request.percentile)
    photo, raw = explanation.images.pixels[index], explanation.maps[index]
    cell = overlay_cell(photo, raw, heatmap, signed=explanation.signed, colours=request.colours)
    notes = request.notes.get(label)
    cell = cell._replace(note=str(notes[index]) if notes else "", mask=_mask(request, explanation, index))
    return _in_original(cell, explanation, index) if request.original else cell


def geometry_of(explanation: MapBatch, index: int) -> Geometry:
    """How an image from a file became the model's input."""
    height, width = explanation.images.sources[index]["size"]
    return geometry(width, height, explanation.model.preprocessing)


def _in_original(cell: Cell, explanation: MapBatch, index: int) -> Cell:
    source = explanation.images.sources[index]
    picture = read_picture(source["file"], "apply" if source["exif_applied"] else "ignore").rgb
    if [picture.height, picture.width] != list(source["size"]):
        raise ConfigError(f"figure: {source['file']} has changed since it was explained")
    geo = geometry_of(explanation, index)
    original = np.asarray(picture.resize(geo.resized[::-1]))
    return inside_original(cell, original, geo.top, geo.left)


def _mask(request: Request, explanation: MapBatch, index: int) -> np.ndarray | None:
    """The mask of an image at the size of the model's input."""
    if request.masks is None or request.masks[index] is None:
        return None
    return mask_as_seen(explanation, index, request.masks[index])


def mask_as_seen(explanation: MapBatch, index: int, mask: Any) -> np.ndarray:
    """A mask of the model's input, or of the image as stored, at the size of the model's input: bool [H, W]."""
    mask = np.asarray(mask)
    if mask.shape == explanation.size:
        return mask > 0
    return geometry_of(explanation, index).mask((mask > 0).astype(np.uint8)) > 0


def _bars(request: Request) -> list[tuple[bool, str]]:
    """The colour bars of the scales that maps of the figure have."""
    explanations = request.explanations.values()
    bars = []
    for signed, start, beyond in (
        (False, "Relevance, from each map's minimum to", "its maximum"),
        (True, "Relevance against (−) and for (+) the class, relative to each map's", "largest magnitude"),
    ):
        shown = [explanation for explanation in explanations if explanation.signed == signed]
        of_magnitude = "percentile" if signed else "percentile of its magnitude"
        if request.percentile is not None:
            end = f"{ordinal(request.percentile)} {of_magnitude}"
        elif all(explanation.level == "pixel" for explanation in shown):
            end = f"99th {of_magnitude}"
        else:
            end = beyond + (" (maps of pixels: 99th percentile)" if any(e.level == "pixel" for e in shown) else "")
        if shown:
            bars.append((signed, f"{start} {end}"))
    return bars
