"""Grad-CAM on attention: the class token's row of one block, heads weighted by their mean gradient."""

import jax.numpy as jnp

from vitjax.methods.base import Method, at_layer, checked_layer
from vitjax.trace import Fold, Score
from vitjax.vit import ViTConfig


def grad_cam(config: ViTConfig, *, layer: int = -1, relu: bool = True, score: Score = "logit") -> Fold:
    """w_h = mean_j G[h, class, j] over patches j; map = (E_h[w_h A[h, class, patches]])+ (Selvaraju et al. 2017).

    Args:
        layer: block number; -1 is the last.
        relu: False keeps the sign.
        score: G is the gradient of the logit or of the probability.

    Returns values >= 0 with relu. On DeiT-Tiny the map is zero everywhere for about 4 images in 10, because every
    head's mean gradient is negative: the explanation is then `degenerate`, and relu=False shows what was cut.

    Cost: two forwards and one backward. Differs from reference: nothing; the CAM of the transition attention maps
    study and "GradCAM" of Transformer-Explainability are this function.

    Example: `vitjax.explain(model, "cat.jpg", method="grad_cam", relu=False)`
    """
    chosen = checked_layer(config, layer, "layer")
    readout = config.readout()

    def summarise(trace):
        attention = jnp.einsum("n,hnm->hm", readout, trace.attention)[:, config.prefix :]
        gradient = jnp.einsum("n,hnm->hm", readout, trace.attention_grad)[:, config.prefix :]
        return (gradient.mean(axis=1, keepdims=True) * attention).mean(axis=0)

    return at_layer(config, chosen, summarise, relu=relu, gradient=score)


METHOD = Method(
    title="Attention Grad-CAM",
    cite="Selvaraju et al. 2017, Grad-CAM; on attention as in Chefer et al. 2021",
    cost="2F + 1B",
    fold=grad_cam,
    needs=frozenset({"head"}),
)
