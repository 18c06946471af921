"""Reads checkpoints of timm, Hugging Face, torchvision, OpenCLIP, DINO, MAE and JAX's own ViTs into vitjax parameters.

source.py              what a user names (file, folder, hub id) -> architecture, parameters and a record of their origin
hub.py, folder.py      hub id -> files; a folder's configuration beside its weights, and shards
load.py                files -> arrays, without executing anything that they contain
pickles.py             PyTorch's files: declared sizes are checked, objects other than tensors refused
wrappers.py            what training scripts put around a state dict, or before its keys
naming.py              whose names the keys are, and their translation to timm's by the tables of renaming.py
huggingface.py         the tables of Hugging Face's models
big_vision.py          `.npz` files of big_vision and vision_transformer
canonical.py           variants of timm's own state dicts -> its plain VisionTransformer's
stems.py               convolutional stems of timm's hybrids: constants are folded
infer.py               names and shapes -> architecture
preprocessing.py       the preprocessing that a source states, or that is usual
class_names.py         class names beside weights
fitting.py             a state dict in timm's names -> parameters, or what does not fit
keys.py                timm's key map, one line per parameter, usable in both directions
torchvision_resnet.py  the key map of torchvision's ResNet
arch.py                sizes of a state dict for messages, and which architectures are not supported
tensors.py             the gate: which kinds of tensors become parameters
checkpoint.py          vitjax's own format: orbax arrays and a manifest with digests
live.py                a timm module in memory -> configuration
check.py               parity with PyTorch
"""
