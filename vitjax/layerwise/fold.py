"""What a recurrence over layers is, and what it sees of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.nn.ops import Ops
from vitjax.shapes import Array, Attention, Heads, Image, Logits, Params, Target, Tokens

PREDICTED, SECOND = -1, -2
"""Targets that mean "the class with the highest logit" and "the second highest"."""

Score = Literal["logit", "probability"]
"""The scalar that a method explains."""

Gradient = Literal["logit", "probability", "residual", "local", "local_mean"]
"""Of what, and along which way, a fold's gradients are taken.

"logit", "probability": of that score, through everything. "residual": of the logit, along the residual stream and
the MLPs only, each block's attention input taken as constant. "local": of the logit that the head gives to this
block's own output, so only the block itself is differentiated; "local_mean": the same with the mean over all tokens
in place of the model's pooling.

Of the last three no gradient leaves the rows of the tokens that the head reads: a class token's costs next to
nothing.
"""

SCORES = ("logit", "probability")


class LayerTrace(NamedTuple):
    """One block of one image; with a leading axis l (or b, l) the whole stack. Gradients are of the score.

    Floats are float32 at least, so that whatever a method accumulates does not overflow a half-precision model.

    Relevance is there where the fold has rules: what their table makes of a one at the target's logit on its way
    back.

    In a trace of a "residual" or "local" gradient, attention_grad, middle_grad and output_grad have only the rows
    `config.readout_slice` ("local_mean": all rows); the other gradients are None.
    """

    layer: Array  # block number, 0 next to the pixels
    params: Params
    tokens: Tokens  # entering the block (residual stream, before norm1)
    normed: Tokens  # norm1's output
    middle: Tokens  # after attention and its residual
    output: Tokens
    values: Heads
    scores: Attention  # scaled, before softmax
    attention: Attention  # after softmax, rows sum to 1
    # What follows is there in sweeps with gradients; of single rows where the gradient stays on them.
    tokens_grad: Tokens = None  # type: ignore[assignment]
    normed_grad: Tokens = None  # type: ignore[assignment]
    middle_grad: Tokens = None  # type: ignore[assignment]
    output_grad: Tokens = None  # type: ignore[assignment]
    scores_grad: Attention = None  # type: ignore[assignment]
    attention_grad: Attention = None  # type: ignore[assignment]
    linear_grads: Mapping[str, Tokens] | None = None  # by the results of qkv, proj, fc1, fc2
    # And this in sweeps with rules.
    tokens_relevance: Tokens = None  # type: ignore[assignment]
    attention_relevance: Attention = None  # type: ignore[assignment]


class Boundary(NamedTuple):
    """What lies outside the blocks, for `Fold.finish`. Gradients of a score and relevance are there if asked for."""

    params: Params
    image: Image
    tokens: Tokens  # entering block 0
    tokens_grad: Tokens = None  # type: ignore[assignment]
    patches_grad: Tokens = None  # type: ignore[assignment]  # by the patch embedding's result [patches, c]
    image_grad: Image = None  # type: ignore[assignment]
    tokens_relevance: Tokens = None  # type: ignore[assignment]
    image_relevance: Image = None  # type: ignore[assignment]


class Fold(NamedTuple):
    """A recurrence over layers: `finish(step(... step(init, summarise(last)) ..., summarise(first)), ends)`.

    summarise: LayerTrace -> what the method needs of a layer, small.
    step: (carry, summary, layer number) -> carry.
    finish: (carry, Ends) -> the method's result.
    gradient: which gradients the trace holds; None for methods of attention alone.
    rules: table whose relevance the trace holds beside them.
    order: "last_left" steps from the last block to the first (information flow, M_{L-1} ... M_0 seen from the
        readout row); "first_left" from the first to the last, and "stacked" hands `finish` the summaries of all
        layers, [l, ...]. The last two store one summary per layer.
    lowest: of a "last_left" fold that looks at nothing below this block. A sweep in which all say so ends there.
    to_input: whether it looks at gradients or relevance below the attention of its lowest block. A sweep in which none
        says so is compiled in a form that leaves out what nobody looks at there; its results are right all the same.
    """

    init: Any
    summarise: Callable[[LayerTrace], Any]
    step: Callable[[Any, Any, Array], Any]
    finish: Callable[[Any, Boundary], Any]
    gradient: Gradient | None = None
    rules: Ops | None = None
    order: Literal["last_left", "first_left", "stacked"] = "last_left"
    lowest: int = 0
    to_input: bool = False


class PassResults(NamedTuple):
    """What one sweep over one image yields."""

    logits: Logits
    target: Target
    results: tuple[Array, ...]  # one per fold


def wide(x: Array) -> Array:
    """float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def choose_target(logits: Logits, target: Target) -> Target:
    """`target`, or the class that PREDICTED or SECOND stands for."""
    if logits.shape[0] == 1:
        return jnp.zeros_like(target)
    _, best = lax.top_k(logits, 2)
    return jnp.where(target == PREDICTED, best[0], jnp.where(target == SECOND, best[1], target)).astype(jnp.int32)


def score_gradient(logits: Logits, target: Target, score: str) -> Logits:
    """d score / d logits: p_k (e_k - p) for the probability of class k, e_k for every gradient of the logit."""
    one_hot = jax.nn.one_hot(target, logits.shape[0], dtype=logits.dtype)
    if score != "probability":
        return one_hot
    p = jax.nn.softmax(wide(logits)).astype(logits.dtype)
    return p[target] * (one_hot - p)
