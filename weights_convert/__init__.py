"""Converts checkpoints of timm, Hugging Face and torchvision to vitjax parameters, and checks them against PyTorch.

keys.py                timm's key map, one line per parameter, usable in both directions
huggingface.py         the key map of Hugging Face's ViT and DeiT
torchvision_resnet.py  the key map of torchvision's ResNet
arch.py                which architecture a state dict belongs to, and which architectures are not supported
load.py                files -> arrays, without executing anything that they contain
pickles.py             PyTorch's files: declared sizes are checked, objects other than tensors refused
wrappers.py            what training scripts put around a state dict, or before its keys
tensors.py             the gate: which kinds of tensors become parameters
source.py              the `weights` argument of a user -> parameters and a record of their origin
hub.py                 hub id -> file
checkpoint.py          vitjax's own format: orbax arrays and a manifest with digests
live.py                a timm module in memory -> configuration
check.py               parity with PyTorch
"""
