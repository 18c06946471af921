"""Grad-CAM: a ViT's attention or a ResNet's feature map, heads or channels weighted by their mean gradient."""

import jax
import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Fold, LayerTrace
from vitjax.layerwise.target import Score, score_in
from vitjax.methods.building_blocks import pool_queries, single_layer_fold
from vitjax.methods.contract import Method
from vitjax.nn.network import network, params_dtype
from vitjax.nn.resnet import LAYERS, ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target, at_least_float32


def grad_cam(config: ViTConfig, *, layer: int | str = -1, relu: bool = True, score: Score = "logit") -> Fold:
    """Attention of one block, heads weighted by their mean gradient (Selvaraju et al. 2017).

    On a ViT: w_h = mean_j G[h, class, j] over patches j; map = (E_h[w_h A[h, class, patches]])+.

    On a ResNet: with F [h, w, c] the output of a stage, w_c = mean of ∂s/∂F_c over positions; map = (Σ_c w_c F_c)+.

    Args:
        layer: block number of a ViT, or stage of a ResNet by number, 0 to 3, or by name, "layer1" to "layer4"; negative
            numbers count from the last block or stage.
        relu: set negative values to 0; False keeps them.
        score: s is the logit or the probability of the explained class, G its gradient.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches, or over the positions of the ResNet's stage; values >= 0
        with relu. On DeiT-Tiny the map is 0 everywhere for about 4 of 10 images, because the mean gradient of every
        head is negative. Such explanations are flagged as `degenerate`; relu=False shows the negative values.

    Raises:
        ConfigError: the model has no such block or stage.

    Cost: on a ViT, one forward, then one more forward and one backward through the blocks from `layer` on; on a ResNet,
    one forward and one backward from the logits to the stage.

    Differs from reference: nothing. The CAM of the transition attention maps study and "GradCAM" of
    Transformer-Explainability compute the same map.

    Example:
        >>> maps = vitjax.explain_many(model, image, ["grad_cam", "grad_cam:relu=False"], target="plain ring")
        >>> {label: e.degenerate.item() for label, e in maps.items()}  # every value is negative
        {'grad_cam': True, 'grad_cam(relu=False)': False}
    """

    def summarise(trace: LayerTrace) -> Array:
        attention = pool_queries(config, trace.attention[:, config.readout_slice])[:, config.prefix :]
        gradient = pool_queries(config, trace.attention_grad[:, config.readout_slice])[:, config.prefix :]
        return (gradient.mean(axis=1, keepdims=True) * attention).mean(axis=0)

    return single_layer_fold(config, layer, summarise, relu=relu, gradient=score)


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
    """`grad_cam` for a ResNet: a map [h, w] over the positions of a stage, from that stage's output."""
    del key
    stage = checked_stage(layer)
    net, variables = network(config), {"params": params}
    features = net.apply(variables, image.astype(params_dtype(params)), method="stages")[stage]

    def score_from(features: Array) -> Array:
        return score_in(net.apply(variables, stage, features, method="from_stage"), target, score)

    weights = at_least_float32(jax.grad(score_from)(features)).mean(axis=(0, 1))
    cam = (weights * at_least_float32(features)).sum(axis=-1)
    return jnp.maximum(cam, 0) if relu else cam


def checked_stage(layer: int | str) -> int:
    """Number in 0..3 of a ResNet's stage, given by number (negative ones count from the last) or by name.

    Raises:
        ConfigError: a ResNet has no such stage.
    """
    stages = range(len(LAYERS))
    choices = LAYERS if isinstance(layer, str) else (*stages, *range(-len(stages), 0))
    if layer not in choices:
        raise ConfigError(f"layer={layer!r}: a ResNet has {', '.join(LAYERS)}, or 0 to 3")
    return choices.index(layer) % len(stages)


METHOD = Method(
    title="Grad-CAM",
    cite="Selvaraju et al. 2017, Grad-CAM; on a ViT's attention as in Chefer et al. 2021",
    cost="1F + 1 block",
    fold=grad_cam,
    cnn=on_cnn,
    needs=frozenset({"head"}),
)
