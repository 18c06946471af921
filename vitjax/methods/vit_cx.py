"""ViT-CX: masks from clusters of feature channels, weighted by their causal effect on the class's probability."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan, planned
from vitjax.execution.program import Program
from vitjax.execution.progress import OnProgress
from vitjax.execution.worker_threads import worker_count
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.run import backward_fold
from vitjax.layerwise.score import score_of
from vitjax.layerwise.target import score_in
from vitjax.methods.contract import Method
from vitjax.methods.options import NonNegative, Positive
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target

MASKS_PER_WORKER = 8
"""Masks of one image that one call evaluates, per worker thread."""


def vit_cx(
    config: ViTConfig,
    params: Params,
    images: Array,
    targets: Array,
    *,
    keys: Array,
    on_progress: OnProgress,
    noise: NonNegative = 0.1,
    distance: Positive = 0.1,
) -> np.ndarray:
    """Mean of cluster masks weighted by their causal effect on the class's probability (Xie et al. 2023).

    map = 1/N Σ_i p_i M_i / Σ_j M_j with p_i = p(x ∘ M_i + n_i) - p(x + n_i) + p(x), n_i = noise · ε (1 - M_i),
    ε ~ N(0, 1), where p is the probability of the explained class and x the normalised image.

    Masks M_i: a feature map is one channel of norm1's output in the last block, on the patch grid, upsampled to pixels
    and min-max scaled. Feature maps within cosine `distance` (complete linkage) form a cluster; the mask of a cluster
    is the sum of its feature maps, min-max scaled again.

    Args:
        images: normalised images [b, H, W, 3].
        targets: class indices [b].
        keys: PRNG keys [b], which depend only on the seed and the images' ids.
        on_progress: called with fractions of an image, which add up to 1 for each.
        noise: standard deviation of the noise, >= 0, in units of the normalised image.
        distance: cosine distance above which clusters are not merged, > 0.

    Returns:
        Maps [b, H, W] over pixels. In practice all values are positive and contrast is low, because p_i contains p(x).

    Raises:
        ConfigError: `noise` or `distance` is out of range.

    Cost: 1 + 2N forwards (1 + N without noise), with N about 60 to 100 on DeiT-Tiny, and clustering on the host. The
    assignment to clusters is discrete and may differ between float32 and float64.

    Differs from reference: only the random generator of ε.

    Example:
        >>> maps = vitjax.explain(model, image, method="vit_cx", noise=0.0).maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 64, 64), True)
    """
    plan = active_plan(config)
    features, effects = _features(config, plan), _effects(config, noise, plan)
    maps = []
    for image, target, key in zip(images, targets, keys, strict=True):
        feature_maps, image_probability = features(params, image, target)
        masks = cluster_masks(np.asarray(feature_maps), distance)
        count = len(masks)
        microbatch_size = MASKS_PER_WORKER * worker_count()
        padded = np.concatenate([masks, np.zeros((-count % microbatch_size, *masks.shape[1:]), masks.dtype)])
        starts = range(0, len(padded), microbatch_size)
        microbatches = []
        for start in starts:
            part, numbers = padded[start : start + microbatch_size], start + np.arange(microbatch_size)
            microbatches.append(effects(params, image, target, key, image_probability, part, numbers))
            on_progress(1 / len(starts))
        p = np.concatenate(jax.device_get(microbatches))[:count]
        total = masks.sum(axis=0)
        weighted = np.einsum("n,nhw->hw", p, masks) / count
        maps.append(np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0))
    return np.stack(maps)


def cluster_masks(features: np.ndarray, distance: float) -> np.ndarray:
    """Masks of the clusters of similar feature maps.

    Args:
        features: feature maps [c, H, W] in [0, 1].
        distance: cosine distance above which clusters are not merged.

    Returns:
        Masks [N, H, W] in [0, 1], one per cluster.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    flat = features.reshape(len(features), -1)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(flat.dtype).tiny)
    distances = np.clip(1 - unit @ unit.T, 0, None).astype(np.float64)
    np.fill_diagonal(distances, 0)
    clusters = fcluster(linkage(squareform(distances, checks=False), "complete"), distance, criterion="distance")
    masks = np.stack([flat[clusters == cluster].sum(axis=0) for cluster in np.unique(clusters)])
    return _min_max(masks, np).reshape(-1, *features.shape[1:])


def _min_max(rows: Any, xp: Any) -> Any:
    """Each row of [r, k] scaled linearly to [0, 1]; a constant row becomes 0.

    Args:
        xp: the module of the array's type, numpy or jax.numpy.
    """
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    return (rows - low) / xp.where(high > low, high - low, 1)


@lru_cache(maxsize=8)
def _features(config: ViTConfig, plan: ExecutionPlan) -> Callable[..., tuple[Array, Array]]:
    """Program (params, image, target) -> feature maps [c, H, W] and p(x)."""

    def run(params: Params, image: Image, target: Target) -> Any:
        last_normed = Fold(
            init=jnp.zeros((config.tokens, config.width)),
            summarise=lambda trace: trace.normed,
            step=lambda carry, normed, layer: jnp.where(layer == config.depth - 1, normed, carry),
            finish=lambda normed, boundary: normed[config.prefix :],
        )
        logits, _, (tokens,) = backward_fold(config, params, image, target, [last_normed])
        channels = tokens.T.reshape(-1, *config.grid)
        upsampled = jax.image.resize(channels, (len(channels), *config.covered), "linear")
        missing = [(0, size - inside) for size, inside in zip(config.image_size, config.covered, strict=True)]
        upsampled = jnp.pad(upsampled, [(0, 0), *missing], mode="edge")
        feature_maps = _min_max(upsampled.reshape(len(channels), -1), jnp).reshape(upsampled.shape)
        return feature_maps, score_in(logits, target, "probability")

    return jax.jit(planned(plan, run))


@lru_cache(maxsize=8)
def _effects(config: ViTConfig, noise: NonNegative, plan: ExecutionPlan) -> Program:
    """Program (params, image, target, key, p(x), masks [N, H, W], mask numbers [N]) -> effects p_i [N]."""

    def one(
        params: Params, image: Image, target: Target, key: Array, image_probability: Array, mask: Array, number: Array
    ) -> Array:
        def probability(x: Array) -> Array:
            return score_of(config, params, x, target, "probability")

        mask = mask.astype(image.dtype)[..., None]
        masked = image * mask
        if not noise:
            return probability(masked)
        draw = jax.random.normal(jax.random.fold_in(key, number), image.shape, image.dtype)
        added_noise = noise * draw * (1 - mask)
        return probability(masked + added_noise) - probability(image + added_noise) + image_probability

    axes = (None, None, None, None, None, 0, 0)
    return Program(microbatched_vmap(one, axes, microbatch_size=plan.forward_microbatch), axes, plan)


METHOD = Method(
    title="ViT-CX",
    cite="Xie et al. 2023, ViT-CX: Causal Explanation of Vision Transformers",
    cost="about 200F",
    explain_on_host=vit_cx,
    level="pixel",
    needs=frozenset({"head", "probability"}),
    slow=True,
    use_when="a causal map is wanted with masks that follow the model's own features; contrast is low",
)
