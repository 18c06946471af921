"""python -m weights_convert SOURCE --arch NAME -o DIR [--verify]"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from vitjax.errors import VitjaxError, WeightsError, unknown_name


def convert(
    source: Annotated[str, tyro.conf.Positional],
    /,
    arch: str,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    verify: bool = False,
    num_classes: int | None = None,
) -> int:
    """Convert a checkpoint to a directory of verified arrays that vitjax.load takes as weights.

    Args:
      source: .safetensors, .pth, .pt or .bin file in timm's or Hugging Face's names, or a hub id.
      arch: name of the architecture (see `vitjax models`).
      out: directory to write; must be empty or absent.
      verify: run the written checkpoint against timm and print the differences of every layer.
      num_classes: classes of the head, where not the name's own.
    Returns: the exit status: 0, or 1 if the differences are beyond the tolerance.
    """
    from vitjax.models.families import ZOO, known_configs
    from weights_convert.checkpoint import prepare_directory, write_checkpoint
    from weights_convert.load import params_of, read_state
    from weights_convert.source import locate

    if arch not in ZOO:
        raise unknown_name("model", arch, ZOO)
    prepare_directory(out)
    path, kind = locate(source)
    if kind == "orbax":
        raise WeightsError(f"{path}: is a directory; the source is a checkpoint file or a hub id")
    config = ZOO[arch].config
    if num_classes is not None:
        config = replace(config, num_classes=num_classes)
    state = read_state(path)
    config, params = params_of(state, config, source, known_configs())
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    write_checkpoint(out, params, config, arch, {"path": source, "sha256": sha})
    print(f"{out}  {arch}, {sum(array.size for array in state.values()):,} parameters")
    return 0 if not verify else _verify(out, arch, state, num_classes)


def _verify(out: Path, arch: str, state: dict, num_classes: int | None) -> int:
    """Load what was written as a user would, and compare it with timm on the source's own state dict."""
    from vitjax.models.load import load
    from weights_convert.check import verify

    report = verify(load(arch, weights=out, num_classes=num_classes), arch, state)
    print(report)
    return 0 if report.passed else 1


def main() -> None:
    """Entry point: errors that a user can cause are one message and exit status 2."""
    try:
        status = tyro.cli(convert, prog="python -m weights_convert")
    except VitjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    sys.exit(status)


if __name__ == "__main__":
    main()
