"""One picture as the model sees it: bytes to pixels, resize, crop, normalisation, exactly as timm does.

NumPy and Pillow only. Data sets of pictures are in `vitjax.data`.
"""
