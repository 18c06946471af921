"""The networks: flax.linen modules for ONE image, their configurations, and the table of primitives they compute with.

No weights, names of models or explanations: those are in `vitjax.models` and `vitjax.methods`.
"""
