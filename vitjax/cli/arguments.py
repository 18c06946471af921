"""Code that several subcommands share: argument types, the parsing of requests, the progress bar."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from vitjax.methods.options import parse

Out = Annotated[Path, tyro.conf.arg(name="out", aliases=["-o"], metavar="DIR")]
ImageFiles = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMG")]
Methods = Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD")]
Targets = Annotated[tuple[str, ...], tyro.conf.arg(metavar="TARGET")]
Metrics = Annotated[tuple[str, ...], tyro.conf.arg(metavar="METRIC")]
ExifOption = Annotated[str, tyro.conf.arg(metavar="apply|ignore")]
RunDirectory = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


def method_requests(methods: Sequence[str], model: str) -> list[dict[str, Any]]:
    """Parse method arguments and expand the groups "all" and "everything".

    Args:
        methods: texts as for `parse`, "all" (every method that is not slow) or "everything" (slow methods, too).
        model: name of a model; if it is a ResNet, the groups contain only the methods that apply to ResNets.

    Raises:
        ConfigError: an option is not of the form name=value.
    """
    from vitjax.methods import METHODS
    from vitjax.models.families import CNNS

    applicable = {name: method for name, method in METHODS.items() if model not in CNNS or method.cnn is not None}
    groups = {
        "all": [{"method": name} for name, method in applicable.items() if not method.slow],
        "everything": [{"method": name} for name in applicable],
    }
    return [request for text in methods for request in groups.get(text) or [parse(text, "method")]]


def parse_targets(targets: Sequence[str]) -> int | str | list[int | str | None] | None:
    """The target of `--target`: None without one, the only one, or the list of several, one map for each."""
    parsed = [parse_target(target) for target in targets]
    return parsed if len(parsed) > 1 else next(iter(parsed), None)


def parse_target(target: str | None) -> int | str | None:
    """The class index if the text is an integer; otherwise the text itself, or None."""
    is_index = target is not None and re.fullmatch(r"-?[0-9]{1,18}", target)
    return int(target) if target is not None and is_index else target


class ProgressBar:
    """A tqdm bar on stderr as a context manager, which yields a function to call with the number of finished items.

    Args:
        total: number of items.
        unit: their name, such as "images".
    """

    def __init__(self, total: int, unit: str) -> None:
        self.bar = tqdm(total=total, unit=" " + unit, file=sys.stderr)

    def __enter__(self) -> Callable[[int], None]:
        return lambda count: self.bar.update(count)

    def __exit__(self, *_: object) -> None:
        self.bar.close()
