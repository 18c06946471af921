"""Fast PyTorch written by hand: batches, no gradients of weights, and no more of a backward pass than a method needs.

Has no command of its own; `python -m benchmarks.speed` times it as "PyTorch, batched by hand".

A map is accumulated as the class token's row, with one batched vector-matrix product per block. Fused attention is used
wherever the attention matrix is not needed. With `compiled`, torch.compile compiles the two halves of a block.
"""

from __future__ import annotations

from typing import Any

import torch


class Batched:
    """Methods on a timm ViT: pixels [b, 3, H, W] -> maps [b, patches] of the predicted classes.

    Args:
        module: the timm module; the head must read the class token.
        compiled: whether to use torch.compile.
    """

    def __init__(self, module: Any, *, compiled: bool = False) -> None:
        self.module = module.eval().requires_grad_(False)
        self.prefix = module.num_prefix_tokens
        # A block is divided at the attention matrix, because autograd has no gradient by a tensor that exists only
        # inside a compiled function.
        functions: Any = (module, attend, after_attention, after_norm)
        callables: Any = [torch.compile(function) if compiled else function for function in functions]
        self._model, self._attend, self._after_attention, self._after_norm = callables

    @torch.inference_mode()
    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits [b, k]."""
        return self._model(pixels)

    @torch.inference_mode()
    def rollout(self, pixels: torch.Tensor) -> torch.Tensor:
        x, fused = self._embed(pixels), []
        for block in self.module.blocks:
            attention, values = self._attend(block, x)
            fused.append(attention.mean(1))
            x = self._after_attention(block, x, attention, values)
        self._classify(x)  # completes the forward pass, since an explanation includes the prediction
        row = self._class_token_row(fused[0])
        for a in reversed(fused):  # rows of attention sum to 1, so that those of a + I sum to 2
            row = (row + _times(row, a)) / 2
        return row[:, self.prefix :]

    def grad_rollout(self, pixels: torch.Tensor) -> torch.Tensor:
        attentions, gradients = self._backward(pixels)
        row = self._class_token_row(attentions[0])
        for a, g in _last_to_first(attentions, gradients):
            f = (a * g).mean(1).clamp(min=0)
            row = row / (f.sum(-1) + 1)
            row = row + _times(row, f)
        return row[:, self.prefix :]

    def gmar(self, pixels: torch.Tensor) -> torch.Tensor:
        attentions, gradients = self._backward(pixels)
        row = self._class_token_row(attentions[0])
        for a, g in _last_to_first(attentions, gradients):
            size = g.abs().sum((2, 3))
            row = row + _times(row, torch.einsum("bh,bhnm->bnm", size / size.sum(1, keepdim=True), a))
        return row[:, self.prefix :]

    def transformer_mm(self, pixels: torch.Tensor) -> torch.Tensor:
        attentions, gradients = self._backward(pixels)
        row = self._class_token_row(attentions[0])
        for a, g in _last_to_first(attentions, gradients):
            row = row + _times(row, (a * g).clamp(min=0).mean(1))
        return row[:, self.prefix :]

    def legrad(self, pixels: torch.Tensor) -> torch.Tensor:
        x, attentions, outputs = self._embed(pixels), [], []
        for block in self.module.blocks:
            attention, values = self._attend(block, x)
            attentions.append(attention.requires_grad_())
            outputs.append(self._after_attention(block, x, attention, values))
            x = outputs[-1].detach()  # the score of a block is differentiated by the attention of this block only
        target = self._classify(x).argmax(1, keepdim=True)
        scores = [self._classify(output).gather(1, target) for output in outputs]
        gradients = torch.autograd.grad(torch.stack(scores).sum(), attentions)
        return sum(g.clamp(min=0).mean((1, 2)) for g in gradients)[:, self.prefix :]  # type: ignore[index]

    def attcat(self, pixels: torch.Tensor) -> torch.Tensor:
        x, tokens, weights = self._embed(pixels).requires_grad_(), [], []
        for block in self.module.blocks:
            tokens.append(x)
            attention, values = self._attend(block, x)
            weights.append(attention.detach().mean((1, 2)))
            x = self._after_attention(block, x, attention, values)
        gradients = torch.autograd.grad(_predicted(self._classify(x)), tokens)
        parts = [a * (h.detach() * g).sum(-1) for a, h, g in zip(weights, tokens, gradients, strict=True)]
        return torch.stack(parts).sum(0)[:, self.prefix :]

    def grad_cam(self, pixels: torch.Tensor) -> torch.Tensor:
        x, last = self._below_last(pixels), self.module.blocks[-1]
        attention, values = self._attend(last, x)
        attention.requires_grad_()
        logits = self._classify(self._after_attention(last, x, attention, values))
        (gradient,) = torch.autograd.grad(_predicted(logits), attention)
        a, g = (matrix[:, :, 0, self.prefix :] for matrix in (attention.detach(), gradient))
        return (g.mean(-1, keepdim=True) * a).mean(1).clamp(min=0)

    def token_grad_cam(self, pixels: torch.Tensor) -> torch.Tensor:
        x, last = self._below_last(pixels), self.module.blocks[-1]
        normed = last.norm1(x).requires_grad_()
        logits = self._classify(self._after_norm(last, x, normed))
        (gradient,) = torch.autograd.grad(_predicted(logits), normed)
        weights = gradient[:, self.prefix :].mean(1)
        return torch.einsum("bnc,bc->bn", normed.detach()[:, self.prefix :], weights).clamp(min=0)

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        m = self.module
        return m.norm_pre(m._pos_embed(m.patch_embed(pixels)))

    def _classify(self, tokens: torch.Tensor) -> torch.Tensor:
        # The head reads prefix tokens only, so the final norm of the patches is not needed.
        return self.module.forward_head(self.module.norm(tokens[:, : self.prefix]))

    def _below_last(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.module.blocks[:-1](self._embed(pixels))

    def _backward(self, pixels: torch.Tensor) -> tuple[list[torch.Tensor], tuple[torch.Tensor, ...]]:
        """Attention of all blocks, and the gradients of the predicted class's logit by it: both [b, h, n, m]."""
        x = self._embed(pixels)
        attentions: list[torch.Tensor] = []
        for block in self.module.blocks:
            attention, values = self._attend(block, x)
            if not attentions:  # the graph starts at the attention of the first block
                attention.requires_grad_()
            attentions.append(attention)
            x = self._after_attention(block, x, attention, values)
        gradients = torch.autograd.grad(_predicted(self._classify(x)), attentions)
        return [a.detach() for a in attentions], gradients

    def _class_token_row(self, like: torch.Tensor) -> torch.Tensor:
        """The class token's row of the identity matrix for each image, [b, n]."""
        row = like.new_zeros(like.shape[0], like.shape[-1])
        row[:, 0] = 1
        return row


def attend(block: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention [b, h, n, m] and values [b, h, m, d] of a block."""
    attn = block.attn
    q, k, v = attn.qkv(block.norm1(x)).reshape(*x.shape[:2], 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind()
    return ((q * attn.scale) @ k.mT).softmax(-1), v


def after_attention(block: Any, x: torch.Tensor, attention: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Output of the block [b, n, c], from its input x and its attention."""
    context = (attention @ values).transpose(1, 2).reshape(x.shape)
    x = x + block.ls1(block.attn.proj(context))
    return x + block.ls2(block.mlp(block.norm2(x)))


def after_norm(block: Any, x: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
    """Output of the block [b, n, c] with fused attention, from its input x and its normalised input."""
    x = x + block.ls1(block.attn(normed))
    return x + block.ls2(block.mlp(block.norm2(x)))


def _predicted(logits: torch.Tensor) -> torch.Tensor:
    """Sum over the batch of the predicted classes' logits."""
    return logits.gather(1, logits.argmax(1, keepdim=True)).sum()


def _times(row: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    return torch.bmm(row[:, None], square)[:, 0]


def _last_to_first(*lists: Any) -> Any:
    """Iterate over the blocks from the last to the first."""
    return zip(*(reversed(values) for values in lists), strict=True)
