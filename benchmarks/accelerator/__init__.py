"""Everything that is to be known about an accelerator, in one run of at most eight minutes.

python -m benchmarks.accelerator [--weights FILE --recordings DIR] [--dry-run]

Each section is a generator of results in a process of its own, ended at its deadline; the JSON file is written after
every result, so that a run that is cut off counts as far as it came. Nothing here imports more than jax, flax, numpy,
pillow and safetensors; PyTorch and timm are used where they are installed.
"""
