"""Relevance rules, one table of arithmetic per file; a table is given to a `Fold` as its `rules`.

Under the z-rule tables the cotangent IS relevance; under the modified gradients relevance is input x cotangent.
"""

from vitjax.rules.attn_lrp import ATTN_LRP
from vitjax.rules.conservative import CONSERVATIVE, CONSERVATIVE_IDENTITY
from vitjax.rules.lrp_original import LRP_ORIGINAL
from vitjax.rules.zplus import ZPLUS

Z_RULES = {"original": LRP_ORIGINAL, "zplus": ZPLUS}

__all__ = ["ATTN_LRP", "CONSERVATIVE", "CONSERVATIVE_IDENTITY", "LRP_ORIGINAL", "ZPLUS", "Z_RULES"]
