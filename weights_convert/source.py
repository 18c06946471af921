"""What a user gives as `weights` -> parameters: a file, a directory from weights_convert, or a hub id."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitjax.errors import WeightsError
from vitjax.nn.network import Config
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from weights_convert import torchvision_resnet
from weights_convert.arch import summary
from weights_convert.checkpoint import read_checkpoint
from weights_convert.hub import fetch, is_hub_id
from weights_convert.load import SUFFIXES, digest, digests, params_of, read_state


def locate(source: str | Path) -> tuple[Path, str]:
    """(file or directory, format); a hub id is fetched. Raises WeightsError saying what was looked for."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path, "orbax"
    if path.is_file():
        return path, path.suffix.removeprefix(".")
    if isinstance(source, str) and is_hub_id(source):
        return fetch(source), "hub"
    there = [p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, there, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise WeightsError(f"{source}: no such file, directory or hub id (owner/name){hint}")


def read_source(
    source: str | Path, config: Config, arch: str, known: Mapping[str, ViTConfig] | None = None
) -> tuple[Config, dict[str, Any], dict[str, Any]]:
    """-> (config as the weights have it, numpy parameters, record of where they are from with their sha256).

    known: as of `params_of`.

    Raises WeightsError: not found, unreadable, or not of this architecture.
    """
    path, kind = locate(source)
    if isinstance(config, ResNetConfig):
        if kind == "orbax":
            raise WeightsError(f"{path}: is a directory; weights of {arch} are a checkpoint file or a hub id")
        params = torchvision_resnet.params_of(read_state(path), config, str(source))
        shas = digests(params)
    elif kind == "orbax":
        checkpoint = read_checkpoint(path)
        if checkpoint.arch != arch:
            raise WeightsError(f"{path}: holds {checkpoint.arch}, not {arch}")
        # Hugging Face's epsilon is the checkpoint's to say; everything else is the name's.
        if replace(checkpoint.config, norm_eps=config.norm_eps) != config:
            raise WeightsError(f"{path}: holds {arch} with {summary(checkpoint.config)}; asked for {summary(config)}")
        config, params, shas = checkpoint.config, checkpoint.params, checkpoint.manifest["sha256"]
    else:
        config, params = params_of(read_state(path), config, str(source), known)
        shas = digests(params)
    return config, params, {"source": str(source), "format": kind, "sha256": digest(shas)}
