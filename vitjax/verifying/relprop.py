"""Relevance propagation through a timm ViT in plain PyTorch, for one image.

The forward pass is written without hooks, and the relevance rules are applied operation by operation. Written from the
published formulas (rules "zplus" and "original", see vitjax.rules.zplus and .lrp_original) and independent of
vitjax.rules: a z-rule is the autograd of one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vitjax.errors import ConfigError
from vitjax.nn.vit_config import ViTConfig
from vitjax.verifying.model_run import Relevance

EPSILON = 1e-9


def safe(a: Tensor, b: Tensor) -> Tensor:
    """a / b, with 0 where b is 0."""
    denominator = b.clamp(min=EPSILON) + b.clamp(max=EPSILON)
    denominator = denominator + (denominator == 0) * EPSILON
    return a / denominator * (b != 0)


def z_rule(function: Callable[..., Tensor], inputs: Sequence[Tensor], relevance: Tensor) -> list[Tensor]:
    """Relevance of each input x of y = function(*inputs): R(x) = x * sum_y (dy/dx) R(y) / y."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    with torch.enable_grad():
        result = function(*inputs)
    gradients = torch.autograd.grad(result, inputs, safe(relevance, result.detach()))
    return [(x * g).detach() for x, g in zip(inputs, gradients, strict=True)]


def linear(layer: Any, x: Tensor, relevance: Tensor, rules: str) -> Tensor:
    """Relevance of the input of a linear layer, from the products of inputs and weights of equal sign.

    "zplus" divides by the sum of all these products; "original" divides those of positive and of negative pairs each by
    their own sum.
    """
    w = layer.weight
    up, down = x.clamp(min=0), x.clamp(max=0)
    w_up, w_down = w.clamp(min=0), w.clamp(max=0)
    z_up, z_down = up @ w_up.T, down @ w_down.T
    if rules == "zplus":
        s_up = s_down = safe(relevance, z_up + z_down)
    else:
        s_up, s_down = safe(relevance, z_up), safe(relevance, z_down)
    return up * (s_up @ w_up) + down * (s_down @ w_down)


def add(a: Tensor, b: Tensor, relevance: Tensor, rules: str) -> tuple[Tensor, Tensor]:
    """Relevance of both summands of a + b; "zplus" rescales it so that it sums to that of the result."""
    a, b = z_rule(torch.add, (a, b), relevance)
    if rules == "zplus":
        size = a.sum().abs() + b.sum().abs()
        shares = [safe(part.sum().abs(), size) * relevance.sum() for part in (a, b)]
        a, b = a * safe(shares[0], a.sum()), b * safe(shares[1], b.sum())
    return a, b


def join(x: Tensor, *relevances: Tensor) -> Tensor:
    """Relevance of a tensor that several operations use, from the relevance at each use."""
    return x * torch.stack([safe(relevance, x) for relevance in relevances]).sum(0)


def propagate(
    module: Any, config: ViTConfig, image: np.ndarray, target: int, rules: str, to_pixels: bool = True
) -> Relevance:
    """Propagate the relevance of a logit to attention, tokens and pixels.

    Args:
        module: a timm VisionTransformer.
        config: its ViTConfig.
        image: normalised pixels [H, W, 3].
        target: class index.
        rules: "zplus" or "original".
        to_pixels: False stops at the tokens; `pixels` is then empty.

    Raises:
        ConfigError: `to_pixels` for a model with a convolutional stem, whose rules are not written here.
    """
    if to_pixels and config.stem is not None:
        raise ConfigError("verify has no formula for the relevance of pixels below a convolutional stem")
    pixels = torch.as_tensor(np.array(image)).permute(2, 0, 1)[None]
    summands, x = embed(module, config, pixels)
    records = []
    for block in module.blocks:
        records.append(forward_block(block, config, x))
        x = records[-1]["output"]
    normed = module.norm(x)
    heads = [module.head, module.head_dist] if config.distilled else [module.head]
    pools = pooling(config)
    pooled = [module.fc_norm(pool(normed)) for pool in pools]
    outputs = [head(features) for head, features in zip(heads, pooled, strict=True)]
    logits = torch.stack(outputs).mean(0)
    gradients = torch.autograd.grad(logits[target], [record["attention"] for record in records])

    with torch.no_grad():
        relevance = functional.one_hot(torch.tensor(target), len(logits)).to(logits)
        parts = add(outputs[0], outputs[1], relevance, rules) if config.distilled else (relevance,)
        at_tokens = torch.zeros_like(x)
        for head, pool, features, part in zip(heads, pools, pooled, parts, strict=True):
            at_tokens += z_rule(pool, [normed], linear(head, features, part, rules))[0]
        at_attentions, at_inputs = [], []
        for block, record in zip(reversed(module.blocks), reversed(records), strict=True):
            at_attention, at_tokens = backward_block(block, record, at_tokens, rules)
            at_attentions.append(at_attention)
            at_inputs.append(at_tokens)
        at_pixels = np.zeros(0)
        if to_pixels:
            if config.position_on_prefix:
                at_patches = add(*summands, at_tokens, rules)[0][config.prefix :]
            else:
                at_patches = add(*summands, at_tokens[config.prefix :], rules)[0]
            at_pixels = box(module.patch_embed.proj.weight, pixels, at_patches, config)[0].permute(1, 2, 0).numpy()

    def stack(tensors: Sequence[Tensor]) -> np.ndarray:
        return np.stack([tensor.detach().numpy() for tensor in tensors])

    return Relevance(stack(at_attentions[::-1]), stack(at_inputs[::-1]), at_pixels, stack(gradients))


def embed(module: Any, config: ViTConfig, pixels: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The two summands of which one is the position embedding, and the tokens [n, c] that enter the first block."""
    patches = module.patch_embed(pixels)[0].reshape(-1, config.width)  # timm may keep the grid, [h, w, c]
    special = ("cls_token", "dist_token", "reg_token")
    prefix = [getattr(module, name)[0] for name in special if getattr(module, name, None) is not None]
    positions = module.pos_embed[0]
    if config.position_on_prefix:
        summands = torch.cat([*prefix, patches]), positions
        return summands, module.norm_pre(summands[0] + positions)
    return (patches, positions), module.norm_pre(torch.cat([*prefix, patches + positions]))


def pooling(config: ViTConfig) -> list[Callable[[Tensor], Tensor]]:
    """For each head, the function from the tokens [n, c] to what the head reads, [c]."""
    if config.distilled:
        return [lambda tokens: tokens[0], lambda tokens: tokens[1]]
    if config.pool == "token":
        return [lambda tokens: tokens[0]]
    return [lambda tokens: tokens[config.prefix :].mean(0)]


def forward_block(block: Any, config: ViTConfig, x: Tensor) -> dict[str, Tensor]:
    """Activations of a block with input x [n, c], by name; "output" is the block's output."""
    n, c = x.shape
    attn, record = block.attn, {"input": x.detach()}
    record["normed1"] = block.norm1(x)
    q, k, v = attn.qkv(record["normed1"]).reshape(n, 3, config.heads, c // config.heads).permute(1, 2, 0, 3)
    record |= {"q": q, "k": k, "v": v}
    scores = q @ k.mT * (c // config.heads) ** -0.5
    if not scores.requires_grad:
        scores = scores.detach().requires_grad_()
    attention = record["attention"] = scores.softmax(-1)
    record["context"] = (attention @ v).transpose(0, 1).reshape(n, c)
    record["attended"] = block.ls1(attn.proj(record["context"]))
    middle = record["middle"] = x + record["attended"]
    record["normed2"] = block.norm2(middle)
    hidden = block.mlp.fc1(record["normed2"])
    if config.mlp == "swiglu":
        gate, value = hidden.chunk(2, dim=-1)
        record["hidden"] = block.mlp.act(gate) * value
    else:
        record["hidden"] = block.mlp.act(hidden)
    record["ffn"] = block.ls2(block.mlp.fc2(record["hidden"]))
    record["output"] = middle + record["ffn"]
    return record


def backward_block(block: Any, record: dict[str, Tensor], relevance: Tensor, rules: str) -> tuple[Tensor, Tensor]:
    """Relevance of a block's attention and of its input, from that of its output.

    Norms, activation, softmax, scale and LayerScale pass relevance through unchanged.
    """
    values = {name: tensor.detach() for name, tensor in record.items()}
    n, c = values["input"].shape
    skip, branch = add(values["middle"], values["ffn"], relevance, rules)
    branch = linear(block.mlp.fc2, values["hidden"], branch, rules)
    if block.mlp.fc1.out_features == 2 * branch.shape[-1]:  # SwiGLU: gate and value get half of the relevance each
        branch = torch.cat([branch / 2, branch / 2], dim=-1)
    branch = linear(block.mlp.fc1, values["normed2"], branch, rules)
    relevance = join(values["middle"], skip, branch)
    skip, branch = add(values["input"], values["attended"], relevance, rules)
    branch = linear(block.attn.proj, values["context"], branch, rules)
    heads = len(values["v"])
    at_context = branch.reshape(n, heads, c // heads).transpose(0, 1)
    at_attention, at_v = (r / 2 for r in z_rule(torch.matmul, (values["attention"], values["v"]), at_context))
    at_q, at_k = (r / 2 for r in z_rule(lambda q, k: q @ k.mT, (values["q"], values["k"]), at_attention))
    at_qkv = torch.stack([at_q, at_k, at_v]).permute(2, 0, 1, 3).reshape(n, 3 * c)
    branch = linear(block.attn.qkv, values["normed1"], at_qkv, rules)
    return at_attention, join(values["input"], skip, branch)


def box(weight: Tensor, pixels: Tensor, relevance: Tensor, config: ViTConfig) -> Tensor:
    """z^B-rule of the patch embedding: relevance of the pixels [1, 3, H, W].

    Args:
        weight: [c, 3, p, p].
        pixels: [1, 3, H, W].
        relevance: of the patches, [patches, c].
        config: the ViTConfig.
    """

    def convolve(x: Tensor, w: Tensor) -> Tensor:
        return functional.conv2d(x, w, stride=config.patch_size)

    low, high = torch.full_like(pixels, pixels.min().item()), torch.full_like(pixels, pixels.max().item())
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    relevance = relevance.T.reshape(1, -1, *config.grid)
    share = relevance / (convolve(pixels, weight) - convolve(low, up) - convolve(high, down) + EPSILON)

    def back(w: Tensor) -> Tensor:
        return functional.conv_transpose2d(share, w, stride=config.patch_size)

    return pixels * back(weight) - low * back(up) - high * back(down)
