"""One command-line run over a list of pictures: checked first, computed, written, accounted for."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vitjax.errors import ImageError, unknown_name
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.features import stage_features
from vitjax.explaining.inputs import Images, prepare
from vitjax.explaining.requests import check_needs, passes, request
from vitjax.explaining.run import explain_many, trace
from vitjax.explaining.targets import resolve_targets
from vitjax.methods import METHODS
from vitjax.models.families import CNNS
from vitjax.models.load import load
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig
from vitjax.rundir.manifest import model_record, open_directory, write_manifest


class Progress(Protocol):
    """(total, unit) -> a context that yields a function to call with the number just finished."""

    def __call__(self, total: int, unit: str) -> AbstractContextManager: ...


@dataclass(frozen=True)
class Run:
    """What was computed, and where it goes."""

    model: Model
    images: Images
    explanations: dict[str, Explanation]
    out: Path
    options: dict[str, Any]
    beside: Explanation | None = None  # a CNN's, one of `explanations`, too

    def save_sheets(self, *, pdf: bool) -> None:
        """`<image id>_attention.png`, the attention of every layer and head, or `_features.png` of a ResNet."""
        from vitjax import plots

        config = self.model.config
        for i, name in enumerate(self.images.ids):
            photo, x = self.images.pixels[i], self.images.x[i : i + 1]
            if isinstance(config, ViTConfig):
                attention = np.asarray(trace(self.model, x, score=None).attention[0])
                sheet, kind = plots.attention_sheet(photo, attention, config.prefix, config.grid), "attention"
            else:
                maps = {layer: each[0] for layer, each in stage_features(self.model, x).items()}
                sheet, kind = plots.feature_sheet(photo, maps), "features"
            plots.save(sheet, self.out / f"{name}_{kind}.png", pdf=pdf)

    def finish(self, command: str) -> None:
        """Write predictions.csv (one more for a CNN beside) and manifest.json; print the headline to stdout."""
        first = next(iter(self.explanations.values()))
        rows = _write_predictions(self.out / "predictions.csv", first)
        more: dict[str, Any] = {}
        if self.beside is not None:
            more["cnn"] = model_record(self.beside.model)
            _write_predictions(self.out / f"predictions_{self.beside.model.name}.csv", self.beside)
        degenerate = {label: int(each.degenerate.sum()) for label, each in self.explanations.items()}
        write_manifest(
            self.out,
            command,
            self.model,
            self.options,
            methods={label: each.options for label, each in self.explanations.items()},
            degenerate_maps=degenerate,
            completeness_gap={
                label: each.completeness_gap().tolist()
                for label, each in self.explanations.items()
                if METHODS[each.method].complete
            },
            images=[{"id": name, **source} for name, source in zip(self.images.ids, self.images.sources, strict=True)],
            skipped=list(self.images.skipped),
            **more,
        )
        for label, count in degenerate.items():
            if count:
                print(f"{label}: {count} of {len(rows)} maps are degenerate (constant)", file=sys.stderr)
        for i, row in enumerate(rows[:10]):
            print(
                f"{row['image']}: {row['predicted_name']} ({100 * row['predicted_probability']:.1f} %)"
                + (f", explained: {row['target_name']}" if row["target"] != row["predicted"] else "")
                + (f" | {self.beside.model.name}: {self.beside.verdict(i)}" if self.beside is not None else "")
            )
        if len(rows) > 10:
            print(f"... and {len(rows) - 10} more in predictions.csv")
        skipped = f", {len(self.images.skipped)} pictures skipped" if self.images.skipped else ""
        print(f"{len(rows)} images x {len(self.explanations)} methods{skipped} -> {self.out}")


def explain_pictures(
    pictures: Sequence[Path],
    out: Path,
    *,
    model: str,
    weights: str | None,
    methods: Sequence[dict[str, Any]],
    target: Any,
    dtype: str,
    batch_size: int,
    seed: int,
    overwrite: bool,
    progress: Progress,
    cnn: str | None = None,
    cnn_weights: str | None = None,
) -> Run:
    """Everything that can be wrong is found before the first map is computed; damaged pictures are set aside.

    `cnn` names a ResNet whose Grad-CAM of layer4 is added as "NAME grad_cam": of the same target where one is given,
    else of the class that it predicts itself, on the pictures in its own preprocessing.

    Raises ImageError (none given, missing, none readable), OutputError, WeightsError, ConfigError, LabelError.
    """
    if not pictures:
        raise ImageError("no images were given")
    requests = list(dict.fromkeys(request(each) for each in methods))
    slow = [each for each in requests if each.method.slow]
    if slow:
        print("slow: " + ", ".join(f"{each.label} ({each.method.cost} an image)" for each in slow), file=sys.stderr)
    out = open_directory(out, overwrite=overwrite)
    if cnn is not None and cnn not in CNNS:
        raise unknown_name("CNN", cnn, CNNS)
    loaded = load(model, weights, dtype=dtype)
    other = load(cnn, cnn_weights, dtype=dtype) if cnn is not None else None
    for each in requests:
        check_needs(loaded, each)
    images = prepare(loaded, list(pictures), skip_damaged=True)
    for skip in images.skipped:
        print(f"skipped: {skip['cause']}", file=sys.stderr)
    resolve_targets(loaded, target, len(images))
    total = len(images) * (passes(requests) + (other is not None))
    if other is not None:
        resolve_targets(other, target, len(images))
    with progress(total, "images") as on_progress:
        compute = partial(explain_many, target=target, batch_size=batch_size, seed=seed, progress=on_progress)
        found, beside = compute(loaded, images, methods), None
        if other is not None:
            seen = prepare(other, [each["file"] for each in images.sources])
            beside = replace(compute(other, seen, ["grad_cam"])["grad_cam"], label=f"{cnn} grad_cam")
            found = {**found, beside.label: beside}
    options = {"target": target, "batch_size": batch_size, "seed": seed, "dtype": dtype}
    return Run(loaded, images, found, out, options, beside)


def _write_predictions(path: Path, explanation: Explanation) -> list[dict[str, Any]]:
    """One row an image: predicted and explained class, and the five most probable ones."""
    rows = []
    for i, name in enumerate(explanation.images.ids):
        words, best = explanation.caption(i), explanation.best(i)
        rows.append(
            {
                "image": name,
                "predicted": int(explanation.predicted[i]),
                "target": int(explanation.target[i]),
                "predicted_name": words["predicted"],
                "predicted_probability": words["predicted_probability"],
                "target_name": words["target"],
                "target_probability": words["target_probability"],
                "top5": ";".join(label for label, _ in best),
                "top5_probabilities": ";".join(f"{probability:.6g}" for _, probability in best),
            }
        )
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows
