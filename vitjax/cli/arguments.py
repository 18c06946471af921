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
Metrics = Annotated[tuple[str, ...], tyro.conf.arg(metavar="METRIC")]
ExifOption = Annotated[str, tyro.conf.arg(metavar="apply|ignore")]
RunDirectory = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


def method_requests(methods: Sequence[str]) -> list[str | dict[str, Any]]:
    """Parse method arguments. Groups stay texts: which methods they stand for depends on the model.

    Args:
        methods: texts as for `parse`, or groups, see `vitjax.explaining.requests.expanded`.

    Raises:
        ConfigError: an option is not of the form name=value.
    """
    from vitjax.explaining.requests import GROUPS

    return [text if text in GROUPS else parse(text, "method") for text in methods]


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
