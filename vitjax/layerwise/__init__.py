"""The one pass over the layers: forward, and back block by block, shared by every method that is a recurrence.

`Fold` says what a recurrence is, `run` computes any number of them together. Only here are derivatives taken through
blocks. Formulas of methods are in `vitjax.methods`.
"""
