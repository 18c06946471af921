"""One command-line run over a list of pictures: checked first, computed, written, accounted for."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vitjax.api import explain_many, request, trace
from vitjax.errors import ImageError
from vitjax.explanation import Explanation
from vitjax.images import Images, prepare
from vitjax.model import Model
from vitjax.output import open_directory, write_manifest
from vitjax.targets import resolve_targets
from vitjax.zoo import load


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

    def save_sheets(self, *, pdf: bool) -> None:
        """`<image id>_attention.png`: the attention of every layer and head."""
        from vitjax import plots

        config = self.model.config
        for i, name in enumerate(self.images.ids):
            attention = np.asarray(trace(self.model, self.images.x[i : i + 1]).attention[0])
            sheet = plots.attention_sheet(self.images.pixels[i], attention, config.prefix, config.grid)
            plots.save(sheet, self.out / f"{name}_attention.png", pdf=pdf)

    def finish(self, command: str) -> None:
        """Write predictions.csv and manifest.json; print the headline to stdout."""
        first = next(iter(self.explanations.values()))
        rows = [
            {
                "image": name,
                "predicted": int(first.predicted[i]),
                "target": int(first.target[i]),
                **_named(first.caption(i)),
            }
            for i, name in enumerate(self.images.ids)
        ]
        with (self.out / "predictions.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        degenerate = {label: int(each.degenerate.sum()) for label, each in self.explanations.items()}
        write_manifest(
            self.out,
            command,
            self.model,
            self.options,
            methods={label: each.options for label, each in self.explanations.items()},
            degenerate_maps=degenerate,
            images=[{"id": name, **source} for name, source in zip(self.images.ids, self.images.sources, strict=True)],
            skipped=list(self.images.skipped),
        )
        for label, count in degenerate.items():
            if count:
                print(f"{label}: {count} of {len(rows)} maps are degenerate (constant)", file=sys.stderr)
        for row in rows[:10]:
            print(
                f"{row['image']}: {row['predicted_name']} ({100 * row['predicted_probability']:.1f} %)"
                + (f", explained: {row['target_name']}" if row["target"] != row["predicted"] else "")
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
) -> Run:
    """Everything that can be wrong is found before the first map is computed; damaged pictures are set aside.

    Raises ImageError (none given, missing, none readable), OutputError, WeightsError, ConfigError, LabelError.
    """
    if not pictures:
        raise ImageError("no images were given")
    for each in methods:
        request(each)
    out = open_directory(out, overwrite=overwrite)
    loaded = load(model, weights, dtype=dtype)
    images = prepare(loaded, list(pictures), skip_damaged=True)
    for skip in images.skipped:
        print(f"skipped: {skip['cause']}", file=sys.stderr)
    resolve_targets(loaded, target, len(images))
    with progress(len(images), "images") as tick:
        found = explain_many(loaded, images, methods, target, batch_size=batch_size, seed=seed, progress=tick)
    options = {"target": target, "batch_size": batch_size, "seed": seed, "dtype": dtype}
    return Run(loaded, images, found, out, options)


def _named(caption: dict[str, Any]) -> dict[str, Any]:
    return {
        "predicted_name": caption["predicted"],
        "predicted_probability": caption["predicted_probability"],
        "target_name": caption["target"],
        "target_probability": caption["target_probability"],
    }
