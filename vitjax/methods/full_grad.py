"""FullGrad on tokens: input gradient and the gradients of every bias."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, Score
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig

LAYERS = (("qkv", ("attn", "qkv")), ("proj", ("attn", "proj")), ("fc1", ("mlp", "fc1")), ("fc2", ("mlp", "fc2")))


def full_grad(config: ViTConfig, *, score: Score = "logit") -> Fold:
    """map = Σ_patch |x ∘ ∂s/∂x| + Σ_d |pos ∘ ∂s/∂E^0| + Σ_biases Σ_c |b ∘ ∂s/∂z| (Srinivas & Fleuret 2019).

    The biases b are those of patch_embed.proj, attn.qkv, attn.proj, mlp.fc1 and mlp.fc2, z the output of their layer
    at the patch tokens; a plain sum of all components.

    Args:
        score: s is the logit or the probability of the explained class.

    Returns values >= 0.

    Cost: two forwards and one backward. Differs from reference: implicit biases of LayerNorm, softmax and GELU are
    left out, so completeness does not hold; the CNN code rescales every component first.

    Example: `vitjax.explain(model, "cat.jpg", method="full_grad")`
    """
    prefix = config.prefix

    def summarise(trace):
        total = jnp.zeros(config.tokens)
        for name, (part, layer) in LAYERS:
            if "bias" in trace.params[part][layer]:
                total = total + jnp.abs(trace.linear_grads[name]) @ jnp.abs(trace.params[part][layer]["bias"])
        return total

    def finish(total, boundary):
        patch = total[prefix:]
        if config.patch_bias:
            bias = boundary.params["patch_embed"]["proj"]["bias"]
            patch = patch + jnp.abs(bias * boundary.patches_grad).sum(axis=1)
        position = boundary.params["pos_embed"][prefix if config.position_on_prefix else 0 :]
        patch = patch + jnp.abs(position * boundary.patches_grad).sum(axis=1)
        (down, across), p = config.grid, config.patch_size
        pixels = jnp.abs(boundary.image * boundary.image_grad).reshape(down, p, across, p, 3).sum(axis=(1, 3, 4))
        return pixels + patch.reshape(config.grid)

    return Fold(
        init=jnp.zeros(config.tokens),
        summarise=summarise,
        step=lambda total, here, layer: total + here,
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
)
