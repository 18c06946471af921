"""A second, independent implementation of every method, to prove vitjax's maps with: `vitjax verify`, and the tests.

`formulas` holds the formula of every method on whole n x n matrices in NumPy; `model_run` says which arrays a formula
reads; `torch_run` takes them from a timm module that runs with autograd in float64; `relprop` and `modified_gradient`
propagate relevance by hand in PyTorch; `parity` compares the maps. Nothing here is fast, batched or compiled, and
nothing here explains images for users. No code is shared with vitjax.methods, vitjax.layerwise or vitjax.rules, because
an error in shared code would be on both sides of the comparison: only `parity` calls vitjax, for the maps to compare.
The comparison of logits and blocks with timm is in weights_convert.check.
"""
