"""FullGrad on tokens: input x gradient, and bias x gradient of every bias."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Boundary, Fold, LayerTrace
from vitjax.layerwise.target import Score
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array

LAYERS = (("qkv", ("attn", "qkv")), ("proj", ("attn", "proj")), ("fc1", ("mlp", "fc1")), ("fc2", ("mlp", "fc2")))
"""Linear layers of a block: key in `LayerTrace.linear_grads`, path in the block's parameters."""


def full_grad(config: ViTConfig, *, score: Score = "logit") -> Fold:
    """Sum of |input x gradient| and of |bias x gradient| over all biases (Srinivas & Fleuret 2019).

    map = Σ_patch |x ∘ ∂s/∂x| + Σ_d |pos ∘ ∂s/∂E^0| + Σ_biases Σ_c |b ∘ ∂s/∂z|, where x are the normalised pixels, pos
    is the position embedding, E^0 are the tokens that enter block 0, b are the biases of patch_embed.proj, attn.qkv,
    attn.proj, mlp.fc1 and mlp.fc2, and z is the output of the bias's layer at the patch tokens. The components are
    summed without rescaling.

    Args:
        score: s is the logit or the probability of the explained class.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0.

    Cost: two forwards and one backward (2F + 1B).

    Differs from reference: the implicit biases of LayerNorm, softmax and GELU are left out, and so are the biases of a
    convolutional stem, so completeness does not hold. The authors' code for CNNs rescales each component before the
    sum.

    Example:
        >>> maps = vitjax.explain(model, image, method="full_grad").maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 8, 8), True)
    """
    prefix = config.prefix

    def summarise(trace: LayerTrace) -> Array:
        total = jnp.zeros(config.tokens)
        for name, (part, layer) in LAYERS:
            if "bias" in trace.params[part][layer]:
                # A sum, not a matrix product: XLA then stores no absolute values.
                products = trace.linear_grads[name] * trace.params[part][layer]["bias"]
                total = total + jnp.abs(products).sum(axis=1)
        return total

    def finish(total: Array, boundary: Boundary) -> Array:
        patches = total[prefix:]
        if config.patch_bias:
            bias = boundary.params["patch_embed"]["proj"]["bias"]
            patches = patches + jnp.abs(bias * boundary.patches_grad).sum(axis=1)
        if config.position_table:
            positions = boundary.params["pos_embed"][prefix if config.position_on_prefix else 0 :]
            # Positions are added to the patches, after a norm of the patch embedding where there is one.
            gradient = boundary.tokens_grad[prefix:] if config.patch_norm else boundary.patches_grad
            patches = patches + jnp.abs(positions * gradient).sum(axis=1)
        (height, width), p = config.grid, config.patch_size
        pixels = jnp.abs(boundary.image * boundary.image_grad)[: height * p, : width * p]
        pixels = pixels.reshape(height, p, width, p, 3).sum(axis=(1, 3, 4))
        return pixels + patches.reshape(config.grid)

    return Fold(
        init=jnp.zeros(config.tokens),
        summarise=summarise,
        step=lambda total, layer_values, layer: total + layer_values,
        finish=finish,
        gradient=score,
        to_input=True,
    )


METHOD = Method(
    title="FullGrad",
    cite="Srinivas & Fleuret 2019, Full-Gradient Representation for Neural Network Visualization",
    cost="2F + 1B",
    fold=full_grad,
    needs=frozenset({"head"}),
    use_when="sensitivity of the class to input and biases of all layers is to be seen in one map",
)
