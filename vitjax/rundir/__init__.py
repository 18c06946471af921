"""Run directories and output directories: names and contents of their files, locks and checks.

Nothing is computed here: `vitjax.evaluating` writes a run directory, `vitjax.report` reads it.
"""
