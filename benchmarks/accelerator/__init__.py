"""Measures vitjax on a GPU or TPU, in one run of at most eight minutes.

Run:     python -m benchmarks.accelerator [--weights FILE --recordings DIR] [--sections SECTION ...] [--dry-run]
Prints:  every result to stderr as soon as it is known; at the end Markdown: the targets and whether they are met, and
         one table per section
Writes:  benchmarks/results/accelerator_DEVICE.json, after every result

The sections:

device      versions, and the rates of matrix products and copies (device.py)
parity      errors of the maps at each precision (parity.py)
throughput  images per second, model FLOP utilisation and share of the roofline (throughput.py)
peers       the same computations in PyTorch (peers.py)
plans       the execution plan beside alternatives to it (plans.py)
engine      50,000 images through the evaluation engine (engine.py)
queries     computations that run the model many times per image (queries.py)
others      throughput of other models (throughput.py)

Each section is a generator of results that runs in a process of its own and is stopped at its deadline (sections.py).
The JSON file is written after every result, so that an interrupted run preserves its results. The run needs jax, flax,
numpy, pillow, safetensors, jinja2, matplotlib and scipy only; PyTorch and timm are used where they are installed.
"""
