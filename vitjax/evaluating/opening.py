"""Model, data and options of a run: opened, checked, and described so that a report can open them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitjax.data.open import open_data
from vitjax.data.read_as import read_as
from vitjax.data.source import Source
from vitjax.errors import ConfigError, RunError
from vitjax.execution.arguments import check_whole_number
from vitjax.images.picture import Exif
from vitjax.methods import find_method
from vitjax.methods.own import is_reference
from vitjax.metrics import find_metric
from vitjax.models.load import load
from vitjax.models.model import Model
from vitjax.output.terminal import say
from vitjax.storage import check_local


def how_to_reopen(
    model: Model,
    data: str | Path | Source,
    masks: str | Path | None,
    exif: Exif = "ignore",
    mask_ignore: int | None = None,
) -> dict[str, Any] | None:
    """What a later `vitjax report` needs to open model and data again; None where either exists in memory only."""
    if not isinstance(data, str | Path) or model.weights.get("format") in (None, "live", "function"):
        return None
    return {
        "model": model.name,
        "weights": model.weights["source"],
        "arguments": model.weights.get("arguments"),
        "dtype": str(model.dtype),
        "data": str(data),
        "masks": None if masks is None else str(masks),
        "exif": exif,
        "mask_ignore": mask_ignore,
    }


def reopened(opened: dict[str, Any] | None) -> tuple[Model, Source]:
    """The model and the data set that `how_to_reopen` describes.

    Raises:
        RunError: it describes none.
        VitjaxError: as `vitjax.load` and `source_of`.
    """
    if not opened:
        raise RunError("the model and the data of the run were objects in memory and cannot be opened again")
    given = dict(opened.get("arguments") or {})
    source, weights = opened["model"], opened["weights"]
    if "source" in given:  # a file, a folder or a hub id that says itself what the model is
        source, weights = given.pop("source"), None
    model = load(source, weights, **{**given, "dtype": opened["dtype"]})
    options = {name: opened[name] for name in ("exif", "mask_ignore") if name in opened}
    return model, source_of(model, opened["data"], masks=opened["masks"], **options)


def source_of(
    model: Model,
    data: str | Path | Source,
    *,
    masks: str | Path | None = None,
    exif: Exif = "ignore",
    mask_ignore: int | None = None,
) -> Source:
    """Open a data set and check its labels against the classes of the model. `exif`, `mask_ignore`: as in `read_as`.

    Raises:
        ConfigError, ImageError, LabelError: as `vitjax.data.open.open_data`.
    """
    if not isinstance(data, (str, Path)):
        return read_as(data, exif, mask_ignore)
    spec = str(data)
    classes = model.config.num_classes or None
    source = open_data(spec, model.labels, num_classes=classes, masks=None if masks is None else Path(masks))
    return read_as(source, exif, mask_ignore)


def execution_options(batch_size: int, workers: int | None, cache: str | Path | None) -> dict[str, Any]:
    """The options of an engine that records do not depend on, checked.

    Raises:
        ConfigError: a number is out of range.
        OutputError: the cache is the address of an object store.
    """
    if cache is not None:
        check_local(cache, "cache")
    return {
        "batch_size": check_whole_number("batch_size", batch_size, 1),
        "workers": None if workers is None else check_whole_number("workers", workers, 0),
        "cache": None if cache is None else Path(cache),
    }


def import_own(config: Mapping[str, Any]) -> None:
    """Import the metrics "module:name" of a run, which tables need, and such methods, which have titles.

    Raises:
        ConfigError: a metric cannot be imported. What is wrong with a method is said on stderr.
    """
    for metric in config["metrics"]:
        if is_reference(name := metric.get("metric", "")):
            find_metric(name)
    for method in config["methods"]:
        try:
            if is_reference(name := method.get("method", "")):
                find_method(name)
        except ConfigError as error:
            say(f"the report has no title for a method: {error}", error=True)
