"""`Fold`, a recurrence over layers, and `LayerTrace`, what it reads of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from vitjax.nn.ops import Ops
from vitjax.output.html import html_table
from vitjax.shapes import Array, Attention, Heads, Image, Logits, Params, Row, Target, Tokens

Gradient = Literal["logit", "probability", "residual", "local", "local_mean"]
"""The scalar that a fold's gradients are of, and the path along which they are taken.

"logit", "probability": that score, through the whole model. "residual": the logit, along the residual stream and the
MLPs only, with every block's attention input held constant. "local": the logit that the head computes from this
block's own output, so that only the block itself is differentiated. "local_mean": as "local", with the mean over all
tokens in place of the model's pooling.

Gradients of "residual" and "local" exist only at the tokens that the head reads, so that with a class token they cost
next to nothing.
"""


class LayerTrace(NamedTuple):
    """Activations, gradients and relevance of one block for one image; stacked, with a leading axis l (or b, l).

    Floats are float32 or float64, so that what a method accumulates does not overflow a half-precision model.
    Gradients are of the fold's score. Relevance is what the fold's table of rules propagates from a one at the class,
    or from the gradient of another target by the logits: under z-rules, from its positive part, minus what they
    propagate from the size of its negative part. It is None without rules.

    With the gradient "residual" or "local", attention_grad, middle_grad and output_grad hold the tokens
    `config.readout_slice` only ("local_mean": every token), and the other gradients are None.
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
    readout: Row  # weights by which the head pools the tokens; of an attention pooling head the mean over its heads
    # In passes with gradients:
    tokens_grad: Tokens = None  # type: ignore[assignment]
    normed_grad: Tokens = None  # type: ignore[assignment]
    middle_grad: Tokens = None  # type: ignore[assignment]
    output_grad: Tokens = None  # type: ignore[assignment]
    scores_grad: Attention = None  # type: ignore[assignment]
    attention_grad: Attention = None  # type: ignore[assignment]
    # by the outputs of qkv, proj, fc1, fc2
    linear_grads: Mapping[str, Tokens] = None  # type: ignore[assignment]
    # In passes with rules:
    tokens_relevance: Tokens = None  # type: ignore[assignment]
    attention_relevance: Attention = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Two lines: the shapes of the activations, and which gradients and relevance there are."""
        held = dict(self._arrays())
        shapes = [f"{name} {list(held[name].shape)}" for name in ("attention", "tokens", "values") if name in held]
        by, of = ([name.removesuffix(end) for name in held if name.endswith(end)] for end in ("_grad", "_relevance"))
        gradients = f"gradients by {', '.join(by)}" if by else "no gradients"
        relevance = f"; relevance of {', '.join(of)}" if of else ""
        return f"LayerTrace: {', '.join(shapes)}\n  {gradients}{relevance}"

    def _repr_html_(self) -> str:
        """A table of the arrays for notebooks."""
        rows = [(name, str(list(array.shape)), str(array.dtype)) for name, array in self._arrays()]
        return html_table("LayerTrace", rows, ("field", "shape", "dtype"))

    def _arrays(self) -> list[tuple[str, Any]]:
        """The fields that are arrays, by name."""
        return [(name, value) for name, value in zip(self._fields, self, strict=True) if hasattr(value, "shape")]


class HeadTrace(NamedTuple):
    """Attention of a pooling head, [h, 1, n], with the names of LayerTrace: a layer whose only query is learned.

    Methods fuse it as they fuse the attention of a block. There is no residual connection around it, so that the fused
    row itself, without an identity, is where recurrences over rows start.
    """

    attention: Attention
    attention_grad: Attention = None  # type: ignore[assignment]
    attention_relevance: Attention = None  # type: ignore[assignment]


class Boundary(NamedTuple):
    """Values outside the blocks, for `Fold.finish`. Gradients and relevance are None unless the fold asks for them."""

    params: Params
    image: Image
    tokens: Tokens  # entering block 0
    tokens_grad: Tokens = None  # type: ignore[assignment]
    patches_grad: Tokens = None  # type: ignore[assignment]  # by the patch embedding's output [patches, c]
    image_grad: Image = None  # type: ignore[assignment]
    tokens_relevance: Tokens = None  # type: ignore[assignment]
    image_relevance: Image = None  # type: ignore[assignment]


class Fold(NamedTuple):
    """A recurrence over layers: `finish(step(... step(init, summarise(last)) ..., summarise(first)), boundary)`.

    begin: where the model pools by attention, HeadTrace -> the carry that replaces `init`; None keeps `init`.
    summarise: LayerTrace -> the small part of a layer that the method needs.
    step: (carry, summary, layer number) -> carry.
    finish: (carry, Boundary) -> the method's result.
    gradient: which gradients the trace holds; None for methods that read attention only.
    rules: the table of relevance rules whose relevance the trace holds as well; None for none.
    order: "output_to_input" steps from the last block to the first, as the product M_{L-1} ... M_0 is evaluated from
        the readout row. "input_to_output" steps from the first block to the last. "stacked" hands `finish` the
        summaries of all layers, [l, ...]. The last two store one summary per layer.
    lowest: the lowest block that an "output_to_input" fold reads. A shared pass ends at the lowest of all its folds.
    to_input: whether the fold reads gradients or relevance below the attention of its lowest block. It is a hint to
        the compiled form: a pass in which no fold sets it skips computation that no fold reads. Results are the same.
    """

    init: Any
    summarise: Callable[[LayerTrace], Any]
    step: Callable[[Any, Any, Array], Any]
    finish: Callable[[Any, Boundary], Any]
    gradient: Gradient | None = None
    rules: Ops | None = None
    order: Literal["output_to_input", "input_to_output", "stacked"] = "output_to_input"
    lowest: int = 0
    to_input: bool = False
    begin: Callable[[HeadTrace], Any] | None = None


class PassResults(NamedTuple):
    """Results of one shared pass over one image."""

    logits: Logits
    target: Target
    results: tuple[Array, ...]  # one for each fold
