"""Floating-point operations of a program: its matrix products and convolutions, loops counted as often as they run."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import jax
from jax.interpreters.partial_eval import dce_jaxpr

PRODUCTS = ("dot_general", "conv_general_dilated")
FUSED_ATTENTION = "dot_product_attention_fwd"
"""How the name of JAX's primitive for cuDNN's attention begins: (q [b, n, h, d], k, v [b, m, h, d], ...) -> as q."""


class Product(NamedTuple):
    """A matrix product, convolution or fused attention of a program.

    flops: of one run of it, a multiply and an add are two. bytes: of its operands and its result, each touched once.
    dtype: of its operands. times: how often it runs.
    """

    flops: float
    bytes: int
    dtype: str
    times: int


def flops(program: Any, *arguments: Any) -> float:
    """Operations (a multiply and an add are two) of a jitted program for these arguments.

    Of matrix products, convolutions and fused attention, which are nearly all of a network's; not of what no result
    depends on, as the compiler leaves it out. XLA's own count takes the body of a loop once, whatever its length; one
    of unknown length (`while`) counts once here, too.
    Cost: a trace, no compilation.
    """
    return sum(each.flops * each.times for each in products(program, *arguments))


def products(program: Any, *arguments: Any) -> list[Product]:
    """Every matrix product and convolution that `flops` counts, in the program's order."""
    traced = program.trace(*arguments).jaxpr.jaxpr
    needed, _ = dce_jaxpr(traced, [True] * len(traced.outvars))
    return list(_products(needed))


def _products(jaxpr: Any, times: int = 1) -> Iterator[Product]:
    for each in jaxpr.eqns:
        name = each.primitive.name
        count = 3 if name.startswith(FUSED_ATTENTION) else 2 if name in PRODUCTS else 0
        if count:
            operands = [variable.aval for variable in each.invars[:count]]
            touched = sum(aval.size * aval.dtype.itemsize for aval in (*operands, each.outvars[0].aval))
            yield Product(_flops(each), touched, str(operands[0].dtype), times)
        elif name == "cond":
            branches = [list(_products(branch.jaxpr, times)) for branch in each.params["branches"]]
            yield from max(branches, key=lambda found: sum(product.flops * product.times for product in found))
        else:
            length = each.params.get("length", 1) if name == "scan" else 1
            for value in each.params.values():
                for leaf in jax.tree.leaves(value, is_leaf=_is_jaxpr):
                    if _is_jaxpr(leaf):
                        yield from _products(getattr(leaf, "jaxpr", leaf), times * length)


def _flops(equation: Any) -> float:
    result = equation.outvars[0].aval.shape
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * prod(result) * prod(left[axis] for axis in contracted)
    if equation.primitive.name.startswith(FUSED_ATTENTION):  # scores, and attention times values
        return 4.0 * prod(result) * equation.invars[1].aval.shape[-3]
    kernel = equation.invars[1].aval.shape
    outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2.0 * prod(result) * prod(kernel) / outputs


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")
