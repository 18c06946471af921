"""LeGrad: each block's attention differentiated by the score the head gives to that block's own output."""

from typing import Literal

import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import over_heads, sum_over_layers
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def legrad(
    config: ViTConfig,
    *,
    pool: Literal["cls", "mean"] = "cls",
    layers: int | None = None,
    variant: Literal["canonical", "joita2025"] = "canonical",
) -> Fold:
    """s_l = W_k · LN(pool(x_{l+1})); map = Σ_l E_h[mean_n (∂s_l/∂A_l)+[h, n, patches]] (Bousselham et al. 2025).

    Args:
        pool: "cls" is the model's own pooling (its class token, or its average), "mean" the mean over all tokens,
            prefix included, as the authors' code does for CLIP.
        layers: number of last blocks summed; None is all. The authors' code uses 2.
        variant: "joita2025" is the code behind paper 001: ONE backward of the final logit, E_h[(G_l)+ ∘ A_l]
            without prefix rows and columns, averaged over KEYS, mean over layers (`pool` and `layers` are not used).

    Spearman's correlation with the default on 54 photographs, DeiT-Tiny (median, smallest; benchmarks/variants.py):
    joita2025 0.22, -0.58; pool="mean" 0.90, 0.73; layers=2 0.85, 0.57.

    Returns values >= 0. The paper averages over blocks, the authors' code sums; this sums.

    Cost: two forwards and one backward, of each block alone.

    Example: `vitjax.explain(model, "cat.jpg", method="legrad", layers=2)`
    """
    if layers is not None and not 1 <= layers <= config.depth:
        raise ConfigError(f"layers={layers}: the model has {config.depth} blocks")
    first = 0 if layers is None else config.depth - layers

    if variant == "joita2025":

        def per_query(trace):
            cam = over_heads(jnp.maximum(trace.attention_grad, 0) * trace.attention) / config.heads
            # A value per patch query; padded to all tokens, whose prefix is cut off again at the end.
            return jnp.pad(cam[config.prefix :, config.prefix :].mean(axis=1), (config.prefix, 0)) / config.depth

        return sum_over_layers(config, per_query, gradient="logit")

    def summarise(trace):
        # A mean over all queries: those that the head does not read have no gradient.
        return jnp.maximum(trace.attention_grad, 0).sum(axis=(0, 1)) / (config.heads * config.tokens)

    gradient: Literal["local", "local_mean"] = "local" if pool == "cls" else "local_mean"
    return sum_over_layers(config, summarise, first=first, gradient=gradient)


METHOD = Method(
    title="LeGrad",
    cite="Bousselham et al. 2025, LeGrad: An Explainability Method for Vision Transformers via Feature Formation",
    cost="2F + 1B",
    fold=legrad,
    needs=frozenset({"head"}),
)
