"""The architecture of a Vision Transformer, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.nn.rotary import Rotary
from vitjax.nn.stem_config import Stem
from vitjax.shapes import Row

PEEL_ABOVE = 6
"""In models with more blocks than this, the last and the first block may be peeled off the loop over blocks, so that
they skip computation that no fold reads."""

COUNTS = ("num_classes", "registers", "embedding", "head_dim", "pool_heads", "pool_mlp_dim")
"""Fields that may be 0."""

Pool = Literal["token", "avg", "avg_all", "token_avg", "map", "map_all"]
MLP = Literal["gelu", "gelu_tanh", "quick_gelu", "swiglu", "geglu_tanh"]
Norm = Literal["layer", "rms"]
Resampling = Literal["bicubic", "bilinear", "crop"]
KINDS = {"pool": get_args(Pool), "mlp": get_args(MLP), "norm": get_args(Norm), "resampling": get_args(Resampling)}


@dataclass(frozen=True)
class ViTConfig:
    """Architecture of a Vision Transformer; hashable, so that it can be a static argument of compiled functions.

    width: size of a token, c.
    depth: number of blocks.
    heads: number of attention heads; must divide `width`.
    mlp_dim: hidden width of the MLP, after the gate (SwiGLU) or the activation.
    patch_size: side of a patch in pixels; with a stem, its stride times the side of a patch of its output.
    image_size: (height, width) in pixels, multiples of `patch_size` unless `drop_remainder`.
    num_classes: number of classes; 0 for a model without a head, whose logits are the pooled features.
    class_token: whether the model has a class token.
    distilled: whether a second prefix token has a head of its own; the logits are then the mean of both heads.
    registers: number of register tokens.
    pool: the head reads the class token ("token"), the mean over patches ("avg") or over all tokens ("avg_all"), class
        token and mean over patches side by side ("token_avg"), or what a learned query attends to, among the patches
        ("map") or among all tokens ("map_all").
    fc_norm: whether the final norm comes after pooling; it is then called fc_norm.
    head_norm: whether the pooled features are normalised once more, without scale and bias, before they are an output.
    pre_norm: whether a norm precedes the first block.
    qkv_bias: whether the qkv layer has a bias.
    patch_bias: whether the patch embedding has a bias.
    position_on_prefix: whether prefix tokens have position embeddings; False adds positions to the patches only.
    layer_scale: whether the branches of a block end in LayerScale.
    mlp: activation of the MLP; "swiglu" and "geglu_tanh" are gates, a product with SiLU and with GELU's approximation.
    norm_eps: epsilon of the norms.
    head_dim: width of a head; 0 for width / heads.
    norm: LayerNorm ("layer") or RMSNorm ("rms"), everywhere.
    final_norm: whether there is a norm after the last block.
    post_norm: whether norms stand at the end of the branches of a block instead of at their beginning.
    patch_norm: whether a norm follows the patch embedding.
    attention_norm: whether a norm precedes the output projection of attention.
    mlp_norm: whether a norm precedes the second linear layer of the MLP.
    qk_norm: whether the queries and keys of every head are normalised.
    value_norm: whether the values of every head are normalised, without scale and bias.
    sandwich_norm: whether norms stand at the end of the branches of a block, too.
    biases: whether the output projection of attention and the MLP have biases.
    position_table: whether learned positions are added to the tokens.
    resampling: the table at another image size: "bicubic" with antialiasing, as in most models; "bilinear" between the
        outermost positions, which stay; or "crop", the positions that both grids have, for smaller images only.
    rotary: rotary position embedding of queries and keys; None for none.
    position_bias: whether scores have a relative position bias, from a table in every block.
    drop_remainder: whether pixels right of and below the last whole patch are dropped.
    stem: convolutional stem, whose output is cut into patches; None for patches of pixels.
    pool_heads, pool_mlp_dim: heads and hidden width of the MLP of an attention pooling head (pool="map"), else 0.
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
    head_dim: int = 0
    norm: Norm = "layer"
    final_norm: bool = True
    post_norm: bool = False
    patch_norm: bool = False
    attention_norm: bool = False
    mlp_norm: bool = False
    qk_norm: bool = False
    biases: bool = True
    position_table: bool = True
    rotary: Rotary | None = None
    position_bias: bool = False
    drop_remainder: bool = False
    pool_heads: int = 0
    pool_mlp_dim: int = 0
    stem: Stem | None = None
    head_norm: bool = False
    resampling: Resampling = "bicubic"
    value_norm: bool = False
    sandwich_norm: bool = False

    def __post_init__(self) -> None:
        check_fields({field.name: getattr(self, field.name) for field in fields(self)})
        if not self.head_dim and self.width % self.heads:
            raise ConfigError(f"width {self.width} is not a multiple of heads {self.heads}")
        for side, name in zip(self.image_size, ("height", "width"), strict=True):
            if (side % self.patch_size and not self.drop_remainder) or side < self.patch_size:
                raise ConfigError(f"image {name} {side} is not a multiple of the patch size {self.patch_size}")
        if self.stem is not None and (self.patch_size % self.stem.stride or self.drop_remainder):
            raise ConfigError(
                f"a stem of stride {self.stem.stride} needs a patch_size that is a multiple of it, not "
                f"{self.patch_size}, and drop_remainder=False"
            )
        if self.pool in ("token", "token_avg") and not self.class_token:
            raise ConfigError(
                f"pool={self.pool!r} needs class_token=True; a model without a class token pools by 'avg' or 'map'"
            )
        if self.pools_by_attention != bool(self.pool_heads and self.pool_mlp_dim):
            raise ConfigError("pool_heads and pool_mlp_dim belong to pool='map' and 'map_all', and only to these")
        if self.pools_by_attention and self.width % self.pool_heads:
            raise ConfigError(f"width {self.width} is not a multiple of pool_heads {self.pool_heads}")
        if self.distilled and self.pool != "token":
            raise ConfigError("distilled=True needs pool='token'")
        if self.rotary is not None and self.head_width % 4:
            raise ConfigError(f"rotary needs heads whose width is a multiple of 4, not {self.head_width}")
        if (self.post_norm or self.sandwich_norm) and self.layer_scale:
            raise ConfigError("post_norm and sandwich_norm have no LayerScale: their norms scale the branches")
        if self.post_norm and self.sandwich_norm:
            raise ConfigError("post_norm=True has norms at the end of the branches only: sandwich_norm must be False")
        if self.distilled and (self.head_norm or not self.class_token):
            raise ConfigError("distilled=True needs class_token=True and head_norm=False")
        if self.similarity and (self.distilled or not self.num_classes):
            raise ConfigError("similarity=True needs classes, and one head only (distilled=False)")
        if self.embedding and (self.distilled or (self.num_classes and not self.similarity)):
            raise ConfigError("embedding needs similarity=True or num_classes=0, and one head only (distilled=False)")

    @property
    def head_width(self) -> int:
        """Width of an attention head, d."""
        return self.head_dim or self.width // self.heads

    @property
    def features(self) -> int:
        """Number of pooled features: the inputs of the head, and the outputs of a model without a head."""
        return 2 * self.width if self.pool == "token_avg" else self.width

    @property
    def pools_by_attention(self) -> bool:
        """Whether the head is an attention pooling head, whose weights depend on the image."""
        return self.pool in ("map", "map_all")

    @property
    def plain_attention(self) -> bool:
        """Whether attention is softmax(q k^T / sqrt(d)) v of one linear map and nothing else."""
        return self.rotary is None and not (self.position_bias or self.qk_norm or self.value_norm)

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate: its first linear layer then has 2 `mlp_dim` outputs."""
        return self.mlp in ("swiglu", "geglu_tanh")

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Number of patches along the (height, width) of the image."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def covered(self) -> tuple[int, int]:
        """(height, width) in pixels that whole patches cover, from the upper left: the model reads no other pixel."""
        return self.grid[0] * self.patch_size, self.grid[1] * self.patch_size

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
        if self.pool == "token":
            return slice(0, 1 + self.distilled)
        return slice(self.prefix if self.pool in ("avg", "map") else 0, self.tokens)

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
        distilled model, which averages two heads, they are those of the class token's head; for pool="token_avg" the
        mean of both.

        Raises:
            ConfigError: the model pools by attention, so that its weights depend on the image.
        """
        if self.pools_by_attention:
            raise ConfigError("a model with an attention pooling head has no constant readout weights: see Fold.begin")
        token = jnp.zeros(self.tokens).at[0].set(1.0)
        if self.pool == "token":
            return token
        if self.pool == "avg_all":
            return jnp.full(self.tokens, 1.0 / self.tokens)
        patches = jnp.asarray(self.patch_weights(), token.dtype)
        return (token + patches) / 2 if self.pool == "token_avg" else patches

    def patch_weights(self) -> np.ndarray:
        """Weights [n] of the mean over patches, float64."""
        return np.repeat([0.0, 1.0 / (self.tokens - self.prefix)], [self.prefix, self.tokens - self.prefix])


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
    for least, numbers in ((1, sizes), (0, {name: values[name] for name in COUNTS})):
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ConfigError(f"{name} must be an integer of at least {least}, not {value!r}")
    for field in fields(ViTConfig):
        if isinstance(field.default, bool) and not isinstance(values[field.name], (bool, np.bool_)):
            raise ConfigError(f"{field.name} must be true or false, not {values[field.name]!r}")
    for name, kind in (("rotary", Rotary), ("stem", Stem)):
        if not (values[name] is None or isinstance(values[name], kind)):
            raise ConfigError(f"{name} must be a {kind.__name__} or None, not {values[name]!r}")
    for name, known in KINDS.items():
        if values[name] not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, not {values[name]!r}")
    if not isinstance(values["norm_eps"], (int, float, np.floating)) or not 0 <= values["norm_eps"] < 1:
        raise ConfigError(f"norm_eps must be a number from 0 to below 1, not {values['norm_eps']!r}")
