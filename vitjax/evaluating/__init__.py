"""Evaluation of methods by metrics over a data set: `vitjax.evaluate`, from a source of images to a run directory.

A run is a list of chunks. Each chunk is decoded in the background, evaluated, and written to one record file.
"""
