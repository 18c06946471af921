"""Text towers of CLIP and SigLIP: key maps of Hugging Face and OpenCLIP, and what their configurations state."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError, WeightsError
from vitjax.nn.text import Clean, TextConfig, TextTransformer
from vitjax.nn.vit_config import ViTConfig
from weights_convert.keys import MATRIX, SAME, KeyMap, Source, State, flatten, linear, norm, unflatten

_TOKENS = re.compile(r"(?P<prefix>(?:.+?\.)??)(?P<root>text_model\.embeddings\.|text\.|)token_embedding\.weight")
ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}
"""Names of activations in a config.json, and here."""


GEMMA = 200_000
"""Vocabularies of at least this many tokens are Gemma's, which SigLIP 2 has; SigLIP has 32,000."""


class TextWeights(NamedTuple):
    """A text tower as it was read.

    scale, bias: a logit is scale · cosine + bias.
    tokenizer: the file tokenizer.json; None if there is none.
    clean: what is done to texts before the tokenizer, see `vitjax.models.text.TextTower`.
    pad: id of the token that texts are padded with.
    """

    config: TextConfig
    params: dict[str, Any]
    scale: float
    bias: float
    tokenizer: Path | None
    clean: Clean
    pad: int


def text_tower_of(state: State, config: ViTConfig, folder: Path | None = None) -> TextWeights | None:
    """The text tower in a state dict that contains both towers.

    Args:
        state: all keys of the file, with Hugging Face's names (CLIPModel, SiglipModel) or OpenCLIP's.
        config: of the image tower: an OpenCLIP file without a configuration has the same activation in both towers.
        folder: with config.json or open_clip_config.json, and tokenizer.json, where they exist.

    Returns:
        The tower, or None if the state dict has none.

    Raises:
        WeightsError: keys of the tower are missing or have another shape, or the configuration is damaged.
    """
    match = next(filter(None, map(_TOKENS.fullmatch, state)), None)
    if match is None:
        return None
    prefix, root = match["prefix"], match["root"]
    own = {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
    stated = _stated(folder, "config.json" if root.startswith("text_model") else "open_clip_config.json")
    read = _huggingface if root.startswith("text_model") else _open_clip
    try:
        text, keys = read(own, root, stated, config)
        params = _params(own, text, keys)
        scale, bias = (_number(own, name) for name in ("logit_scale", "logit_bias"))
    except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
        raise WeightsError(f"text tower: {' '.join(str(error).split())[:300]}") from error
    clean, pad = _cleaning(text, root.startswith("text_model"), stated)
    tokenizer = None if folder is None else folder / "tokenizer.json"
    return TextWeights(
        text,
        params,
        1.0 if scale is None else float(np.exp(scale)),
        bias or 0.0,
        tokenizer if tokenizer is not None and tokenizer.is_file() else None,
        clean,
        pad,
    )


def _cleaning(text: TextConfig, huggingface: bool, stated: Mapping[str, Any]) -> tuple[Clean, int]:
    """What is done to texts, and the id of the token that they are padded with.

    The tokenizer of SigLIP 2 is Gemma's, whose padding is token 0. transformers lowercases its texts and keeps their
    punctuation, which OpenCLIP removes.
    """
    if text.causal:
        return "none", 0
    if text.vocabulary >= GEMMA:
        return ("lower" if huggingface else "canonical"), 0
    return "canonical", int(stated.get("text_config", {}).get("pad_token_id", 1))


def parameter_shapes(config: TextConfig) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter of a text tower."""
    ids = jnp.zeros(config.length, jnp.int32)
    shapes = jax.eval_shape(lambda: TextTransformer(config).init(jax.random.key(0), ids)["params"])
    return {path: tuple(leaf.shape) for path, leaf in flatten(shapes).items()}


def _huggingface(state: State, root: str, stated: Mapping[str, Any], config: ViTConfig) -> tuple[TextConfig, KeyMap]:
    del config
    layer = "text_model.encoder.layers.{}"
    siglip = "text_model.head.weight" in state
    text = stated.get("text_config", {})
    table = state[f"{root}token_embedding.weight"]
    end = int(text.get("eos_token_id", 49407))
    projection = "text_model.head" if siglip else "text_projection"
    keys: KeyMap = {
        "token_embed": Source((f"{root}token_embedding.weight",), SAME),
        "pos_embed": Source((f"{root}position_embedding.weight",), SAME),
        **norm("blocks.norm1", f"{layer}.layer_norm1"),
        **linear("blocks.qkv", *(f"{layer}.self_attn.{part}_proj" for part in "qkv")),
        **linear("blocks.proj", f"{layer}.self_attn.out_proj"),
        **norm("blocks.norm2", f"{layer}.layer_norm2"),
        **linear("blocks.fc1", f"{layer}.mlp.fc1"),
        **linear("blocks.fc2", f"{layer}.mlp.fc2"),
        **norm("norm", "text_model.final_layer_norm"),
        **linear("projection", projection),
    }
    activation = text.get("hidden_act", "gelu_pytorch_tanh" if siglip else "quick_gelu")
    return TextConfig(
        **_sizes(state, table, f"{root}position_embedding.weight", r"text_model\.encoder\.layers\.(\d+)\.", keys),
        heads=int(text.get("num_attention_heads", _heads(table.shape[1]))),
        embedding=state[f"{projection}.weight"].shape[0],
        mlp=ACTIVATIONS[activation],  # type: ignore[arg-type]
        causal=not siglip,
        end="last" if siglip else None if end == 2 else end,
        projection_bias=siglip,
        norm_eps=float(text.get("layer_norm_eps", 1e-6 if siglip else 1e-5)),
    ), keys


def _open_clip(state: State, root: str, stated: Mapping[str, Any], config: ViTConfig) -> tuple[TextConfig, KeyMap]:
    layer = f"{root}transformer.resblocks.{{}}"
    text = stated.get("model_cfg", {}).get("text_cfg", {})
    table = state[f"{root}token_embedding.weight"]
    siglip = text.get("pool_type") == "last" or f"{root}text_projection.bias" in state
    is_linear = f"{root}text_projection.weight" in state
    keys: KeyMap = {
        "token_embed": Source((f"{root}token_embedding.weight",), SAME),
        "pos_embed": Source((f"{root}positional_embedding",), SAME),
        **norm("blocks.norm1", f"{layer}.ln_1"),
        "blocks.qkv.kernel": Source((f"{layer}.attn.in_proj_weight",), MATRIX),
        "blocks.qkv.bias": Source((f"{layer}.attn.in_proj_bias",), SAME),
        **linear("blocks.proj", f"{layer}.attn.out_proj"),
        **norm("blocks.norm2", f"{layer}.ln_2"),
        **linear("blocks.fc1", f"{layer}.mlp.c_fc"),
        **linear("blocks.fc2", f"{layer}.mlp.c_proj"),
        **norm("norm", f"{root}ln_final"),
        **linear("projection", f"{root}text_projection"),
    }
    if not is_linear:  # a parameter [in, out], not a linear layer
        keys["projection.kernel"] = Source((f"{root}text_projection",), SAME)
    weight = state[keys["projection.kernel"].names[0]]
    quick = stated.get("model_cfg", {}).get("quick_gelu", config.mlp == "quick_gelu")
    return TextConfig(
        **_sizes(
            state, table, f"{root}positional_embedding", rf"{re.escape(root)}transformer\.resblocks\.(\d+)\.", keys
        ),
        heads=int(text.get("heads", _heads(table.shape[1]))),
        embedding=weight.shape[0 if is_linear else 1],
        mlp="gelu_tanh" if siglip else "quick_gelu" if quick else "gelu",
        causal=not text.get("no_causal_mask", siglip),
        end="last" if siglip else None,
        projection_bias=f"{root}text_projection.bias" in state,
        norm_eps=float(text.get("norm_kwargs", {}).get("eps", 1e-6 if siglip else 1e-5)),
    ), keys


def _sizes(state: State, table: np.ndarray, positions: str, layers: str, keys: KeyMap) -> dict[str, int]:
    """Fields of TextConfig that shapes tell."""
    numbers = {int(match[1]) for match in (re.match(layers, key) for key in state) if match}
    first = keys["blocks.fc1.kernel"].names[0].format(0)
    return {
        "vocabulary": table.shape[0],
        "width": table.shape[1],
        "length": state[positions].shape[0],
        "depth": len(numbers),
        "mlp_dim": state[first].shape[0],
    }


def _heads(width: int) -> int:
    """Number of heads that both libraries take where no configuration states it."""
    return max(1, width // 64)


def _params(state: State, config: TextConfig, keys: KeyMap) -> dict[str, Any]:
    """vitjax parameters (numpy, float32 or wider), after a check of every shape."""
    flat = {}
    for path, shape in parameter_shapes(config).items():
        source = keys[path]
        layers = range(config.depth) if path.startswith("blocks.") else [""]
        arrays = [_read(state, source, layer) for layer in layers]
        flat[path] = np.stack(arrays) if path.startswith("blocks.") else arrays[0]
        if flat[path].shape != shape:
            raise ValueError(f"{source.names[0]} has the shape {list(flat[path].shape)}, needs {list(shape)}")
        if not np.isfinite(flat[path]).all():
            raise ValueError(f"{source.names[0]} contains NaN or Inf")
    return unflatten(flat)


def _read(state: State, source: Source, layer: int | str) -> np.ndarray:
    arrays = [np.asarray(state[name.format(layer)]) for name in source.names]
    joined = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    wide = joined if joined.dtype in (np.float32, np.float64) else joined.astype(np.float32)
    return np.ascontiguousarray(source.layout.read(wide))


def _number(state: State, name: str) -> float | None:
    return None if name not in state else float(np.asarray(state[name], np.float64).reshape(-1)[0])


def _stated(folder: Path | None, name: str) -> dict[str, Any]:
    """A configuration file; {} if there is none.

    Raises:
        WeightsError: it is damaged.
    """
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        return {}
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a configuration: {error}") from error
    if not isinstance(stated, dict):
        raise WeightsError(f"{path}: not a configuration: an object is expected")
    return stated
