"""Models: tables of named architectures, `load`, and `Model` with its preprocessing and class names.

The flax modules are in `vitjax.nn`; `weights_convert` reads checkpoint files.
"""
