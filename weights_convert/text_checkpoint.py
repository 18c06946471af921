"""The text tower in a directory of weights_convert.

DIR/text/arrays/           the parameters
DIR/text/tokenizer.json    a copy of the source's, if it has one
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitjax.errors import ConfigError, WeightsError
from vitjax.nn.text import TextConfig
from weights_convert.load import digests
from weights_convert.stored import check_same, file_digests, load_arrays, save_arrays
from weights_convert.text import TextWeights, parameter_shapes

ARRAYS, TOKENIZER = "arrays", "tokenizer.json"
_NUMBERS = ("scale", "bias", "clean", "pad")


def write_tower(directory: Path, text: TextWeights) -> dict[str, Any]:
    """Write a text tower; returns its description for the manifest."""
    directory.mkdir()
    save_arrays(directory / ARRAYS, text.params)
    tokenizer = {}
    if text.tokenizer is not None:
        shutil.copyfile(text.tokenizer, directory / TOKENIZER)
        tokenizer = {name: sha for name, sha in file_digests(directory).items() if name == TOKENIZER}
    return {
        "config": asdict(text.config),
        **{name: getattr(text, name) for name in _NUMBERS},
        "sha256": digests(text.params),
        "files": file_digests(directory / ARRAYS),
        "tokenizer": tokenizer,
    }


def read_tower(directory: Path, recorded: Mapping[str, Any], versions: Mapping[str, str]) -> TextWeights:
    """Read and verify a text tower.

    Args:
        recorded: what `write_tower` returned.
        versions: of the packages that wrote it, for the error message.

    Raises:
        WeightsError: the description is invalid, a digest differs, or arrays do not fit the configuration.
    """
    try:
        config = TextConfig(**recorded["config"])
        expected = parameter_shapes(config)
        numbers = {name: recorded[name] for name in _NUMBERS}
        digests_of = {name: recorded[name] for name in ("files", "sha256")}
        tokenizer = dict(recorded["tokenizer"])
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise WeightsError(f"{directory}: not a text tower: {' '.join(str(error).split())[:200]}") from error

    def check_shapes(stored: Mapping[str, Any]) -> None:
        if {path: tuple(array.shape) for path, array in stored.items()} != expected:
            raise WeightsError(f"{directory}: arrays do not fit the manifest's text tower")

    params = load_arrays(directory / ARRAYS, {**digests_of, "versions": versions}, check_shapes)
    actual = {name: sha for name, sha in file_digests(directory).items() if name == TOKENIZER}
    check_same(directory, tokenizer, actual)
    return TextWeights(config, params, tokenizer=directory / TOKENIZER if tokenizer else None, **numbers)
