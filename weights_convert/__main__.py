"""The conversion command: `python -m weights_convert SOURCE -o DIR [--arch NAME] [--verify]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from vitjax.errors import VitjaxError, WeightsError
from vitjax.output.terminal import say
from weights_convert.text import TextWeights


def convert(
    source: Annotated[str, tyro.conf.Positional],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    arch: str | None = None,
    verify: bool = False,
    num_classes: int | None = None,
    class_names: Path | None = None,
    ema: bool = True,
) -> int:
    """Convert a checkpoint to a directory of verified arrays, which vitjax.load reads without further arguments.

    Args:
        source: checkpoint file, folder or hub id, of any form that vitjax.load accepts.
        out: output directory; must be empty or absent.
        arch: name of the architecture (see `vitjax models`), where the source does not show it.
        verify: run the written checkpoint and the library that the source comes from on the same inputs, and print the
            differences of every layer.
        num_classes: number of classes of the head; if not given, it follows from the weights.
        class_names: file of class names, one a line or JSON, where the source does not state them.
        ema: read averaged weights where a file has raw ones, too.

    Returns:
        The exit status: 0, or 1 if the differences exceed the tolerance.

    Raises:
        WeightsError: the source does not exist, cannot be read, or belongs to another architecture.
        ConfigError: the output directory is not empty or not writable.
        UnknownNameError: no architecture is called `arch`.
        LabelError: the file of class names cannot be used.
    """
    from vitjax.models.class_names import read_class_names
    from vitjax.models.load import load, names
    from vitjax.nn.network import parameter_count
    from vitjax.nn.vit_config import ViTConfig
    from weights_convert.checkpoint import prepare_directory, write_checkpoint
    from weights_convert.source import file_digest, locate

    prepare_directory(out)
    labels = None if class_names is None else read_class_names(class_names)
    options = {"num_classes": num_classes, "class_names": labels, "ema": ema}
    model = load(source, **options) if arch is None else load(arch, weights=source, **options)  # type: ignore[arg-type]
    path, kind = locate(source)
    if kind == "orbax" or not isinstance(model.config, ViTConfig):
        raise WeightsError(f"{path}: the source must be the checkpoint of a ViT, and no directory of weights_convert")
    write_checkpoint(
        out,
        model.params,
        model.config,
        arch or (model.name if model.name in names() else ""),
        {"path": source, "sha256": file_digest(path)},
        class_names=None if model.labels is None else model.labels.names,
        preprocessing=model.preprocessing,
        text=None if model.text is None else _text_weights(model.text),
    )
    say(f"{out}  {arch or model.name}, {parameter_count(model.config):,} parameters")
    return 0 if not verify else _verify(out, arch, path, ema)


def _text_weights(tower: Any) -> TextWeights:
    """A `vitjax.models.text.TextTower` as `write_checkpoint` takes it."""
    return TextWeights(**{name: getattr(tower, name) for name in TextWeights._fields})


def _verify(out: Path, arch: str | None, path: Path, ema: bool) -> int:
    """Load the written checkpoint with `vitjax.load` and compare it with the library that the source comes from."""
    from vitjax.models.load import load
    from vitjax.nn.network import transformer
    from weights_convert.check import compare_on_noise, peer_of
    from weights_convert.peers import own_library
    from weights_convert.source import state_of

    model = load(str(out))
    peer = own_library(path, transformer(model.config, "--verify", model.name), ema=ema)
    report = compare_on_noise(model, peer or peer_of(model, arch or "", state_of(path, ema=ema).state))
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
