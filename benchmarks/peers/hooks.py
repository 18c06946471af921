"""PyTorch as public repositories use it: eager, one image at a time, with hooks that store attention.

Has no command of its own; `python -m benchmarks.speed` times it as "PyTorch, hooks, one image".

As in those scripts, the model's parameters require gradients, one backward pass runs through the complete model, and
whole n x n matrices are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Hooked:
    """Methods on a timm ViT with hooks: pixels [1, 3, H, W] -> map [patches] of the predicted class.

    Args:
        module: the timm module; the head must read the class token.
    """

    def __init__(self, module: Any) -> None:
        self.module = module.eval().requires_grad_(True)
        self.prefix = module.num_prefix_tokens
        # Activations of the last forward pass, one tensor per block.
        self.attention: list[torch.Tensor] = []
        self.tokens: list[torch.Tensor] = []  # inputs of the blocks
        self.output: list[torch.Tensor] = []
        self.normed: list[torch.Tensor] = []
        for block in module.blocks:
            block.attn.fused_attn = False  # the fused kernel does not compute the attention matrix
            block.attn.attn_drop.register_forward_hook(_append_to(self.attention))
            block.norm1.register_forward_hook(_append_to(self.normed))
            block.register_forward_pre_hook(lambda _, inputs: _append_to(self.tokens)(None, None, inputs[0]))
            block.register_forward_hook(_append_to(self.output))

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits [1, k]."""
        with torch.no_grad():
            return self._forward(pixels)

    def rollout(self, pixels: torch.Tensor) -> torch.Tensor:
        self.logits(pixels)
        return self._product([_normalise_rows(a[0].mean(0) + _eye(a)) for a in self.attention])

    def grad_rollout(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        return self._product([_normalise_rows(f.mean(0).clamp(min=0) + _eye(f)) for f in self._weighted_attention()])

    def gmar(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        matrices = []
        for a in self.attention:
            size = _grad(a).abs().sum((1, 2))
            matrices.append(((size / size.sum())[:, None, None] * a[0].detach()).sum(0) + _eye(a))
        return self._product(matrices)

    def transformer_mm(self, pixels: torch.Tensor) -> torch.Tensor:
        self._backward(pixels)
        relevance = _eye(self.attention[0])
        for cam in self._weighted_attention():
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
        for activations in (self.attention, self.tokens, self.output, self.normed):
            activations.clear()
        return self.module(pixels)

    def _backward(self, pixels: torch.Tensor) -> None:
        logits = self._forward(pixels)
        self.module.zero_grad()
        logits[0, logits.argmax()].backward()

    def _weighted_attention(self) -> list[torch.Tensor]:
        """Attention times its gradient, [h, n, m], of each block."""
        return [_grad(a) * a[0].detach() for a in self.attention]

    def _product(self, matrices: list[torch.Tensor]) -> torch.Tensor:
        """The class token's row of the product of all matrices, at the patches."""
        result = matrices[0]
        for matrix in matrices[1:]:
            result = matrix @ result
        return result[0, self.prefix :]


def _append_to(activations: list[torch.Tensor]) -> Callable[..., None]:
    """A forward hook that appends a module's output to the list and lets it retain its gradient."""

    def hook(_module: Any, _inputs: Any, tensor: torch.Tensor) -> None:
        if tensor.requires_grad:
            tensor.retain_grad()
        activations.append(tensor)

    return hook


def _grad(activation: torch.Tensor) -> torch.Tensor:
    """The retained gradient, without the batch axis of length 1."""
    assert activation.grad is not None
    return activation.grad[0]


def _eye(like: torch.Tensor) -> torch.Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def _normalise_rows(square: torch.Tensor) -> torch.Tensor:
    return square / square.sum(-1, keepdim=True)
