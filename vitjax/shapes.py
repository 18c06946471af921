"""Array types by shape. One letter per axis, the same in every signature and einsum of the project.

b image   l layer   h head   n query token   m key token   r some query tokens   d head dim   c width
k class

The tests check these shapes at run time (jaxtyping's option in pyproject.toml): within a call, a letter is one number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int, PyTree
else:
    Array = jax.Array | np.ndarray
    try:
        from jaxtyping import Bool, Float, Int, PyTree
    except ModuleNotFoundError:  # shapes are then documentation alone

        class Bool:
            def __class_getitem__(cls, shape: Any) -> Any:
                return Any

        Float = Int = PyTree = Bool

Image = Float[Array, "height width 3"]  # normalised pixels
Tokens = Float[Array, "n c"]
SomeTokens = Float[Array, "r c"]
Heads = Float[Array, "h n d"]
Values = Float[Array, "h m d"]  # of the key tokens
Attention = Float[Array, "h n m"]  # after softmax: every row sums to 1
Attended = Float[Array, "h r m"]  # its rows for some queries, or their gradient
Square = Float[Array, "n m"]
Row = Float[Array, " n"]  # one token's row of a square
Logits = Float[Array, " k"]
Scalar = Float[Array, ""]
Target = Int[Array, ""]
Params = PyTree[Array]  # floats; those of a function also integers and PRNG keys
if not TYPE_CHECKING:
    Target = Target | int  # a Python integer works wherever nothing indexes it


def at_least_float32(x: Array) -> Array:
    """Half precision and integers as float32; float32 and float64 unchanged."""
    return x.astype(accumulation_dtype(x.dtype))


def accumulation_dtype(dtype: Any) -> Any:
    """The dtype that sums over values of `dtype` are taken in: float32, or float64 for float64."""
    return jnp.promote_types(dtype, jnp.float32)


def ceil_div(numerator: int, denominator: int) -> int:
    """The smallest integer that is not below numerator / denominator."""
    return -(-numerator // denominator)


__all__ = [
    "Array",
    "Attended",
    "Attention",
    "Bool",
    "Float",
    "Heads",
    "Image",
    "Int",
    "Logits",
    "Params",
    "PyTree",
    "Row",
    "Scalar",
    "SomeTokens",
    "Square",
    "Target",
    "Tokens",
    "Values",
    "accumulation_dtype",
    "at_least_float32",
    "ceil_div",
]
