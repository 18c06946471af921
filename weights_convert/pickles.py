"""Reading `.pth`, `.pt` and `.bin` files without running what they contain, nor allocating what they only declare."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vitjax.errors import WeightsError
from weights_convert.class_names import names_in
from weights_convert.keys import State
from weights_convert.tensors import state_of_torch
from weights_convert.wrappers import unwrapped

SMALL = 1 << 24
"""Bytes that any file may declare."""
RATIO = 20
"""Largest declared size relative to the file. PyTorch does not compress, so that its own files have less than 1."""
_WAY_OUT = (
    "Use a .safetensors file of the same weights: where the file was made, "
    "safetensors.torch.save_file(state_dict, 'weights.safetensors') writes one."
)


class Tensors(NamedTuple):
    """What a checkpoint file contains.

    state: {key: array}. notes: a sentence for each choice among its contents. arch: name of the architecture that the
    training script stored with it, or None. class_names: those that are stored with it, or None.
    """

    state: State
    notes: list[str]
    arch: str | None = None
    class_names: tuple[str, ...] | None = None


def read_pickle(path: Path, size: int, ema: bool = True) -> Tensors:
    """Read a file of `torch.save`.

    Tensors, plain containers and `argparse.Namespace` are read; any other object is refused.

    Args:
        path: the file.
        size: its size in bytes.
        ema: whether averaged weights are preferred where a file contains raw ones, too.

    Raises:
        WeightsError: PyTorch is not installed; the file is damaged, contains other objects, or declares much more data
            than it has.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path}: reading {path.suffix} needs PyTorch (pip install 'vitjax[torch]'); "
            "reading a .safetensors file does not"
        ) from error
    _check_archive(path, size)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # torch warns about pickle protocols before it raises the error below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        cause = "it is truncated, or contains objects other than tensors"
        if refused:
            cause = f"it contains {refused[1]!r}, which PyTorch does not accept in a file of weights only"
        raise WeightsError(
            f"{path}: refused ({size} bytes): {cause}. No code of the pickle was executed. {_WAY_OUT}"
        ) from None
    except Exception as error:  # the zip reader raises many types of errors for a truncated file
        raise WeightsError(f"{path}: truncated or damaged checkpoint ({size} bytes): {_one_line(error)}") from error
    tensors, notes = unwrapped(loaded, path, ema)
    _check_tensors(tensors, path, size)
    return Tensors(state_of_torch(tensors, path), notes, _arch(loaded), names_in(loaded))


def _arch(loaded: Any) -> str | None:
    """The architecture's name in a checkpoint of timm's training script ("arch"), or of one with `--model` ("args")."""
    if not isinstance(loaded, Mapping):
        return None
    named = loaded.get("arch") or getattr(loaded.get("args"), "model", None)
    return named if isinstance(named, str) else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _check_archive(path: Path, size: int) -> None:
    """Compare what a zip archive declares with the size of the file, before anything is unpacked; then the checksums.

    An archive of TorchScript, as OpenAI published CLIP, is a program; it is refused.

    Cost: reads the file once more, at 1 GB/s.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04" and not zipfile.is_zipfile(path):
            return
    try:
        with zipfile.ZipFile(path) as archive:
            _check_declared(sum(entry.file_size for entry in archive.infolist()), path, size)
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise WeightsError(
                    f"{path}: a TorchScript program, not a file of weights; where it is trusted, write its weights by\n"
                    "  state = torch.jit.load(FILE, map_location='cpu').state_dict()\n"
                    "  safetensors.torch.save_file({k: v.float() for k, v in state.items()}, 'weights.safetensors')"
                )
            damaged = archive.testzip()  # PyTorch does not compare the checksums that it writes
    except WeightsError:
        raise
    except Exception as error:  # as below
        raise WeightsError(f"{path}: truncated or damaged checkpoint ({size} bytes): {_one_line(error)}") from error
    if damaged is not None:
        raise WeightsError(f"{path}: damaged checkpoint ({size} bytes): the checksum of {damaged!r} is wrong")


def _check_tensors(tensors: Any, path: Path, size: int) -> None:
    """Compare the sizes of the tensors with that of the file: a stored number can stand for any number of elements."""
    if isinstance(tensors, Mapping):
        sizes = [
            tensor.numel() * tensor.element_size() for tensor in tensors.values() if hasattr(tensor, "element_size")
        ]
        _check_declared(sum(sizes), path, size)


def _check_declared(declared: int, path: Path, size: int) -> None:
    if declared > max(SMALL, RATIO * size):
        raise WeightsError(f"{path}: refused: declares {declared} bytes of data, but the file has {size} bytes")
