"""Grad-CAM: a ViT's attention or a ResNet's feature map, heads or channels weighted by their mean gradient."""

import jax
import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Fold, Score, wide
from vitjax.layerwise.score import score_in
from vitjax.methods.building_blocks import at_layer, pool_queries
from vitjax.methods.contract import Method
from vitjax.nn.network import network, params_dtype
from vitjax.nn.resnet import LAYERS, ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target


def grad_cam(config: ViTConfig, *, layer: int | str = -1, relu: bool = True, score: Score = "logit") -> Fold:
    """w_h = mean_j G[h, class, j] over patches j; map = (E_h[w_h A[h, class, patches]])+ (Selvaraju et al. 2017).

    On a ResNet, F [h, w, c] being the output of a stage: w_c = mean ∂s/∂F_c over positions; map = (Σ_c w_c F_c)+ at
    the stage's resolution.

    Args:
        layer: block number; -1 is the last. Of a ResNet the stage: -1 is the last, "layer1" to "layer4" are names.
        relu: False keeps the sign.
        score: G is the gradient of the logit or of the probability.

    Returns values >= 0 with relu. On DeiT-Tiny the map is zero everywhere for about 4 images in 10, because every
    head's mean gradient is negative: the explanation is then `degenerate`, and relu=False shows what was cut.

    Cost: one forward; forward and backward once more through the blocks from `layer` on; of a ResNet, one forward and a
    backward from the logits to the stage. Differs from reference: nothing; the CAM of the transition attention maps
    study and "GradCAM" of Transformer-Explainability are this function.

    Example: `vitjax.explain(model, "cat.jpg", method="grad_cam", relu=False)`
    """

    def summarise(trace):
        attention = pool_queries(config, trace.attention[:, config.readout_slice])[:, config.prefix :]
        gradient = pool_queries(config, trace.attention_grad[:, config.readout_slice])[:, config.prefix :]
        return (gradient.mean(axis=1, keepdims=True) * attention).mean(axis=0)

    return at_layer(config, layer, summarise, relu=relu, gradient=score)


def on_cnn(
    config: ResNetConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    layer: int | str = -1,
    relu: bool = True,
    score: Score = "logit",
) -> Array:
    """The original, on the output of a stage: [h, w] at that stage's resolution."""
    del key
    stage = checked_stage(layer)
    net, variables = network(config), {"params": params}
    maps = net.apply(variables, image.astype(params_dtype(params)), method="stages")[stage]

    def rest(maps):
        return score_in(net.apply(variables, stage, maps, method="from_stage"), target, score)

    weights = wide(jax.grad(rest)(maps)).mean(axis=(0, 1))
    cam = (weights * wide(maps)).sum(axis=-1)
    return jnp.maximum(cam, 0) if relu else cam


def checked_stage(layer: int | str) -> int:
    """The number 0..3 of a ResNet's stage. Raises ConfigError."""
    stages = range(len(LAYERS))
    known = LAYERS if isinstance(layer, str) else (*stages, *range(-len(stages), 0))
    if layer not in known:
        raise ConfigError(f"layer={layer!r}: a ResNet has {', '.join(LAYERS)}, or 0 to 3")
    return known.index(layer) % len(stages)


METHOD = Method(
    title="Grad-CAM",
    cite="Selvaraju et al. 2017, Grad-CAM; on a ViT's attention as in Chefer et al. 2021",
    cost="1F + 1 block",
    fold=grad_cam,
    cnn=on_cnn,
    needs=frozenset({"head"}),
)
