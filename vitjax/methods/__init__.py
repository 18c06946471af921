"""METHODS: every explainer there is. File name == key == name on the command line."""

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
    """Add a method of your own under a name that is still free."""
    if name in METHODS:
        raise ConfigError(f"method {name!r} is already registered")
    if sum(way is not None for way in (method.fold, method.explain, method.explain_on_host)) != 1:
        raise ConfigError(f"method {name!r}: give exactly one of fold, explain and explain_on_host")
    METHODS[name] = method


def find_method(name: str) -> Method:
    """The method of that name; an unknown one is an error with close matches."""
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]


__all__ = ["METHODS", "Method", "find_method", "register"]
