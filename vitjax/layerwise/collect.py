"""Everything that a shared pass computes of every layer, kept."""

from __future__ import annotations

from typing import Any

from vitjax.layerwise.fold import Fold, Gradient, LayerTrace, PassResults
from vitjax.layerwise.run import backward_fold
from vitjax.nn.ops import Ops
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Image, Params, Target


def collect(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    gradient: Gradient | None = "logit",
    rules: Ops | None = None,
) -> tuple[PassResults, LayerTrace]:
    """The full trace of one image, stacked over layers: a fold that only stacks.

    Returns: the pass's logits and target, and a LayerTrace whose arrays lead with l. Gradients are None where
        `gradient` is None; relevance is None where `rules` is None.

    Cost: as `backward_fold`. Memory: l·h·n·m for every attention-sized field that is used.
    """
    stack = Fold(
        init=(),
        summarise=lambda trace: trace._replace(params=None, linear_grads=None),  # type: ignore[arg-type]
        step=lambda carry, summary, layer: carry,
        finish=lambda summaries, boundary: summaries,
        gradient=gradient,
        rules=rules,
        order="stacked",
    )
    results = backward_fold(config, params, image, target, [stack])
    trace: Any = results.results[0]
    return results._replace(results=()), trace._replace(params=params["blocks"])
