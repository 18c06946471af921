"""The `ModelRun` of PyTorch: a timm module run with autograd on one image in float64."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from tests.oracles import relprop
from tests.oracles.formulas import FullGradient, Reading, Trace

LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


class TorchRun(Reading):
    """What `tests.oracles.formulas.ModelRun` describes, computed by PyTorch.

    Args:
        config: the ViTConfig of the model.
        module: a timm VisionTransformer with the model's weights; is converted to float64.
        image: normalised pixels [H, W, 3].
        target: class whose score is differentiated and explained.
    """

    def __init__(self, config, module, image, target):
        self.config, self.module, self.target = config, module.double().eval().requires_grad_(False), target
        self.image = np.asarray(image, np.float64)
        self._relevance: dict[str, relprop.Relevance] = {}
        self.traces = {score: self.trace(self.image, score) for score in ("logit", "probability")}

    def projection(self, layer):
        return self.module.blocks[layer].attn.proj.weight.numpy().T

    def layer_scale(self, layer):
        return self.module.blocks[layer].ls1.gamma.numpy()

    def trace(self, image, score):
        records, _ = self._run(image, score)

        def stack(name, gradient=False):
            tensors = [record[name].grad if gradient else record[name].detach() for record in records]
            return np.stack([tensor[0].numpy() for tensor in tensors])

        fields = [name for name in Trace._fields if not name.endswith("_grad")]
        gradients = [name for name in Trace._fields if name.endswith("_grad")]
        return Trace(
            **{name: stack(name) for name in fields},
            **{name: stack(name.removesuffix("_grad"), gradient=True) for name in gradients},
        )

    def residual_attention_grad(self):
        """Gradient of the logit by attention, along skip connections and MLPs only (AG-CAM)."""
        records, _ = self._run(self.image, "logit", detach_attention_input=True)
        return np.stack([record["attention"].grad[0].numpy() for record in records])

    def local_attention_grad(self, layer, pool):
        """Gradient of the logit that the head gives this layer's output, by this layer's attention (LeGrad)."""
        module, record = self.module, {}
        tokens = torch.from_numpy(self.traces["logit"].tokens[layer])[None].requires_grad_()
        output = self._block(module.blocks[layer], record, tokens)
        if pool == "cls":
            logits = module.forward_head(module.norm(output))
        else:
            pooled = module.fc_norm(module.norm(output.mean(dim=1)))
            heads = [module.head] + ([module.head_dist] if self.config.distilled else [])
            logits = torch.stack([head(pooled) for head in heads]).mean(dim=0)
        logits[0, self.target].backward()
        return record["attention"].grad[0].numpy()

    def relevance(self, rules):
        if rules not in self._relevance:
            self._relevance[rules] = relprop.propagate(self.module, self.config, self.image, self.target, rules)
        return self._relevance[rules]

    def modified_gradient(self, rule):
        return relprop.modified_gradient(self.module, self.config, self.image, self.target, rule)

    def score(self, image, score):
        with torch.no_grad():
            logits = self.module(torch.from_numpy(np.array(image, np.float64)).permute(2, 0, 1)[None])[0]
        return float((logits if score == "logit" else logits.softmax(-1))[self.target])

    def image_gradient(self, image, score):
        _, pixels = self._run(image, score)
        return pixels.grad[0].permute(1, 2, 0).numpy()

    def full_gradient(self, score):
        outputs, hooks = [], []

        def store(layer, _inputs, output):
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
                gradient = output.grad[0]
                if gradient.ndim == 3:  # the patch embedding is a convolution: [c, h, w]
                    gradient = gradient.flatten(1).T
                biases.append((layer.bias.detach().numpy(), gradient.numpy()))
        image_grad = pixels.grad[0].permute(1, 2, 0).numpy()
        return FullGradient(image_grad, positions.detach()[0].numpy(), positions.grad[0].numpy(), biases)

    def _run(self, image, score, detach_attention_input=False):
        """Run an image forward and backward.

        Returns:
            Activations of each block, with gradients; and the pixels [1, 3, H, W], with gradients.
        """
        records = [{} for _ in self.module.blocks]
        pixels = torch.from_numpy(np.array(image, np.float64)).permute(2, 0, 1)[None].requires_grad_()
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

    def _block(self, block, record, x, detach=False, **_unused):
        """timm's pre-norm block, written step by step so that every activation retains its gradient in `record`."""

        def store(name, tensor):
            if tensor.requires_grad:
                tensor.retain_grad()
            record[name] = tensor
            return tensor

        store("tokens", x)
        normed = store("normed", block.norm1(x))
        attended = self._attention(block.attn, store, normed.detach() if detach else normed)
        middle = store("middle", x + block.ls1(attended))
        return store("output", middle + block.ls2(block.mlp(block.norm2(middle))))

    def _attention(self, attn, store, x):
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
