"""Methods x metrics over a data set: what `vitjax.evaluate` does between a source of pictures and a run directory.

A run is a list of chunks. Each is decoded in the background, computed, and published as one file.
"""
