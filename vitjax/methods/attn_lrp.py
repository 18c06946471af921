"""AttnLRP: attention-aware relevance as a modified gradient times the input."""

from typing import Literal

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import at_the_end, times_input
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import ATTN_LRP


def attn_lrp(config: ViTConfig, *, at: Literal["tokens", "pixels"] = "tokens") -> Fold:
    """map = Σ_d E^0 ∘ ∂s̃/∂E^0 on patches, s̃ the logit under the rules of Achtibat et al. 2024: identity for the
    activation and LayerNorm, half to each factor of QKᵀ and AV, Taylor for softmax, LRP-0 for linear layers.

    Args:
        at: "tokens" reads it at the tokens entering block 0 [h, w], "pixels" at the normalised image [H, W].

    Returns signed values.

    Cost: two forwards and one backward. Differs from reference: the authors ship no ViT of this form (LXT's is
    CP-LRP: conservative_lrp with gelu="identity"); they advise the γ-rule for a ViT's linear layers, which is not here.

    Example: `vitjax.explain(model, "cat.jpg", method="attn_lrp", at="pixels")`
    """
    return at_the_end(times_input(config, at, "relevance"), rules=ATTN_LRP)


METHOD = Method(
    title="AttnLRP",
    cite="Achtibat et al. 2024, AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers",
    cost="2F + 1B",
    fold=attn_lrp,
    needs=frozenset({"head"}),
)
