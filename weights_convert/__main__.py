"""The conversion command: `python -m weights_convert SOURCE --arch NAME -o DIR [--verify]`."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from vitjax.errors import VitjaxError, WeightsError
from vitjax.output.terminal import say


def convert(
    source: Annotated[str, tyro.conf.Positional],
    /,
    arch: str,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    verify: bool = False,
    num_classes: int | None = None,
) -> int:
    """Convert a checkpoint to a directory of verified arrays that vitjax.load accepts as weights.

    Args:
        source: .safetensors, .pth, .pt or .bin file with timm's or Hugging Face's parameter names, or a hub id.
        arch: name of the architecture (see `vitjax models`).
        out: output directory; must be empty or absent.
        verify: run the written checkpoint and timm on the same inputs and print the differences of every layer.
        num_classes: number of classes of the head, where it is not the architecture's default.

    Returns:
        The exit status: 0, or 1 if the differences exceed the tolerance.

    Raises:
        WeightsError: the source does not exist, cannot be read, or belongs to another architecture.
        ConfigError: the output directory is not empty or not writable.
        UnknownNameError: no architecture is called `arch`.
    """
    from vitjax.models.families import find, known_configs
    from vitjax.nn.network import transformer
    from weights_convert.checkpoint import prepare_directory, write_checkpoint
    from weights_convert.load import params_of, read_file
    from weights_convert.source import locate

    config = transformer(find(arch).config, "the conversion", arch)
    prepare_directory(out)
    path, kind = locate(source)
    if kind == "orbax":
        raise WeightsError(f"{path}: is a directory; the source must be a checkpoint file or a hub id")
    if num_classes is not None:
        config = replace(config, num_classes=num_classes)
    state, notes = read_file(path)
    for note in notes:
        say(f"{source}: {note}", error=True)
    config, params = params_of(state, config, source, known_configs())
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    write_checkpoint(out, params, config, arch, {"path": source, "sha256": sha})
    say(f"{out}  {arch}, {sum(array.size for array in state.values()):,} parameters")
    return 0 if not verify else _verify(out, arch, state, num_classes)


def _verify(out: Path, arch: str, state: dict, num_classes: int | None) -> int:
    """Load the written checkpoint with `vitjax.load` and compare it with timm running the source's state dict."""
    from vitjax.models.load import load
    from weights_convert.check import verify

    report = verify(load(arch, weights=out, num_classes=num_classes), arch, state)
    say(report)
    return 0 if report.passed else 1


def main() -> None:
    """Run the command. Errors that a user can cause are printed as one message, with exit status 2."""
    try:
        status = tyro.cli(convert, prog="python -m weights_convert")
    except VitjaxError as error:
        say(f"error: {error}", error=True)
        status = 2
    sys.exit(status)


if __name__ == "__main__":
    main()
