"""The architecture of a Vision Transformer, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.shapes import Row

PEEL_ABOVE = 6
"""In models with more blocks than this, the last and the first block may be peeled off the loop over blocks, so that
they skip computation that no fold reads."""

Pool = Literal["token", "avg"]
MLP = Literal["gelu", "quick_gelu", "swiglu"]


@dataclass(frozen=True)
class ViTConfig:
    """Architecture of a Vision Transformer; hashable, so that it can be a static argument of compiled functions.

    width: size of a token, c.
    depth: number of blocks.
    heads: number of attention heads; must divide `width`.
    mlp_dim: hidden width of the MLP, after the gate (SwiGLU) or the activation.
    patch_size: side of a patch in pixels.
    image_size: (height, width) in pixels, multiples of `patch_size`.
    num_classes: number of classes; 0 for a model without a head, whose logits are the pooled features.
    class_token: whether the model has a class token.
    distilled: whether a second prefix token has a head of its own; the logits are then the mean of both heads.
    registers: number of register tokens.
    pool: the head reads the class token ("token") or the mean over patches ("avg").
    fc_norm: whether the final norm comes after pooling; it is then called fc_norm.
    pre_norm: whether a norm precedes the first block.
    qkv_bias: whether the qkv layer has a bias.
    patch_bias: whether the patch embedding has a bias.
    position_on_prefix: whether prefix tokens have position embeddings; False adds positions to the patches only.
    layer_scale: whether the branches of a block end in LayerScale.
    mlp: activation of the MLP.
    norm_eps: epsilon of the LayerNorms.
    similarity: whether logits are similarities to class embeddings: scale · normalised embedding · class embedding +
        bias. The parameters are `classes`, whose kernel [e, k] holds the unit class embeddings times the scale.
    embedding: width e of the embedding that `head` computes from the pooled features, which is normalised in a
        similarity model, and the output of a model without classes (an image tower); 0 takes the features themselves.

    Raises:
        ConfigError: the values do not fit together.

    Example:
        >>> config = vitjax.ViTConfig(width=64, depth=2, heads=2, mlp_dim=128, patch_size=8, image_size=(32, 32))
        >>> config.grid, config.tokens
        ((4, 4), 17)
    """

    width: int
    depth: int
    heads: int
    mlp_dim: int
    patch_size: int = 16
    image_size: tuple[int, int] = (224, 224)
    num_classes: int = 1000
    class_token: bool = True
    distilled: bool = False
    registers: int = 0
    pool: Pool = "token"
    fc_norm: bool = False
    pre_norm: bool = False
    qkv_bias: bool = True
    patch_bias: bool = True
    position_on_prefix: bool = True
    layer_scale: bool = False
    mlp: MLP = "gelu"
    norm_eps: float = 1e-6
    similarity: bool = False
    embedding: int = 0

    def __post_init__(self) -> None:
        check_fields({field.name: getattr(self, field.name) for field in fields(self)})
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not a multiple of heads {self.heads}")
        for side, name in zip(self.image_size, ("height", "width"), strict=True):
            if side % self.patch_size or side < self.patch_size:
                raise ConfigError(f"image {name} {side} is not a multiple of the patch size {self.patch_size}")
        if self.pool == "token" and not self.class_token:
            raise ConfigError("pool='token' needs class_token=True; a model without a class token pools by 'avg'")
        if self.distilled and not self.class_token:
            raise ConfigError("distilled=True needs class_token=True")
        if self.similarity and (self.distilled or not self.num_classes):
            raise ConfigError("similarity=True needs classes, and one head only (distilled=False)")
        if self.embedding and (self.distilled or (self.num_classes and not self.similarity)):
            raise ConfigError("embedding needs similarity=True or num_classes=0, and one head only (distilled=False)")

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Number of patches along the (height, width) of the image."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def prefix(self) -> int:
        """Number of tokens before the patches: class token, distillation token, registers."""
        return int(self.class_token) + int(self.distilled) + self.registers

    @property
    def tokens(self) -> int:
        """Number of all tokens, n."""
        return self.prefix + self.grid[0] * self.grid[1]

    @property
    def position_tokens(self) -> int:
        """Number of rows of the position embedding."""
        return self.tokens if self.position_on_prefix else self.tokens - self.prefix

    @property
    def readout_slice(self) -> slice:
        """Tokens that the head reads. The gradient by the last block's output is 0 at all other tokens."""
        return slice(0, 1 + self.distilled) if self.pool == "token" else slice(self.prefix, self.tokens)

    @property
    def deep(self) -> bool:
        """Whether there are enough blocks that compiling one outside the loop over blocks saves more than it costs."""
        return self.depth > PEEL_ABOVE

    @property
    def peeled(self) -> bool:
        """Whether the last block is peeled off the loop and, after attention, computes `readout_slice` only."""
        return self.pool == "token" and self.deep

    def at_size(self, image_size: Sequence[int]) -> ViTConfig:
        """The same architecture at another image size, (height, width) in pixels.

        Raises:
            ConfigError: a side is not a multiple of the patch size.
        """
        return replace(self, image_size=(image_size[0], image_size[1]))

    def readout_weights(self) -> Row:
        """Weights [n] by which the head pools the tokens; they sum to 1. Recurrences over rows start from them.

        The weights are 1 at the class token, or 1/patches at every patch for a model that pools by averaging. For a
        distilled model, which averages two heads, they are those of the class token's head.
        """
        if self.pool == "token":
            return jnp.zeros(self.tokens).at[0].set(1.0)
        patches = self.tokens - self.prefix
        return jnp.zeros(self.tokens).at[self.prefix :].set(1.0 / patches)


def check_fields(values: Mapping[str, Any]) -> None:
    """Check type and range of each field of a ViTConfig on its own, such as those that a file states.

    Args:
        values: by field name; those that are missing have their default.

    Raises:
        ConfigError: a value is invalid; the message names the field.
    """
    values = {field.name: field.default for field in fields(ViTConfig) if field.default is not MISSING} | dict(values)
    try:
        height, width = values["image_size"]
    except (TypeError, ValueError):
        raise ConfigError(f"image_size must be (height, width), not {values['image_size']!r}") from None
    sizes: dict[str, Any] = {
        name: values[name] for name in ("width", "depth", "heads", "mlp_dim", "patch_size") if name in values
    }
    sizes |= {"image height": height, "image width": width}
    for least, numbers in ((1, sizes), (0, {name: values[name] for name in ("num_classes", "registers", "embedding")})):
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ConfigError(f"{name} must be an integer of at least {least}, not {value!r}")
    for field in fields(ViTConfig):
        if isinstance(field.default, bool) and not isinstance(values[field.name], (bool, np.bool_)):
            raise ConfigError(f"{field.name} must be true or false, not {values[field.name]!r}")
    for name, known in (("pool", get_args(Pool)), ("mlp", get_args(MLP))):
        if values[name] not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, not {values[name]!r}")
    if not isinstance(values["norm_eps"], (int, float, np.floating)) or not 0 <= values["norm_eps"] < 1:
        raise ConfigError(f"norm_eps must be a number from 0 to below 1, not {values['norm_eps']!r}")
