"""Array types by shape. One letter per axis, the same in every signature and einsum of the project.

b image   l layer   h head   n query token   m key token   r some query tokens   d head dim   c width
k class
"""

from __future__ import annotations

from jaxtyping import Array, Float, Int, PyTree

Image = Float[Array, "height width 3"]  # normalised pixels
Tokens = Float[Array, "n c"]
Heads = Float[Array, "h n d"]
Attention = Float[Array, "h n m"]  # after softmax: every row sums to 1
Attended = Float[Array, "h r m"]  # its rows for some queries, or their gradient
Square = Float[Array, "n m"]
Row = Float[Array, " n"]  # one token's row of a square
Logits = Float[Array, " k"]
Scalar = Float[Array, ""]
Target = Int[Array, ""]
Params = PyTree[Float[Array, "..."]]

__all__ = [
    "Array",
    "Attended",
    "Attention",
    "Heads",
    "Image",
    "Logits",
    "Params",
    "Row",
    "Scalar",
    "Square",
    "Target",
    "Tokens",
]
