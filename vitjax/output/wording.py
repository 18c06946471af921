"""Numbers in words, the same in figures, on pages and on the terminal."""

from __future__ import annotations


def counted(number: int, unit: str) -> str:
    """A number and its unit, in the plural unless it is one.

    Example:
        >>> from vitjax.output.wording import counted
        >>> counted(1, "image"), counted(3, "method")
        ('1 image', '3 methods')
    """
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def ordinal(number: float) -> str:
    """A number in its place, as of a percentile.

    Example:
        >>> from vitjax.output.wording import ordinal
        >>> ordinal(91), ordinal(99), ordinal(12), ordinal(97.5)
        ('91st', '99th', '12th', '97.5th')
    """
    endings = {1.0: "st", 2.0: "nd", 3.0: "rd"}
    ending = "th" if 11 <= number % 100 <= 13 else endings.get(number % 10, "th")
    return f"{number:g}{ending}"


def percent(probability: float, decimals: int = 1, space: str = " ") -> str:
    """A probability in [0, 1] in percent. One that rounding would turn into 0 or 1 is given as a bound.

    Args:
        space: stands before the sign, and after that of a bound.

    Example:
        >>> from vitjax.output.wording import percent
        >>> percent(0.872), percent(0.0001), percent(0.996, 0), percent(1.0)
        ('87.2 %', '< 0.1 %', '> 99 %', '100.0 %')
    """
    rounded, step = round(100 * probability, decimals), 10.0**-decimals
    if rounded == 0 and probability > 0:
        return f"<{space}{step:g}{space}%"
    if rounded == 100 and probability < 1:
        return f">{space}{100 - step:g}{space}%"
    return f"{100 * probability:.{decimals}f}{space}%"
