"""LRP: relevance propagated through the whole model, down to pixels."""

from typing import Literal

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import at_the_end
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import Z_RULES


def lrp(config: ViTConfig, *, rules: Literal["original", "zplus"] = "original") -> Fold:
    """A one at the logit is handed back layer by layer; the patch embedding by the z^B rule; map = Σ_channels R
    (Bach et al. 2015; on ViT as in Chefer et al. 2021a).

    Args:
        rules: "original" (what the published full-LRP baseline runs) or "zplus".

    Returns signed values [H, W] at pixels; under "original" they reach 1e9 and more, because every linear layer
    doubles the relevance.

    Cost: two forwards and a backward of relevance worth about three. Chaotic in float32: there, maps agree with
    those of float64 in nothing but their look. Differs from reference: per image, see transformer_attribution.

    Example: `vitjax.explain(model, "cat.jpg", method="lrp", rules="zplus")`
    """
    del config
    return at_the_end(lambda boundary: boundary.image_relevance.sum(axis=-1), rules=Z_RULES[rules])


METHOD = Method(
    title="LRP",
    cite="Bach et al. 2015, On Pixel-Wise Explanations; on ViT as in Chefer et al. 2021",
    cost="2F + 3B",
    fold=lrp,
    level="pixel",
    needs=frozenset({"head"}),
    ill_conditioned=True,
)
