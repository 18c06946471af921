"""Models as users name them: tables of architectures, `load`, `Model` with its preprocessing and class names.

The modules themselves are in `vitjax.nn`; reading checkpoint files is the work of `weights_convert`.
"""
