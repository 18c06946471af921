"""Relevance rules: one table of primitives (`vitjax.nn.ops.Ops`) per file, which a `Fold` takes as its `rules`.

Every table computes the same forward pass. With the z-rule tables LRP_ORIGINAL and ZPLUS, the cotangent of a value is
its relevance; with the modified-gradient tables ATTN_LRP, CONSERVATIVE and CONSERVATIVE_IDENTITY, relevance is value x
cotangent.
"""

from vitjax.rules.attn_lrp import ATTN_LRP
from vitjax.rules.conservative import CONSERVATIVE, CONSERVATIVE_IDENTITY
from vitjax.rules.lrp_original import LRP_ORIGINAL
from vitjax.rules.zplus import ZPLUS

Z_RULES = {"original": LRP_ORIGINAL, "zplus": ZPLUS}

__all__ = ["ATTN_LRP", "CONSERVATIVE", "CONSERVATIVE_IDENTITY", "LRP_ORIGINAL", "ZPLUS", "Z_RULES"]
