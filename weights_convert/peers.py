"""A checkpoint in the library that it comes from, transformers or OpenCLIP, for `check` to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import WeightsError
from vitjax.nn.vit_config import ViTConfig
from weights_convert.folder import read_json, read_weights, weights_in
from weights_convert.load import tidied

CLASS_TOKEN = ("vit", "vit_mae", "vit_msn", "deit", "ijepa")
"""Kinds of transformers' models without a head whose features are the normalised class token."""
VISUAL = "visual."


@dataclass(frozen=True)
class Peer:
    """Another implementation of a model.

    name: library and class. module: the PyTorch module, in eval mode. forward: pixels [b, 3, H, W] -> logits or
    features [b, k]. blocks: the modules whose outputs [b, token, c] are those of the blocks; empty if they cannot be
    compared.
    """

    name: str
    module: Any
    forward: Callable[[Any], Any]
    blocks: Sequence[Any]


def of_timm(module: Any) -> Peer:
    """A timm module as a peer."""
    return Peer(f"timm's {type(module).__name__}", module, module, getattr(module, "encoder", module).blocks)


def own_library(path: Path, config: ViTConfig, *, ema: bool = True) -> Peer | None:
    """The model of a file or folder, as the library computes it whose names the weights have.

    Args:
        path: a file, or a folder with a configuration. transformers needs the folder: its config.json names the class.
        config: the architecture as vitjax found it; sizes of OpenCLIP's tower follow from it.
        ema: as for `read_tensors`.

    Returns:
        None if the library is neither transformers nor OpenCLIP; the weights then have timm's peer.

    Raises:
        WeightsError: the library is not installed, or does not accept the weights.
    """
    stated = path / "config.json" if path.is_dir() else path.parent / "config.json"
    if path.is_dir() and stated.is_file() and isinstance(read_json(stated).get("architectures"), list):
        return _of_transformers(path, read_json(stated), config)
    file = weights_in(path) if path.is_dir() else path
    state = tidied(read_weights(file, ema=ema), file).state
    if "visual.conv1.weight" in state or ("conv1.weight" in state and "class_embedding" in state):
        return _of_open_clip(state, config, str(path))
    return None


def _of_transformers(folder: Path, stated: dict[str, Any], config: ViTConfig) -> Peer:
    try:
        import transformers
    except ImportError as error:
        raise WeightsError("the comparison needs transformers: pip install transformers") from error
    name, kind = str(stated["architectures"][0]), str(stated.get("model_type"))
    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise WeightsError(f"{folder}: transformers {transformers.__version__} has no {name}")
    try:
        module = model_class.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{folder}: transformers does not load it: {' '.join(str(error).split())[:200]}") from error
    if kind == "vit_mae":  # it would drop patches at random; it still permutes them, which the class token ignores
        module.config.mask_ratio = 0.0
    blocks = [] if kind == "vit_mae" else _blocks(module, config.depth)
    return Peer(f"transformers' {name}", module, partial(_outputs, module, kind, config), blocks)


def _blocks(module: Any, depth: int) -> Sequence[Any]:
    """The blocks of the image tower: the first list of that many modules outside of text towers and decoders."""
    import torch

    for name, part in module.named_modules():
        elsewhere = "text" in name or "decoder" in name
        if isinstance(part, torch.nn.ModuleList) and len(part) == depth and not elsewhere:
            return list(part)
    return []


def _outputs(module: Any, kind: str, config: ViTConfig, pixels: Any) -> Any:
    """Logits where the model has classes, else its embedding of the image, else its features."""
    inner = (
        getattr(module, "vit", module)
        if type(module).__name__.endswith(("MaskedImageModeling", "PreTraining"))
        else module
    )
    inputs = _patches(pixels, config) if kind.startswith("siglip2") else {"pixel_values": pixels}
    if hasattr(inner, "get_image_features"):
        return inner.get_image_features(**inputs).pooler_output
    result = inner(**inputs)
    for name in ("logits", "image_embeds"):
        if getattr(result, name, None) is not None:
            return getattr(result, name)
    return result.last_hidden_state[:, 0] if kind in CLASS_TOKEN else result.pooler_output


def _patches(pixels: Any, config: ViTConfig) -> dict[str, Any]:
    """The inputs of models that take the flattened patches of a grid, [b, n, p² · 3]."""
    import torch

    (down, across), p, count = config.grid, config.patch_size, len(pixels)
    cells = pixels.reshape(count, 3, down, p, across, p).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": cells.reshape(count, down * across, -1),
        "pixel_attention_mask": torch.ones(count, down * across, dtype=torch.int32),
        "spatial_shapes": torch.tensor([[down, across]] * count),
    }


def _of_open_clip(state: dict[str, np.ndarray], config: ViTConfig, source: str) -> Peer:
    try:
        import torch
        from open_clip.transformer import QuickGELU, VisionTransformer
    except ImportError as error:
        raise WeightsError("the comparison needs open_clip: pip install open_clip_torch") from error
    tower = {key.removeprefix(VISUAL): array for key, array in state.items() if key.startswith(VISUAL)} or state
    activation = {"act_layer": QuickGELU} if config.mlp == "quick_gelu" else {}
    module = VisionTransformer(
        image_size=config.image_size,
        patch_size=config.patch_size,
        width=config.width,
        layers=config.depth,
        heads=config.heads,
        mlp_ratio=config.mlp_dim / config.width,
        output_dim=config.embedding or config.num_classes or config.width,
        **activation,
    )
    try:
        module.load_state_dict({key: torch.from_numpy(np.array(array, np.float32)) for key, array in tower.items()})
    except RuntimeError as error:
        raise WeightsError(f"{source}: open_clip rejects the weights: {' '.join(str(error).split())[:200]}") from error
    return Peer("open_clip's VisionTransformer", module.eval(), module, module.transformer.resblocks)
