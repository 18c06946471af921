"""Programs (jaxprs) evaluated with one of their inner variables as an input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.extend import core

INLINED = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
"""Primitives that only call their jaxpr, so that a variable inside of it can be replaced."""


def place_of(jaxpr: Any, variable: Any) -> tuple[int, ...] | None:
    """Where a variable is computed: numbers of equations, each inside the one before it, and of the last one's output.

    None for a constant or an input of the program, and for one of several outputs of a loop or a custom rule, whose
    other outputs may depend on it.
    """
    for number, equation in enumerate(jaxpr.eqns):
        if variable not in equation.outvars:
            continue
        output = equation.outvars.index(variable)
        inner = _inner(equation)
        if inner is None:
            opaque = len(equation.outvars) > 1 and core.jaxprs_in_params(equation.params)
            return None if opaque else (number, output)
        inside = inner.outvars[output]
        if isinstance(inside, core.Literal):
            return None
        if inside in inner.invars:  # it only passes through
            return place_of(jaxpr, equation.invars[inner.invars.index(inside)])
        place = place_of(inner, inside)
        return None if place is None else (number, *place)
    return None


def _inner(equation: Any) -> Any:
    """The jaxpr that an equation only calls; None for other equations."""
    if equation.primitive.name not in INLINED:
        return None
    inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
    return getattr(inner, "jaxpr", inner)


def evaluate_with(
    jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any], place: tuple[int, ...], value: Any
) -> list[Any]:
    """Outputs of a program in which `value` is the variable at `place`."""
    known: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for number, equation in enumerate(jaxpr.eqns):
        inputs, inner = [read(atom) for atom in equation.invars], _inner(equation)
        if number == place[0] and inner is not None:
            within = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
            outputs = evaluate_with(inner, getattr(within, "consts", ()), inputs, place[1:], value)
        else:
            outputs = _bind(equation, inputs)
            if number == place[0]:
                outputs[place[1]] = value
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(equation: Any, inputs: Sequence[Any]) -> list[Any]:
    """Outputs of one equation, as `jax.core.eval_jaxpr` computes them."""
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # older versions of JAX return a pair
    with equation.ctx.manager:
        outputs = equation.primitive.bind(*functions, *inputs, **params)
    return list(outputs) if equation.primitive.multiple_results else [outputs]
