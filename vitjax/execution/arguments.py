"""Checks of numbers that users pass, before anything is computed or written."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from vitjax.errors import ConfigError

MAX_SEED = 2**32 - 1
"""Seeds are uint32 in compiled programs."""


def check_whole_number(name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """The value as an int.

    Args:
        name: of the argument, for the error message.
        value: what was passed.
        minimum, maximum: the smallest and the largest value; None for no limit.

    Raises:
        ConfigError: the value is no whole number (a bool is none) or out of range.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < minimum or (maximum is not None and value > maximum):
        valid = f"at least {minimum}" if maximum is None else f"{minimum} to {maximum}"
        raise ConfigError(f"{name}={value!r}: must be a whole number, {valid}")
    return int(value)


def check_seed(value: Any) -> int:
    """A seed, 0 to 2^32 - 1.

    Raises:
        ConfigError: it is another value.
    """
    return check_whole_number("seed", value, 0, MAX_SEED)
