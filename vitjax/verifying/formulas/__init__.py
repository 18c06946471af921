"""Every method's formula on whole n x n matrices in float64 NumPy, as a function (run, **options) -> map.

`run` is a `ModelRun`, the options are the method's, and the map is flat: [patches], or [pixels]. Each formula is
written from the method's publication, in the file of the kind of arrays that it reads; `FORMULAS` lists all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vitjax.verifying.formulas import attention, pixels, relevance, tokens

RANDOM = ("smooth_grad", "rise", "vit_cx", "random", "meaningful_perturbation")
"""Methods without a formula here: they sample or optimise. tests/methods/test_perturbation.py tests them."""

NEEDS_RULES = ("transformer_attribution", "lrp_rollout", "partial_lrp", "lrp", "conservative_lrp", "attn_lrp")
"""Methods whose formulas need `relevance` or `modified_gradient`, which only `torch_run.TorchRun` implements."""

FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    formula.__name__: formula
    for formula in (
        attention.raw_attention,
        attention.rollout,
        attention.grad_rollout,
        attention.transformer_mm,
        attention.grad_cam,
        attention.ag_cam,
        attention.gmar,
        attention.legrad,
        attention.tam,
        attention.attention_flow,
        tokens.token_grad_cam,
        tokens.attcat,
        tokens.vtranm,
        relevance.transformer_attribution,
        relevance.lrp_rollout,
        relevance.partial_lrp,
        relevance.lrp,
        relevance.conservative_lrp,
        relevance.attn_lrp,
        pixels.full_grad,
        pixels.gradient_x_input,
        pixels.saliency,
        pixels.integrated_gradients,
        pixels.occlusion,
        pixels.centre,
    )
}
"""Name of a method -> its formula."""
