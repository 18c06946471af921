"""The files of a run and of an output directory: what is written, how it is named, locked, read and checked.

Nothing is computed here; `vitjax.evaluating` fills a run directory, `vitjax.report` reads it.
"""
