"""METHODS: every explainer there is. File name == key == name on the command line."""

from vitjax.errors import ConfigError, unknown_name
from vitjax.methods import (
    ag_cam,
    attcat,
    full_grad,
    gmar,
    grad_cam,
    grad_rollout,
    legrad,
    raw_attention,
    rollout,
    tam,
    token_grad_cam,
    transformer_mm,
    vtranm,
)
from vitjax.methods.base import Method

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
}


def register(name: str, method: Method) -> None:
    """Add a method of your own under a name that is still free."""
    if name in METHODS:
        raise ConfigError(f"method {name!r} is already registered")
    if (method.fold is None) == (method.explain is None):
        raise ConfigError(f"method {name!r}: give exactly one of fold and explain")
    METHODS[name] = method


def find_method(name: str) -> Method:
    """The method of that name; an unknown one is an error with close matches."""
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]


__all__ = ["METHODS", "Method", "find_method", "register"]
