"""Data sets: sources of pictures, labels and masks, decoding in the background, caches of what was decoded.

How one picture becomes the model's input is in `vitjax.images`.
"""
