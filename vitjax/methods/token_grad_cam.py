"""Grad-CAM on tokens: Grad-CAM whose feature maps are the normalised patch tokens of a block."""

from vitjax.layerwise.fold import Fold, LayerTrace
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import single_layer_fold
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


def token_grad_cam(config: ViTConfig, *, layer: int = -1, relu: bool = True, score: Score = "logit") -> Fold:
    """Channels of one block's normalised tokens, weighted by their mean gradient (Selvaraju et al. 2017).

    w_c = mean over patches of ∂s/∂T_c; map = (Σ_c w_c T_c)+ on patches, where T is the output of the block's norm1.
    The mean leaves out prefix tokens.

    Args:
        layer: block number; negative numbers count from the last block.
        relu: set negative values to 0; False keeps them.
        score: s is the logit or the probability of the explained class.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0 with relu.

    Raises:
        ConfigError: the model has no block `layer`.

    Cost: one forward, then one more forward and one backward through the blocks from `layer` on.

    Differs from reference: pytorch-grad-cam also rescales the map to [0, 1].

    Example:
        >>> maps = vitjax.explain(model, image, method="token_grad_cam", layer=-2).maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 8, 8), True)
    """

    def summarise(trace: LayerTrace) -> Array:
        weights = trace.normed_grad[config.prefix :].mean(axis=0)
        return trace.normed[config.prefix :] @ weights

    return single_layer_fold(config, layer, summarise, relu=relu, gradient=score)


METHOD = Method(
    title="Grad-CAM on tokens",
    cite="Selvaraju et al. 2017, Grad-CAM; on norm1's output as in pytorch-grad-cam (Gildenblat 2021)",
    cost="1F + 1 block",
    fold=token_grad_cam,
    needs=frozenset({"head"}),
    use_when="results of pytorch-grad-cam on ViTs are to be reproduced: one block, by class",
)
