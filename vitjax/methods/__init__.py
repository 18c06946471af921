"""METHODS: the registry of explainers. A method's key is its file name and its name on the command line.

Notation of the docstrings:
    l, L: number of a block, 0 next to the pixels, and how many blocks there are.
    A_l, G_l [h, n, m]: attention of block l after the softmax, and the gradient of the score s by it.
    E_h: mean over heads.
    (x)+: max(x, 0).
    ∘: elementwise product.
    rownorm(M): every row of M divided by its sum.
    M[class, patches]: the row of M for the class token, at the columns of the patches. A model that pools by
        averaging has the mean over the patches' rows in its place.
    F, B: cost of one forward and of one backward pass of one image.

Names in the examples, all of which `tests/test_docstrings.py` runs:
    vitjax, np, jnp, jax: the packages `vitjax`, `numpy`, `jax.numpy` and `jax`.
    model: `vitjax.load("vitjax_scenes")`, which has 8 x 8 patches of 8 pixels.
    image: `vitjax.data.scenes.scene(3).image`, a striped star on the left and a plain ring on the right.
"""

from vitjax.errors import ConfigError, unknown_name
from vitjax.methods import (
    ag_cam,
    attcat,
    attention_flow,
    attn_lrp,
    centre,
    conservative_lrp,
    full_grad,
    gmar,
    grad_cam,
    grad_rollout,
    gradient_x_input,
    integrated_gradients,
    legrad,
    lrp,
    lrp_rollout,
    meaningful_perturbation,
    occlusion,
    partial_lrp,
    random,
    raw_attention,
    rise,
    rollout,
    saliency,
    smooth_grad,
    tam,
    token_grad_cam,
    transformer_attribution,
    transformer_mm,
    vit_cx,
    vtranm,
)
from vitjax.methods.contract import Method
from vitjax.methods.own import load_own

METHODS: dict[str, Method] = {
    "raw_attention": raw_attention.METHOD,
    "rollout": rollout.METHOD,
    "grad_cam": grad_cam.METHOD,
    "token_grad_cam": token_grad_cam.METHOD,
    "ag_cam": ag_cam.METHOD,
    "grad_rollout": grad_rollout.METHOD,
    "gmar": gmar.METHOD,
    "legrad": legrad.METHOD,
    "tam": tam.METHOD,
    "attcat": attcat.METHOD,
    "transformer_mm": transformer_mm.METHOD,
    "vtranm": vtranm.METHOD,
    "full_grad": full_grad.METHOD,
    "transformer_attribution": transformer_attribution.METHOD,
    "lrp_rollout": lrp_rollout.METHOD,
    "partial_lrp": partial_lrp.METHOD,
    "lrp": lrp.METHOD,
    "conservative_lrp": conservative_lrp.METHOD,
    "attn_lrp": attn_lrp.METHOD,
    "saliency": saliency.METHOD,
    "gradient_x_input": gradient_x_input.METHOD,
    "integrated_gradients": integrated_gradients.METHOD,
    "smooth_grad": smooth_grad.METHOD,
    "occlusion": occlusion.METHOD,
    "rise": rise.METHOD,
    "vit_cx": vit_cx.METHOD,
    "meaningful_perturbation": meaningful_perturbation.METHOD,
    "attention_flow": attention_flow.METHOD,
    "centre": centre.METHOD,
    "random": random.METHOD,
}


def register(name: str, method: Method) -> None:
    """Adds a method to METHODS.

    Args:
        name: key of the method; no registered method may have it.
        method: the explainer; exactly one of its `fold`, `explain` and `explain_on_host` is set.

    Raises:
        ConfigError: the name is taken, or none or several of the three functions are set.

    Example:
        >>> def brightness(config, params, image, target, *, key, power: float = 1.0):
        ...     return jnp.abs(image).mean(axis=-1) ** power
        >>> method = vitjax.Method("Brightness", "nobody 2026", cost="0", explain=brightness, level="pixel")
        >>> vitjax.register("brightness", method)
        >>> vitjax.explain(model, image, "brightness", power=2.0).maps.shape
        (1, 64, 64)
    """
    if name in METHODS:
        raise ConfigError(f"method {name!r} is already registered")
    if sum(function is not None for function in (method.fold, method.explain, method.explain_on_host)) != 1:
        raise ConfigError(f"method {name!r}: exactly one of fold, explain and explain_on_host must be set")
    METHODS[name] = method


def find_method(name: str) -> Method:
    """The registered method with this name. One of the form "module:name" is imported, and registered by that name.

    Raises:
        UnknownNameError: no method has this name; the message lists close matches.
        ConfigError: an option has no value, or the module of "module:name" cannot be imported or has no such method.

    Example:
        >>> vitjax.methods.find_method("rollout").title
        'Attention rollout'
        >>> vitjax.methods.find_method("vitjax.methods.rollout:METHOD").title
        'Attention rollout'
    """
    if name not in METHODS:
        known, colon, option = name.partition(":")
        if known in METHODS:
            raise ConfigError(f"method {name!r}: option {option!r} is not of the form name=value")
        if not colon:
            raise unknown_name("method", name, METHODS)
        register(name, load_own(name, Method))
    return METHODS[name]


__all__ = ["METHODS", "Method", "find_method", "register"]
