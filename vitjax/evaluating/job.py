"""What an evaluation's rows depend on, all of it checked before anything is computed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from vitjax.data.source import NO_LABEL, Source
from vitjax.errors import ConfigError, LabelError
from vitjax.explaining.requests import Request, check_needs, request
from vitjax.explaining.targets import resolve_targets
from vitjax.metrics import find_metric
from vitjax.metrics.contract import Metric
from vitjax.models.model import Model

SAVE_MAPS = ("float16", "float32")


class MetricRequest(NamedTuple):
    """A metric with all its options, hashable."""

    label: str
    name: str
    metric: Metric
    options: tuple[tuple[str, Any], ...]


def metric_request(metric: str | dict[str, Any]) -> MetricRequest:
    """A metric name, or {"metric": name, **options}. Raises on unknown names."""
    options = dict(metric) if isinstance(metric, dict) else {"metric": metric}
    if "metric" not in options:
        raise ConfigError(f"a metric given as a dict needs the key 'metric': {metric!r}")
    name = str(options.pop("metric"))
    found = find_metric(name)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    label = name + (f"({', '.join(f'{k}={v}' for k, v in options.items())})" if options else "")
    return MetricRequest(label, name, found, tuple(sorted(found.check_options(name, options).items())))


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """An evaluation. `Job.of` checks and makes one.

    The rows are a function of these fields alone: not of batch size, devices, processes or workers.
    """

    model: Model
    source: Source
    requests: tuple[Request, ...]
    metrics: tuple[MetricRequest, ...]
    target: Any
    seed: int
    chunk_size: int
    count: int
    only_correct: bool
    min_confidence: float
    save_maps: str | None

    @classmethod
    def of(
        cls,
        model: Model,
        source: Source,
        methods: Sequence[str | dict[str, Any]],
        metrics: Sequence[str | dict[str, Any]],
        *,
        target: Any = None,
        seed: int = 0,
        chunk_size: int = 128,
        limit: int | None = None,
        only_correct: bool = False,
        min_confidence: float = 0.0,
        save_maps: str | None = None,
    ) -> Job:
        """Raises UnknownNameError, ConfigError, LabelError: everything that is wrong with the request itself."""
        requests = tuple(dict.fromkeys(request(each) for each in methods))
        wanted = tuple(dict.fromkeys(metric_request(each) for each in metrics))
        if not requests:
            raise ConfigError("no method was asked for")
        if not wanted:
            raise ConfigError("no metric was asked for")
        for each in requests:
            check_needs(model, each)
        if not len(source.ids):
            raise ConfigError(f"{source.name}: there are no pictures in it")
        if chunk_size < 1 or (limit is not None and limit < 1):
            raise ConfigError(f"chunk_size={chunk_size}, limit={limit}: must be at least 1")
        if not 0 <= min_confidence < 1:
            raise ConfigError(f"min_confidence={min_confidence}: a probability, 0 to below 1")
        if save_maps not in (None, *SAVE_MAPS):
            raise ConfigError(f"save_maps={save_maps!r} is not one of {', '.join(SAVE_MAPS)}")
        if isinstance(target, (list, tuple, np.ndarray)):
            raise ConfigError("an evaluation has one target for all images: None, 'label', 'top2', a class")
        count = min(len(source.ids), limit or len(source.ids))
        job = cls(
            model=model,
            source=source,
            requests=tuple(each._replace(method=each.method.on(model.config)) for each in requests),
            metrics=wanted,
            target=target,
            seed=seed,
            chunk_size=chunk_size,
            count=count,
            only_correct=only_correct,
            min_confidence=min_confidence,
            save_maps=save_maps,
        )
        job._check_data()
        return job

    @property
    def chunks(self) -> list[range]:
        """Places in the data set of each chunk's pictures."""
        starts = range(0, self.count, self.chunk_size)
        return [range(start, min(start + self.chunk_size, self.count)) for start in starts]

    @property
    def target_kind(self) -> str:
        """What a record says of how the explained class was chosen."""
        known = {None: "predicted", "top2": "top2", "label": "label"}
        return known.get(self.target, "class") if isinstance(self.target, (str, type(None))) else "class"

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Explained class, or the code of what the sweep itself resolves, for pictures with these labels."""
        if self.target_kind == "label":
            return np.asarray(labels, np.int32)
        return resolve_targets(self.model, self.target, len(labels))

    @cached_property
    def config(self) -> dict[str, Any]:
        """Every field, as run.json keeps it and a resumed run is compared with."""
        return {
            "data": {
                "source": self.source.name,
                "digest": self.source.digest(),
                "resize": self.source.resize,
                "masks": self.source.has_masks,
            },
            "count": self.count,
            "chunk_size": self.chunk_size,
            "model": {
                "name": self.model.name,
                "sha256": weights_digest(self.model.params),
                "dtype": str(np.dtype(self.model.dtype)),
                "precision": self.model.precision,
                "preprocessing": dataclasses.asdict(self.model.preprocessing),
                "weights": {key: str(value) for key, value in self.model.weights.items() if key == "positions"},
            },
            "methods": [{"label": r.label, "method": r.name, "options": dict(r.options)} for r in self.requests],
            "metrics": [{"label": m.label, "metric": m.name, "options": dict(m.options)} for m in self.metrics],
            "target": self.target,
            "seed": self.seed,
            "only_correct": self.only_correct,
            "min_confidence": self.min_confidence,
            "save_maps": self.save_maps,
        }

    def _check_data(self) -> None:
        labels = self.source.labels[: self.count]
        missing = [row for row, label in enumerate(labels) if label == NO_LABEL]
        for what, asked in (("target 'label'", self.target_kind == "label"), ("only_correct", self.only_correct)):
            if asked and missing:
                raise LabelError(
                    f"{self.source.name}: {what} needs labels; {len(missing)} of {len(labels)} pictures have none, "
                    f"the first is {self.source.ids[missing[0]]}"
                )
        if self.target_kind == "class":
            resolve_targets(self.model, self.target, 1)
        for each in self.metrics:
            if "mask" in each.metric.needs and not self.source.has_masks:
                raise ConfigError(
                    f"metric {each.label!r} needs object masks; {self.source.name} has none (--masks DIR adds them)"
                )
            if "explainer" in each.metric.needs:
                for method in self.requests:
                    if method.method.explain_on_host is not None:
                        raise ConfigError(
                            f"metric {each.label!r} explains changed images inside the compiled program; method "
                            f"{method.label!r} is computed outside of it: leave one of them out"
                        )


def weights_digest(params: Any) -> str:
    """sha256 (hex) over names, dtypes, shapes and bytes of all parameters: the weights as they are used."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
