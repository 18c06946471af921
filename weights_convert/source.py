"""Reads the `weights` argument of `vitjax.load`: a file, a directory that weights_convert wrote, or a hub id."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitjax.errors import WeightsError
from vitjax.nn.network import ModuleConfig
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from vitjax.output.terminal import say
from weights_convert import torchvision_resnet
from weights_convert.arch import summary
from weights_convert.checkpoint import read_checkpoint
from weights_convert.hub import fetch, is_hub_id
from weights_convert.keys import flatten
from weights_convert.load import SUFFIXES, digest, digests, params_of, read_file
from weights_convert.tensors import check_finite, check_kinds


def locate(source: str | Path) -> tuple[Path, str]:
    """Find a checkpoint; a hub id is downloaded if it is not in the cache.

    Returns:
        The file or directory, and its format: the suffix of a file without the dot, "orbax" or "hub".

    Raises:
        WeightsError: the source is no existing file or directory and no hub id, or cannot be downloaded.
    """
    path = _expanded(source)
    if path.is_dir():
        return path, "orbax"
    if path.is_file():
        return path, path.suffix.removeprefix(".")
    if isinstance(source, str) and is_hub_id(source):
        return fetch(source), "hub"
    siblings = [p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise WeightsError(f"{source}: no such file, directory or hub id (owner/name){hint}")


def read_source(
    source: str | Path,
    config: ModuleConfig,
    arch: str,
    known: Mapping[str, ViTConfig] | None = None,
    dtype: str = "float32",
) -> tuple[ModuleConfig, dict[str, Any], dict[str, Any]]:
    """Read parameters from a file, a directory or the hub.

    Args:
        source: file, directory that weights_convert wrote, or hub id.
        config: the requested architecture.
        arch: name of the architecture.
        known: architectures by name; an error lists those whose shapes match the weights.
        dtype: dtype of the model, whose range the values must not exceed.

    Returns:
        The configuration (with the LayerNorm epsilon of the weights), the nested numpy parameters, and the record of
        their origin: {"source", "format", "sha256"}, and "read" where reading made a choice, such as that of averaged
        weights. The choice is also printed to stderr.

    Raises:
        WeightsError: the source does not exist, cannot be read, or does not contain this architecture.
    """
    path, kind = locate(source)
    notes: list[str] = []
    if isinstance(config, ResNetConfig):
        if kind == "orbax":
            raise WeightsError(f"{path}: is a directory; weights of {arch} must be a checkpoint file or a hub id")
        state, notes = read_file(path)
        params = torchvision_resnet.params_of(state, config, str(source), dtype)
        shas = digests(params)
    elif kind == "orbax":
        checkpoint = read_checkpoint(path)
        if checkpoint.arch != arch:
            raise WeightsError(f"{path}: contains {checkpoint.arch}, not {arch}")
        # The epsilon depends on where the weights were trained (Hugging Face or timm), all else on the architecture.
        if replace(checkpoint.config, norm_eps=config.norm_eps) != config:
            raise WeightsError(
                f"{path}: contains {arch} with {summary(checkpoint.config)}; requested: {summary(config)}"
            )
        config, params, shas = checkpoint.config, checkpoint.params, checkpoint.manifest["sha256"]
        check_kinds(flatten(params), str(source))
        check_finite(flatten(params), str(source), dtype)
    else:
        state, notes = read_file(path)
        config, params = params_of(state, config, str(source), known, dtype)
        shas = digests(params)
    record = {"source": str(source), "format": kind, "sha256": digest(shas)}
    if notes:
        record["read"] = "; ".join(notes)
        say(f"{source}: {record['read']}", error=True)
    return config, params, record


def _expanded(source: str | Path) -> Path:
    path = Path(source)
    try:
        return path.expanduser()
    except RuntimeError:
        raise WeightsError(f"{source}: this user has no home directory that ~ could stand for") from None
