"""Conservative LRP: gradient x input with attention and LayerNorm's scale held constant."""

from typing import Literal

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import at_the_end, times_input
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import CONSERVATIVE, CONSERVATIVE_IDENTITY


def conservative_lrp(
    config: ViTConfig,
    *,
    at: Literal["tokens", "pixels"] = "tokens",
    gelu: Literal["gradient", "identity"] = "gradient",
) -> Fold:
    """map = Σ_d E^0 ∘ ∂s̃/∂E^0 on patches, s̃ the logit with attention weights and 1/std as constants (Ali et al. 2022).

    Args:
        at: "tokens" reads it at the tokens entering block 0 [h, w], "pixels" at the normalised image [H, W].
        gelu: the activation keeps its "gradient", or its ratio f(z)/z is held constant, "identity" (LXT's CP-LRP).

    Returns signed values.

    Cost: two forwards and one backward. Differs from reference: the authors' code is a BERT without MLPs; equal to an
    independent oracle, and with gelu="identity", at="pixels" to LXT 2.1.

    Example: `vitjax.explain(model, "cat.jpg", method="conservative_lrp", gelu="identity")`
    """
    rules = CONSERVATIVE if gelu == "gradient" else CONSERVATIVE_IDENTITY
    return at_the_end(times_input(config, at, "relevance"), rules=rules)


METHOD = Method(
    title="Conservative LRP",
    cite="Ali et al. 2022, XAI for Transformers: Better Explanations through Conservative Propagation",
    cost="2F + 1B",
    fold=conservative_lrp,
    needs=frozenset({"head"}),
)
