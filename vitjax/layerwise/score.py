"""The scalar that is explained, as a function of one image, and its gradient by the pixels."""

from __future__ import annotations

import jax

from vitjax.layerwise.fold import Fold, Score
from vitjax.layerwise.probability import probabilities
from vitjax.layerwise.run import backward_fold
from vitjax.nn.network import Config, network, params_dtype
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Image, Logits, Params, Scalar, Target, at_least_float32


def score_in(logits: Logits, target: Target, score: Score) -> Scalar:
    """The logit or the probability of class `target`, in float32 or float64."""
    logits = at_least_float32(logits)
    return (probabilities(logits) if score == "probability" else logits)[target]


def score_of(config: Config, params: Params, image: Image, target: Target, score: Score) -> Scalar:
    """The logit or the probability of class `target` for an image [H, W, 3]. Cost: 1F."""
    return score_in(network(config).apply({"params": params}, image.astype(params_dtype(params))), target, score)


def image_gradient(config: Config, params: Params, image: Image, target: Target, score: Score) -> Image:
    """∂ score / ∂ image, [H, W, 3], in float32 or float64.

    Cost: for a ViT 2F + 1B with memory independent of depth; for others 1F + 1B with the memory of all activations.
    """
    if not isinstance(config, ViTConfig):
        return at_least_float32(jax.grad(lambda pixels: score_of(config, params, pixels, target, score))(image))
    fold = Fold(
        init=(),
        summarise=lambda trace: (),
        step=lambda carry, summary, layer: carry,
        finish=lambda carry, boundary: boundary.image_grad,
        gradient=score,
        to_input=True,
    )
    return backward_fold(config, params, image, target, [fold]).results[0]
