"""Tiny CLIP and SigLIP models of transformers and OpenCLIP, with a tokenizer of a few words, written to folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.torch_peer import import_timm

import_timm()
tokenizers = pytest.importorskip("tokenizers")
torch = pytest.importorskip("torch")

WORDS = ("a", "photo", "of", "cat", "dog", "the", "sketch", ".")
LENGTH, SIZE = 12, {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SIZE, "image_size": 32, "patch_size": 8}


def write_tokenizer(folder: Path, *, siglip: bool = False) -> None:
    """A tokenizer.json that splits at white space and punctuation, with the special tokens of CLIP or SigLIP."""
    special = ["<pad>", "</s>", "<unk>"] if siglip else ["<start>", "<unk>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS, *([] if siglip else ["<end>"])])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    single = "$A </s>" if siglip else "<start> $A <end>"
    names = ["</s>"] if siglip else ["<start>", "<end>"]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=single, special_tokens=[(name, vocabulary[name]) for name in names]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def scrambled(module: Any, seed: int = 0) -> Any:
    """The module in evaluation mode with random parameters, so that no bias or scale is neutral."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            centre = 1.0 if "norm" in name or "ln_" in name else 0.0
            spread = 0.3 if parameter.ndim < 2 else parameter.shape[-1] ** -0.5
            parameter.copy_(centre + torch.randn_like(parameter) * spread)
        module.logit_scale.fill_(2.0)
    return module.eval()


def huggingface_clip(folder: Path) -> Any:
    """transformers' CLIPModel, saved with its configuration and a tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    end = len(WORDS) + 2
    text = {**SIZE, "vocab_size": end + 1, "max_position_embeddings": LENGTH, "eos_token_id": end, "bos_token_id": 0}
    both = {"projection_dim": 8}
    module = scrambled(CLIPModel(CLIPConfig(text_config={**text, **both}, vision_config={**VISION, **both}, **both)))
    module.save_pretrained(folder)
    write_tokenizer(folder)
    return module


def open_clip_model(folder: Path, **vision: Any) -> Any:
    """OpenCLIP's CLIP, saved with its configuration and a tokenizer."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from safetensors.torch import save_file

    text = {"context_length": LENGTH, "vocab_size": len(WORDS) + 3, "width": 32, "heads": 4, "layers": 2}
    seen = {"layers": 3, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32, **vision}
    module = scrambled(CLIP(8, CLIPVisionCfg(**seen), CLIPTextCfg(**text)))
    folder.mkdir(exist_ok=True)
    save_file(
        {key: value.contiguous() for key, value in module.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": seen, "text_cfg": text}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return module


def huggingface_siglip(folder: Path) -> Any:
    """transformers' SiglipModel, saved with its configuration and a tokenizer."""
    from transformers import SiglipConfig, SiglipModel

    text = {
        **SIZE,
        "vocab_size": len(WORDS) + 3,
        "max_position_embeddings": LENGTH,
        "eos_token_id": 1,
        "bos_token_id": 1,
    }
    module = scrambled(SiglipModel(SiglipConfig(text_config={**text, "pad_token_id": 1}, vision_config=VISION)))
    module.save_pretrained(folder)
    write_tokenizer(folder, siglip=True)
    return module


def open_clip_siglip_text() -> Any:
    """OpenCLIP's text tower with the settings of its SigLIP models."""
    from open_clip.model import CLIPTextCfg, _build_text_tower

    config = {"context_length": LENGTH, "vocab_size": len(WORDS) + 3, "width": 32, "heads": 4, "layers": 2}
    config |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}
    config |= {"act_kwargs": {"approximate": "tanh"}}
    torch.manual_seed(1)
    tower = _build_text_tower(8, CLIPTextCfg(**config)).eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return tower, config
