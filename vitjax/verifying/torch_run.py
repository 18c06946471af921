"""The `ModelRun` of PyTorch: a timm module run with autograd on one image in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitjax.nn.vit_config import ViTConfig
from vitjax.verifying import modified_gradient, relprop
from vitjax.verifying.model_run import FullGradient, ModelRun, Relevance, Trace

LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


class TorchRun(ModelRun):
    """What formulas read, computed by PyTorch.

    Args:
        config: the ViTConfig of the model.
        module: a timm VisionTransformer with the model's weights; is converted to float64.
        image: normalised pixels [H, W, 3].
        target: class whose score is differentiated and explained.
    """

    def __init__(self, config: ViTConfig, module: Any, image: np.ndarray, target: int) -> None:
        self.config, self.module, self.target = config, module.double().eval().requires_grad_(False), target
        self.image = np.asarray(image, np.float64)
        self._relevance: dict[str, Relevance] = {}
        self.traces = {score: self.trace(self.image, score) for score in ("logit", "probability")}

    def projection(self, layer: int) -> np.ndarray:
        return self.module.blocks[layer].attn.proj.weight.numpy().T

    def layer_scale(self, layer: int) -> np.ndarray:
        return self.module.blocks[layer].ls1.gamma.numpy()

    def trace(self, image: np.ndarray, score: str) -> Trace:
        records, _ = self._run(image, score)
        arrays = {}
        for name in Trace._fields:
            tensors = [record[name.removesuffix("_grad")] for record in records]
            arrays[name] = np.stack([_gradient(x) if name.endswith("_grad") else x.detach().numpy() for x in tensors])
        return Trace(**{name: array[:, 0] for name, array in arrays.items()})

    def residual_attention_grad(self) -> np.ndarray:
        records, _ = self._run(self.image, "logit", detach_attention_input=True)
        return np.stack([_gradient(record["attention"])[0] for record in records])

    def local_attention_grad(self, layer: int, pool: str) -> np.ndarray:
        module = self.module
        record: dict[str, Tensor] = {}
        tokens = torch.from_numpy(self.traces["logit"].tokens[layer])[None].requires_grad_()
        output = self._block(module.blocks[layer], record, tokens)
        if pool == "cls":
            logits = module.forward_head(module.norm(output))
        else:
            pooled = module.fc_norm(module.norm(output.mean(dim=1)))
            heads = [module.head] + ([module.head_dist] if self.config.distilled else [])
            logits = torch.stack([head(pooled) for head in heads]).mean(dim=0)
        logits[0, self.target].backward()
        return _gradient(record["attention"])[0]

    def relevance(self, rules: str) -> Relevance:
        if rules not in self._relevance:
            self._relevance[rules] = relprop.propagate(self.module, self.config, self.image, self.target, rules)
        return self._relevance[rules]

    def modified_gradient(self, rule: str) -> tuple[np.ndarray, np.ndarray]:
        return modified_gradient.modified_gradient(self.module, self.config, self.image, self.target, rule)

    def score(self, image: np.ndarray, score: str) -> float:
        with torch.no_grad():
            logits = self.module(_pixels(image))[0]
        return float((logits if score == "logit" else logits.softmax(-1))[self.target])

    def image_gradient(self, image: np.ndarray, score: str) -> np.ndarray:
        _, pixels = self._run(image, score)
        return _gradient(pixels)[0].transpose(1, 2, 0)

    def full_gradient(self, score: str) -> FullGradient:
        outputs: list[tuple[Any, Tensor]] = []
        hooks = []

        def store(layer: Any, _inputs: Any, output: Tensor) -> None:
            output.retain_grad()
            outputs.append((layer, output))

        for name, layer in self.module.named_modules():
            if name == "patch_embed.proj" or name.endswith(LINEARS):
                hooks.append(layer.register_forward_hook(store))
        positions = self.module.pos_embed.requires_grad_()
        positions.grad = None
        try:
            _, pixels = self._run(self.image, score)
        finally:
            positions.requires_grad_(False)
            for hook in hooks:
                hook.remove()
        biases = []
        for layer, output in outputs:
            if layer.bias is not None:
                gradient = _gradient(output)[0]
                if gradient.ndim == 3:  # the patch embedding is a convolution: [c, h, w]
                    gradient = gradient.reshape(len(gradient), -1).T
                biases.append((layer.bias.detach().numpy(), gradient))
        image_grad = _gradient(pixels)[0].transpose(1, 2, 0)
        return FullGradient(image_grad, positions.detach()[0].numpy(), _gradient(positions)[0], biases)

    def _run(
        self, image: np.ndarray, score: str, detach_attention_input: bool = False
    ) -> tuple[list[dict[str, Tensor]], Tensor]:
        """Run an image forward and backward.

        Returns:
            Activations of each block, with gradients; and the pixels [1, 3, H, W], with gradients.
        """
        records: list[dict[str, Tensor]] = [{} for _ in self.module.blocks]
        pixels = _pixels(image).requires_grad_()
        originals = [block.forward for block in self.module.blocks]
        try:
            for block, record in zip(self.module.blocks, records, strict=True):
                block.forward = partial(self._block, block, record, detach=detach_attention_input)
            logits = self.module(pixels)
        finally:
            for block, forward in zip(self.module.blocks, originals, strict=True):
                block.forward = forward
        value = logits if score == "logit" else logits.softmax(dim=-1)
        value[0, self.target].backward()
        return records, pixels

    def _block(self, block: Any, record: dict[str, Tensor], x: Tensor, detach: bool = False, **_unused: Any) -> Tensor:
        """timm's pre-norm block, written step by step so that every activation retains its gradient in `record`."""

        def store(name: str, tensor: Tensor) -> Tensor:
            if tensor.requires_grad:
                tensor.retain_grad()
            record[name] = tensor
            return tensor

        store("tokens", x)
        normed = store("normed", block.norm1(x))
        attended = self._attention(block.attn, store, normed.detach() if detach else normed)
        middle = store("middle", x + block.ls1(attended))
        return store("output", middle + block.ls2(block.mlp(block.norm2(middle))))

    def _attention(self, attn: Any, store: Callable[[str, Tensor], Tensor], x: Tensor) -> Tensor:
        b, n, c = x.shape
        heads = self.config.heads
        q, k, v = attn.qkv(x).reshape(b, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT * (c // heads) ** -0.5
        if not scores.requires_grad:  # the input was detached, but the gradient by attention is wanted
            scores = scores.detach().requires_grad_()
        scores = store("scores", scores)
        attention = store("attention", scores.softmax(dim=-1))
        values = store("values", v)
        return attn.proj((attention @ values).transpose(1, 2).reshape(b, n, c))


def _pixels(image: np.ndarray) -> Tensor:
    """An image [H, W, 3] as a new tensor [1, 3, H, W]."""
    return torch.from_numpy(np.array(image, np.float64)).permute(2, 0, 1)[None]


def _gradient(tensor: Tensor) -> np.ndarray:
    assert tensor.grad is not None
    return tensor.grad.numpy()
