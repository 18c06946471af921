"""Target classes: None, a class index, a class name, "top2", or a list with one of these for each image."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from vitjax.errors import ConfigError, LabelError
from vitjax.layerwise.fold import PREDICTED, SECOND
from vitjax.models.model import Model
from vitjax.nn.network import features


def resolve_targets(model: Model, target: Any, count: int) -> np.ndarray:
    """The class index of each image, or a code for a class that depends on the image's logits.

    JAX clamps out-of-range indices silently, so targets are checked here, before any computation.

    Args:
        model: the model; one without a head has features in place of classes.
        target: None (the predicted class), a class index, a class name, "top2" (the second most probable class), or a
            list with one of these for each image.
        count: number of images.

    Returns:
        int32 [count]: class indices, PREDICTED or SECOND. The program resolves the last two from the logits.

    Raises:
        LabelError: the number of targets differs from the number of images, or the model does not have a class; the
            message names the image, the value and the number of classes; or "top2" for a model with one class.
        ConfigError: a class name or "top2" for a model without a head.

    Example: `resolve_targets(model, [281, "tabby", None], 3)`
    """
    is_sequence = isinstance(target, (list, tuple)) or (isinstance(target, np.ndarray) and target.ndim == 1)
    targets = list(target) if is_sequence else [target] * count
    if len(targets) != count:
        raise LabelError(f"{len(targets)} targets for {count} images")
    return np.asarray([_resolve_one(model, value, index) for index, value in enumerate(targets)], np.int32)


def _resolve_one(model: Model, value: Any, image_index: int) -> int:
    classes = model.config.num_classes
    if classes == 0 and not (value is None or isinstance(value, (int, np.integer))):
        raise ConfigError(f"target {value!r}: model {model.name!r} has no classes; give the number of a feature")
    if value is None:
        return PREDICTED
    if isinstance(value, str):
        if value == "top2":
            if classes == 1:
                raise LabelError(f"target 'top2': model {model.name!r} has one class, so that there is no second one")
            return SECOND
        if model.labels is None:
            raise LabelError(f"target {value!r}: model {model.name!r} has no class names; give a class number")
        return model.labels.index(value)
    limit, kind = (classes, "class") if classes else (features(model.config), "feature")
    kinds = "classes" if classes else "features"
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise LabelError(
            f"target of image {image_index}: {value!r} is neither a {kind} number (0 to {limit - 1}) nor a class name"
        ) from None
    if not 0 <= number < limit:
        raise LabelError(
            f"target of image {image_index}: {kind} {number} is out of range, the model has {limit} {kinds}"
        )
    return number
