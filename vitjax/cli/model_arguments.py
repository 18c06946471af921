"""The arguments by which subcommands name a model, in one place: what `vitjax.load` takes, as flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vitjax.errors import ConfigError
from vitjax.models.model import Model


@dataclass(frozen=True)
class ModelArguments:
    """The model of a command.

    Args:
        model: name of a model, see `vitjax models`, with its tag or without; or a checkpoint file, a folder with its
            configuration (Hugging Face, timm, OpenCLIP), a directory of weights_convert, or a hub id.
        weights: of a named model: checkpoint file, folder, directory of weights_convert or hub id; the name's default
            weights if not given.
        arch: name of the architecture, where the shapes in a checkpoint file leave a doubt.
        num_classes: number of classes of the head; if not given, it follows from the weights.
        class_names: file of class names, one a line, or JSON (a list, or a dict of numbers and names).
        preprocess: replaces parts of the preprocessing, as in
            mean=0.5,0.5,0.5,std=0.5,0.5,0.5,crop_pct=1.0,crop_mode=squash,interpolation=bilinear,size=256.
        ema: read averaged weights where a file has raw ones, too.
    """

    model: str = "vitjax_scenes"
    weights: str | None = None
    arch: str | None = None
    num_classes: int | None = None
    class_names: Path | None = None
    preprocess: str | None = None
    ema: bool = True

    def load(self, dtype: str = "float32") -> Model:
        """The model.

        Raises:
            UnknownNameError, WeightsError, ConfigError: as `vitjax.load`.
            LabelError: the file of class names cannot be used.
        """
        from vitjax.models.class_names import read_class_names
        from vitjax.models.load import load

        return load(
            self.model,
            self.weights,
            arch=self.arch,
            num_classes=self.num_classes,
            class_names=None if self.class_names is None else read_class_names(self.class_names),
            preprocess=None if self.preprocess is None else parse_preprocess(self.preprocess),
            ema=self.ema,
            dtype=dtype,
        )


ModelOption = Annotated[ModelArguments, tyro.conf.arg(name="")]
DEFAULT = ModelArguments()


def parse_preprocess(text: str) -> dict[str, Any]:
    """The entries of `--preprocess`: numbers where they can be, several of them as a tuple, else texts.

    Raises:
        ConfigError: the text does not have the form name=value,name=value.

    Example:
        >>> from vitjax.cli.model_arguments import parse_preprocess
        >>> parse_preprocess("mean=0.5,0.4,0.3,crop_pct=1,interpolation=bilinear")
        {'mean': (0.5, 0.4, 0.3), 'crop_pct': 1, 'interpolation': 'bilinear'}
    """
    entries: dict[str, list[Any]] = {}
    name = ""
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals:
            name, part = key.strip(), value
            if name in entries:
                raise ConfigError(f"--preprocess has two values for {name}")
            entries[name] = []
        if not name or not part.strip():
            raise ConfigError(
                f"--preprocess {text!r}: must be name=value,name=value, as in mean=0.5,0.5,0.5,crop_pct=1.0"
            )
        entries[name].append(_number(part.strip()))
    return {key: values[0] if len(values) == 1 else tuple(values) for key, values in entries.items()}


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
