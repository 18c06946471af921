"""transformer_attribution of one image in eager PyTorch: as the published implementation goes about it, and lean.

Published: each linear layer is taken apart into positive and negative weights and inputs, forward and back by autograd,
once for α = 1 and once for β = 0 (whose half is computed, then multiplied by nothing), and the gradient of the logit
goes to the parameters, too. Lean: `tests.oracles.relprop`, the same rules without that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from tests.oracles.relprop import add, forward_block, join, propagate, safe, z_rule

ALPHA, BETA = 1, 0


def lean(module: Any, config: Any, image: Any, target: int) -> torch.Tensor:
    """One image [H, W, 3] on the CPU: [patches]. The target is given: the prediction costs no forward of its own."""
    seen = propagate(module, config, image, target, "zplus", to_pixels=False)
    cams = (torch.from_numpy(seen.attention) * torch.from_numpy(seen.attention_grad)).clamp(min=0).mean(1)
    return _row(list(cams), config)


def published(module: Any, config: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Of the predicted class; pixels [1, 3, H, W], a model whose head reads the class token alone: [patches]."""
    tokens = module.norm_pre(module._pos_embed(module.patch_embed(pixels)))[0]
    records = []
    for block in module.blocks:
        records.append(forward_block(block, config, tokens))
        records[-1]["attention"].retain_grad()
        tokens = records[-1]["output"]
    normed = module.norm(tokens)
    pooled = module.fc_norm(normed[0])
    logits = module.head(pooled)
    one_hot = functional.one_hot(logits.argmax(), len(logits)).to(logits)
    module.zero_grad()
    (logits * one_hot).sum().backward()

    relevance = linear(module.head, pooled.detach(), one_hot)
    (relevance,) = z_rule(lambda each: each[0], [normed], relevance)
    cams = []
    for block, record in zip(reversed(module.blocks), reversed(records), strict=True):
        at_attention, relevance = through_block(block, record, relevance)
        cams.append((record["attention"].grad * at_attention).clamp(min=0).mean(0))
    return _row(cams[::-1], config)


def through_block(block: Any, record: dict[str, torch.Tensor], relevance: torch.Tensor) -> tuple[Any, torch.Tensor]:
    """Relevance of attention and of what enters the block."""
    seen = {name: tensor.detach() for name, tensor in record.items()}
    n, c = seen["input"].shape
    skip, branch = add(seen["middle"], seen["ffn"], relevance, "zplus")
    branch = linear(block.mlp.fc1, seen["normed2"], linear(block.mlp.fc2, seen["hidden"], branch))
    skip, branch = add(seen["input"], seen["attended"], join(seen["middle"], skip, branch), "zplus")
    branch = linear(block.attn.proj, seen["context"], branch)
    heads = len(seen["v"])
    at_context = branch.reshape(n, heads, c // heads).transpose(0, 1)
    at_attention, at_v = (r / 2 for r in z_rule(torch.matmul, (seen["attention"], seen["v"]), at_context))
    at_q, at_k = (r / 2 for r in z_rule(lambda q, k: q @ k.mT, (seen["q"], seen["k"]), at_attention))
    at_qkv = torch.stack([at_q, at_k, at_v]).permute(2, 0, 1, 3).reshape(n, 3 * c)
    return at_attention, join(seen["input"], skip, linear(block.attn.qkv, seen["normed1"], at_qkv))


def _row(cams: list[torch.Tensor], config: Any) -> torch.Tensor:
    result = torch.eye(cams[0].shape[-1], dtype=cams[0].dtype)
    for cam in cams:
        result = result + cam @ result
    return result[0, config.prefix :]


def linear(layer: Any, x: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
    """α-β rule: like signs against unlike signs of weight and input."""
    weights = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    inputs = x.clamp(min=0), x.clamp(max=0)

    def passed(*weights: torch.Tensor) -> torch.Tensor:
        parts = [each.detach().requires_grad_() for each in inputs]
        results = [functional.linear(part, weight) for part, weight in zip(parts, weights, strict=True)]
        share = safe(relevance, sum(results).detach())
        back = [torch.autograd.grad(result, part, share)[0] for result, part in zip(results, parts, strict=True)]
        return sum(part.detach() * each for part, each in zip(parts, back, strict=True))  # type: ignore[return-value]

    return ALPHA * passed(*weights) - BETA * passed(*reversed(weights))
