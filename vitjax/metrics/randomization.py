"""Randomisation: a map that outlives the model's weights explains no model, one that is all classes' explains none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import wide
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.spearman import spearman
from vitjax.nn.resnet import LAYERS, STATISTICS
from vitjax.shapes import Array, Params, Scalar

HEADS = ("head", "head_dist", "fc")


def randomization(
    explain: Callable[[Params], Array],
    params: Params,
    raw: Array,
    *,
    cuts: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Array:
    """Spearman's correlation of the map with the one after weights are randomised from the head downwards.

    At cut c the head and the c last blocks (of a ResNet: stages) are random, at once: Adebayo's cascade.

    Args:
        explain: params -> raw map, of one image and class.
        params: the model's parameters.
        raw: the map of the model as it is, any shape.
        cuts: which c; None: 0, 1 ... all blocks.
        seed: of the random weights. They do not depend on the image: all are explained by the same random models.

    Returns [cuts] in [-1, 1], lower is better; NaN where one of both maps is constant or not finite. A model without
    head has 1 at cut 0.

    Source: Adebayo et al. 2018. Differs from reference: a tensor is drawn from the normal distribution with its own
    mean and standard deviation, so that norms stay norms; correlation of signed maps. The final norm, the embedding
    and batch norms' running statistics are kept.

    Cost: one explanation a cut.

    Example: `randomization(lambda params: explain(params, image), model.params, explain(model.params, image))`
    """
    chosen = tuple(range(blocks(params) + 1)) if cuts is None else cuts
    if not chosen or not all(0 <= cut <= blocks(params) for cut in chosen):
        raise ConfigError(f"cuts={cuts}: numbers of randomised blocks, 0 to {blocks(params)}")
    drawn, places = random_weights(params, seed), places_from_head(params)

    def compare(cut):
        mixed = jax.tree.map(lambda new, old, place: jnp.where(place <= cut, new, old), drawn, params, places)
        return spearman(wide(raw), wide(explain(mixed)))

    return lax.map(compare, jnp.asarray(chosen))


def random_target(explain: Callable[[Array], Array], raw: Array, target: Array, classes: int, *, key: Array) -> Scalar:
    """Spearman's correlation of the map with the one for another class, drawn at random.

    Args:
        explain: class -> raw map of one image.
        raw: the map for class `target`.
        classes: how many there are.
        key: PRNG key of the draw.

    Returns a float in [-1, 1], lower is better (1: the method does not ask for the class); NaN where one of both
    maps is constant or not finite, or there is one class alone.

    Source: Sixt et al. 2020, "random logit". Differs from reference: Spearman's correlation, not SSIM.

    Cost: one explanation.

    Example: `random_target(lambda k: explain(params, image, k), raw, target, 1000, key=jax.random.key(0))`
    """
    if classes < 2:
        return jnp.asarray(jnp.nan, wide(raw).dtype)
    other = (target + jax.random.randint(key, (), 1, classes)) % classes
    return spearman(wide(raw), wide(explain(other.astype(jnp.asarray(target).dtype))))


def blocks(params: Params) -> int:
    """Blocks of a ViT, or stages of a ResNet."""
    return len(jax.tree.leaves(params["blocks"])[0]) if "blocks" in params else len(LAYERS)


def places_from_head(params: Params) -> Params:
    """By leaf, the cut at which it becomes random: 0 for the head, 1 for the last block ...

    Under `blocks`, where layers are stacked, [l, 1 ...]; past the last cut for what stays.
    """
    count = blocks(params)

    def place(path, leaf) -> Any:
        top = path[0].key
        if top == "blocks":
            return jnp.arange(count, 0, -1).reshape(-1, *[1] * (leaf.ndim - 1))
        if top in HEADS:
            return 0
        if top in LAYERS and path[-1].key not in STATISTICS:
            return count - LAYERS.index(top)
        return count + 1

    return jax.tree_util.tree_map_with_path(place, params)


def random_weights(params: Params, seed: int) -> Params:
    """Parameters of the same shapes: normal, with each tensor's own mean and standard deviation, layer by layer."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    ends = np.cumsum([leaf.size for _, leaf in leaves])
    # One draw for all: compiled in a tenth of the time of a draw for each tensor.
    noise = jnp.split(jax.random.normal(jax.random.key(seed), (ends[-1],), leaves[0][1].dtype), ends[:-1])
    drawn = []
    for (path, leaf), own in zip(leaves, noise, strict=True):
        axes = tuple(range(1 if path[0].key == "blocks" else 0, leaf.ndim))
        drawn.append(leaf.mean(axes, keepdims=True) + own.reshape(leaf.shape) * leaf.std(axes, keepdims=True))
    return jax.tree.unflatten(tree, drawn)


def _record(case: Case, *, cuts: tuple[int, ...] | None = None, seed: int = 0) -> Columns:
    explain = case.explain
    if explain is None:
        raise ConfigError("randomization explains images anew: the case has no explainer")
    found = randomization(
        lambda params: explain(params, case.image, case.target), case.params, case.raw, cuts=cuts, seed=seed
    )
    other = random_target(
        lambda target: explain(case.params, case.image, target),
        case.raw,
        case.target,
        case.logits.shape[-1],
        key=case.key_for("random target"),
    )
    return {"value": jnp.nanmean(found), "curve": found, "random_target": other}


RANDOMIZATION = Metric(
    title="Randomisation",
    cite="Adebayo et al. 2018, Sanity Checks for Saliency Maps",
    family="randomisation",
    cost="(blocks + 2)E",
    function=randomization,
    record=_record,
    figures=lambda options: {
        "": Statistic(("value",), better="lower", percent=False),
        "random_target": Statistic(("random_target",), better="lower", percent=False),
    },
    curves=lambda options: {"curve": None if options["cuts"] is None else np.asarray(options["cuts"], np.float64)},
    needs=frozenset({"explainer"}),
)
