"""The head in the shared pass: logits, the cotangents that enter the last block, and where recurrences start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, HeadTrace, choose_target, score_gradient
from vitjax.layerwise.stages import Stages
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Attention, Logits, Params, Row, Target, Tokens, at_least_float32


class Head(NamedTuple):
    """What the head contributes to a pass.

    cotangents: of the tokens that enter the head, one for each flow. residual: gradient of the logit at
    `config.readout_slice`. readout: weights by which the head pools the tokens. traces: of an attention pooling head,
    by the score or table that a fold asks for; empty for other heads.
    """

    logits: Logits
    target: Target
    readout: Row
    cotangents: Sequence[Tokens] = ()
    residual: Tokens = None  # type: ignore[assignment]
    traces: Mapping[Any, HeadTrace] = {}

    def start(self, fold: Fold) -> Any:
        """The carry that a fold starts from."""
        if fold.begin is None or not self.traces:
            return fold.init
        trace = self.traces[None]
        if fold.gradient in self.traces:
            trace = trace._replace(attention_grad=self.traces[fold.gradient].attention_grad)
        if fold.rules is not None:
            trace = trace._replace(attention_relevance=self.traces[fold.rules].attention_relevance)
        return fold.begin(trace)

    def starts(self, folds: Sequence[Fold]) -> tuple[Any, ...]:
        """The carries that all folds start from."""
        return tuple(self.start(fold) for fold in folds)


def run_head(
    config: ViTConfig,
    models: Mapping[Ops, Stages],
    params: Params,
    x: Tokens,
    target: Target,
    flows: Sequence[tuple[Any, Ops]],
) -> Head:
    """Run the head forward, and backward once for each flow.

    Args:
        x: tokens that leave the last block.
        target: as `backward_fold` takes it.
        flows: cotangents through every block, as (score or table, table).
    """
    by_attention = config.pools_by_attention
    offsets = models[GRADIENT].pool_zeros() if by_attention else None
    vjps: dict[Ops, Callable[[Logits], tuple[Any, ...]]] = {}
    logits = attention = None
    for ops, model in models.items():
        if by_attention:

            def pool(offsets: Any, x: Tokens, model: Stages = model) -> tuple[Logits, Attention]:
                return model.pool(params, offsets, x)

            value, vjps[ops], pooling = jax.vjp(pool, offsets, x, has_aux=True)
            attention = pooling if ops is GRADIENT else attention
        else:
            value, vjps[ops] = jax.vjp(lambda x, model=model: model.classify(params, x), x)
        logits = value if ops is GRADIENT else logits
    assert logits is not None
    target = choose_target(logits, target)
    one_hot = score_gradient(logits, target, "logit")
    cotangents = []
    traces: dict[Any, HeadTrace] = {} if attention is None else {None: HeadTrace(of_all_tokens(config, attention))}
    for key, ops in flows:
        *taps, cotangent = vjps[ops](score_gradient(logits, target, key) if ops is GRADIENT else one_hot)
        cotangents.append(cotangent)
        if attention is not None:
            by_weights = of_all_tokens(config, taps[0]["attn_pool"]["attention"])
            field = "attention_grad" if ops is GRADIENT else "attention_relevance"
            traces[key] = traces[None]._replace(**{field: by_weights})
    *taps, cotangent = vjps[GRADIENT](one_hot)
    if attention is not None:  # "residual" and "local" are gradients of the logit
        by_logit = traces[None]._replace(attention_grad=of_all_tokens(config, taps[0]["attn_pool"]["attention"]))
        traces |= dict.fromkeys(("residual", "local", "local_mean"), by_logit)
    residual = cotangent[config.readout_slice]
    return Head(logits, target, readout_of(config, attention), cotangents, residual, traces)


def attention_head(config: ViTConfig, model: Stages, params: Params, x: Tokens, target: Target) -> Head:
    """The head of a pass without gradients."""
    if not config.pools_by_attention:
        logits = model.classify(params, x)
        return Head(logits, choose_target(logits, target), readout_of(config, None))
    logits, attention = model.pool(params, None, x)
    traces = {None: HeadTrace(of_all_tokens(config, attention))}
    return Head(logits, choose_target(logits, target), readout_of(config, attention), traces=traces)


def readout_of(config: ViTConfig, attention: Attention | None) -> Row:
    """Weights by which the head pools the tokens: constant, or the mean over heads of a pooling head's attention."""
    if attention is None:
        return config.readout_weights()
    return of_all_tokens(config, attention).mean(axis=(0, 1))


def of_all_tokens(config: ViTConfig, attention: Attention) -> Attention:
    """A pooling head's attention [h, 1, p], or its gradient, at all tokens [h, 1, n]: 0 where it cannot attend."""
    return jnp.pad(at_least_float32(attention), ((0, 0), (0, 0), (config.tokens - attention.shape[-1], 0)))
