"""What several commands share: argument types, texts to requests, the progress bar."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from vitjax.errors import ConfigError

Out = Annotated[Path, tyro.conf.arg(name="out", aliases=["-o"], metavar="DIR")]
Pictures = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMG")]
Methods = Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD")]
Metrics = Annotated[tuple[str, ...], tyro.conf.arg(metavar="METRIC")]
RunDirectory = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


def parse(text: str, kind: str = "method") -> dict[str, Any]:
    """`rollout:head_fusion=max,discard_ratio=0.9` -> {"method": "rollout", "head_fusion": "max", ...}."""
    name, _, rest = text.partition(":")
    options: dict[str, Any] = {kind: name}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"{kind} {text!r}: option {part!r} is not of the form name=value")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options


def method_requests(methods: Sequence[str], model: str) -> list[dict[str, Any]]:
    """Parsed, with "all" (what is not slow) and "everything" spelled out for that kind of model."""
    from vitjax.methods import METHODS
    from vitjax.models.families import CNNS

    able = {known: method for known, method in METHODS.items() if model not in CNNS or method.cnn is not None}
    groups = {
        "all": [{"method": known} for known, method in able.items() if not method.slow],
        "everything": [{"method": known} for known in able],
    }
    return [each for name in methods for each in groups.get(name) or [parse(name)]]


def class_of(target: str | None) -> int | str | None:
    """A target as typed: a number where it is one."""
    return None if target is None else int(target) if target.lstrip("-").isdigit() else target


class Progress:
    """A tqdm bar on stderr as a context: yields a function to call with the number just finished."""

    def __init__(self, total: int, unit: str) -> None:
        self.bar = tqdm(total=total, unit=" " + unit, file=sys.stderr)

    def __enter__(self) -> Callable[[int], None]:
        return lambda count: self.bar.update(count)

    def __exit__(self, *_: object) -> None:
        self.bar.close()
