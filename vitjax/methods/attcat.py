"""AttCAT: attentive class activation tokens, gradient x token summed over blocks, weighted by attention."""

from typing import Literal

from vitjax.layerwise.fold import Fold, Score
from vitjax.methods.building_blocks import over_heads, sum_over_layers
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def attcat(
    config: ViTConfig,
    *,
    weights: Literal["queries", "cls"] = "queries",
    hidden: Literal["input", "output"] = "input",
    score: Score = "logit",
) -> Fold:
    """CAT_l[j] = Σ_d (∂s/∂h_l ∘ h_l)[j, d]; map = Σ_l a_l ∘ CAT_l on patches, signed (Qiang et al. 2022).

    Args:
        weights: a_l[j] is the mean over heads and over all queries of A_l[:, j], or the class token's row.
        hidden: h_l is the residual stream that enters the block (before norm1) or that leaves it.
        score: s is the logit or the probability of the explained class.

    Spearman's correlation with the default on 54 photographs, DeiT-Tiny (median, smallest; benchmarks/variants.py):
    weights="cls" 0.95, 0.90; hidden="output" 0.89, 0.81.

    Returns signed values.

    Cost: two forwards and one backward. Differs from reference: the published code is for BERT; this is it, carried
    over to ViT.

    Example: `vitjax.explain(model, "cat.jpg", method="attcat", weights="cls")`
    """
    readout = config.readout_weights()

    def summarise(trace):
        token, gradient = (trace.tokens, trace.tokens_grad) if hidden == "input" else (trace.output, trace.output_grad)
        attention = over_heads(trace.attention) / config.heads
        seen = attention.mean(axis=0) if weights == "queries" else readout @ attention
        return seen * (gradient * token).sum(axis=1)

    return sum_over_layers(config, summarise, gradient=score)._replace(to_input=hidden == "input")


METHOD = Method(
    title="AttCAT",
    cite="Qiang et al. 2022, AttCAT: Explaining Transformers via Attentive Class Activation Tokens",
    cost="2F + 1B",
    fold=attcat,
    needs=frozenset({"head"}),
)
