"""Checkpoint files -> numpy arrays and then parameters. Nothing that a file contains is ever executed.

Every error names the file (or the source given) and the cause.
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
    """A checkpoint file -> {key: array}, as stored.

    `.safetensors` needs nothing else; `.pth`, `.pt` and `.bin` need PyTorch and are read with
    `weights_only=True`, so a pickle that wants to run code is refused.
    Raises WeightsError: missing, empty, cut, an HTML page, unsafe, or without tensors.
    """
    path = Path(path)
    size = _checked_size(path)
    if path.suffix == ".safetensors":
        state = _read_safetensors(path, size)
    elif path.suffix in PICKLES:
        state = _read_pickle(path, size)
    else:
        raise WeightsError(f"{path}: unknown kind of checkpoint {path.suffix!r}; known: {', '.join(SUFFIXES)}")
    if not state:
        raise WeightsError(f"{path}: holds no tensors ({size} bytes)")
    return state


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text metadata in a safetensors header."""
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
    """A state dict in timm's or Hugging Face's names -> (config, parameters in numpy).

    The configuration comes back because Hugging Face's models have another LayerNorm epsilon.
    known: architectures by name, of which errors name those that have the shapes of the weights.
    Raises WeightsError: another architecture (by name), keys that do not fit (all of them), NaN or Inf.
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
        raise WeightsError(f"{source}: {error}{_looks_like(state, config, known or {})}") from None
    check_finite(state, source)
    return config, params


def check_finite(state: Mapping[str, np.ndarray], source: str) -> None:
    """Raise WeightsError naming every tensor with NaN or Inf, with the counts."""
    bad = []
    for key, array in state.items():
        nan, inf = np.count_nonzero(np.isnan(array)), np.count_nonzero(np.isinf(array))
        if nan or inf:
            bad.append(f"{key}: {nan} NaN, {inf} Inf of {array.size}")
    if bad:
        raise WeightsError("\n  ".join([f"{source}: weights that are not finite:", *bad]))


def digests(params: Any) -> dict[str, str]:
    """Dotted path -> sha256 over dtype, shape and bytes of each parameter."""
    result = {}
    for path, array in sorted(flatten(params).items()):
        array = np.ascontiguousarray(array)
        sha = hashlib.sha256(f"{array.dtype.name} {list(array.shape)} ".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
        result[path] = sha.hexdigest()
    return result


def digest(per_array: Mapping[str, str]) -> str:
    """One sha256 for a whole model: the same weights have it whatever file they came from."""
    lines = "".join(f"{path} {sha}\n" for path, sha in sorted(per_array.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _checked_size(path: Path) -> int:
    """Bytes of a file that could be a checkpoint."""
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
        raise WeightsError(f"{path}: an HTML page, not a checkpoint ({size} bytes); download it again")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: a Git LFS pointer, not the checkpoint itself ({size} bytes)")
    return size


def _read_safetensors(path: Path, size: int) -> State:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: cut or damaged safetensors file ({size} bytes): {error}") from error


def _read_pickle(path: Path, size: int) -> State:
    import pickle

    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path}: reading {path.suffix} needs PyTorch (pip install 'vitjax[torch]'); "
            "a .safetensors file needs nothing"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; the outcome below says what matters
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        cause = f"it asks to run {wanted[1]!r}" if wanted else "it is cut, or holds more than tensors"
        raise WeightsError(
            f"{path}: refused ({size} bytes): {cause}. Nothing of the pickle was run. "
            "Use a .safetensors file of the same weights."
        ) from None
    except Exception as error:  # a cut file raises whatever the zip reader stumbles over
        cause = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: cut or damaged checkpoint ({size} bytes): {cause}") from error
    return state_of_torch(_unwrapped(loaded), path)


def state_of_torch(tensors: Any, source: object) -> State:
    """{key: torch tensor} -> {key: numpy array}; bfloat16 becomes float32.

    Raises WeightsError for an entry that is no tensor.
    """
    import torch

    if not isinstance(tensors, Mapping):
        raise WeightsError(f"{source}: holds a {type(tensors).__name__}, not a state dict")
    state = {}
    for key, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{source}: {key!r} is a {type(tensor).__name__}, not a tensor")
        tensor = tensor.detach().cpu()
        state[str(key)] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return state


def _unwrapped(loaded: Any) -> Any:
    """Training scripts put the state dict under `model` or `state_dict`."""
    if isinstance(loaded, Mapping):
        for key in ("model", "state_dict"):
            if isinstance(loaded.get(key), Mapping):
                return loaded[key]
    return loaded


def _looks_like(state: State, config: ViTConfig, known: Mapping[str, ViTConfig]) -> str:
    shapes = {key: array.shape for key, array in state.items()}
    words = described(shapes)
    if words is None:
        return ""
    names = names_like(shapes, known)
    like = f" like {', '.join(names)}" if names else ""
    return f"\nthe weights are{like}: {words}\nthe model asked for: {summary(config)}"
