"""Checkpoint files -> numpy arrays -> parameters. No code that a file contains is executed.

Every error names the file (or the `source` argument) and the cause.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import WeightsError
from vitjax.nn.vit_config import ViTConfig
from weights_convert import huggingface
from weights_convert.arch import described, foreign, names_like, summary
from weights_convert.keys import TIMM, State, flatten, to_params

PICKLES = (".pth", ".pt", ".bin")
SUFFIXES = (".safetensors", *PICKLES)


def read_state(path: str | Path) -> State:
    """A checkpoint file -> {key: array}, in the stored dtypes.

    Args:
        path: a `.safetensors` file; or a `.pth`, `.pt` or `.bin` file, which needs PyTorch and is read with
            `weights_only=True`, so that a pickle that would execute code is refused.

    Raises:
        WeightsError: the file does not exist, is empty, truncated, an HTML page, unsafe, or contains no tensors.
    """
    path = Path(path)
    size = _checked_size(path)
    if path.suffix == ".safetensors":
        state = _read_safetensors(path, size)
    elif path.suffix in PICKLES:
        state = _read_pickle(path, size)
    else:
        raise WeightsError(
            f"{path}: unknown checkpoint format {path.suffix!r}; supported suffixes: {', '.join(SUFFIXES)}"
        )
    if not state:
        raise WeightsError(f"{path}: contains no tensors ({size} bytes)")
    return state


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text metadata in the header of a safetensors file.

    Raises:
        WeightsError: the file does not exist or is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    size = _checked_size(path)
    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({size} bytes): {error}") from error


def params_of(
    state: State, config: ViTConfig, source: str, known: Mapping[str, ViTConfig] | None = None
) -> tuple[ViTConfig, dict[str, Any]]:
    """A state dict with timm's or Hugging Face's names -> (config, parameters in numpy).

    Args:
        state: the state dict.
        config: the architecture.
        source: name of the file or hub id, for error messages.
        known: architectures by name; an error lists those whose shapes match the weights.

    Returns:
        The configuration, whose LayerNorm epsilon is changed for Hugging Face's models, and the nested parameters.

    Raises:
        WeightsError: the weights belong to an unsupported architecture (the message names it), keys do not fit (the
            message lists all of them), or values are NaN or Inf.
    """
    keys = TIMM
    if huggingface.is_huggingface(state):
        config, state = huggingface.config_for(config), huggingface.without_unused(state)
        keys = huggingface.key_map(state)
    reason = foreign(state)
    if reason:
        raise WeightsError(f"{source}: {reason}")
    try:
        params = to_params(state, config, keys)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}{_shape_hint(state, config, known or {})}") from None
    check_finite(state, source)
    return config, params


def check_finite(state: Mapping[str, np.ndarray], source: str) -> None:
    """Check that all values are finite.

    Raises:
        WeightsError: a tensor contains NaN or Inf. The message lists all such tensors with the counts.
    """
    problems = []
    for key, array in state.items():
        nan, inf = np.count_nonzero(np.isnan(array)), np.count_nonzero(np.isinf(array))
        if nan or inf:
            problems.append(f"{key}: {nan} NaN, {inf} Inf of {array.size}")
    if problems:
        raise WeightsError("\n  ".join([f"{source}: weights that are not finite:", *problems]))


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
    if head.lstrip().startswith(b"<"):
        raise WeightsError(f"{path}: an HTML page, not a checkpoint ({size} bytes); download the file again")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: a Git LFS pointer, not the checkpoint itself ({size} bytes)")
    return size


def _read_safetensors(path: Path, size: int) -> State:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: truncated or damaged safetensors file ({size} bytes): {error}") from error


def _read_pickle(path: Path, size: int) -> State:
    import pickle

    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path}: reading {path.suffix} needs PyTorch (pip install 'vitjax[torch]'); "
            "reading a .safetensors file does not"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickle protocols before it raises the error below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        cause = "it is truncated, or contains objects other than tensors"
        if refused:
            cause = f"it contains {refused[1]!r}, which PyTorch does not accept in a file of weights only"
        raise WeightsError(
            f"{path}: refused ({size} bytes): {cause}. No code of the pickle was executed. "
            "Use a .safetensors file of the same weights."
        ) from None
    except Exception as error:  # the zip reader raises many types of errors for a truncated file
        cause = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: truncated or damaged checkpoint ({size} bytes): {cause}") from error
    return state_of_torch(_unwrapped(loaded), path)


def state_of_torch(tensors: Any, source: object) -> State:
    """{key: torch tensor} -> {key: numpy array}; bfloat16 becomes float32.

    Args:
        tensors: the state dict.
        source: name of the file or module, for error messages.

    Raises:
        WeightsError: `tensors` is not a mapping, or an entry is not a tensor.
    """
    import torch

    if not isinstance(tensors, Mapping):
        raise WeightsError(f"{source}: contains a {type(tensors).__name__}, not a state dict")
    state = {}
    for key, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{source}: {key!r} is a {type(tensor).__name__}, not a tensor")
        tensor = tensor.detach().cpu()
        state[str(key)] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return state


def _unwrapped(loaded: Any) -> Any:
    """The state dict, which training scripts store under "model" or "state_dict"."""
    if isinstance(loaded, Mapping):
        for key in ("model", "state_dict"):
            if isinstance(loaded.get(key), Mapping):
                return loaded[key]
    return loaded


def _shape_hint(state: State, config: ViTConfig, known: Mapping[str, ViTConfig]) -> str:
    """Lines that compare the sizes of the weights with those of the model; "" for weights that are not a ViT's."""
    shapes = {key: array.shape for key, array in state.items()}
    sizes = described(shapes)
    if sizes is None:
        return ""
    names = names_like(shapes, known)
    match = f" (the shapes of {', '.join(names)})" if names else ""
    return f"\nthe weights have {sizes}{match}\nthe requested model has {summary(config)}"
