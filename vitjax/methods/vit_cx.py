"""ViT-CX: clusters of patch-embedding channels as masks, weighted by their causal effect."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan, planned
from vitjax.execution.program import Program
from vitjax.execution.worker_threads import worker_count
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.run import backward_fold
from vitjax.layerwise.score import score_in, score_of
from vitjax.methods.contract import Method, OnProgress
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Params

MASKS = 8
"""Masks of one image in a call, for each of the programs that run side by side."""


def vit_cx(
    config: ViTConfig,
    params: Params,
    images: Array,
    targets: Array,
    *,
    keys: Array,
    on_progress: OnProgress,
    noise: float = 0.1,
    distance: float = 0.1,
) -> np.ndarray:
    """Masks M_i from clusters of channels; map = 1/N Σ_i p_i M_i / Σ_j M_j with
    p_i = p(x ∘ M_i + n_i) - p(x + n_i) + p(x), n_i = noise · ε (1 - M_i), ε ~ N(0, 1) (Xie et al. 2023).

    A channel of norm1's output in the last block, on the patch grid, upsampled to pixels and min-max scaled, is one
    feature map; maps within cosine `distance` (complete linkage) are one cluster, whose mask is their sum, min-max
    scaled again. p is the probability of the explained class, x the normalised image.

    Args:
        noise: standard deviation in normalised units; the draws depend on the seed and the image's id alone.
        distance: at which clusters are no longer merged.

    Returns values at pixels [H, W], positive in practice because of p(x), and so of low contrast.

    Cost: 1 + 2N forwards (1 + N without noise), N about 60 to 100 on DeiT-Tiny; clustering on the host. Clusters are
    discrete: float32 and float64 may cut differently. Differs from reference: nothing but the source of ε.

    Example: `vitjax.explain(model, "cat.jpg", method="vit_cx", noise=0.0)`
    """
    if noise < 0 or distance <= 0:
        raise ConfigError(f"noise={noise} must be >= 0, distance={distance} must be > 0")
    plan = active_plan(config)
    features, effects = _features(config, plan), _effects(config, noise, plan)
    maps = []
    for image, target, key in zip(images, targets, keys, strict=True):
        maps_of_channels, whole = features(params, image, target)
        masks = cluster_masks(np.asarray(maps_of_channels), distance)
        count = len(masks)
        microbatch_size = MASKS * worker_count()
        padded = np.concatenate([masks, np.zeros((-count % microbatch_size, *masks.shape[1:]), masks.dtype)])
        parts = [
            effects(
                params,
                image,
                target,
                key,
                whole,
                padded[start : start + microbatch_size],
                start + np.arange(microbatch_size),
            )
            for start in range(0, len(padded), microbatch_size)
        ]
        p = np.concatenate(jax.device_get(parts))[:count]
        total = masks.sum(axis=0)
        weighted = np.einsum("n,nhw->hw", p, masks) / count
        maps.append(np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0))
        on_progress(1)
    return np.stack(maps)


def cluster_masks(features: np.ndarray, distance: float) -> np.ndarray:
    """Feature maps [c, H, W] in [0, 1] -> masks [N, H, W] in [0, 1], one per cluster."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    flat = features.reshape(len(features), -1)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(flat.dtype).tiny)
    apart = np.clip(1 - unit @ unit.T, 0, None).astype(np.float64)
    np.fill_diagonal(apart, 0)
    found = fcluster(linkage(squareform(apart, checks=False), "complete"), distance, criterion="distance")
    masks = np.stack([flat[found == cluster].sum(axis=0) for cluster in np.unique(found)])
    return _min_max(masks, np).reshape(-1, *features.shape[1:])


def _min_max(rows: Any, xp: Any) -> Any:
    """Rows scaled to [0, 1]; a constant one becomes 0."""
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    return (rows - low) / xp.where(high > low, high - low, 1)


@lru_cache(maxsize=8)
def _features(config: ViTConfig, plan: ExecutionPlan) -> Callable[..., tuple[Array, Array]]:
    """(params, image, target) -> feature maps [c, H, W], p(x)."""

    def run(params, image, target):
        last = Fold(
            init=jnp.zeros((config.tokens, config.width)),
            summarise=lambda trace: trace.normed,
            step=lambda carry, normed, layer: jnp.where(layer == config.depth - 1, normed, carry),
            finish=lambda normed, boundary: normed[config.prefix :],
        )
        logits, _, (tokens,) = backward_fold(config, params, image, target, [last])
        grids = tokens.T.reshape(-1, *config.grid)
        large = jax.image.resize(grids, (len(grids), *config.image_size), "linear")
        found = _min_max(large.reshape(len(grids), -1), jnp).reshape(large.shape)
        return found, score_in(logits, target, "probability")

    return jax.jit(planned(plan, run))


@lru_cache(maxsize=8)
def _effects(config: ViTConfig, noise: float, plan: ExecutionPlan) -> Program:
    """(params, image, target, key, p(x), masks [N, H, W], their numbers [N]) -> p_i [N]."""

    def one(params, image, target, key, whole, mask, number):
        def probability(x):
            return score_of(config, params, x, target, "probability")

        mask = mask.astype(image.dtype)[..., None]
        covered = image * mask
        if not noise:
            return probability(covered)
        draw = jax.random.normal(jax.random.fold_in(key, number), image.shape, image.dtype)
        added = noise * draw * (1 - mask)
        return probability(covered + added) - probability(image + added) + whole

    axes = (None, None, None, None, None, 0, 0)
    return Program(microbatched_vmap(one, axes, microbatch_size=plan.forward_microbatch), axes, plan)


METHOD = Method(
    title="ViT-CX",
    cite="Xie et al. 2023, ViT-CX: Causal Explanation of Vision Transformers",
    cost="about 200F",
    explain_on_host=vit_cx,
    level="pixel",
    needs=frozenset({"head"}),
    slow=True,
)
