"""Grad-CAM: a ViT's attention or a CNN's feature map, heads or channels weighted by their mean gradient."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Fold, LayerTrace
from vitjax.layerwise.target import Score, score_in
from vitjax.methods.building_blocks import pool_queries, single_layer_fold
from vitjax.methods.contract import Method
from vitjax.nn.function import FunctionConfig
from vitjax.nn.network import network, params_dtype
from vitjax.nn.resnet import LAYERS, ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target, at_least_float32


def grad_cam(config: ViTConfig, *, layer: int | str = -1, relu: bool = True, score: Score = "logit") -> Fold:
    """Attention of one block, heads weighted by their mean gradient (Selvaraju et al. 2017).

    On a ViT: w_h = mean_j G[h, class, j] over patches j; map = (E_h[w_h A[h, class, patches]])+.

    On a CNN: with F [h, w, c] the output of a ResNet's stage, or a feature map that a function returns,
    w_c = mean of ∂s/∂F_c over positions; map = (Σ_c w_c F_c)+.

    Args:
        layer: block number of a ViT; stage of a ResNet by number, 0 to 3, or by name, "layer1" to "layer4"; feature map
            of a function by number or by name. Negative numbers count from the last one.
        relu: set negative values to 0; False keeps them.
        score: s is the logit or the probability of the explained class, G its gradient.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches, or over the positions of the feature map; values >= 0
        with relu. On DeiT-Tiny the map is 0 everywhere for about 4 of 10 images, because the mean gradient of every
        head is negative. Such explanations are flagged as `degenerate`; relu=False shows the negative values.

    Raises:
        ConfigError: the model has no such block, stage or feature map.

    Cost: on a ViT, one forward, then one more forward and one backward through the blocks from `layer` on; on a CNN,
    one forward and one backward from the logits to the feature map.

    Differs from reference: nothing. The CAM of the transition attention maps study and "GradCAM" of
    Transformer-Explainability compute the same map.

    Example:
        >>> maps = vitjax.explain_many(model, image, ["grad_cam", "grad_cam:relu=False"], target="plain ring")
        >>> {label: e.degenerate.item() for label, e in maps.items()}  # every value is negative
        {'grad_cam': True, 'grad_cam(relu=False)': False}
    """

    def summarise(trace: LayerTrace) -> Array:
        attention, gradient = (
            pool_queries(config, rows[:, config.readout_slice], trace.readout)[:, config.prefix :]
            for rows in (trace.attention, trace.attention_grad)
        )
        return (gradient.mean(axis=1, keepdims=True) * attention).mean(axis=0)

    return single_layer_fold(config, layer, summarise, relu=relu, gradient=score)


def on_cnn(
    config: ResNetConfig | FunctionConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    layer: int | str = -1,
    relu: bool = True,
    score: Score = "logit",
) -> Array:
    """`grad_cam` for a ResNet or a function: a map [h, w] over the positions of a feature map."""
    del key
    image = image.astype(params_dtype(params))
    if isinstance(config, FunctionConfig):
        name = checked_layer(layer, config.map_names, "the function returns")
        features, logits_from = network(config).split(params, image, name)
    else:
        features, logits_from = _split_resnet(config, params, image, layer)

    def score_from(features: Array) -> Array:
        return score_in(logits_from(features), target, score)

    weights = at_least_float32(jax.grad(score_from)(features)).mean(axis=(0, 1))
    cam = (weights * at_least_float32(features)).sum(axis=-1)
    return jnp.maximum(cam, 0) if relu else cam


def _split_resnet(
    config: ResNetConfig, params: Params, image: Image, layer: int | str
) -> tuple[Array, Callable[[Array], Array]]:
    """The output of a stage, and the function of it that returns the logits."""
    stage = LAYERS.index(checked_layer(layer, LAYERS, "a ResNet has"))
    net, variables = network(config), {"params": params}
    features = net.apply(variables, image, method="stages")[stage]
    return features, lambda features: net.apply(variables, stage, features, method="from_stage")


def checked_layer(layer: int | str, names: Sequence[str], has: str) -> str:
    """Name of the layer that is given by number (negative ones count from the last) or by name.

    has: what the message says before the names.

    Raises:
        ConfigError: there is no such layer.
    """
    count = len(names)
    if layer in names:
        return str(layer)
    if isinstance(layer, str) or not -count <= layer < count:
        raise ConfigError(f"layer={layer!r}: {has} {', '.join(names)}, or 0 to {count - 1}")
    return names[layer]


METHOD = Method(
    title="Grad-CAM",
    cite="Selvaraju et al. 2017, Grad-CAM; on a ViT's attention as in Chefer et al. 2021",
    cost="1F + 1 block",
    fold=grad_cam,
    cnn=on_cnn,
    needs=frozenset({"head", "feature_map"}),
    use_when="a ViT is compared with a CNN by the same method; on ViTs a good part of the maps is 0 everywhere",
)
