"""The architecture of a Vision Transformer, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.shapes import Row

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
    def readout_slice(self) -> slice:
        """The tokens that the head reads. At all others the last block's output has no gradient."""
        return slice(0, 1 + self.distilled) if self.pool == "token" else slice(self.prefix, self.tokens)

    @property
    def deep(self) -> bool:
        """Whether what one block alone can be spared is worth compiling it by itself, outside the loop over all."""
        return self.depth > PEEL_ABOVE

    @property
    def peeled(self) -> bool:
        """Whether the last block is peeled off the loop and computes what follows attention at `readout_slice` only."""
        return self.pool == "token" and self.deep

    def at_size(self, image_size: tuple[int, int]) -> ViTConfig:
        """The same architecture at another image size (pixels)."""
        return replace(self, image_size=(image_size[0], image_size[1]))

    def readout_weights(self) -> Row:
        """Weights [n] by which the head pools tokens, and so the row every row-recurrence starts from.

        The class token's unit vector, or 1/patches on each patch for average-pooled models. A distilled model
        averages two heads; its row is the class token's.
        """
        if self.pool == "token":
            return jnp.zeros(self.tokens).at[0].set(1.0)
        patches = self.tokens - self.prefix
        return jnp.zeros(self.tokens).at[self.prefix :].set(1.0 / patches)
