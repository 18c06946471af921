"""The Vision Transformer, for ONE image; batches are `jax.vmap`.

Parameters carry timm's names (`blocks.attn.qkv`, `norm1`, `mlp.fc1`, `head` ...), with a leading layer axis under
`blocks`. Intermediates are named where they are born (`sow`), and what explainers differentiate by is open to
perturbation (`perturb`): scores, attention, every linear result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from vitjax.errors import ConfigError
from vitjax.ops import GRADIENT, Ops, given
from vitjax.shapes import Attended, Heads, Image, Logits, Params, Row, Tokens

COLLECTIONS: dict[Any, Any] = {"params": 0, "intermediates": 0, "perturbations": 0}
"""Every collection of a scanned block. One left out makes its gradients vanish without an error."""
PEEL_ABOVE = 6
"""In models with more blocks than this the last and the first are spared what nobody looks at."""


@dataclass(frozen=True)
class ViTConfig:
    """Architecture of a Vision Transformer; hashable, so it is a static argument of every compiled function.

    Sizes are (height, width) in pixels. `mlp_dim` is the hidden width after the gate (SwiGLU) or GELU.
    """

    width: int
    depth: int
    heads: int
    mlp_dim: int
    patch_size: int = 16
    image_size: tuple[int, int] = (224, 224)
    num_classes: int = 1000  # 0: no head, the logits are the pooled features
    class_token: bool = True
    distilled: bool = False  # second prefix token with a head of its own; logits are the mean of both heads
    registers: int = 0
    pool: Literal["token", "avg"] = "token"
    fc_norm: bool = False  # the final norm comes after pooling and is called fc_norm
    pre_norm: bool = False
    qkv_bias: bool = True
    patch_bias: bool = True
    position_on_prefix: bool = True  # False: positions are added to the patches only
    layer_scale: bool = False
    mlp: Literal["gelu", "quick_gelu", "swiglu"] = "gelu"
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not a multiple of heads {self.heads}")
        for side, name in zip(self.image_size, ("height", "width"), strict=True):
            if side % self.patch_size or side < self.patch_size:
                raise ConfigError(f"image {name} {side} is not a multiple of the patch size {self.patch_size}")
        if self.pool == "token" and not self.class_token:
            raise ConfigError("pool='token' needs class_token=True; a model without a class token pools by 'avg'")
        if self.distilled and not self.class_token:
            raise ConfigError("distilled=True needs class_token=True")

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Patches (down, across)."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def prefix(self) -> int:
        """Tokens before the patches: class, distillation, registers."""
        return int(self.class_token) + int(self.distilled) + self.registers

    @property
    def tokens(self) -> int:
        """All tokens, n."""
        return self.prefix + self.grid[0] * self.grid[1]

    @property
    def position_tokens(self) -> int:
        """Rows of the position embedding."""
        return self.tokens if self.position_on_prefix else self.tokens - self.prefix

    @property
    def read(self) -> slice:
        """The tokens that the head reads. At all others the last block's output has no gradient."""
        return slice(0, 1 + self.distilled) if self.pool == "token" else slice(self.prefix, self.tokens)

    @property
    def deep(self) -> bool:
        """Whether what one block alone can be spared is worth compiling it by itself, outside the loop over all."""
        return self.depth > PEEL_ABOVE

    @property
    def peeled(self) -> bool:
        """Whether the last block stands outside that loop, and computes what follows attention at `read` alone."""
        return self.pool == "token" and self.deep

    def at_size(self, image_size: tuple[int, int]) -> ViTConfig:
        """The same architecture at another image size (pixels)."""
        return replace(self, image_size=(image_size[0], image_size[1]))

    def readout(self) -> Row:
        """Weights [n] by which the head pools tokens, and so the row every row-recurrence starts from.

        The class token's unit vector, or 1/patches on each patch for average-pooled models. A distilled model
        averages two heads; its row is the class token's.
        """
        if self.pool == "token":
            return jnp.zeros(self.tokens).at[0].set(1.0)
        patches = self.tokens - self.prefix
        return jnp.zeros(self.tokens).at[self.prefix :].set(1.0 / patches)


def block_params(blocks: Params, number: jax.Array | int) -> Params:
    """One block's of those stacked over layers; number: traced or not. A slice of the stack would copy it."""
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, number, keepdims=False), blocks)


def sow(module: nn.Module, collection: str, name: str, value: Any) -> None:
    """Sow `value` bare, where flax would wrap it in a tuple, and not while parameters are made."""
    if not module.is_initializing():
        module.sow(collection, name, value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


class Linear(nn.Module):
    features: int
    ops: Ops
    use_bias: bool = True

    """Sows `result` into "results"; takes it from "known" where it is there, and then only has a backward pass."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        if self.has_variable("known", "result"):
            result = given(self.ops.linear, self.get_variable("known", "result"), x, kernel, bias)
        else:
            result = self.ops.linear(x, kernel, bias)
        sow(self, "results", "result", result)
        return self.perturb("result", result)


class LayerNorm(nn.Module):
    eps: float
    ops: Ops

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return self.ops.layernorm(x, scale, bias, self.eps)


class LayerScale(nn.Module):
    ops: Ops

    @nn.compact
    def __call__(self, x):
        return self.ops.scale(x, self.param("gamma", nn.initializers.constant(1e-5), (x.shape[-1],)))


class Observed(nn.Module):
    """A module that can be looked into."""

    def watch(self, name, value):
        sow(self, "intermediates", name, value)


class Attention(Observed):
    """Multi-head self-attention. Sows `scores` and `attention` [h, n, m] and `values` [h, n, d]."""

    config: ViTConfig
    ops: Ops

    def setup(self):
        self.qkv = Linear(3 * self.config.width, self.ops, self.config.qkv_bias)
        self.proj = Linear(self.config.width, self.ops)

    def __call__(self, x: Tokens, rows: slice | None = None) -> Tokens:
        """Of all tokens, or of the `rows` alone; what is sown is of all of them."""
        n, c = x.shape
        d = c // self.config.heads
        q, k, v = self.ops.split(self.qkv(x).reshape(n, 3, self.config.heads, d))

        def compare(q):
            return self.ops.scores(q, k, d**-0.5)

        scores = self.perturb("scores", compare(q if rows is None else q[:, rows]))
        attention = self.perturb("attention", self.ops.softmax(scores))
        whole = scores if rows is None else compare(q)
        self.watch("scores", whole)
        self.watch("attention", attention if rows is None else self.ops.softmax(whole))
        self.watch("values", v)
        return self.mix(attention, v)

    def mix(self, attention: Attended, values: Heads) -> Tokens:
        """What rows of attention [h, r, m] make of the values [h, m, d]: [r, c]."""
        context = self.ops.matmul(attention, values).transpose(1, 0, 2)
        return self.proj(context.reshape(context.shape[0], -1))


class Mlp(nn.Module):
    config: ViTConfig
    ops: Ops

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        kind, hidden = self.config.mlp, self.config.mlp_dim
        if kind == "swiglu":
            x = Linear(2 * hidden, self.ops, name="fc1")(x)
            x = self.ops.multiply(self.ops.activation(x[..., :hidden], "silu"), x[..., hidden:])
        else:
            x = self.ops.activation(Linear(hidden, self.ops, name="fc1")(x), kind)
        return Linear(self.config.width, self.ops, name="fc2")(x)


class Block(Observed):
    """Pre-norm transformer block. Sows `input`, `normed` (by norm1), `middle` (after attention), `output`, [n, c]."""

    config: ViTConfig
    ops: Ops = GRADIENT

    def setup(self):
        cfg, ops = self.config, self.ops
        self.norm1, self.norm2 = LayerNorm(cfg.norm_eps, ops), LayerNorm(cfg.norm_eps, ops)
        self.attn, self.mlp = Attention(cfg, ops), Mlp(cfg, ops)
        if cfg.layer_scale:
            self.ls1, self.ls2 = LayerScale(ops), LayerScale(ops)

    def __call__(self, x: Tokens, rows: slice | None = None) -> Tokens:
        return self.transform(self.attend(x, rows))

    def halves(self, x: Tokens, rows: slice | None = None) -> tuple[Tokens, Tokens]:
        """The stream after attention, and the block's output."""
        middle = self.attend(x, rows)
        return middle, self.transform(middle)

    def attend(self, x: Tokens, rows: slice | None = None) -> Tokens:
        """The stream after attention, of all tokens or of the `rows` alone."""
        return self.add_attention(*self.before_attention(x), rows)

    def transform(self, x: Tokens) -> Tokens:
        """The block's output, of what `attend` gave; each row by itself."""
        return self.add_mlp(*self.before_mlp(x))

    def before_attention(self, x: Tokens) -> tuple[Tokens, Tokens]:
        """What passes attention by, and norm1's output."""
        self.watch("input", x)
        skip, branch = self.ops.fork(x)
        normed = self.norm1(branch)
        self.watch("normed", normed)
        return skip, normed

    def add_attention(self, skip: Tokens, normed: Tokens, rows: slice | None = None) -> Tokens:
        return self._add_attention(skip if rows is None else skip[rows], self.attn(normed, rows))

    def from_attention(self, skip: Tokens, attention: Attended, values: Heads) -> Tokens:
        """The stream after attention at some rows: skip [r, c] passes it by, attention [h, r, m], values [h, m, d]."""
        return self._add_attention(skip, self.attn.mix(attention, values))

    def _add_attention(self, skip, branch):
        x = self.ops.add(skip, self.ls1(branch) if self.config.layer_scale else branch)
        self.watch("middle", x)
        return x

    def before_mlp(self, x: Tokens) -> tuple[Tokens, Tokens]:
        """What passes the MLP by, and norm2's output."""
        skip, branch = self.ops.fork(x)
        return skip, self.norm2(branch)

    def add_mlp(self, skip: Tokens, normed: Tokens) -> Tokens:
        branch = self.mlp(normed)
        x = self.ops.add(skip, self.ls2(branch) if self.config.layer_scale else branch)
        self.watch("output", x)
        return x


class ViT(nn.Module):
    """The whole model: image -> `embed` -> blocks -> `classify` -> logits.

    The three stages are methods of their own, so that a fold can run the blocks itself.
    """

    config: ViTConfig
    ops: Ops = GRADIENT

    def setup(self):
        cfg = self.config
        small = nn.initializers.normal(0.02)
        self.patch_embed = PatchEmbed(cfg, self.ops)
        if cfg.class_token:
            self.cls_token = self.param("cls_token", small, (1, cfg.width))
        if cfg.distilled:
            self.dist_token = self.param("dist_token", small, (1, cfg.width))
        if cfg.registers:
            self.reg_token = self.param("reg_token", small, (cfg.registers, cfg.width))
        self.pos_embed = self.param("pos_embed", small, (cfg.position_tokens, cfg.width))
        if cfg.pre_norm:
            self.norm_pre = LayerNorm(cfg.norm_eps, self.ops)
        self.blocks = Block(cfg, self.ops)
        final = LayerNorm(cfg.norm_eps, self.ops, name="fc_norm" if cfg.fc_norm else "norm")
        self.final_norm = final
        if cfg.num_classes:
            self.head = Linear(cfg.num_classes, self.ops)
            if cfg.distilled:
                self.head_dist = Linear(cfg.num_classes, self.ops)

    def embed(self, image: Image) -> Tokens:
        """Tokens that enter block 0."""
        cfg = self.config
        patches = self.patch_embed(image)
        names = ("cls_token", "dist_token", "reg_token")
        present = (cfg.class_token, cfg.distilled, bool(cfg.registers))
        prefix = [getattr(self, name) for name, there in zip(names, present, strict=True) if there]
        if cfg.position_on_prefix:
            tokens = self.ops.add(jnp.concatenate([*prefix, patches]), self.pos_embed)
        else:
            tokens = jnp.concatenate([*prefix, self.ops.add(patches, self.pos_embed)])
        return self.norm_pre(tokens) if cfg.pre_norm else tokens

    def classify(self, tokens: Tokens, weights: Row | None = None) -> Logits:
        """Logits of the tokens that leave a block; the pooled features [c] where there is no head.

        `weights` [n] pool the tokens in place of the model's own readout (for both heads of a distilled model).
        """
        cfg = self.config
        norm_first = weights is None and not cfg.fc_norm
        tokens = self.final_norm(tokens) if norm_first else tokens

        def features(row):
            pooled = self.ops.pool(tokens, row)
            return pooled if norm_first else self.final_norm(pooled)

        if cfg.distilled:
            rows = jnp.asarray(np.eye(2, cfg.tokens), tokens.dtype) if weights is None else (weights, weights)
            both = [features(row) for row in rows]
            if cfg.num_classes:
                both = [self.head(both[0]), self.head_dist(both[1])]
            return self.ops.scale(self.ops.add(*both), 0.5)
        found = features(cfg.readout().astype(tokens.dtype) if weights is None else weights)
        return self.head(found) if cfg.num_classes else found

    def __call__(self, image: Image) -> Logits:
        tokens = self.embed(image)
        if self.config.peeled and self._is_plain():
            return self.classify(self._peeled(tokens))
        through_layers = nn.scan(
            lambda block, x: (block(x), None),
            variable_axes=COLLECTIONS,
            split_rngs={"params": True},
            length=self.config.depth,
        )
        tokens, _ = through_layers(self.blocks, tokens)
        return self.classify(tokens)

    def _is_plain(self) -> bool:
        """Whether nobody looks at more than the logits and what they are differentiated by."""
        mutable = any(self.is_mutable_collection(each) for each in COLLECTIONS)
        return self.ops == GRADIENT and not mutable and set(self.blocks.variables) == {"params"}

    def _peeled(self, tokens: Tokens) -> Tokens:
        """What leaves the last block, zero where the head does not read."""
        block, blocks = Block(self.config, self.ops, parent=None), self.blocks.variables["params"]

        def through(x, number, rows=None):
            return block.apply({"params": block_params(blocks, number)}, x, rows)

        last, read = self.config.depth - 1, self.config.read
        tokens, _ = lax.scan(lambda x, number: (through(x, number), None), tokens, jnp.arange(last))
        return jnp.zeros_like(tokens).at[read].set(through(tokens, last, read))


class PatchEmbed(nn.Module):
    """Non-overlapping patches, row by row, through one linear map (a convolution with stride = kernel size)."""

    config: ViTConfig
    ops: Ops

    @nn.compact
    def __call__(self, image: Image) -> Tokens:
        (down, across), p = self.config.grid, self.config.patch_size
        patches = image.reshape(down, p, across, p, 3).transpose(0, 2, 1, 3, 4).reshape(down * across, p * p * 3)
        first = self.ops._replace(linear=self.ops.pixels)
        return Linear(self.config.width, first, self.config.patch_bias, name="proj")(patches)
