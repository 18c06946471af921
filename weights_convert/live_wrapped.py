"""timm's encoders of vision-language models, and the classifiers around them, seen as one plain transformer."""

from __future__ import annotations

from typing import Any

from weights_convert.live_parts import is_identity

WRAPPED = {
    *("deepseek_vit.DeepseekVitClassifier", "deepseek_vit.DeepseekVitEncoder"),
    *("qwen3_vit.Qwen3VitClassifier", "qwen3_vit.Qwen3VitEncoder"),
}
"""Classes of timm.models that `Unwrapped` reads."""
MERGING = ("align", "merge")
"""Poolings of an encoder whose outputs are tokens for several patches each."""


class Unwrapped:
    """An encoder, and the classifier around it if there is one, with the attributes of timm's VisionTransformer.

    head_norm: whether the classifier normalises the pooled features. merging: the pooling by which the encoder makes
    one token of several patches; "" if it does not. own_norms: a norm of the encoder, and that of the classifier.
    resampling: as in `ViTConfig`.
    """

    cls_token = fc_norm = None

    def __init__(self, module: Any) -> None:
        self.encoder = encoder = getattr(module, "encoder", module)
        norm = None if encoder is module else module.norm
        pool = encoder.global_pool
        self.head = None if encoder is module else module.head
        self.norm = getattr(encoder, "norm", None)
        self.head_norm = not is_identity(norm)
        self.own_norms = [encoder.blocks[0].norm1, *([norm] if self.head_norm else [])]
        self.merging = pool if pool in MERGING else ""
        self.global_pool = module.global_pool
        self.resampling = "bilinear" if hasattr(encoder, "pos_embed_grid_size") else "bicubic"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["encoder"], name)
