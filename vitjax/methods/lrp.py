"""LRP: relevance propagated from the logit through the whole model to the pixels."""

from typing import Literal

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import boundary_fold
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import Z_RULES


def lrp(config: ViTConfig, *, rules: Literal["original", "zplus"] = "original") -> Fold:
    """Relevance of the pixels (Bach et al. 2015; on ViT as in Chefer et al. 2021a).

    A relevance of 1 at the logit is propagated back layer by layer, through the patch embedding by the z^B rule;
    map = Σ_channels R, where R is the relevance of the image.

    Args:
        rules: table of relevance rules, "original" (the published full-LRP baseline) or "zplus".

    Returns:
        A `Fold` whose result is a map [H, W] over pixels; signed values. With rules="original" they reach 1e9 and more,
        because every linear layer doubles the relevance.

    Cost: two forwards and one backward pass of relevance, which costs about three backwards (2F + 3B). The method is
    numerically chaotic in float32: maps resemble those in float64 but do not agree in any digit.

    Differs from reference: sums of relevance are per image, not over the batch (see `transformer_attribution`).

    Example:
        >>> vitjax.explain(model, image, method="lrp", rules="zplus").maps.shape
        (1, 64, 64)
    """
    del config
    return boundary_fold(lambda boundary: boundary.image_relevance.sum(axis=-1), rules=Z_RULES[rules])


METHOD = Method(
    title="LRP",
    cite="Bach et al. 2015, On Pixel-Wise Explanations; on ViT as in Chefer et al. 2021",
    cost="2F + 3B",
    fold=lrp,
    level="pixel",
    needs=frozenset({"head"}),
    ill_conditioned=True,
    use_when="relevance is wanted at pixels, by the rules of Chefer et al. 2021",
)
