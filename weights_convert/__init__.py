"""Checkpoints from elsewhere -> vitjax parameters, read safely and checked against PyTorch.

keys.py        the timm key map, one line a parameter, usable both ways
huggingface.py the same for Hugging Face's ViT and DeiT
arch.py        which architecture a state dict belongs to, and which are not ours
load.py        files -> arrays, without running anything that is in them
source.py      what a user gives as weights -> parameters and a record of where they are from
hub.py         hub id -> file
checkpoint.py  our own format: orbax arrays and a manifest with digests
live.py        a live timm module -> configuration
check.py       parity against PyTorch
"""
