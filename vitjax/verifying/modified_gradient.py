"""Gradients of a timm ViT in which parts of the model are held constant: conservative LRP and AttnLRP.

Written from the published formulas and independent of vitjax.rules: a modified gradient is the autograd of a forward
pass that detaches what is constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitjax.nn.vit_config import ViTConfig


def modified_gradient(
    module: Any, config: ViTConfig, image: np.ndarray, target: int, rule: str
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the target's logit by tokens [n, c] and pixels [H, W, 3], with parts of the model held constant.

    Args:
        module: a timm VisionTransformer.
        config: its ViTConfig.
        image: normalised pixels [H, W, 3].
        target: class index.
        rule: "conservative", "conservative_identity" (the activation is z times a constant) or "attn_lrp" (also
            products give half of the gradient to each factor, and attention is not held constant).
    """
    ratio, uniform = rule != "conservative", rule == "attn_lrp"

    def half(x: Tensor) -> Tensor:
        return (x + x.detach()) / 2

    def norm(layer: Any, x: Tensor) -> Tensor:
        if not hasattr(layer, "weight"):
            return x
        std = (x.var(-1, unbiased=False, keepdim=True) + layer.eps).sqrt()
        return (x - x.mean(-1, keepdim=True)) / std.detach() * layer.weight + layer.bias

    def activate(act: Any, z: Tensor) -> Tensor:
        return z * (act(z) / z).detach() if ratio else act(z)

    def attend(attn: Any, x: Tensor) -> Tensor:
        n, c = x.shape
        q, k, v = attn.qkv(x).reshape(n, 3, config.heads, c // config.heads).permute(1, 2, 0, 3)
        if uniform:
            q, k, v = half(q), half(k), half(v)
        attention = (q @ k.mT * (c // config.heads) ** -0.5).softmax(-1)
        attention = half(attention) if uniform else attention.detach()
        return attn.proj((attention @ v).transpose(0, 1).reshape(n, c))

    def feed(mlp: Any, x: Tensor) -> Tensor:
        hidden = mlp.fc1(x)
        if config.mlp == "swiglu":
            gate, value = hidden.chunk(2, dim=-1)
            return mlp.fc2(half(activate(mlp.act, gate)) * half(value))
        return mlp.fc2(activate(mlp.act, hidden))

    pixels = torch.as_tensor(np.array(image)).permute(2, 0, 1)[None].requires_grad_()
    x = tokens = norm(module.norm_pre, module._pos_embed(module.patch_embed(pixels))[0])
    for block in module.blocks:
        x = x + block.ls1(attend(block.attn, norm(block.norm1, x)))
        x = x + block.ls2(feed(block.mlp, norm(block.norm2, x)))
    x = norm(module.norm, x)
    if config.distilled:
        logits = (module.head(x[0]) + module.head_dist(x[1])) / 2
    else:
        logits = module.head(norm(module.fc_norm, x[0] if config.pool == "token" else x[config.prefix :].mean(0)))
    by_tokens, by_pixels = torch.autograd.grad(logits[target], (tokens, pixels))
    return by_tokens.numpy(), by_pixels[0].permute(1, 2, 0).numpy()
