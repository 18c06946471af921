"""A state dict in timm's names -> parameters of an architecture, or an error that says what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitjax.errors import WeightsError
from vitjax.nn.vit_config import ViTConfig
from weights_convert.arch import described, foreign, names_like, summary
from weights_convert.canonical import canonical
from weights_convert.keys import State, check_fit, to_params
from weights_convert.tensors import check_finite, check_kinds, check_unmerged


def params_of(
    state: State,
    config: ViTConfig,
    source: str,
    known: Mapping[str, ViTConfig] | None = None,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Nested numpy parameters of a state dict in timm's names.

    Args:
        state: the state dict.
        config: the architecture.
        source: name of the file or hub id, for error messages.
        known: architectures by name; an error lists those whose shapes match the weights.
        dtype: dtype of the model, whose range the values must not exceed.

    Raises:
        WeightsError: the weights belong to an unsupported architecture (the message names it), keys do not fit (the
            message gives examples, in at most ten lines), tensors are not floating-point numbers, or values are NaN,
            Inf or too large for `dtype`.
    """
    state = canonical(state, config)
    refuse_foreign(state, source)
    try:
        check_fit(state, config)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}{_shape_hint(state, config, known or {})}") from None
    check_kinds(state, source)
    check_finite(state, source, dtype)
    return to_params(state, config)


def refuse_foreign(state: State, source: str) -> None:
    """Check that a state dict is that of no unsupported architecture, and no adapter or quantised copy of one.

    Raises:
        WeightsError: it is; the message names what it is.
    """
    check_unmerged(state, source)
    reason = foreign(state)
    if reason:
        raise WeightsError(f"{source}: {reason}")


def _shape_hint(state: State, config: ViTConfig, known: Mapping[str, ViTConfig]) -> str:
    """Lines that compare the sizes of the weights with those of the model; "" for weights that are not a ViT's."""
    shapes = {key: array.shape for key, array in state.items()}
    sizes = described(shapes)
    if sizes is None:
        return ""
    names = names_like(shapes, known)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    match = f" (the shapes of {', '.join(names[:3])}{more})" if names else ""
    return f"\nthe weights have {sizes}{match}\nthe requested model has {summary(config)}"
