"""The text tower of CLIP and SigLIP for ONE text; batch with `jax.vmap`.

A text tower makes class embeddings, which are constants of an explanation: it computes with ordinary arithmetic only.
Parameters of the blocks have a leading layer axis, as in `vitjax.nn.vit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from vitjax.errors import ConfigError
from vitjax.nn.layers import LayerNorm, Linear
from vitjax.nn.ops import GRADIENT
from vitjax.shapes import Array, Int, Params, Tokens

Clean = Literal["none", "lower", "canonical"]


@dataclass(frozen=True)
class TextConfig:
    """Architecture of a text tower; hashable.

    vocabulary: number of tokens that have an embedding.
    length: number of positions; every text is padded to it.
    width, depth, heads, mlp_dim, norm_eps: as of a ViT.
    embedding: width of the text's embedding.
    mlp: activation of the MLP; "gelu_tanh" is the approximation by a hyperbolic tangent.
    causal: whether a token attends to those before it only (CLIP), or to all (SigLIP).
    end: id of the token whose first position the embedding is read at; None reads at the largest id, as OpenAI's code;
        "last" reads at the last position.
    projection_bias: whether the projection to the embedding has a bias.

    Raises:
        ConfigError: `width` is not a multiple of `heads`.
    """

    vocabulary: int
    length: int
    width: int
    depth: int
    heads: int
    mlp_dim: int
    embedding: int
    mlp: Literal["gelu", "quick_gelu", "gelu_tanh"] = "gelu"
    causal: bool = True
    end: int | Literal["last"] | None = None
    projection_bias: bool = False
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise ConfigError(f"text tower: width {self.width} is not a multiple of heads {self.heads}")


class TextBlock(nn.Module):
    """Pre-norm transformer block."""

    config: TextConfig

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        x = x + self.attend(LayerNorm(self.config.norm_eps, GRADIENT, name="norm1")(x))
        hidden = Linear(self.config.mlp_dim, GRADIENT, name="fc1")(
            LayerNorm(self.config.norm_eps, GRADIENT, name="norm2")(x)
        )
        return x + Linear(self.config.width, GRADIENT, name="fc2")(_activation(hidden, self.config.mlp))

    def attend(self, x: Tokens) -> Tokens:
        """Multi-head self-attention, projected."""
        n, c = x.shape
        qkv = Linear(3 * c, GRADIENT, name="qkv")(x).reshape(n, 3, self.config.heads, -1)
        q, k, v = (qkv[:, part].transpose(1, 0, 2) for part in range(3))
        scores = GRADIENT.scores(q, k, q.shape[-1] ** -0.5)
        if self.config.causal:
            scores = jnp.where(jnp.tri(n, dtype=bool), scores, -jnp.inf)
        context = GRADIENT.matmul(GRADIENT.softmax(scores), v)
        return Linear(c, GRADIENT, name="proj")(context.transpose(1, 0, 2).reshape(n, c))


class TextTransformer(nn.Module):
    """The whole tower: token ids [length] -> embedding [e], which is not normalised."""

    config: TextConfig

    @nn.compact
    def __call__(self, ids: Int[Array, " n"]) -> Array:
        cfg, small = self.config, nn.initializers.normal(0.02)
        table = self.param("token_embed", small, (cfg.vocabulary, cfg.width))
        positions = self.param("pos_embed", small, (cfg.length, cfg.width))
        blocks = nn.scan(
            lambda block, x, _: (block(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=cfg.depth,
        )
        x, _ = blocks(TextBlock(cfg, name="blocks"), table[ids] + positions, None)
        x = LayerNorm(cfg.norm_eps, GRADIENT, name="norm")(x)
        return Linear(cfg.embedding, GRADIENT, cfg.projection_bias, name="projection")(x[_place(cfg, ids)])


def _place(config: TextConfig, ids: Array) -> Array | int:
    """Position that the embedding is read at."""
    if config.end == "last":
        return -1
    return jnp.argmax(ids if config.end is None else ids == config.end)


def _activation(x: Array, kind: str) -> Array:
    return jax.nn.gelu(x, approximate=True) if kind == "gelu_tanh" else GRADIENT.activation(x, kind)


@partial(jax.jit, static_argnums=0)
def text_embeddings(config: TextConfig, params: Params, ids: Any) -> Array:
    """Unit embeddings [t, e] of token ids [t, length].

    Cost: one forward of the tower for each text.
    """
    tower: Any = TextTransformer(config)
    return GRADIENT.normalise(jax.vmap(lambda one: tower.apply({"params": params}, one))(ids))
