"""The arguments by which subcommands name a model, in one place: what `vitjax.load` takes, as flags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vitjax.cli.arguments import OptionalCount, OptionalText, Templates, flat, one_line_help, option
from vitjax.errors import ConfigError, ImageError
from vitjax.images.picture import open_source
from vitjax.models.load import BUNDLED, bundled_entry
from vitjax.models.model import Model
from vitjax.output.terminal import say


def _model_default(value: str) -> str:
    in_words = {"None": "(required for photographs)", "''": ""}
    return in_words.get(value, f"(default: {value})")


@one_line_help
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
        templates: of CLIP and SigLIP: prompts with {} in place of a class name, or of the words of --target text:WORDS;
            the embeddings of several are averaged. Class names are put into "a photo of a {}." if not given, and words
            are taken as they stand.
        ema: read averaged (EMA) weights where a file holds raw ones, too; --no-ema reads the raw ones.
    """

    model: Annotated[str | None, option(metavar="MODEL", help_behavior_hint=_model_default)] = None
    weights: Annotated[str | None, option(metavar="SOURCE")] = None
    arch: OptionalText = None
    num_classes: OptionalCount = None
    class_names: Annotated[Path | None, option(metavar="FILE")] = None
    preprocess: Annotated[str | None, option(metavar="NAME=VALUE,...")] = None
    templates: Templates = ()
    ema: bool = True

    def load(self, dtype: str = "float32", *, quiet: bool = False) -> Model:
        """The model.

        Args:
            dtype: as for `vitjax.load`.
            quiet: do not call `announce`; the caller does when nothing can fail any more.

        Raises:
            UnknownNameError, WeightsError, ConfigError: as `vitjax.load`.
            LabelError: the file of class names cannot be used.
        """
        from vitjax.models.class_names import read_class_names
        from vitjax.models.load import load

        if not quiet:
            self.announce()
        return load(
            self.model or BUNDLED,
            self.weights,
            arch=self.arch,
            num_classes=self.num_classes,
            class_names=None if self.class_names is None else read_class_names(self.class_names),
            preprocess=None if self.preprocess is None else parse_preprocess(self.preprocess),
            ema=self.ema,
            templates=flat(self.templates) or None,
            dtype=dtype,
        )

    def announce(self) -> None:
        """Say on stderr that the bundled model is used, where no model is named."""
        if self.is_toy:
            say(
                f"no --model given: this is {BUNDLED}, the small bundled model of drawn shapes, which knows nothing of "
                "photographs",
                error=True,
            )

    @property
    def is_toy(self) -> bool:
        """Whether the command names no model, so that the bundled one is used."""
        return self.model is None and self.weights is None

    def check_images(self, files: Iterable[Path]) -> None:
        """Check that the bundled model is not used for photographs only because no model is named.

        What has the size of its scenes is taken for one of them; what cannot be opened is left to the reader of images.

        Raises:
            ImageError: no model is named, and an image has another size than the scenes.
        """
        height, width = bundled_entry().config.image_size
        for file in files if self.is_toy else ():
            try:
                size = open_source(file)[0].size
            except ImageError:
                continue
            if size != (width, height):
                raise ImageError(
                    f"{file}: name the model to explain, as in --model vit_base_patch16_224; without --model there is "
                    f"only {BUNDLED}, a small model of drawn shapes in images of {width} x {height} pixels"
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
