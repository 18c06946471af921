"""What `vitjax.explain`, `explain_many` and `trace` do: inputs and targets of a call, its programs, its results.

Scores over data sets are in `vitjax.evaluating`.
"""
