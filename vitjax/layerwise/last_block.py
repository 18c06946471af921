"""The gradient of the last block's attention alone, without a pass through the blocks below it."""

from __future__ import annotations

from functools import partial

import jax

from vitjax.layerwise.block_vjp import zero_elsewhere
from vitjax.layerwise.run import forward
from vitjax.layerwise.stages import stages
from vitjax.layerwise.target import Score, score_gradient
from vitjax.nn.attention import without_padding
from vitjax.nn.block import block_params
from vitjax.nn.network import params_dtype
from vitjax.nn.ops import GRADIENT
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Attention, Image, Params, Target, at_least_float32


def last_attention_gradient(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    score: Score = "logit",
) -> Attention:
    """∂ score / ∂ attention of the last block, [h, n, m].

    Args:
        target: class index.

    Cost: 1F and the backward pass of the last block; the shared pass would go through all blocks.
    """
    model = stages(config, GRADIENT, params_dtype(params))
    readout_slice, number = config.readout_slice, config.depth - 1
    x, _, residuals = forward(config, model, params, model.embed(params, None, image), readout_slice, number)
    assert residuals is not None
    block = block_params(params["blocks"], number)
    logits, head_vjp = jax.vjp(lambda x: model.classify(params, x), x)
    _, transform_vjp = jax.vjp(partial(model.transform, block), residuals.middle)
    inputs = model.before_attention(block, residuals.tokens)
    offsets = model.zeros(readout_slice)[0]
    _, attention_vjp = jax.vjp(
        lambda offsets: model.add_attention(block, offsets, *inputs, readout_slice, None)[0], offsets
    )
    (middle_grad,) = transform_vjp(head_vjp(score_gradient(logits, target, score))[0][readout_slice])
    (taps,) = attention_vjp(middle_grad)
    gradient = without_padding(config, taps["attn"])["attention"]
    return zero_elsewhere(config, at_least_float32(gradient), readout_slice)
