"""Checkpoint files -> numpy arrays -> parameters. No code that a file contains is executed.

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
from vitjax.nn.vit_config import ViTConfig
from weights_convert import huggingface
from weights_convert.arch import described, foreign, names_like, summary
from weights_convert.canonical import canonical
from weights_convert.keys import TIMM, State, check_fit, flatten, to_params
from weights_convert.pickles import read_pickle
from weights_convert.tensors import check_finite, check_kinds, refuse_dtype
from weights_convert.wrappers import without_prefix, without_unused

PICKLES = (".pth", ".pt", ".bin")
SUFFIXES = (".safetensors", *PICKLES)
_STORED = frozenset(("F64", "F32", "F16", "BF16", "C64", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"))
"""Dtypes of safetensors that NumPy has."""
_NAMES = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "F4": "float4_e2m1fn_x2"}


def read_state(path: str | Path) -> State:
    """A checkpoint file -> {key: array}, in the stored dtypes; see `read_file`."""
    return read_file(path)[0]


def read_file(path: str | Path) -> tuple[State, list[str]]:
    """A checkpoint file -> {key: array}, in the stored dtypes, and a sentence for each choice that reading it made.

    Of averaged and raw weights in one file the averaged ones are read, as timm does. Prefixes of wrappers are removed
    from the keys, and tensors that only pretraining uses are left aside.

    Args:
        path: a `.safetensors` file; or a `.pth`, `.pt` or `.bin` file, which needs PyTorch and is read with
            `weights_only=True`, so that a pickle that would execute code is refused.

    Raises:
        WeightsError: the file does not exist, is empty, truncated, an HTML page, unsafe, declares more data than it
            has, or contains no tensors.
    """
    path = Path(path)
    size = _checked_size(path)
    notes: list[str] = []
    if path.suffix == ".safetensors":
        state = _read_safetensors(path, size)
    elif path.suffix in PICKLES:
        state, notes = read_pickle(path, size)
    else:
        raise WeightsError(
            f"{path}: unknown checkpoint format {path.suffix!r}; supported suffixes: {', '.join(SUFFIXES)}"
        )
    if not state:
        raise WeightsError(f"{path}: contains no tensors ({size} bytes)")
    state, prefix = without_prefix(state)
    state, unused = without_unused(state)
    return state, [*notes, *prefix, *unused]


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


def params_of(
    state: State,
    config: ViTConfig,
    source: str,
    known: Mapping[str, ViTConfig] | None = None,
    dtype: str = "float32",
) -> tuple[ViTConfig, dict[str, Any]]:
    """A state dict with timm's or Hugging Face's names -> (config, parameters in numpy).

    Args:
        state: the state dict.
        config: the architecture.
        source: name of the file or hub id, for error messages.
        known: architectures by name; an error lists those whose shapes match the weights.
        dtype: dtype of the model, whose range the values must not exceed.

    Returns:
        The configuration, whose LayerNorm epsilon is changed for Hugging Face's models, and the nested parameters.

    Raises:
        WeightsError: the weights belong to an unsupported architecture (the message names it), keys do not fit (the
            message lists all of them), tensors are not floating-point numbers, or values are NaN, Inf or too large
            for `dtype`.
    """
    keys = TIMM
    if huggingface.is_huggingface(state):
        config, state = huggingface.config_for(config), huggingface.without_unused(state)
        keys = huggingface.key_map(state)
    else:
        state = canonical(state, config)
    reason = foreign(state)
    if reason:
        raise WeightsError(f"{source}: {reason}")
    try:
        check_fit(state, config, keys)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}{_shape_hint(state, config, known or {})}") from None
    check_kinds(state, source)
    check_finite(state, source, dtype)
    return config, to_params(state, config, keys)


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


def _shape_hint(state: State, config: ViTConfig, known: Mapping[str, ViTConfig]) -> str:
    """Lines that compare the sizes of the weights with those of the model; "" for weights that are not a ViT's."""
    shapes = {key: array.shape for key, array in state.items()}
    sizes = described(shapes)
    if sizes is None:
        return ""
    names = names_like(shapes, known)
    match = f" (the shapes of {', '.join(names)})" if names else ""
    return f"\nthe weights have {sizes}{match}\nthe requested model has {summary(config)}"
