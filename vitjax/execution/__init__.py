"""How a function of one image runs on a batch and a device: what is decided here changes speed and memory, no result.

Formulas are not here: methods, metrics and models are written for one image and know nothing of batches.
"""
