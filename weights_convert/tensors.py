"""The gate for tensors: which kinds become parameters. Everything else is an error that names the tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vitjax.errors import WeightsError
from weights_convert.keys import State

FLOATS = ("float16", "bfloat16", "float32", "float64")
"""Dtypes of parameters. An integer or a complex number converted to a float would be another number."""
_NUMPY_HAS = r"bool|u?int(8|16|32|64)|complex(64|128)"
_SAVE = "safetensors.torch.save_file(state, 'weights.safetensors')"
CONVERT = f"convert it in PyTorch by tensor.float() and write the file again by {_SAVE}"
_SAVE_FOLDER = "model.save_pretrained('NEW_FOLDER')"
MERGE = (
    "dequantise it where it was made, by the two lines\n"
    "  model = AutoModelForImageClassification.from_pretrained('FOLDER').dequantize()\n"
    f"  {_SAVE_FOLDER}"
)
MERGE_ADAPTER = (
    "merge it into its base model by the two lines\n"
    "  model = peft.PeftModel.from_pretrained(BASE_MODEL, 'FOLDER').merge_and_unload()\n"
    f"  {_SAVE_FOLDER}"
)


def check_kinds(state: Mapping[str, np.ndarray], source: object) -> None:
    """Check that all tensors are floating-point numbers that NumPy and JAX compute with.

    Raises:
        WeightsError: a tensor is of another kind. The message names the first one, its dtype and how to convert it.
    """
    for key, array in state.items():
        if array.dtype.name not in FLOATS:
            raise WeightsError(f"{source}: {_refusal(key, array.dtype.name)}")


def check_unmerged(keys: Iterable[str], source: object) -> None:
    """Check that the keys are those of a whole model, and not of an adapter or of a quantised model.

    Raises:
        WeightsError: they are; the message has the two lines that merge or convert it.
    """
    for key in keys:
        if re.search(r"\.(lora_(A|B|embedding_[AB])|lora_magnitude_vector|base_layer)\.|^base_model\.model\.", key):
            raise WeightsError(f"{source}: a peft (LoRA) adapter, not a whole model (key {key!r}); {MERGE_ADAPTER}")
        if re.search(r"\.(SCB|qweight|qzeros|absmax|quant_state\.\w+|weight_scale(_inv)?|_scale)$", key):
            raise WeightsError(f"{source}: a quantised model (key {key!r}); {MERGE}")


def check_finite(state: Mapping[str, np.ndarray], source: str, dtype: str = "float32") -> None:
    """Check that all values are finite, as they are stored and after the cast to the dtype of the model.

    Args:
        state: {key: array}.
        source: name of the file or module, for error messages.
        dtype: dtype of the model.

    Raises:
        WeightsError: a tensor contains NaN or Inf, or values beyond the range of `dtype`. The message lists all such
            tensors with the counts.
    """
    target = jnp.dtype(dtype)
    problems = []
    for key, array in state.items():
        if array.dtype.kind == "f" and np.isfinite(array).all() and np.can_cast(array.dtype, target):
            continue
        nan, inf = np.count_nonzero(np.isnan(array)), np.count_nonzero(np.isinf(array))
        with np.errstate(over="ignore"):
            beyond = array.size - nan - inf - np.count_nonzero(np.isfinite(array.astype(target)))
        if nan or inf:
            problems.append(f"{key}: {nan} NaN, {inf} Inf of {array.size}")
        if beyond:
            problems.append(f"{key}: {beyond} of {array.size} are too large for {dtype}")
    if problems:
        raise WeightsError("\n  ".join([f"{source}: weights that are not finite:", *problems]))


def state_of_torch(tensors: Any, source: object) -> State:
    """{key: torch tensor} -> {key: numpy array}; bfloat16 becomes float32.

    Args:
        tensors: the state dict.
        source: name of the file or module, for error messages.

    Raises:
        WeightsError: `tensors` is not a mapping, an entry is not a tensor, or a tensor of a kind that holds no plain
            numbers: sparse, quantised, without storage ("meta"), or of a dtype that NumPy lacks.
    """
    import torch

    if not isinstance(tensors, Mapping):
        raise WeightsError(f"{source}: contains a {type(tensors).__name__}, not a state dict")
    state = {}
    for key, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{source}: {key!r} is a {type(tensor).__name__}, not a tensor")
        kind = _torch_kind(tensor)
        if kind:
            raise WeightsError(f"{source}: {_refusal(str(key), kind)}")
        if str(key) in state:
            raise WeightsError(f"{source}: two tensors are called {str(key)!r}")
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        state[str(key)] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return state


def refuse_dtype(key: str, dtype: str, source: object) -> WeightsError:
    """The error for a tensor of a dtype that NumPy lacks."""
    return WeightsError(f"{source}: {_refusal(key, dtype)}")


def _torch_kind(tensor: Any) -> str | None:
    """What a torch tensor is if it holds no plain numbers in memory, else None."""
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_nested:
        return "nested"
    if str(tensor.layout) != "torch.strided":
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_meta:
        return "meta"
    name = str(tensor.dtype).removeprefix("torch.")
    return None if name in FLOATS or re.fullmatch(_NUMPY_HAS, name) else name


def _refusal(key: str, kind: str) -> str:
    if kind == "meta":
        return f"{key!r} is a meta tensor, which has a shape but no values; load the weights before saving them"
    if kind.startswith("sparse"):
        return f"{key!r} is {kind}; make it dense by tensor.to_dense() and write the file again by {_SAVE}"
    if kind.startswith("complex"):
        return f"{key!r} is {kind}, and parameters are real numbers; take tensor.real if that is what is meant"
    if kind.startswith(("int", "uint", "quantised", "q")):
        return f"{key!r} is {kind}, and its scale is unknown; {MERGE}"
    if kind.startswith("float"):
        return f"{key!r} is {kind}, which has no scale of its own here; {MERGE}"
    return f"{key!r} is {kind}, not a floating-point tensor; {CONVERT}"
