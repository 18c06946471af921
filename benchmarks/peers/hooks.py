"""PyTorch as the public repositories run it: eager, one image, hooks keep attention, one backward through everything.

The model's parameters require gradients, as they do in those scripts, and whole n x n matrices are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Hooked:
    """A timm ViT with hooks. Methods take one picture [1, 3, H, W] and explain the predicted class: [patches]."""

    def __init__(self, module: Any) -> None:
        self.module = module.eval().requires_grad_(True)
        self.prefix = module.num_prefix_tokens
        self.attention: list[torch.Tensor] = []
        self.tokens: list[torch.Tensor] = []  # entering each block
        self.output: list[torch.Tensor] = []
        self.normed: list[torch.Tensor] = []
        for block in module.blocks:
            block.attn.fused_attn = False  # the fused kernel has no attention to keep
            block.attn.attn_drop.register_forward_hook(_keep(self.attention))
            block.norm1.register_forward_hook(_keep(self.normed))
            block.register_forward_pre_hook(lambda _, inputs: _keep(self.tokens)(None, None, inputs[0]))
            block.register_forward_hook(_keep(self.output))

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """[1, k]"""
        with torch.no_grad():
            return self._forward(pixels)

    def rollout(self, pixels: torch.Tensor) -> torch.Tensor:
        self.logits(pixels)
        return self._product([_rows(a[0].mean(0) + _eye(a)) for a in self.attention])

    def grad_rollout(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        return self._product([_rows(f.mean(0).clamp(min=0) + _eye(f)) for f in self._weighted()])

    def gmar(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        moves = []
        for a in self.attention:
            size = _grad(a).abs().sum((1, 2))
            moves.append(((size / size.sum())[:, None, None] * a[0].detach()).sum(0) + _eye(a))
        return self._product(moves)

    def transformer_mm(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        relevance = _eye(self.attention[0])
        for cam in self._weighted():
            relevance = relevance + cam.clamp(min=0).mean(0) @ relevance
        return relevance[0, self.prefix :]

    def legrad(self, pixels: torch.Tensor) -> torch.Tensor:
        target = self._forward(pixels).argmax()
        total: Any = 0
        for output, attention in zip(self.output, self.attention, strict=True):
            score = self.module.forward_head(self.module.norm(output))[0, target]
            (gradient,) = torch.autograd.grad(score, attention, retain_graph=True)
            total = total + gradient[0].clamp(min=0).mean((0, 1))
        return total[self.prefix :]

    def attcat(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        total: Any = 0
        for a, h in zip(self.attention, self.tokens, strict=True):
            total = total + a[0].detach().mean((0, 1)) * (_grad(h) * h[0].detach()).sum(-1)
        return total[self.prefix :]

    def grad_cam(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        last = self.attention[-1]
        a, g = last[0, :, 0, self.prefix :].detach(), _grad(last)[:, 0, self.prefix :]
        return (g.mean(-1, keepdim=True) * a).mean(0).clamp(min=0)

    def token_grad_cam(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        last = self.normed[-1]
        return (last[0, self.prefix :].detach() @ _grad(last)[self.prefix :].mean(0)).clamp(min=0)

    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        for kept in (self.attention, self.tokens, self.output, self.normed):
            kept.clear()
        return self.module(pixels)

    def _backward(self, pixels: torch.Tensor) -> None:
        logits = self._forward(pixels)
        self.module.zero_grad()
        logits[0, logits.argmax()].backward()

    def _weighted(self) -> list[torch.Tensor]:
        """Attention times its gradient, [h, n, m] of each block."""
        return [_grad(a) * a[0].detach() for a in self.attention]

    def _product(self, matrices: list[torch.Tensor]) -> torch.Tensor:
        result = matrices[0]
        for matrix in matrices[1:]:
            result = matrix @ result
        return result[0, self.prefix :]


def _keep(kept: list[torch.Tensor]) -> Callable[..., None]:
    def hook(_module: Any, _inputs: Any, tensor: torch.Tensor) -> None:
        if tensor.requires_grad:
            tensor.retain_grad()
        kept.append(tensor)

    return hook


def _grad(kept: torch.Tensor) -> torch.Tensor:
    """Of the one image."""
    assert kept.grad is not None
    return kept.grad[0]


def _eye(like: torch.Tensor) -> torch.Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def _rows(square: torch.Tensor) -> torch.Tensor:
    return square / square.sum(-1, keepdim=True)
