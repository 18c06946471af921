"""The definition of a paper's table: rows (methods), columns (metrics), the paper's values, and how to compute them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vitjax.data.source import Source
from vitjax.models.model import Model


@dataclass(frozen=True)
class Row:
    """One line of the table.

    name: the paper's name of the method.
    method: the request for `vitjax.evaluate`.
    paper: the paper's values by column name, in the unit that is shown (percent where the metric is a percentage). A
        value is missing if the paper has no such line, or if no readable source contains it.
    """

    name: str
    method: str | dict[str, Any]
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One column of the table.

    name: the paper's name of the metric.
    metric: the request for `vitjax.evaluate`.
    figure: which of the metric's values is shown; "" for a metric with a single value.
    """

    name: str
    metric: str | dict[str, Any]
    figure: str = ""


@dataclass(frozen=True)
class Part:
    """The rows and columns that one run of `vitjax.evaluate` computes: one model on one data set.

    name: of the part; also the name of its run directory.
    model: name of the model.
    needs: which data the part needs and how to pass them; shown in the list of tables and in errors.
    rows, columns: of the table.
    images: number of images in the paper; None if the paper does not say.
    weights: hub id, where the paper's weights are not the model's default ones.
    options: of `vitjax.evaluate`, such as {"min_confidence": 0.85}.
    model_as, source_as: change model and data to the paper's protocol, for example to another preprocessing.
    """

    name: str
    model: str
    needs: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    images: int | None = None
    weights: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    model_as: Callable[[Model], Model] = lambda model: model
    source_as: Callable[[Model, Source], Source] = lambda model, source: source


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    name, title: of the table; the name is unique within its paper.
    source: where the paper's values were read, or why there are none.
    parts: of the table.
    notes: where the protocol or the values differ from the paper's; printed below the table.
    """

    name: str
    title: str
    source: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


# A localisation value means little without these: objects tend to be in the centre of photographs.
BASELINES = (Row("Centre (baseline)", "centre"), Row("Random (baseline)", "random"))
