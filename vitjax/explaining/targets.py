"""Which class is explained: None, a class number, a class name, "top2", or one of these per image."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from vitjax.errors import ConfigError, LabelError
from vitjax.layerwise.fold import PREDICTED, SECOND
from vitjax.models.model import Model
from vitjax.nn.network import features


def resolve_targets(model: Model, target: Any, count: int) -> np.ndarray:
    """`target` as int32 [count]: class numbers, or PREDICTED / SECOND, which the sweep itself resolves.

    Raises LabelError naming the row, the value and the number of classes, before anything is computed: JAX would
    clamp an out-of-range class silently.
    """
    many = isinstance(target, (list, tuple)) or (isinstance(target, np.ndarray) and target.ndim == 1)
    each = list(target) if many else [target] * count
    if len(each) != count:
        raise LabelError(f"{len(each)} targets for {count} images")
    return np.asarray([_resolve_one(model, value, row) for row, value in enumerate(each)], np.int32)


def _resolve_one(model: Model, value: Any, row: int) -> int:
    classes = model.config.num_classes
    if classes == 0 and not (value is None or isinstance(value, (int, np.integer))):
        raise ConfigError(f"model {model.name!r} has no classes; explain a feature by its number")
    if value is None:
        return PREDICTED
    if isinstance(value, str):
        if value == "top2":
            return SECOND
        if model.labels is None:
            raise LabelError(f"target {value!r}: model {model.name!r} has no class names; give a number")
        return model.labels.index(value)
    limit = classes or features(model.config)
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise LabelError(
            f"target of image {row}: {value!r} is neither a class number (0 to {limit - 1}) nor a class name"
        ) from None
    if not 0 <= number < limit:
        raise LabelError(f"target of image {row}: class {number} is out of range, the model has {limit} classes")
    return number
