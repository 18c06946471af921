"""The explained score of an image, and its gradient by the pixels."""

from __future__ import annotations

import jax

from vitjax.layerwise.fold import Fold, Score, wide
from vitjax.layerwise.run import backward_fold
from vitjax.nn.network import Config, network, params_dtype
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Image, Logits, Params, Scalar, Target


def score_in(logits: Logits, target: Target, score: Score) -> Scalar:
    """The logit or the probability of class `target`, float32 at least."""
    logits = wide(logits)
    return (jax.nn.softmax(logits) if score == "probability" else logits)[target]


def score_of(config: Config, params: Params, image: Image, target: Target, score: Score) -> Scalar:
    """The logit or the probability of class `target`. Cost: one forward."""
    return score_in(network(config).apply({"params": params}, image.astype(params_dtype(params))), target, score)


def image_gradient(config: Config, params: Params, image: Image, target: Target, score: Score) -> Image:
    """∂ score / ∂ image [H, W, 3], float32 at least.

    Cost of a ViT: two forwards and one backward, memory independent of depth. Of a ResNet: one forward and one
    backward, with the memory of all activations.
    """
    if not isinstance(config, ViTConfig):
        return wide(jax.grad(lambda pixels: score_of(config, params, pixels, target, score))(image))
    fold = Fold(
        init=(),
        summarise=lambda trace: (),
        step=lambda carry, summary, layer: carry,
        finish=lambda carry, boundary: boundary.image_grad,
        gradient=score,
        to_input=True,
    )
    return backward_fold(config, params, image, target, [fold]).results[0]
