"""What is explained of an image: a class, a weighted sum of the outputs, or a function of them.

A target is a pytree. Its structure selects the program: an integer, as in most calls, compiles to what it would if
there were no other kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.layerwise.probability import probabilities
from vitjax.shapes import Array, Logits, Scalar, Target, at_least_float32

PREDICTED, SECOND = -1, -2
"""Targets that mean "the class with the highest logit" and "the second highest"."""

NOT_A_CLASS = -3
"""In place of a class index: the target is a weighted sum or a function of the outputs."""

Score = Literal["logit", "probability"]
"""The scalar that a method explains."""

SCORES = ("logit", "probability")


class WeightedTarget(NamedTuple):
    """A weighted sum of the outputs, weights · logits; or a class, so that one batch may contain both.

    class_index: class index, PREDICTED, SECOND or NOT_A_CLASS.
    weights: [k]; read where that is NOT_A_CLASS.
    """

    class_index: Array
    weights: Array


@jax.tree_util.register_static
@dataclass(frozen=True)
class FunctionTarget:
    """A function of the logits [k] that returns the scalar to explain. It is part of the program, not an argument."""

    function: Callable[[Logits], Scalar]


def is_class(target: Any) -> bool:
    """Whether a target is one class for each image, or a code of one, so that it has a probability."""
    return not isinstance(target, (WeightedTarget, FunctionTarget))


def class_of(target: Any) -> Any:
    """The class index of a target as `choose_target` returns it; NOT_A_CLASS where it is not one class."""
    if isinstance(target, FunctionTarget):
        return jnp.int32(NOT_A_CLASS)
    return target.class_index if isinstance(target, WeightedTarget) else target


def choose_target(logits: Logits, target: Target) -> Target:
    """The target itself, with the class index that PREDICTED or SECOND stands for."""
    if isinstance(target, FunctionTarget):
        return target
    if isinstance(target, WeightedTarget):
        weighted = target.class_index == NOT_A_CLASS
        index = jnp.where(weighted, NOT_A_CLASS, _choose_class(logits, target.class_index))
        weights = target.weights.astype(logits.dtype)
        return WeightedTarget(index, jnp.where(weighted, weights, _one_hot(logits, index)))
    return _choose_class(logits, target)


def logit_of(logits: Logits, target: Target) -> Scalar:
    """The scalar that a target, as `choose_target` returns it, stands for: a logit, a weighted sum, or a function."""
    if isinstance(target, FunctionTarget):
        return target.function(at_least_float32(logits))
    if isinstance(target, WeightedTarget):
        return (target.weights * logits).sum()
    return logits[target]


def score_in(logits: Logits, target: Target, score: Score) -> Scalar:
    """The target's `logit_of`, or the probability of its class, in float32 or float64.

    Raises:
        ConfigError: the probability of a target that is not a class.
    """
    logits = at_least_float32(logits)
    if score == "probability":
        _check_probability(target)
        logits = probabilities(logits)
    return logit_of(logits, target)


def score_gradient(logits: Logits, target: Target, score: str) -> Logits:
    """∂ score / ∂ logits: e_k for the logit of class k, p_k (e_k - p) for its probability p_k.

    For a weighted sum the weights, for a function its gradient. The probability of a single output is a sigmoid, whose
    derivative is p (1 - p): the same expression.

    Raises:
        ConfigError: the probability of a target that is not a class.
    """
    if score == "probability":
        _check_probability(target)
        one_hot = _one_hot(logits, target)
        p = probabilities(at_least_float32(logits)).astype(logits.dtype)
        return p[target] * (one_hot - p)
    if isinstance(target, FunctionTarget):
        return jax.grad(lambda logits: logit_of(logits, target))(logits)
    return target.weights.astype(logits.dtype) if isinstance(target, WeightedTarget) else _one_hot(logits, target)


def _choose_class(logits: Logits, target: Target) -> Array:
    if logits.shape[0] == 1:
        return jnp.zeros_like(target)
    _, best = lax.top_k(logits, 2)
    return jnp.where(target == PREDICTED, best[0], jnp.where(target == SECOND, best[1], target)).astype(jnp.int32)


def _one_hot(logits: Logits, index: Target) -> Logits:
    return jax.nn.one_hot(index, logits.shape[0], dtype=logits.dtype)


def _check_probability(target: Target) -> None:
    if not is_class(target):
        raise ConfigError("score='probability': only a class has a probability; the target is a combination of outputs")
