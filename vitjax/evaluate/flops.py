"""Floating-point operations of a program: its matrix products and convolutions, loops counted as often as they run."""

from __future__ import annotations

from math import prod
from typing import Any

import jax
from jax.interpreters.partial_eval import dce_jaxpr


def flops(program: Any, *arguments: Any) -> float:
    """Operations (a multiply and an add are two) of a jitted program for these arguments.

    Of matrix products and convolutions, which are nearly all of a network's; not of what no result depends on, as the
    compiler leaves it out. XLA's own count takes the body of a loop once, whatever its length; a loop of unknown length
    (`while`) counts once here, too.
    Cost: a trace, no compilation.
    """
    traced = program.trace(*arguments).jaxpr.jaxpr
    needed, _ = dce_jaxpr(traced, [True] * len(traced.outvars))
    return _count(needed)


def _count(jaxpr: Any) -> float:
    return sum(_equation(each) for each in jaxpr.eqns)


def _equation(each: Any) -> float:
    name = each.primitive.name
    if name == "dot_general":
        (contracted, _), _ = each.params["dimension_numbers"]
        left = each.invars[0].aval.shape
        return 2.0 * prod(each.outvars[0].aval.shape) * prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, out = each.invars[1].aval.shape, each.outvars[0].aval.shape
        outputs = kernel[each.params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * prod(out) * prod(kernel) / outputs
    if name == "cond":
        return max(_count(branch.jaxpr) for branch in each.params["branches"])
    times = each.params.get("length", 1) if name == "scan" else 1
    inner = [leaf for value in each.params.values() for leaf in jax.tree.leaves(value, is_leaf=_is_jaxpr)]
    return times * sum(_count(getattr(leaf, "jaxpr", leaf)) for leaf in inner if _is_jaxpr(leaf))


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")
