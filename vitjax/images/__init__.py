"""Preprocessing of one image exactly as in timm: decoding, resize, crop and normalisation.

Depends only on NumPy and Pillow. Data sets of images are in `vitjax.data`.
"""
