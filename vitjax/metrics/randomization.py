"""Randomisation: whether the map changes when the model's weights or the explained class are randomised."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vitjax.errors import ConfigError
from vitjax.layerwise.target import is_class
from vitjax.methods.options import Seed
from vitjax.metrics.checks import checks_options, class_number
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.spearman import spearman
from vitjax.nn.network import is_floating, params_dtype
from vitjax.nn.resnet import LAYERS, STATISTICS
from vitjax.shapes import Array, Params, Scalar, at_least_float32

HEADS = ("head", "head_dist", "fc")


@checks_options
def randomization(
    explain: Callable[[Params], Array],
    params: Params,
    raw: Array,
    *,
    cuts: tuple[int, ...] | None = None,
    seed: Seed = 0,
) -> Array:
    """Spearman's correlation of the map with the maps of models whose weights are randomised from the head downwards.

    At cut c the head and the last c blocks (of a ResNet: stages) are random at the same time, the cascading
    randomisation of Adebayo et al. 2018. The parameters of any other function (`vitjax.from_function`) have no known
    order: they are one block, so that cut 0 is the trained model and at cut 1 all of them are random.

    Args:
        explain: params -> raw map, for one image and class.
        params: the model's parameters.
        raw: the map of the trained model, any shape.
        cuts: the values of c, each from 0 to the number of blocks; None takes all of them.
        seed: seed of the random weights. They do not depend on the image: all images see the same random models.

    Returns:
        [cuts] in [-1, 1], lower is better; NaN if one of the two maps is constant or not finite. A model without a
        head, and a function, have 1 at cut 0.

    Raises:
        ConfigError: no cut, or a cut outside 0 to the number of blocks.

    Source: Adebayo et al. 2018. Differs from reference: each tensor is drawn from a normal distribution with that
    tensor's mean and standard deviation, so that the scales of norms stay close to trained ones; signed maps are
    correlated. The final norm, the embedding with its convolutional stem and the running statistics of batch norms (of
    a function: every parameter called mean or var, and all that is no floating-point number) are not randomised.

    Cost: one explanation per cut.

    Example:
        >>> params = {"blocks": {"kernel": jnp.array([[0.1, 0.2, 0.4], [0.3, 0.2, 0.1]])}, "head": jnp.ones(3)}
        >>> explain = lambda params: params["blocks"]["kernel"][0]  # reads the lower one of two blocks
        >>> vitjax.metrics.randomization(explain, params, explain(params), cuts=(0, 1)).round(3).tolist()
        [1.0, 1.0]
    """
    return _cascade(explain, params, raw, cuts, seed, layered=is_layered(params))


def _cascade(
    explain: Callable[[Params], Array],
    params: Params,
    raw: Array,
    cuts: tuple[int, ...] | None,
    seed: int,
    *,
    layered: bool,
) -> Array:
    count = block_count(params, layered=layered)
    selected = tuple(range(count + 1)) if cuts is None else cuts
    if not selected or not all(0 <= cut <= count for cut in selected):
        raise ConfigError(f"cuts={cuts}: must be numbers of randomised blocks, 0 to {count}")
    drawn, first_cuts = random_weights(params, seed, layered=layered), randomised_from_cut(params, layered=layered)

    def compare(cut: Any) -> Array:
        mixed = jax.tree.map(partial(_mixed, cut), drawn, params, first_cuts)
        return spearman(at_least_float32(raw), at_least_float32(explain(mixed)))

    return lax.map(compare, jnp.asarray(selected))


@checks_options
def random_target(explain: Callable[[Array], Array], raw: Array, target: Array, classes: int, *, key: Array) -> Scalar:
    """Spearman's correlation of the map with the map for another class, drawn uniformly at random.

    Args:
        explain: class -> raw map of one image.
        raw: the map for class `target`.
        target: the explained class.
        classes: number of classes.
        key: PRNG key of the draw.

    Returns:
        Float in [-1, 1], lower is better (1: the method does not depend on the class); NaN if one of the two maps is
        constant or not finite, or if the model has only one class.

    Source: Sixt et al. 2020, "random logit". Differs from reference: Spearman's correlation instead of SSIM.

    Cost: one explanation.

    Example:
        >>> raw = jnp.array([[1.0, 0.6], [0.4, 0.0]])
        >>> explain = lambda target: jnp.where(target == 0, raw, -raw)
        >>> round(float(vitjax.metrics.random_target(explain, raw, jnp.array(0), 2, key=jax.random.key(0))), 3)
        -1.0
    """
    target = class_number(target, classes, "target")
    if classes < 2:
        return jnp.asarray(jnp.nan, at_least_float32(raw).dtype)
    other = (target + jax.random.randint(key, (), 1, classes, jnp.int32)) % classes
    return spearman(at_least_float32(raw), at_least_float32(explain(other.astype(target.dtype))))


def _mixed(cut: Any, new: Any, old: Any, first: Any) -> Any:
    """One parameter at a cut: the random one if the cut is not below `first`."""
    return jnp.where(first <= cut, new, old) if is_floating(old) else old


def is_layered(params: Params) -> bool:
    """Whether parameters are those of a ViT or a ResNet, whose layers have a known order."""
    return isinstance(params, dict) and not params.keys().isdisjoint(("blocks", *LAYERS))


def block_count(params: Params, *, layered: bool = True) -> int:
    """Number of blocks of a ViT, or of stages of a ResNet; 1 for a function, whose parameters are not `layered`."""
    if not layered:
        return 1
    return len(jax.tree.leaves(params["blocks"])[0]) if "blocks" in params else len(LAYERS)


def randomised_from_cut(params: Params, *, layered: bool = True) -> Params:
    """The lowest cut at which each leaf is random: 0 for the head, 1 for the last block, 2 for the one before it ...

    Returns:
        A tree with the structure of `params`. Leaves under `blocks`, where layers are stacked, are int [l, 1 ...], the
        others int. Leaves that are never randomised have the number of blocks + 1.
    """
    count = block_count(params, layered=layered)

    def first_cut(path: Any, leaf: Any) -> Any:
        if not layered:
            is_statistic = any(getattr(entry, "key", getattr(entry, "name", None)) in STATISTICS for entry in path)
            return 2 if is_statistic or not is_floating(leaf) else 1
        top = path[0].key
        if top == "blocks":
            return jnp.arange(count, 0, -1).reshape(-1, *[1] * (leaf.ndim - 1))
        if top in HEADS:
            return 0
        if top in LAYERS and path[-1].key not in STATISTICS:
            return count - LAYERS.index(top)
        return count + 1

    return jax.tree_util.tree_map_with_path(first_cut, params)


def random_weights(params: Params, seed: int, *, layered: bool = True) -> Params:
    """Normally distributed parameters with the shapes of `params`.

    Each tensor has the mean and standard deviation of the given one; where layers are stacked, each layer has its own.
    What is no floating-point number stays as it is.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    sizes = [leaf.size if is_floating(leaf) else 0 for _, leaf in leaves]
    ends = np.cumsum(sizes)
    # One draw for all tensors compiles in a tenth of the time of one draw per tensor.
    noise = jnp.split(jax.random.normal(jax.random.key(seed), (ends[-1],), params_dtype(params)), ends[:-1])
    drawn = []
    for (path, leaf), leaf_noise in zip(leaves, noise, strict=True):
        if not is_floating(leaf):
            drawn.append(leaf)
            continue
        axes = tuple(range(1 if layered and path[0].key == "blocks" else 0, leaf.ndim))
        mean, std = leaf.mean(axes, keepdims=True), leaf.std(axes, keepdims=True)
        drawn.append((mean + leaf_noise.reshape(leaf.shape) * std).astype(leaf.dtype))
    return jax.tree.unflatten(tree, drawn)


def _record(case: Case, *, cuts: tuple[int, ...] | None = None, seed: Seed = 0) -> Columns:
    explain = case.explain
    if explain is None:
        raise ConfigError("randomization computes further explanations, but the case has no explainer")
    correlations = _cascade(
        lambda params: explain(params, case.image, case.target),
        case.params,
        case.raw,
        cuts,
        seed,
        layered=case.layered,
    )
    columns = {"value": jnp.nanmean(correlations), "curve": correlations}
    if not is_class(case.target):  # there is no other class in place of it
        return {**columns, "random_target": jnp.full_like(columns["value"], jnp.nan)}
    other = random_target(
        lambda target: explain(case.params, case.image, target),
        case.raw,
        case.target,
        case.logits.shape[-1],
        key=case.key_for("random target"),
    )
    return {**columns, "random_target": other}


RANDOMIZATION = Metric(
    title="Randomisation",
    cite="Adebayo et al. 2018, Sanity Checks for Saliency Maps",
    family="randomisation",
    cost="(blocks + 2)E",
    function=randomization,
    record=_record,
    figures=lambda options: {
        "": Statistic(("value",), better="lower", percent=False, title="Random weights"),
        "random_target": Statistic(("random_target",), better="lower", percent=False, title="Random class"),
    },
    curves=lambda options: {"curve": None if options["cuts"] is None else np.asarray(options["cuts"], np.float64)},
    axes=lambda column, options: ("randomised blocks below the head", "Spearman's correlation"),
    needs=frozenset({"explainer"}),
    use_when="it is to be checked that maps depend on the model's weights and on the class at all",
)
