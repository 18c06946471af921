"""Attention flow: the most that each input token can pass to the class token through the layers."""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np

from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.execution.program import Program
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.run import backward_fold
from vitjax.methods.building_blocks import over_heads
from vitjax.methods.contract import Method, OnProgress
from vitjax.methods.max_flow import input_flows
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Params


def attention_flow(
    config: ViTConfig, params: Params, images: Array, targets: Array, *, keys: Array, on_progress: OnProgress
) -> np.ndarray:
    """W_l = rownorm(E_h[A_l] + I) are the capacities between layers; f_j = maximum flow from the class token above the
    last block to input token j; map = f_j / Σ f on patches (Abnar & Zuidema 2020, section 3).

    Returns values >= 0 that sum to 1 less the prefix tokens' share. Class-agnostic; flows are nearly saturated, so
    maps are of low contrast by nature. A model without a class token has a source that feeds all patches alike.

    Cost: one forward, and one maximum flow through l·n² edges per token: seconds an image, on all cores (scipy's
    Dinic, capacities rounded to 1e-9). Differs from reference: nothing; that code takes minutes for 50 tokens.

    Example: `vitjax.explain(model, "cat.jpg", method="attention_flow")`
    """
    del keys, targets
    fused = np.asarray(_fused_attention(config, active_plan(config))(params, images), np.float64)
    capacities = fused + np.eye(config.tokens)
    capacities /= capacities.sum(axis=-1, keepdims=True)
    maps = []
    for layers in capacities:
        flows = input_flows(layers, np.asarray(config.readout_weights(), np.float64))
        maps.append((flows / flows.sum())[config.prefix :].reshape(config.grid))
        on_progress(1)
    return np.stack(maps)


@lru_cache(maxsize=8)
def _fused_attention(config: ViTConfig, plan: ExecutionPlan):
    stack = Fold(
        init=(),
        summarise=lambda trace: over_heads(trace.attention) / config.heads,
        step=lambda carry, summary, layer: carry,
        finish=lambda stacked, boundary: stacked,
        order="stacked",
    )

    def one(params, image):
        return backward_fold(config, params, image, jnp.int32(0), [stack]).results[0]

    return Program(microbatched_vmap(one, (None, 0), microbatch_size=plan.forward_microbatch), (None, 0), plan)


METHOD = Method(
    title="Attention flow",
    cite="Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers",
    cost="1F + 197 maximum flows",
    explain_on_host=attention_flow,
    class_specific=False,
    slow=True,
)
