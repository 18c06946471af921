"""The specification of an evaluation: everything that its records depend on, checked before any computation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from vitjax.data.source import NO_LABEL, Source
from vitjax.errors import ConfigError, LabelError
from vitjax.execution.arguments import check_seed, check_whole_number
from vitjax.explaining.requests import Methods, Request, check_probability, check_score, requests_for
from vitjax.explaining.targets import resolve_targets
from vitjax.explaining.text_targets import with_target_classes
from vitjax.methods.options import label_of, name_and_options
from vitjax.methods.own import is_reference, source_digest
from vitjax.metrics import find_metric
from vitjax.metrics.contract import Metric
from vitjax.models.function import tree_digest
from vitjax.models.model import Model

SAVE_MAPS = ("float16", "float32")

IDENTITY = ("positions", "function")
"""Entries of `Model.weights` that records depend on beside the parameters: how positions were resampled, and a
function's program."""


class MetricRequest(NamedTuple):
    """A metric with all its options; hashable.

    label: the name, followed by the options that were passed in parentheses; it is unique in an evaluation.
    options: all options, defaults included, sorted by name.
    """

    label: str
    name: str
    metric: Metric
    options: tuple[tuple[str, Any], ...]


def metric_request(metric: str | dict[str, Any]) -> MetricRequest:
    """The request of a metric.

    Args:
        metric: a name, "NAME:OPTION=VALUE,...", or {"metric": name, **options}.

    Raises:
        UnknownNameError: the metric or an option is unknown; suggests close matches.
        ConfigError: the key "metric" is missing, or the value of an option is invalid.
    """
    name, given = name_and_options(metric, "metric")
    known = find_metric(name)
    checked = known.check_options(name, given)
    return MetricRequest(label_of(name, given, checked), name, known, tuple(sorted(checked.items())))


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """The specification of an evaluation; `Job.of` creates and checks one.

    Records are a function of these fields only, not of batch size, devices, processes or workers.

    count: number of images. The other fields are arguments of `vitjax.evaluate`.
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
        methods: Methods,
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
        """Create the specification of an evaluation; the arguments are those of `vitjax.evaluate`.

        Raises:
            UnknownNameError: a method, a metric or one of their options is unknown.
            ConfigError: an argument is invalid, or the model or the data lack what a method or metric needs.
            LabelError: the target is not a class of the model, or labels that it needs are missing.
        """
        method_requests = requests_for(model, methods, target)
        metric_requests = tuple(dict.fromkeys(metric_request(metric) for metric in metrics))
        if not metric_requests:
            raise ConfigError("no metrics requested")
        if isinstance(target, str):
            model, _ = with_target_classes(model, target)
        if not len(source.ids):
            raise ConfigError(f"{source.name}: contains no images")
        chunk_size, seed = check_whole_number("chunk_size", chunk_size, 1), check_seed(seed)
        limit = len(source.ids) if limit is None else check_whole_number("limit", limit, 1)
        if not isinstance(min_confidence, Real) or not 0 <= min_confidence < 1:
            raise ConfigError(f"min_confidence={min_confidence} must be a probability in [0, 1)")
        if save_maps not in (None, *SAVE_MAPS):
            raise ConfigError(f"save_maps={save_maps!r} must be None or one of {', '.join(SAVE_MAPS)}")
        if isinstance(target, (list, tuple, np.ndarray)) or callable(target):
            raise ConfigError(
                "an evaluation has one target for all images: None, 'label', 'top2', a class or 'A - B' (weights over "
                "the outputs and functions of them cannot be recorded)"
            )
        count = min(len(source.ids), limit)
        job = cls(
            model=model,
            source=source,
            requests=method_requests,
            metrics=metric_requests,
            target=target,
            seed=seed,
            chunk_size=chunk_size,
            count=count,
            only_correct=only_correct,
            min_confidence=min_confidence,
            save_maps=save_maps,
        )
        job._check_outputs()
        job._check_data()
        return job

    @property
    def chunks(self) -> list[range]:
        """The indices of each chunk's images in the data set."""
        starts = range(0, self.count, self.chunk_size)
        return [range(start, min(start + self.chunk_size, self.count)) for start in starts]

    @cached_property
    def target_kind(self) -> str:
        """What is explained, as records state it: "predicted", "label", "top2", "class" or "difference".

        Of a model without a head: "feature", or "none" if no output is explained.
        """
        classes = self.model.config.num_classes > 0
        kinds = {None: "predicted" if classes else "none", "top2": "top2", "label": "label"}
        if self.target is None or (isinstance(self.target, str) and self.target in kinds):
            return kinds[self.target]
        if not resolve_targets(self.model, self.target, 1).are_classes:
            return "difference"
        return "class" if classes else "feature"

    def targets(self, labels: np.ndarray) -> Any:
        """The explained classes of images with these labels.

        Args:
            labels: int32 [b].

        Returns:
            `Targets.values` of b images: class numbers, or codes of predicted classes, which the compiled program
            resolves, or weights of a difference.
        """
        if self.target_kind == "label":
            return np.asarray(labels, np.int32)
        return resolve_targets(self.model, self.target, len(labels)).values

    @cached_property
    def config(self) -> dict[str, Any]:
        """All fields as stored in run.json; a run is resumed only if they are equal."""
        return {
            "data": {
                "source": self.source.name,
                "digest": self.source.digest(),
                "resize": self.source.resize,
                "masks": self.source.has_masks,
                "exif": getattr(self.source, "exif", "ignore"),
                "mask_ignore": getattr(self.source, "mask_ignore", None),
            },
            "count": self.count,
            "chunk_size": self.chunk_size,
            "model": {
                "name": self.model.name,
                "sha256": tree_digest(self.model.params),
                "dtype": str(np.dtype(self.model.dtype)),
                "precision": self.model.precision,
                "preprocessing": dataclasses.asdict(self.model.preprocessing),
                "weights": {key: str(value) for key, value in self.model.weights.items() if key in IDENTITY},
                **({"probability": "sigmoid"} if self.model.probability == "sigmoid" else {}),
            },
            "methods": [{"label": r.label, "method": r.name, **_settings(r)} for r in self.requests],
            "metrics": [{"label": m.label, "metric": m.name, **_settings(m)} for m in self.metrics],
            "target": self.target,
            "seed": self.seed,
            "only_correct": self.only_correct,
            "min_confidence": self.min_confidence,
            "save_maps": self.save_maps,
        }

    @property
    def has_head(self) -> bool:
        """Whether the outputs of the model are logits of classes, and not features, or the similarity of one text."""
        return self.model.probability is not None

    def _check_outputs(self) -> None:
        """Check what needs classes, or a choice among them, against the number of the model's outputs."""
        one, name = self.model.config.num_classes == 1 and self.model.probability is not None, self.model.name
        predicting = {
            "only_correct": self.only_correct,
            "min_confidence": self.min_confidence and not one,
            "target 'label'": self.target_kind == "label" and not one,
            "target 'top2'": self.target == "top2",
        }
        predicting |= {
            f"metric {request.label!r}": "head" in request.metric.needs and not one for request in self.metrics
        }
        predicting |= {
            f"metric {request.label!r} with measure='accuracy'": dict(request.options).get("measure") == "accuracy"
            for request in self.metrics
        }
        used = next((what for what, is_used in predicting.items() if is_used), None)
        if used and self.model.config.num_classes < 2:
            no_classes = "one text, whose similarity is no probability" if self.model.config.num_classes else ""
            has = "one output, which is always the predicted one" if one else no_classes
            has = has or "no head: its outputs are no classes"
            raise ConfigError(f"{used} cannot be used with model {name!r}, which has {has}")

    def _check_target(self) -> None:
        """Check that the target is one for each image, and that methods and metrics have a meaning for it."""
        if self.target_kind not in ("class", "difference"):
            return
        targets = resolve_targets(self.model, self.target, 1)
        if len(targets.names) > 1:
            raise ConfigError(f"target {self.target!r} has several maps for an image; an evaluation has one")
        for wanted in self.requests:
            check_score(self.model, wanted, targets)
        for metric in self.metrics:
            check_probability(f"metric {metric.label!r}", "class" in metric.metric.needs, targets)

    def _check_data(self) -> None:
        labels = self.source.labels[: self.count]
        missing = [index for index, label in enumerate(labels) if label == NO_LABEL]
        for option, used in (("target 'label'", self.target_kind == "label"), ("only_correct", self.only_correct)):
            if used and missing:
                raise LabelError(
                    f"{self.source.name}: {option} needs labels; {len(missing)} of {len(labels)} images have none, "
                    f"the first is {self.source.ids[missing[0]]}"
                )
        self._check_target()
        for metric in self.metrics:
            if "mask" in metric.metric.needs and not self.source.has_masks:
                raise ConfigError(
                    f"metric {metric.label!r} needs object masks; {self.source.name} has none (--masks DIR adds them)"
                )
            if "explainer" in metric.metric.needs:
                for method in self.requests:
                    if method.method.explain_on_host is not None:
                        raise ConfigError(
                            f"metric {metric.label!r} explains perturbed images inside the compiled program, but "
                            f"method {method.label!r} runs on the host; remove one of them"
                        )


def _settings(wanted: Request | MetricRequest) -> dict[str, Any]:
    """The options of a method or metric, and a digest of the file of one that is the user's own."""
    own = {"source": source_digest(wanted.name)} if is_reference(wanted.name) else {}
    return {"options": dict(wanted.options), **own}
