"""Code that several subcommands share: types of arguments, the parsing of requests, the progress bar."""

from __future__ import annotations

import inspect
import re
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from types import FunctionType
from typing import Annotated, Any, TypeVar

import tyro
from tqdm import tqdm

from vitjax.cli.docstrings import arguments, parts
from vitjax.errors import ImageError
from vitjax.methods.options import parse

Texts = tuple[tuple[str, ...], ...]
"""The texts of a list option: one tuple for each time that the option is given."""


def _default(value: str) -> str:
    """The end of an option's help: its default, unless there is none to speak of."""
    return "" if value in ("", "''", "None") else f"(default: {value})"


option = partial(tyro.conf.arg, help_behavior_hint=_default)
"""`tyro.conf.arg` with a default in words."""

Out = Annotated[Path, option(name="out", aliases=["-o"], metavar="DIR", help_behavior_hint="(required)")]
ImageFiles = Annotated[
    tuple[Path, ...], tyro.conf.Positional, option(metavar="IMG [IMG ...]", help_behavior_hint="(required)")
]
Methods = Annotated[Texts, tyro.conf.UseAppendAction, option(metavar="METHOD [METHOD ...]")]
Metrics = Annotated[Texts, tyro.conf.UseAppendAction, option(metavar="METRIC [METRIC ...]")]
Columns = Annotated[Texts, tyro.conf.UseAppendAction, option(metavar="COLUMN [COLUMN ...]")]
Targets = Annotated[Texts, tyro.conf.UseAppendAction, option(metavar="TARGET [TARGET ...]")]
Templates = Annotated[Texts, tyro.conf.UseAppendAction, option(metavar="TEXT [TEXT ...]")]
ExifOption = Annotated[str, option(metavar="apply|ignore")]
Dtype = Annotated[str, option(metavar="float32|bfloat16|float64")]
Seed = Annotated[int, option(metavar="N")]
Count = Annotated[int, option(metavar="N")]
OptionalCount = Annotated[int | None, option(metavar="N")]
OptionalText = Annotated[str | None, option(metavar="NAME")]
OptionalDirectory = Annotated[Path | None, option(metavar="DIR")]
RunDirectory = Annotated[Path, tyro.conf.Positional, option(metavar="RUN", help_behavior_hint="(required)")]

Command = TypeVar("Command", bound=Callable[..., Any])


def one_line_help(command: Command, *, brief: bool = False) -> Command:
    """A function, or the same class, with a docstring from which tyro makes its help: each argument's text is one line.

    tyro keeps the line breaks of a docstring's entries, so that its help would break in the middle of sentences.

    Args:
        command: a subcommand, of which a copy is returned, or a dataclass of arguments.
        brief: keep the first paragraph only, for the list of subcommands.
    """
    paragraphs = [" ".join(part.body.split()) for part in parts(inspect.getdoc(command) or "") if not part.head]
    entries = [f"    {name}: {text}" for name, text in arguments(command).items()]
    if isinstance(command, FunctionType):
        copied = FunctionType(
            command.__code__, command.__globals__, command.__name__, command.__defaults__, command.__closure__
        )
        copied.__kwdefaults__, copied.__annotations__ = command.__kwdefaults__, command.__annotations__
        command = copied  # type: ignore[assignment]
    command.__doc__ = paragraphs[0] if brief else "\n\n".join([*paragraphs, "\n".join(["Args:", *entries])])
    return command


def flat(texts: Texts) -> tuple[str, ...]:
    """All texts of a list option, however often it was given."""
    return tuple(chain.from_iterable(texts))


def method_requests(methods: Texts, default: Sequence[str] = ()) -> list[str | dict[str, Any]]:
    """Parse method arguments. Groups stay texts: which methods they stand for depends on the model.

    Args:
        methods: texts as for `parse`, or groups, see `vitjax.explaining.requests.expanded`.
        default: the texts where there are none.

    Raises:
        ConfigError: an option is not of the form name=value.
    """
    from vitjax.explaining.requests import GROUPS

    return [text if text in GROUPS else parse(text, "method") for text in flat(methods) or default]


def parse_targets(targets: Texts) -> int | str | list[int | str | None] | None:
    """The target of `--target`: None without one, the only one, or the list of several, one map for each."""
    parsed = [parse_target(target) for target in flat(targets)]
    return parsed if len(parsed) > 1 else next(iter(parsed), None)


def parse_target(target: str | None) -> int | str | None:
    """The class index if the text is an integer; otherwise the text itself, or None."""
    is_index = target is not None and re.fullmatch(r"-?[0-9]{1,18}", target)
    return int(target) if target is not None and is_index else target


def check_images_given(images: Sequence[Path], **lists: Texts) -> None:
    """Check that a command has images.

    Args:
        images: those of the command.
        lists: its list options by name, which take every word that follows them.

    Raises:
        ImageError: there are none; says so if a list option has taken the name of a file.
    """
    if images:
        return
    for name, texts in lists.items():
        for text in flat(texts):
            if Path(text).exists():
                raise ImageError(f"no images given: {text} was read as a value of --{name}; put images before options")
    raise ImageError("no images given: name image files, or folders of images")


class ProgressBar:
    """A tqdm bar on stderr as a context manager, which yields a function to call with the number of finished items.

    Fractions of an item are shown, too. On a terminal the clock of the bar goes on while nothing is finished, so that a
    method that computes for minutes does not look as if it had died.

    Args:
        total: number of items.
        unit: their name, such as "images".
    """

    CLOCK = 1.0
    """Seconds between two looks at the clock."""

    def __init__(self, total: int, unit: str) -> None:
        self.bar = _Bar(total=total, unit=unit, bar_format=_Bar.LAYOUT, file=sys.stderr)
        self._over = threading.Event()

    def __enter__(self) -> Callable[[float], None]:
        if sys.stderr.isatty():
            threading.Thread(target=self._tick, daemon=True).start()
        return lambda count: self.bar.update(count)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.bar.close()

    def _tick(self) -> None:
        while not self._over.wait(self.CLOCK):
            self.bar.refresh()


class _Bar(tqdm):  # type: ignore[type-arg]
    LAYOUT = "{percentage:3.0f}%|{bar}| {done}/{total} {unit} [{elapsed}<{remaining}]"

    @property
    def format_dict(self) -> dict[str, Any]:
        values = super().format_dict
        return {**values, "done": f"{values['n']:.2f}".rstrip("0").rstrip(".")}
