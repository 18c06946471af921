"""What a paper's table is: rows (methods) and columns (figures) with the paper's numbers, and how they are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vitjax.data.source import Source
from vitjax.models.model import Model


@dataclass(frozen=True)
class Row:
    """A line of the table.

    name: what the paper calls the method. method: the request that `vitjax.evaluate` gets. paper: the paper's figures
    by column name, in the unit shown (percent where the metric's figure is one); a figure that is missing here was not
    found in a source that could be read, or the paper has no such line.
    """

    name: str
    method: str | dict[str, Any]
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A figure. name: the paper's. metric: the request. figure: which of the metric's figures, "" for its own."""

    name: str
    metric: str | dict[str, Any]
    figure: str = ""


@dataclass(frozen=True)
class Part:
    """Lines and columns that one run of `vitjax.evaluate` computes: one model on one data set.

    needs: what data to get and how to name them, for the list of tables and for errors. images: how many the paper
    has, None where it does not say.
    weights: a hub id where the model's default is not what the paper used.
    options: of `vitjax.evaluate`, such as {"min_confidence": 0.85}.
    model_as, source_as: the paper's protocol where it is not the library's own, such as another preprocessing.
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

    source: where the paper's figures were read, or why there are none. notes: where our protocol or our numbers differ
    from the paper's; printed below the figures.
    """

    name: str
    title: str
    source: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


# Without these two a localisation figure says little: objects lie in the middle of photographs.
BASELINES = (Row("Centre (baseline)", "centre"), Row("Random (baseline)", "random"))
