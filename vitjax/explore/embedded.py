"""The contents of a page as JSON, and arrays as compressed text beside it."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.explore.quantise import Quantised
from vitjax.explore.removal import Removal, thresholds
from vitjax.explore.view import AttentionOfImage, Explored
from vitjax.methods import METHODS
from vitjax.methods.titles import title_of
from vitjax.metrics.perturbation import LEVELS
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig

_LEVEL = 6
"""Of zlib: higher ones save less than 1 % of a page."""


@dataclass
class Arrays:
    """Arrays of a page. Each is zlib-compressed, little-endian and base64; equal ones are stored once."""

    texts: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def add(self, array: np.ndarray) -> int:
        """The number of an array of uint8, uint16 or float32."""
        raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        text = base64.b64encode(zlib.compress(raw, _LEVEL)).decode("ascii")
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


def model_entry(explored: Explored) -> dict[str, Any]:
    """What a page knows of a model, whatever the image."""
    model, config = explored.model, explored.model.config
    height, width = config.image_size
    entry: dict[str, Any] = {"name": model.name, "size": [height, width], "fill": _mean_colour(model), "tokens": None}
    if isinstance(config, ViTConfig):
        entry["tokens"] = {
            "grid": list(config.grid),
            "patch": config.patch_size,
            "prefix": _prefix_names(config),
            "pooled": config.pool != "token",
            "blocks": config.depth,
            "heads": config.heads if explored.attention and explored.attention[0].heads is not None else 0,
        }
    entry["methods"] = [
        {
            "label": label,
            "title": title_of(label),
            "cite": METHODS[explanation.method].cite,
            "agnostic": label in explored.class_agnostic,
        }
        for label, explanation in explored.explanations.items()
    ]
    entry["pixels"] = {"levels": list(LEVELS), "thresholds": thresholds(height * width)}
    return entry


def view_entry(explored: Explored, image: int, arrays: Arrays) -> dict[str, Any]:
    """What a page shows of one image with one model."""
    entry: dict[str, Any] = {"photo": arrays.add(explored.images.pixels[image])}
    entry["attention"] = _attention_entry(explored.attention[image], arrays) if explored.attention else None
    first = next(iter(explored.explanations.values()), None)
    numbers = [] if first is None else np.flatnonzero(first.image_index == image).tolist()
    entry["targets"] = [] if first is None else [_target_entry(first, number) for number in numbers]
    entry["predicted"] = entry["top"] = None
    if first is not None and first.has_classes:
        entry["predicted"] = {"name": first.caption(numbers[0])["predicted"]}
        entry["top"] = [[name, probability] for name, probability in first.best(numbers[0])]
    entry["maps"] = []
    for label, explanation in explored.explanations.items():
        shown = numbers[:1] if label in explored.class_agnostic else numbers
        entry["maps"].append(
            [_map_entry(explanation, number, explored.removals.get((label, number)), arrays) for number in shown]
        )
    return entry


def _attention_entry(attention: AttentionOfImage, arrays: Arrays) -> dict[str, Any]:
    return {
        "heads": None if attention.heads is None else _quantised_entry(attention.heads, arrays),
        "mean": _quantised_entry(attention.mean, arrays),
        "bounds": attention.bounds.tolist(),
        "readout": arrays.add(attention.readout.astype(np.float32)),
    }


def _quantised_entry(quantised: Quantised, arrays: Arrays) -> dict[str, int]:
    return {"codes": arrays.add(quantised.codes), "largest": arrays.add(quantised.largest)}


def _target_entry(explanation: Explanation, number: int) -> dict[str, Any]:
    caption = explanation.caption(number)
    predicted = bool(explanation.has_classes and explanation.predicted[number] == explanation.target[number])
    return {"name": caption["target"], "probability": caption["target_probability"], "predicted": predicted}


def _map_entry(explanation: Explanation, number: int, removal: Removal | None, arrays: Arrays) -> dict[str, Any]:
    """One map: its levels of colour as `Explanation.overlay` rounds them, and the removal of its pixels."""
    signed, heatmap = explanation.signed, explanation.heatmap(number)
    low = -1 if signed else 0
    levels = np.where(np.isnan(heatmap), 0, heatmap - low) * (255 / (1 - low))
    entry: dict[str, Any] = {
        "levels": arrays.add(np.clip(np.rint(levels), 0, 255).astype(np.uint8)),
        "signed": signed,
        "degenerate": bool(explanation.degenerate[number]),
        "removal": None,
    }
    if removal is not None:
        entry["removal"] = {
            "order": arrays.add(removal.order),
            "curves": {
                order: {name: _numbers(values) for name, values in curves.items()}
                for order, curves in removal.curves.items()
            },
            "areas": {
                measure: {order: _number(value) for order, value in areas.items()}
                for measure, areas in removal.areas.items()
            },
        }
    return entry


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None


def _prefix_names(config: ViTConfig) -> list[str]:
    registers = [f"register {number}" for number in range(config.registers)]
    return ["class token"] * config.class_token + ["distillation token"] * config.distilled + registers


def _mean_colour(model: Model) -> list[int]:
    """The colour of removed pixels: 0 in normalised space."""
    return [round(255 * float(value)) for value in model.preprocessing.mean]
