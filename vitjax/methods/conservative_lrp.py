"""Conservative LRP: gradient x input, with attention weights and LayerNorm's 1/std held constant."""

from typing import Literal

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import boundary_fold, input_times_cotangent
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import CONSERVATIVE, CONSERVATIVE_IDENTITY


def conservative_lrp(
    config: ViTConfig,
    *,
    at: Literal["tokens", "pixels"] = "tokens",
    gelu: Literal["gradient", "identity"] = "gradient",
) -> Fold:
    """Input times the gradient of the logit, with attention weights and 1/std held constant (Ali et al. 2022).

    map = Σ_d E^0 ∘ ∂s̃/∂E^0 on patches, where E^0 are the tokens that enter block 0 and s̃ is the logit with the
    attention weights and LayerNorm's 1/std (RMSNorm's 1/rms) as constants.

    Args:
        at: "tokens": input and gradient are those of the tokens that enter block 0, a map [h, w] over the patches;
            "pixels": those of the normalised image, a map [H, W].
        gelu: "gradient": the activation keeps its gradient; "identity": its ratio f(z)/z is held constant, as in LXT's
            CP-LRP.

    Returns:
        A `Fold` whose result is a map of signed values.

    Cost: two forwards and one backward (2F + 1B).

    Differs from reference: the authors' code is for a BERT without MLPs. Maps equal those of an independent oracle
    and, with gelu="identity" and at="pixels", those of LXT 2.1.

    Example:
        >>> e = vitjax.explain(model, image, method="conservative_lrp", gelu="identity")
        >>> e.maps.shape, e.signed
        ((1, 8, 8), True)
    """
    rules = CONSERVATIVE if gelu == "gradient" else CONSERVATIVE_IDENTITY
    return boundary_fold(input_times_cotangent(config, at, "relevance"), rules=rules)


METHOD = Method(
    title="Conservative LRP",
    cite="Ali et al. 2022, XAI for Transformers: Better Explanations through Conservative Propagation",
    cost="2F + 1B",
    fold=conservative_lrp,
    needs=frozenset({"head"}),
    use_when="relevance that is conserved through attention and LayerNorm is wanted, with signs",
)
