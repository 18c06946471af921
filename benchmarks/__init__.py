"""Benchmarks: what vitjax costs and what its methods do. The README names the command of each of its numbers.

Speed and memory
    python -m benchmarks.speed           vitjax and PyTorch on the same weights and images
    python -m benchmarks.table           prints stored results of speed, accelerator and tpu_compile as Markdown
    python -m benchmarks.accelerator     everything about a GPU or TPU in one run of at most eight minutes
    python -m benchmarks.tpu_compile     memory and communication of every method on a TPU, without a TPU
    python -m benchmarks.gpu_compile     compile time and memory on an NVIDIA GPU, without a GPU
    python -m benchmarks.engine          the evaluation engine, and the compiled programs that it runs
    python -m benchmarks.fold_methods    all methods of the shared pass together, and transformer_mm alone
    python -m benchmarks.relevance       transformer_attribution and its implementations in PyTorch

Results of the methods
    python -m benchmarks.two_objects     do class-specific methods follow the class?
    python -m benchmarks.variants        how far variants of a method are from its default
    python -m benchmarks.half_precision  what bfloat16 changes in the maps

Run them from the root of the repository; `--help` lists the options of each. Results are written to
benchmarks/results/. benchmarks/NOTES.md describes what was tried to make vitjax fast.
"""
