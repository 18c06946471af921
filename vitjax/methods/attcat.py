"""AttCAT: attentive class activation tokens, the sum over blocks of gradient x token weighted by attention."""

from typing import Literal

from vitjax.layerwise.fold import Fold, LayerTrace
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import sum_over_heads, sum_over_layers
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


def attcat(
    config: ViTConfig,
    *,
    weights: Literal["queries", "cls"] = "queries",
    hidden: Literal["input", "output"] = "input",
    score: Score = "logit",
) -> Fold:
    """Sum over blocks of gradient x token, each token weighted by the attention it receives (Qiang et al. 2022).

    CAT_l[j] = Σ_d (∂s/∂h_l ∘ h_l)[j, d]; map = Σ_l a_l ∘ CAT_l on patches.

    Args:
        weights: "queries": a_l[j] is the mean of A_l[:, j] over heads and all queries; "cls": the class token's row of
            the mean over heads.
        hidden: h_l is the residual stream that enters the block, before norm1 ("input"), or that leaves it ("output").
        score: s is the logit or the probability of the explained class.

    Spearman correlation with the default on 54 photographs, DeiT-Tiny (median, minimum; benchmarks/variants.py):
    weights="cls" 0.95, 0.90; hidden="output" 0.89, 0.81.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; signed values.

    Cost: two forwards and one backward (2F + 1B).

    Differs from reference: the published code is for BERT; this is the same computation on a ViT.

    Example:
        >>> e = vitjax.explain(model, image, method="attcat", weights="cls")
        >>> e.maps.shape, e.signed
        ((1, 8, 8), True)
    """

    def summarise(trace: LayerTrace) -> Array:
        tokens, gradient = (trace.tokens, trace.tokens_grad) if hidden == "input" else (trace.output, trace.output_grad)
        attention = sum_over_heads(trace.attention) / config.heads
        received = attention.mean(axis=0) if weights == "queries" else trace.readout @ attention
        return received * (gradient * tokens).sum(axis=1)

    return sum_over_layers(config, summarise, gradient=score)._replace(to_input=hidden == "input")


METHOD = Method(
    title="AttCAT",
    cite="Qiang et al. 2022, AttCAT: Explaining Transformers via Attentive Class Activation Tokens",
    cost="2F + 1B",
    fold=attcat,
    needs=frozenset({"head"}),
    use_when="positive and negative evidence at each token is wanted, from features and gradients of all blocks",
)
