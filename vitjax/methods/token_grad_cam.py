"""Grad-CAM on tokens: a block's normalised patch tokens as the feature maps."""

from vitjax.layerwise.fold import Fold, Score
from vitjax.methods.building_blocks import at_layer
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def token_grad_cam(config: ViTConfig, *, layer: int = -1, relu: bool = True, score: Score = "logit") -> Fold:
    """T = norm1 output of a block; w_c = mean over patches of ∂s/∂T_c; map = (Σ_c w_c T_c)+ on patches.

    Args:
        layer: block number; -1 is the last.
        relu: False keeps the sign.
        score: s is the logit or the probability of the explained class.

    Returns values >= 0 with relu. The mean leaves out prefix tokens.

    Cost: one forward; forward and backward once more through the blocks from `layer` on. Differs from reference:
    pytorch-grad-cam then rescales to [0, 1].

    Example: `vitjax.explain(model, "cat.jpg", method="token_grad_cam", layer=-2)`
    """

    def summarise(trace):
        weights = trace.normed_grad[config.prefix :].mean(axis=0)
        return trace.normed[config.prefix :] @ weights

    return at_layer(config, layer, summarise, relu=relu, gradient=score)


METHOD = Method(
    title="Grad-CAM on tokens",
    cite="Selvaraju et al. 2017, Grad-CAM; on norm1's output as in pytorch-grad-cam (Gildenblat 2021)",
    cost="1F + 1 block",
    fold=token_grad_cam,
    needs=frozenset({"head"}),
)
