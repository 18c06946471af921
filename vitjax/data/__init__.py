"""Data sets: sources of images, labels and masks; background decoding; a cache of decoded images.

The preprocessing of one image is in `vitjax.images`.
"""
