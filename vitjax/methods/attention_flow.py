"""Attention flow: the maximum flow between the class token and each input token through the attention layers."""

from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.execution.program import Program
from vitjax.execution.progress import OnProgress
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.run import backward_fold
from vitjax.methods.building_blocks import sum_over_heads
from vitjax.methods.contract import Method
from vitjax.methods.max_flow import input_flows
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params


def attention_flow(
    config: ViTConfig, params: Params, images: Array, targets: Array, *, keys: Array, on_progress: OnProgress
) -> np.ndarray:
    """Maximum flow from the class token above the last block to each input token (Abnar & Zuidema 2020, section 3).

    W_l = rownorm(E_h[A_l] + I) are the capacities of the edges between tokens above and below block l; f_j is the
    maximum flow to input token j; map = f_j / Σ f on patches.

    The method is class-agnostic. Flows are nearly saturated, so maps have low contrast. For a model without a class
    token, the source feeds all patches equally.

    Args:
        images: normalised images [b, H, W, 3].
        targets: unused.
        keys: unused.
        on_progress: called with 1 after each image.

    Returns:
        Maps [b, h, w] over the patches, float64, values >= 0; a map sums to 1 minus the share of the prefix tokens.

    Cost: one forward, and one maximum flow through l·n² edges per token (scipy's Dinic algorithm with capacities
    rounded to 1e-9): seconds per image on all cores.

    Differs from reference: nothing. The authors' code takes minutes for 50 tokens.

    Example:
        >>> maps = vitjax.explain(model, image, method="attention_flow").maps
        >>> maps.shape, bool(0 < maps.sum() < 1)  # the rest flows to the class token
        ((1, 8, 8), True)
    """
    del keys, targets
    results = _fused_attention(config, active_plan(config))(params, images)
    fused, readouts = (np.asarray(array, np.float64) for array in results)
    capacities = fused + np.eye(config.tokens)
    capacities /= capacities.sum(axis=-1, keepdims=True)
    maps = []
    for image_capacities, readout in zip(capacities, readouts[:, -1], strict=True):
        flows = input_flows(image_capacities, readout)
        maps.append((flows / flows.sum())[config.prefix :].reshape(config.grid))
        on_progress(1)
    return np.stack(maps)


@lru_cache(maxsize=8)
def _fused_attention(config: ViTConfig, plan: ExecutionPlan) -> Program:
    """Program (params, images [b, H, W, 3]) -> mean attention over heads [b, l, n, m], readout weights [b, l, n]."""
    stack = Fold(
        init=(),
        summarise=lambda trace: (sum_over_heads(trace.attention) / config.heads, trace.readout),
        step=lambda carry, summary, layer: carry,
        finish=lambda stacked, boundary: stacked,
        order="stacked",
    )

    def one(params: Params, image: Image) -> Any:
        return backward_fold(config, params, image, jnp.int32(0), [stack]).results[0]

    return Program(microbatched_vmap(one, (None, 0), microbatch_size=plan.forward_microbatch), (None, 0), plan)


METHOD = Method(
    title="Attention flow",
    cite="Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers",
    cost="1F + 197 maximum flows",
    explain_on_host=attention_flow,
    class_specific=False,
    slow=True,
    use_when="the bottlenecks of attention are to be studied; flows are nearly saturated, and contrast is low",
)
