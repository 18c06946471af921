"""transformer_attribution of one image in eager PyTorch, in two ways.

Has no command of its own; `python -m benchmarks.relevance` and `python -m benchmarks.speed --cases
transformer_attribution` time both, as "PyTorch, hooks, one image" and "PyTorch, lean relprop, one image".

`published` computes as the published implementation does: each linear layer is split into positive and negative weights
and inputs, which autograd runs forward and backward twice, for α = 1 and for β = 0 (that half is computed and then
multiplied by 0), and the gradient of the logit is also computed for the parameters. `lean` is
`vitjax.verifying.relprop`, the same rules without these redundant operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from vitjax.verifying.relprop import add, forward_block, join, propagate, safe, z_rule

ALPHA, BETA = 1, 0


def lean(module: Any, config: Any, image: Any, target: int) -> torch.Tensor:
    """The map [patches] of one image [H, W, 3] on the CPU.

    target: class index; it is an argument so that no forward pass is needed for the prediction.
    """
    relevance = propagate(module, config, image, target, "zplus", to_pixels=False)
    cams = (torch.from_numpy(relevance.attention) * torch.from_numpy(relevance.attention_grad)).clamp(min=0).mean(1)
    return _attribution(list(cams), config)


def published(module: Any, config: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The map [patches] of the predicted class of one image [1, 3, H, W]. The head must read the class token only."""
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
    (relevance,) = z_rule(lambda tokens: tokens[0], [normed], relevance)
    cams = []
    for block, record in zip(reversed(module.blocks), reversed(records), strict=True):
        at_attention, relevance = through_block(block, record, relevance)
        cams.append((record["attention"].grad * at_attention).clamp(min=0).mean(0))
    return _attribution(cams[::-1], config)


def through_block(block: Any, record: dict[str, torch.Tensor], relevance: torch.Tensor) -> tuple[Any, torch.Tensor]:
    """Relevance of a block's attention [h, n, m] and of its input [n, c], from that of its output."""
    values = {name: tensor.detach() for name, tensor in record.items()}
    n, c = values["input"].shape
    skip, branch = add(values["middle"], values["ffn"], relevance, "zplus")
    branch = linear(block.mlp.fc1, values["normed2"], linear(block.mlp.fc2, values["hidden"], branch))
    skip, branch = add(values["input"], values["attended"], join(values["middle"], skip, branch), "zplus")
    branch = linear(block.attn.proj, values["context"], branch)
    heads = len(values["v"])
    at_context = branch.reshape(n, heads, c // heads).transpose(0, 1)
    at_attention, at_v = (r / 2 for r in z_rule(torch.matmul, (values["attention"], values["v"]), at_context))
    at_q, at_k = (r / 2 for r in z_rule(lambda q, k: q @ k.mT, (values["q"], values["k"]), at_attention))
    at_qkv = torch.stack([at_q, at_k, at_v]).permute(2, 0, 1, 3).reshape(n, 3 * c)
    return at_attention, join(values["input"], skip, linear(block.attn.qkv, values["normed1"], at_qkv))


def _attribution(cams: list[torch.Tensor], config: Any) -> torch.Tensor:
    """The class token's row of the product of I + cam over the blocks, at the patches."""
    result = torch.eye(cams[0].shape[-1], dtype=cams[0].dtype)
    for cam in cams:
        result = result + cam @ result
    return result[0, config.prefix :]


def linear(layer: Any, x: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
    """α-β rule of a linear layer: α times the share of pairs of weight and input with equal signs, minus β times the
    share of pairs with opposite signs."""
    weights = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    inputs = x.clamp(min=0), x.clamp(max=0)

    def propagated(*weights: torch.Tensor) -> torch.Tensor:
        parts = [part.detach().requires_grad_() for part in inputs]
        results = [functional.linear(part, weight) for part, weight in zip(parts, weights, strict=True)]
        share = safe(relevance, sum(results).detach())
        gradients = [torch.autograd.grad(result, part, share)[0] for result, part in zip(results, parts, strict=True)]
        return sum(part.detach() * g for part, g in zip(parts, gradients, strict=True))  # type: ignore[return-value]

    return ALPHA * propagated(*weights) - BETA * propagated(*reversed(weights))
