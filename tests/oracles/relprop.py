"""Relevance through a timm ViT in plain PyTorch: one image, a hook-free forward, then rule after rule by hand.

Written from the published formulas (METHODS: rules zplus and original, conservative, AttnLRP), independent of
vitjax.rules: z-rules by autograd of each operation alone, modified gradients by detaching.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

TINY = 1e-9


class Relevance(NamedTuple):
    attention: np.ndarray  # [l, h, n, m]
    tokens: np.ndarray  # [l, n, c], entering each block
    pixels: np.ndarray  # [H, W, 3]
    attention_grad: np.ndarray  # [l, h, n, m], of the logit


def safe(a, b):
    denominator = b.clamp(min=TINY) + b.clamp(max=TINY)
    denominator = denominator + (denominator == 0) * TINY
    return a / denominator * (b != 0)


def z_rule(function, inputs, relevance):
    inputs = [x.detach().requires_grad_() for x in inputs]
    with torch.enable_grad():
        result = function(*inputs)
    gradients = torch.autograd.grad(result, inputs, safe(relevance, result.detach()))
    return [(x * g).detach() for x, g in zip(inputs, gradients, strict=True)]


def linear(layer, x, relevance, rules):
    w = layer.weight
    up, down = x.clamp(min=0), x.clamp(max=0)
    w_up, w_down = w.clamp(min=0), w.clamp(max=0)
    z_up, z_down = up @ w_up.T, down @ w_down.T
    if rules == "zplus":
        s_up = s_down = safe(relevance, z_up + z_down)
    else:
        s_up, s_down = safe(relevance, z_up), safe(relevance, z_down)
    return up * (s_up @ w_up) + down * (s_down @ w_down)


def add(a, b, relevance, rules):
    a, b = z_rule(torch.add, (a, b), relevance)
    if rules == "zplus":
        size = a.sum().abs() + b.sum().abs()
        shares = [safe(part.sum().abs(), size) * relevance.sum() for part in (a, b)]
        a, b = a * safe(shares[0], a.sum()), b * safe(shares[1], b.sum())
    return a, b


def join(x, *copies):
    return x * sum(safe(each, x) for each in copies)


def propagate(module, config, image, target, rules, to_pixels=True) -> Relevance:
    """image: [H, W, 3]; rules: "zplus" or "original"; to_pixels: False stops at the tokens, its pixels are empty."""
    pixels = torch.as_tensor(np.array(image)).permute(2, 0, 1)[None]
    patches = module.patch_embed(pixels)[0]
    special = ("cls_token", "dist_token", "reg_token")
    prefix = [getattr(module, name)[0] for name in special if getattr(module, name, None) is not None]
    positions = module.pos_embed[0]
    if config.position_on_prefix:
        summands = torch.cat([*prefix, patches]), positions
        tokens = summands[0] + positions
    else:
        summands = patches, positions
        tokens = torch.cat([*prefix, patches + positions])
    x = module.norm_pre(tokens)

    records = []
    for block in module.blocks:
        records.append(forward_block(block, config, x))
        x = records[-1]["output"]
    normed = module.norm(x)
    if config.distilled:
        pooled = [module.fc_norm(normed[i]) for i in (0, 1)]
        heads = [module.head, module.head_dist]
    elif config.pool == "token":
        pooled, heads = [module.fc_norm(normed[0])], [module.head]
    else:
        pooled, heads = [module.fc_norm(normed[config.prefix :].mean(0))], [module.head]
    outputs = [head(each) for head, each in zip(heads, pooled, strict=True)]
    logits = sum(outputs) / len(outputs)
    attentions = [record["attention"] for record in records]
    gradients = torch.autograd.grad(logits[target], attentions)

    with torch.no_grad():
        relevance = functional.one_hot(torch.tensor(target), len(logits)).to(logits)
        parts = add(*outputs, relevance, rules) if config.distilled else [relevance]
        into = [linear(h, f, r, rules) for h, f, r in zip(heads, pooled, parts, strict=True)]
        if config.pool == "token":
            at_tokens = torch.zeros_like(x)
            for i, part in enumerate(into):
                at_tokens[i] = z_rule(lambda t, i=i: t[i], [normed], part)[0][i]
        else:
            (at_tokens,) = z_rule(lambda t: t[config.prefix :].mean(0), [normed], into[0])
        kept, entering = [], []
        for block, record in zip(reversed(module.blocks), reversed(records), strict=True):
            at_attention, at_tokens = backward_block(block, record, at_tokens, rules)
            kept.append(at_attention)
            entering.append(at_tokens)
        at_pixels = np.zeros(0)
        if to_pixels:
            if config.position_on_prefix:
                at_patches = add(*summands, at_tokens, rules)[0][config.prefix :]
            else:
                at_patches = add(*summands, at_tokens[config.prefix :], rules)[0]
            at_pixels = box(module.patch_embed.proj.weight, pixels, at_patches, config)[0].permute(1, 2, 0).numpy()

    def stack(tensors):
        return np.stack([each.detach().numpy() for each in tensors])

    return Relevance(stack(kept[::-1]), stack(entering[::-1]), at_pixels, stack(gradients))


def forward_block(block, config, x):
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


def backward_block(block, record, relevance, rules):
    """Norms, activation, softmax, scale and LayerScale hand relevance on unchanged."""
    seen = {name: tensor.detach() for name, tensor in record.items()}
    n, c = seen["input"].shape
    skip, branch = add(seen["middle"], seen["ffn"], relevance, rules)
    branch = linear(block.mlp.fc2, seen["hidden"], branch, rules)
    if block.mlp.fc1.out_features == 2 * branch.shape[-1]:  # a gate: half to each factor
        branch = torch.cat([branch / 2, branch / 2], dim=-1)
    branch = linear(block.mlp.fc1, seen["normed2"], branch, rules)
    relevance = join(seen["middle"], skip, branch)
    skip, branch = add(seen["input"], seen["attended"], relevance, rules)
    branch = linear(block.attn.proj, seen["context"], branch, rules)
    heads = len(seen["v"])
    at_context = branch.reshape(n, heads, c // heads).transpose(0, 1)
    at_attention, at_v = (r / 2 for r in z_rule(torch.matmul, (seen["attention"], seen["v"]), at_context))
    at_q, at_k = (r / 2 for r in z_rule(lambda q, k: q @ k.mT, (seen["q"], seen["k"]), at_attention))
    at_qkv = torch.stack([at_q, at_k, at_v]).permute(2, 0, 1, 3).reshape(n, 3 * c)
    branch = linear(block.attn.qkv, seen["normed1"], at_qkv, rules)
    return at_attention, join(seen["input"], skip, branch)


def box(weight, pixels, relevance, config):
    """z^B-rule of the patch embedding; weight [c, 3, p, p], relevance [patches, c]."""

    def convolve(x, w):
        return functional.conv2d(x, w, stride=config.patch_size)

    low, high = torch.full_like(pixels, pixels.min()), torch.full_like(pixels, pixels.max())
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    relevance = relevance.T.reshape(1, -1, *config.grid)
    share = relevance / (convolve(pixels, weight) - convolve(low, up) - convolve(high, down) + TINY)

    def back(w):
        return functional.conv_transpose2d(share, w, stride=config.patch_size)

    return pixels * back(weight) - low * back(up) - high * back(down)


def modified_gradient(module, config, image, target, rule) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the target's logit by tokens [n, c] and pixels [H, W, 3] with parts of the model held constant.

    rule: "conservative", "conservative_identity" or "attn_lrp".
    """
    ratio, uniform = rule != "conservative", rule == "attn_lrp"

    def half(x):
        return (x + x.detach()) / 2

    def norm(layer, x):
        if not hasattr(layer, "weight"):
            return x
        std = (x.var(-1, unbiased=False, keepdim=True) + layer.eps).sqrt()
        return (x - x.mean(-1, keepdim=True)) / std.detach() * layer.weight + layer.bias

    def activate(act, z):
        return z * (act(z) / z).detach() if ratio else act(z)

    def attend(attn, x):
        n, c = x.shape
        q, k, v = attn.qkv(x).reshape(n, 3, config.heads, c // config.heads).permute(1, 2, 0, 3)
        if uniform:
            q, k, v = half(q), half(k), half(v)
        attention = (q @ k.mT * (c // config.heads) ** -0.5).softmax(-1)
        attention = half(attention) if uniform else attention.detach()
        return attn.proj((attention @ v).transpose(0, 1).reshape(n, c))

    def feed(mlp, x):
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
