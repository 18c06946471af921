"""LeGrad: gradient by each block's attention of the score that the head gives to that block's output."""

from typing import Literal

import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Fold, LayerTrace
from vitjax.methods.building_blocks import sum_over_heads, sum_over_layers
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


def legrad(
    config: ViTConfig,
    *,
    pool: Literal["cls", "mean"] = "cls",
    layers: int | None = None,
    variant: Literal["canonical", "joita2025"] = "canonical",
) -> Fold:
    """Sum over blocks of the positive gradient of each block's own score by its attention (Bousselham et al. 2025).

    s_l = W_k · LN(pool(x_{l+1})); map = Σ_l E_h[mean_n (∂s_l/∂A_l)+[h, n, patches]], where x_{l+1} is the output of
    block l, LN the final LayerNorm and W_k the head's weights of the explained class k.

    Args:
        pool: "cls" is the model's own pooling (its class token or its average); "mean" is the mean over all tokens,
            prefix included, as in the authors' code for CLIP.
        layers: sum over this many last blocks, 1 to depth; None sums over all. The authors' code uses 2.
        variant: "joita2025" is the code of Joita 2025: ONE backward of the final logit, E_h[(G_l)+ ∘ A_l] without
            prefix rows and columns, averaged over KEYS, mean over blocks; `pool` and `layers` are then ignored.

    Spearman correlation with the default on 54 photographs, DeiT-Tiny (median, minimum; benchmarks/variants.py):
    joita2025 0.22, -0.58; pool="mean" 0.90, 0.73; layers=2 0.85, 0.57.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0.

    Raises:
        ConfigError: `layers` is outside 1..depth.

    Cost: two forwards and one backward (2F + 1B); each block is differentiated by itself.

    Differs from reference: the authors' package (legrad 1.1) differentiates the cosine of the embedding and a text, and
    min-max normalises the upsampled map. With pool="mean", layers=2, its default, and a text of CLIP as the target, the
    maps here are that cosine's times the model's scale, and `Explanation.pixels` equals its result. For SigLIP it
    differentiates by the weights of the pooling head and sets to 0 what responds to an empty prompt, which is not
    reproduced. The paper averages over blocks and the code sums; this method sums.

    Example:
        >>> vitjax.explain(model, image, method="legrad", layers=2).maps.shape
        (1, 8, 8)
    """
    if layers is not None and not 1 <= layers <= config.depth:
        raise ConfigError(f"layers={layers}: must be in 1..{config.depth}, the number of blocks of the model")
    if pool == "mean" and config.pools_by_attention:
        raise ConfigError("pool='mean' replaces the model's pooling, and an attention pooling head cannot be replaced")
    first = 0 if layers is None else config.depth - layers

    if variant == "joita2025":

        def mean_over_keys(trace: LayerTrace) -> Array:
            cam = sum_over_heads(jnp.maximum(trace.attention_grad, 0) * trace.attention) / config.heads
            # Padded to all tokens, because the fold drops the prefix at the end.
            return jnp.pad(cam[config.prefix :, config.prefix :].mean(axis=1), (config.prefix, 0)) / config.depth

        return sum_over_layers(config, mean_over_keys, gradient="logit")

    def summarise(trace: LayerTrace) -> Array:
        # The sum is over the rows that the trace has; the rows of all other queries have a gradient of 0.
        return jnp.maximum(trace.attention_grad, 0).sum(axis=(0, 1)) / (config.heads * config.tokens)

    gradient: Literal["local", "local_mean"] = "local" if pool == "cls" else "local_mean"
    return sum_over_layers(config, summarise, first=first, gradient=gradient)


METHOD = Method(
    title="LeGrad",
    cite="Bousselham et al. 2025, LeGrad: An Explainability Method for Vision Transformers via Feature Formation",
    cost="2F + 1B",
    fold=legrad,
    needs=frozenset({"head"}),
    use_when="a quick map by class is wanted, also of models with an attention pooling head or of CLIP",
)
