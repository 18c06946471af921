"""Multi-head attention: among the tokens in a block, and from a learned query to all tokens in a pooling head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vitjax.nn.kernels import active_kernels, cudnn_takes, fused_attention
from vitjax.nn.layers import Linear, norm_layer, plain_norm, sow_intermediate
from vitjax.nn.mlp import Mlp
from vitjax.nn.ops import Ops
from vitjax.nn.relative_bias import row_numbers, table_rows
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Attended, Heads, SomeTokens, Tokens, Values, at_least_float32


def fuses_attention(config: ViTConfig, dtype: Any) -> bool:
    """Whether blocks of this dtype whose attention nothing reads compute it in one kernel (`Attention.fused`)."""
    return active_kernels().cudnn_attention and cudnn_takes(dtype, config.head_width) and config.plain_attention


def without_padding(config: ViTConfig, gradients: Mapping[str, Any]) -> dict[str, Any]:
    """Gradients by the perturbations of an `Attention`, where "scores" and "attention" may be padded
    (`Kernels.aligned_bytes`): [h, r, m], with r and m at most n."""
    n = config.tokens
    return {**gradients, **{name: gradients[name][:, :n, :n] for name in ("scores", "attention")}}


class Attention(nn.Module):
    """Multi-head self-attention. Sows `scores` and `attention` [h, n, m] and `values` [h, n, d].

    If `fused`, it sows nothing, and one kernel computes all heads.
    """

    config: ViTConfig
    ops: Ops
    fused: bool = False

    def setup(self) -> None:
        cfg, small = self.config, nn.initializers.normal(0.02)
        self.qkv = Linear(3 * cfg.heads * cfg.head_width, self.ops, cfg.qkv_bias)
        if cfg.qk_norm:
            self.q_norm, self.k_norm = norm_layer(cfg, self.ops), norm_layer(cfg, self.ops)
        if cfg.rotary is not None and cfg.rotary.kind == "mixed":
            shape = (2, cfg.heads, cfg.head_width // 2)
            self.rotary_frequencies = self.param("rotary_frequencies", nn.initializers.normal(1.0), shape)
        if cfg.position_bias:
            self.position_bias = self.param("position_bias", small, (table_rows(cfg.grid), cfg.heads))
        if cfg.attention_norm:
            self.norm = norm_layer(cfg, self.ops)
        self.proj = Linear(cfg.width, self.ops, cfg.biases)

    def __call__(self, x: Tokens, token_slice: slice | None = None) -> SomeTokens:
        """Output at all tokens [n, c], or at the query tokens `token_slice` only [r, c].

        Scores and attention are sown for all query tokens in both cases.
        """
        n, d = len(x), self.config.head_width
        heads = self.qkv(x).reshape(n, 3, self.config.heads, d)
        if self.fused:
            q, k, v = (heads[:, part] for part in range(3))
            return self._project(fused_attention(q, k, v))
        q, k, v = self.ops.split(heads)
        q, k = self._positioned(q, k)
        v = plain_norm(self.config, self.ops, v) if self.config.value_norm else v
        sow_intermediate(self, "values", v)
        padding = active_kernels().padding(n, v.dtype)
        bias = self._bias()

        def scores_of(tokens: slice | None) -> Array:
            """Scores [h, r, m] before perturbation; with all tokens, r is padded, too."""
            queries = _pad(q, 1, padding) if tokens is None else q[:, tokens]
            scores = self.ops.scores(queries, _pad(k, 1, padding), d**-0.5)
            if bias is None:
                return scores
            shift = _pad(bias, 1, padding) if tokens is None else bias[:, tokens]
            return self.ops.shift(scores, _pad(shift, 2, padding).astype(scores.dtype))

        def attention_of(scores: Array) -> Array:
            """Softmax over the first n columns, 0 in the padding."""
            lowest = jnp.finfo(scores.dtype).min  # not -inf: a relevance rule multiplies by the scores
            return self.ops.softmax(jnp.where(jnp.arange(n + padding) < n, scores, lowest) if padding else scores)

        scores = self.perturb("scores", scores_of(token_slice))
        attention = self.perturb("attention", attention_of(scores))
        every_score = scores if token_slice is None else scores_of(None)
        sow_intermediate(self, "scores", every_score[:, :n, :n])
        every_row = attention if token_slice is None else attention_of(every_score)
        sow_intermediate(self, "attention", every_row[:, :n, :n])
        return self._project(self.ops.matmul(attention, _pad(v, 1, padding))[:, :n].transpose(1, 0, 2))

    def mix(self, attention: Attended, values: Values) -> SomeTokens:
        """Output [r, c] at some query tokens: attention [h, r, m] times values [h, m, d], projected."""
        return self._project(self.ops.matmul(attention, values).transpose(1, 0, 2))

    def _project(self, context: Array) -> SomeTokens:
        """Output [r, c] of the heads' outputs [r, h, d]."""
        joined = context.reshape(context.shape[0], -1)
        return self.proj(self.norm(joined) if self.config.attention_norm else joined)

    def _positioned(self, q: Heads, k: Heads) -> tuple[Heads, Heads]:
        """Queries and keys, normalised and rotated where the model does that."""
        cfg = self.config
        if cfg.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if cfg.rotary is None:
            return q, k
        if cfg.rotary.kind == "mixed":
            coordinates = jnp.asarray(cfg.rotary.coordinates(cfg.grid), at_least_float32(q).dtype)
            angles = jnp.einsum("pa,ahf->hpf", coordinates, at_least_float32(self.rotary_frequencies))
            cosine, sine = jnp.cos(angles), jnp.sin(angles)
        else:
            exact = cfg.rotary.angles(cfg.grid, cfg.head_width)
            cosine, sine = (jnp.asarray(table, at_least_float32(q).dtype) for table in (np.cos(exact), np.sin(exact)))
        padding = [*[(0, 0)] * (cosine.ndim - 2), (cfg.prefix, 0), (0, 0)]  # prefix tokens are not rotated
        cosine, sine = jnp.pad(cosine, padding, constant_values=1), jnp.pad(sine, padding)
        return self.ops.rotate(q, cosine, sine, cfg.rotary.half), self.ops.rotate(k, cosine, sine, cfg.rotary.half)

    def _bias(self) -> Array | None:
        """The relative position bias of all scores, [h, n, n]."""
        if not self.config.position_bias:
            return None
        rows = row_numbers(self.config.grid, self.config.prefix)
        return jnp.take(self.position_bias, rows, axis=0).transpose(2, 0, 1)


def _pad(x: Array, axis: int, padding: int) -> Array:
    """Zeros appended to an axis."""
    return jnp.pad(x, [(0, padding if number == axis else 0) for number in range(x.ndim)]) if padding else x


class AttentionPool(nn.Module):
    """Attention pooling head (Lee et al. 2019; Zhai et al. 2022): one learned query attends to all tokens.

    output = a + MLP(norm(a)) with a = proj(attention · values). Sows `attention` [h, 1, n], which is open to
    perturbation. The query is a parameter, so that scores are linear in the keys.
    """

    config: ViTConfig
    ops: Ops

    @nn.compact
    def __call__(self, x: Tokens) -> Array:
        cfg, ops = self.config, self.ops
        heads, d = cfg.pool_heads, cfg.width // cfg.pool_heads
        latent = self.param("latent", nn.initializers.normal(0.02), (1, cfg.width))
        query = Linear(cfg.width, ops, name="q")(latent).reshape(1, heads, d).transpose(1, 0, 2)
        k, v = ops.split(Linear(2 * cfg.width, ops, name="kv")(x).reshape(len(x), 2, heads, d))
        scores = ops.latent_scores(k, query, d**-0.5)
        attention = self.perturb("attention", ops.softmax(scores))
        sow_intermediate(self, "attention", attention)
        context = ops.matmul(attention, v).transpose(1, 0, 2).reshape(1, cfg.width)
        pooled, branch = ops.fork(Linear(cfg.width, ops, name="proj")(context))
        hidden = Mlp(cfg, ops, cfg.pool_mlp_dim, name="mlp")(norm_layer(cfg, ops, "norm")(branch))
        return ops.add(pooled, hidden)[0]
