"""Targets: what each map explains, as the user says it, checked and turned into arguments of the compiled program."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError, LabelError
from vitjax.layerwise.target import NOT_A_CLASS, PREDICTED, SECOND, FunctionTarget, WeightedTarget, class_of, is_class
from vitjax.models.model import Model
from vitjax.nn.network import features
from vitjax.nn.vit_config import ViTConfig

DIFFERENCE = " - "
TEXT = "text:"
_FIRST = re.compile(r"top([1-9][0-9]{0,5})")


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of n maps.

    values: int32 [n], class indices, PREDICTED or SECOND; or a WeightedTarget of arrays that lead with n; or a
        FunctionTarget, the same for all maps.
    image_index: int [n], the image that each map is of. Maps of one image stand together, in the order of its targets.
    names: [n], the target in words; None for a class, which has a name of its own.
    ranks: int [n], r where the target is the r-th most probable class, whose index the logits have yet to tell; else 0.
    """

    values: Any
    image_index: np.ndarray
    names: tuple[str | None, ...]
    ranks: np.ndarray

    @property
    def are_classes(self) -> bool:
        """Whether every target is one class, so that it has a probability."""
        return is_class(self.values)

    @property
    def one_each(self) -> bool:
        """Whether every image has exactly one target."""
        return len(self.image_index) == len(set(self.image_index.tolist()))

    @property
    def classes(self) -> np.ndarray:
        """The class index of each target that the program returned, int32 [n]; NOT_A_CLASS where it is no class."""
        return np.broadcast_to(np.asarray(class_of(self.values), np.int32), self.image_index.shape)

    def take(self, indices: np.ndarray) -> Targets:
        """The targets at these indices [m], in this order."""
        values = jax.tree.map(lambda array: array[indices], self.values)
        names = tuple(self.names[index] for index in indices)
        return Targets(values, self.image_index[indices], names, self.ranks[indices])

    def with_classes(self, values: Any, *, predicts: bool) -> Targets:
        """The targets as the program returned them.

        predicts: whether the model has classes. Without one to predict, what was to be predicted is -1, no output.
        """
        if not predicts and self.are_classes:
            values = np.where(self.values == PREDICTED, -1, values)
        return replace(self, values=values)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """The explained scalar of each target [n] from logits [n, k]: a logit, a weighted sum, or a function."""
        if self.are_classes:
            return logits[np.arange(len(logits)), self.values]
        if isinstance(self.values, WeightedTarget):
            return np.asarray(self.values.weights * logits).sum(axis=-1)
        return np.stack([np.asarray(self.values.function(row)) for row in logits])

    def looked_up(self, logits_of: Callable[[np.ndarray], np.ndarray]) -> Targets:
        """The targets, with the class indices of those that are given by their rank.

        Args:
            logits_of: indices of images [i] -> their logits [i, k].
        """
        wanted = np.flatnonzero(self.ranks)
        if not len(wanted):
            return self
        images, position = np.unique(self.image_index[wanted], return_inverse=True)
        order = np.argsort(-logits_of(images), axis=-1, kind="stable")  # of equal logits the first, as in the program
        classes = order[position, self.ranks[wanted] - 1].astype(np.int32)
        indices: Any = np.array(self.values.class_index if isinstance(self.values, WeightedTarget) else self.values)
        indices[wanted] = classes
        values = self.values._replace(class_index=indices) if isinstance(self.values, WeightedTarget) else indices
        return replace(self, values=values, ranks=np.zeros_like(self.ranks))


class _One(NamedTuple):
    """One target of one image: a class index or its code, or weights with the target in words, or a rank."""

    class_index: int = NOT_A_CLASS
    weights: np.ndarray | None = None
    name: str | None = None
    rank: int = 0


def resolve_targets(model: Model, target: Any, count: int) -> Targets:
    """Check targets, and turn them into arguments of the program.

    JAX clamps out-of-range indices silently, so targets are checked here, before any computation.

    Args:
        model: the model; one without a head has features in place of classes.
        target: None (the predicted class), a class index, a class name, "top2" (the second most probable class), "topK"
            for another K (each of the K most probable classes, one map for each), "A - B" (the difference of the logits
            of two classes), weights over the outputs [k], or a function of the logits [k] that JAX can differentiate;
            or a list with one of these for each image, or with a list of several for an image. A class whose name
            contains " - " is found before a difference.
        count: number of images.

    Returns:
        The targets of all maps, in the order of the images and of the targets of each.

    Raises:
        LabelError: the number of targets differs from the number of images, or the model does not have a class; the
            message names the image, the value and the number of classes; or there are fewer classes than "topK" says.
        ConfigError: a class name or "topK" for a model without a head; weights that are not finite, or of another
            length; a function in a list, or one that does not return a number.

    Example: `resolve_targets(model, [281, ["tabby", "tabby - tiger cat"], None], 3).image_index`
    """
    if callable(target):
        name = getattr(target, "__name__", "")
        names = (name if name.isidentifier() else "function of the logits",) * count
        function = FunctionTarget(_checked_function(model, target))
        return Targets(function, np.arange(count), names, np.zeros(count, np.int64))
    per_image = _entries(target, count)
    parsed = [
        [one for value in values for one in _parsed(model, value, index)] for index, values in enumerate(per_image)
    ]
    flat = [one for of_image in parsed for one in of_image]
    values: Any = np.asarray([one.class_index for one in flat], np.int32)
    if any(one.weights is not None for one in flat):
        zeros = np.zeros(_outputs(model), np.float32)
        weights: Any = np.stack([zeros if one.weights is None else one.weights for one in flat])
        values = WeightedTarget(values, weights)
    return Targets(
        values,
        np.repeat(np.arange(count), [len(of_image) for of_image in parsed]),
        tuple(one.name for one in flat),
        np.asarray([one.rank for one in flat], np.int64),
    )


def _entries(target: Any, count: int) -> list[list[Any]]:
    """The entries of each image, as they were given."""
    target = as_numpy(target)
    is_vector = isinstance(target, np.ndarray) and target.ndim == 1 and np.issubdtype(target.dtype, np.floating)
    is_array = isinstance(target, np.ndarray) and target.ndim > 0
    if is_vector or not (is_array or isinstance(target, (list, tuple))):
        return [[target]] * count
    entries = [as_numpy(entry) for entry in target]
    if len(entries) != count:
        raise LabelError(
            f"{len(entries)} targets for {count} images; several targets of one image are a list of their own"
        )
    several = [list(entry) if isinstance(entry, (list, tuple)) else [entry] for entry in entries]
    if not all(several):
        raise LabelError(f"image {several.index([])} has an empty list of targets")
    return several


def as_numpy(value: Any) -> Any:
    """Arrays of JAX and PyTorch as NumPy's; anything else as it is."""
    if isinstance(value, np.ndarray) or not (hasattr(value, "dtype") and hasattr(value, "shape")):
        return value
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _parsed(model: Model, value: Any, image_index: int) -> Iterator[_One]:
    """The targets that one entry stands for: several for "topK", else one."""
    value = as_numpy(value)
    if callable(value):
        raise ConfigError(
            f"target of image {image_index}: a function is part of the program; pass it alone, as target=FUNCTION"
        )
    if model.config.num_classes == 0 and isinstance(value, str):
        raise ConfigError(f"target {value!r}: model {model.name!r} has no classes; give the number of a feature")
    if value is None:
        yield _One(PREDICTED)
    elif isinstance(value, str):
        yield from _parsed_text(model, value)
    elif isinstance(value, np.ndarray) and value.ndim == 1:
        yield _One(weights=_checked_weights(model, value), name="weighted outputs")
    else:
        yield _One(_checked_number(model, value, f"target of image {image_index}: "))


def _parsed_text(model: Model, text: str) -> Iterator[_One]:
    classes = model.config.num_classes
    if match := _FIRST.fullmatch(text):
        count = int(match[1])
        if count > classes:
            has = "one class" if classes == 1 else f"{classes} classes"
            why = ", so that there is no second one" if count == 2 else ""
            raise LabelError(f"target {text!r}: model {model.name!r} has {has}{why}")
        if count == 2:
            yield _One(SECOND)
        else:
            yield from (_One(PREDICTED, rank=rank) for rank in range(1, count + 1))
        return
    try:
        yield _One(_class_named(model, text))
    except LabelError:
        if DIFFERENCE not in text:
            raise
        yield _difference(model, text)


def _difference(model: Model, text: str) -> _One:
    """The difference of two classes; each may be a name or a number, and names may contain " - " themselves."""
    words = text.split(DIFFERENCE)
    pairs: list[tuple[int, int]] = []
    cause = ""
    for cut in range(1, len(words)):
        sides = DIFFERENCE.join(words[:cut]), DIFFERENCE.join(words[cut:])
        try:
            first, second = (_class_named(model, side, numbers=True) for side in sides)
        except LabelError as error:
            cause = cause or str(error)
        else:
            pairs.append((first, second))
    if not pairs:
        raise LabelError(f"target {text!r} is neither a class nor the difference of two: {cause}")
    if len(pairs) > 1:
        raise LabelError(f"target {text!r} can be read as {len(pairs)} differences of classes; give their numbers")
    first, second = pairs[0]
    if first == second:
        raise LabelError(f"target {text!r}: both are class {first}, so that their difference is 0")
    weights = np.zeros(model.config.num_classes, np.float32)
    weights[first], weights[second] = 1, -1
    return _One(weights=weights, name=f"{model.label(first)}{DIFFERENCE}{model.label(second)}")


def _class_named(model: Model, text: str, *, numbers: bool = False) -> int:
    """Index of the class with this name, or with this number where `numbers` are allowed; "text:" names a text."""
    if isinstance(model.config, ViTConfig) and model.config.similarity and text.startswith(TEXT) and model.labels:
        text = text.removeprefix(TEXT).strip()
        if text in model.labels.names:
            return model.labels.names.index(text)
    if numbers and re.fullmatch(r"\s*[0-9]{1,18}\s*", text):
        return _checked_number(model, int(text), "")
    if model.labels is None:
        raise LabelError(f"target {text!r}: model {model.name!r} has no class names; give a class number")
    return model.labels.index(text)


def _checked_number(model: Model, value: Any, where: str) -> int:
    limit, kind = _outputs(model), "class" if model.config.num_classes else "feature"
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise LabelError(f"{where}{value!r} is neither a {kind} number (0 to {limit - 1}) nor a class name") from None
    if not 0 <= number < limit:
        kinds = "classes" if kind == "class" else "features"
        raise LabelError(f"{where}{kind} {number} is out of range, the model has {limit} {kinds}")
    return number


def _checked_weights(model: Model, weights: np.ndarray) -> np.ndarray:
    if weights.shape != (_outputs(model),) or not np.issubdtype(weights.dtype, np.floating):
        raise ConfigError(
            f"target: an array of {weights.dtype} {list(weights.shape)} cannot weight the {_outputs(model)} outputs of "
            f"model {model.name!r}"
        )
    if not np.isfinite(weights).all() or not weights.any():
        raise ConfigError("target: weights over the outputs must be finite, and not all 0")
    return weights if weights.dtype == np.float64 else weights.astype(np.float32)


def _checked_function(model: Model, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, after an abstract trace on logits of the model's size."""
    name = getattr(function, "__name__", repr(function))
    try:
        hash(function)
        result = jax.eval_shape(function, jax.ShapeDtypeStruct((_outputs(model),), jnp.float32))
    except Exception as error:  # whatever the user's function raises
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"target {name}: fails on logits [{_outputs(model)}]: {cause}") from error
    if getattr(result, "shape", None) != () or not jnp.issubdtype(result.dtype, jnp.floating):
        raise ConfigError(f"target {name}: must return one number of the logits, not {result}")
    return function


def _outputs(model: Model) -> int:
    """Number of the model's outputs."""
    return model.config.num_classes or features(model.config)
