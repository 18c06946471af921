"""Networks: flax.linen modules for ONE image, their configurations, and the table of primitives they compute with.

Model names and weights are in `vitjax.models`, explanations in `vitjax.methods`.
"""
