"""Checkpoint files -> numpy arrays. No code that a file contains is executed.

Every error names the file (or the `source` argument) and the cause.
"""

from __future__ import annotations

import hashlib
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import WeightsError
from weights_convert.big_vision import read_npz
from weights_convert.class_names import names_in
from weights_convert.keys import State, flatten
from weights_convert.pickles import Tensors, read_pickle
from weights_convert.tensors import refuse_dtype
from weights_convert.wrappers import without_prefix, without_unused

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
SUFFIXES = (".safetensors", *PICKLES, ".npz")
_STORED = frozenset(("F64", "F32", "F16", "BF16", "C64", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"))
"""Dtypes of safetensors that NumPy has."""
_NAMES = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "F4": "float4_e2m1fn_x2"}


def read_state(path: str | Path) -> State:
    """A checkpoint file -> {key: array}, in the stored dtypes; see `read_file`."""
    return read_file(path).state


def read_file(path: str | Path, *, ema: bool = True) -> Tensors:
    """A checkpoint file -> {key: array}, in the stored dtypes, and a sentence for each choice that reading it made.

    Of averaged and raw weights in one file the averaged ones are read, as timm does. Prefixes of wrappers are removed
    from the keys, and tensors that no image classifier reads, such as a text tower, are left aside.

    Args:
        path: a `.safetensors` or `.npz` file; or a `.pth`, `.pt`, `.bin`, `.ckpt` or `.pth.tar` file, which needs
            PyTorch and is read with `weights_only=True`, so that a pickle that would execute code is refused.
        ema: False reads the raw weights.

    Raises:
        WeightsError: the file does not exist, is empty, truncated, an HTML page, unsafe, declares more data than it
            has, contains no tensors or several models.
    """
    tensors = read_tensors(path, ema=ema)
    return tidied(tensors, path)


def tidied(tensors: Tensors, source: object) -> Tensors:
    """What was read, without wrappers' prefixes and without tensors that no image classifier reads.

    Raises:
        WeightsError: it contains several models.
    """
    try:
        state, prefix = without_prefix(tensors.state)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    state, unused = without_unused(state)
    return tensors._replace(state=state, notes=[*tensors.notes, *prefix, *unused])


def read_tensors(path: str | Path, *, ema: bool = True) -> Tensors:
    """Everything that a checkpoint file contains, under the names that it has there; otherwise as `read_file`."""
    path = Path(path)
    size = _checked_size(path)
    if path.suffix == ".safetensors":
        tensors = Tensors(_read_safetensors(path, size), [], class_names=names_in(read_header(path)[0]))
    elif path.suffix == ".npz":
        tensors = Tensors(read_npz(path), [])
    elif path.suffix in PICKLES:
        tensors = read_pickle(path, size, ema)
    else:
        raise WeightsError(
            f"{path}: unknown checkpoint format {path.suffix!r}; supported suffixes: {', '.join(SUFFIXES)}"
        )
    if not tensors.state:
        raise WeightsError(f"{path}: contains no tensors ({size} bytes)")
    return tensors


def read_header(path: str | Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """The text metadata in the header of a safetensors file, and the shape of each tensor. No tensor is read.

    Raises:
        WeightsError: the file does not exist or is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    size = _checked_size(path)
    try:
        with safe_open(path, "np") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (not a dict)
            return dict(file.metadata() or {}), shapes
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({size} bytes): {error}") from error


def digests(params: Any) -> dict[str, str]:
    """Dotted path -> sha256 over dtype, shape and bytes of the parameter."""
    shas = {}
    for path, array in sorted(flatten(params).items()):
        array = np.ascontiguousarray(array)
        sha = hashlib.sha256(f"{array.dtype.name} {list(array.shape)} ".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
        shas[path] = sha.hexdigest()
    return shas


def digest(per_array: Mapping[str, str]) -> str:
    """One sha256 for a whole model, which depends on the weights only and not on the file format.

    Args:
        per_array: what `digests` returns.
    """
    lines = "".join(f"{path} {sha}\n" for path, sha in sorted(per_array.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _checked_size(path: Path) -> int:
    """Size of a checkpoint file in bytes. Raises WeightsError for a file that is recognisably no checkpoint."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    size = path.stat().st_size
    if not head:
        raise WeightsError(f"{path}: empty file (0 bytes)")
    if path.suffix == ".safetensors" and 8 + int.from_bytes(head[:8], "little") <= size:
        return size  # the length of its header may be any text: 15392 is b" <"
    if head.removeprefix(BOM_UTF8).lstrip().startswith(b"<"):
        raise WeightsError(f"{path}: an HTML page, not a checkpoint ({size} bytes); download the file again")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: a Git LFS pointer, not the checkpoint itself ({size} bytes)")
    return size


def _read_safetensors(path: Path, size: int) -> State:
    """All tensors. The library compares the offsets in the header with the file's size before it reads a tensor."""
    from safetensors import SafetensorError, safe_open

    state = {}
    try:
        with safe_open(path, "np") as file:
            for key in file.keys():  # noqa: SIM118 (not a dict)
                dtype = file.get_slice(key).get_dtype()
                if dtype not in _STORED:
                    raise refuse_dtype(key, _NAMES.get(dtype, dtype), path)
                state[key] = file.get_tensor(key)
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: truncated or damaged safetensors file ({size} bytes): {error}") from error
    return state
