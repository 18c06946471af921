"""AttnLRP: attention-aware relevance, computed as input x modified gradient."""

from typing import Literal

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import boundary_fold, input_times_cotangent
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import ATTN_LRP


def attn_lrp(config: ViTConfig, *, at: Literal["tokens", "pixels"] = "tokens") -> Fold:
    """Input times the gradient of the logit under the AttnLRP rules (Achtibat et al. 2024).

    map = Σ_d E^0 ∘ ∂s̃/∂E^0 on patches, where E^0 are the tokens that enter block 0 and s̃ is the logit under these
    rules: identity rule for the activation and LayerNorm, half of the relevance to each factor of QKᵀ and AV, Taylor
    rule for softmax, LRP-0 for linear layers.

    Args:
        at: "tokens": input and gradient are those of the tokens that enter block 0, a map [h, w] over the patches;
            "pixels": those of the normalised image, a map [H, W].

    Returns:
        A `Fold` whose result is a map of signed values.

    Cost: two forwards and one backward (2F + 1B).

    Differs from reference: the authors publish no ViT with these rules (LXT's ViT is CP-LRP, here `conservative_lrp`
    with gelu="identity"). They recommend the γ-rule for the linear layers of a ViT, which is not implemented here.

    Example:
        >>> e = vitjax.explain(model, [image, image], method="attn_lrp", target=["striped star", "plain ring"])
        >>> [divmod(int(cells.argmax()), 8) for cells in e.maps]  # row and column of the peak: on the star, on the ring
        [(6, 3), (5, 7)]
    """
    return boundary_fold(input_times_cotangent(config, at, "relevance"), rules=ATTN_LRP)


METHOD = Method(
    title="AttnLRP",
    cite="Achtibat et al. 2024, AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers",
    cost="2F + 1B",
    fold=attn_lrp,
    needs=frozenset({"head"}),
    use_when="relevance with signs, at patches or pixels, is wanted with rules derived for attention",
)
