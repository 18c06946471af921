"""transformer_attribution in one batched program, compared with eager PyTorch, which explains one image at a time.

Run:     python -m benchmarks.relevance [--model deit_tiny_patch16_224] [--batch 16] [--repeats 5]
Prints:  images per second of vitjax, of transformer_mm in vitjax and of two implementations in PyTorch; how many times
         faster vitjax is per image; temporary memory, and as a multiple of transformer_mm's; the path of the results
Writes:  benchmarks/results/relevance_DEVICE.json

PyTorch runs the published implementation's way of computing, and the same rules without its redundant operations
(benchmarks/peers/relprop.py).
"""

from __future__ import annotations

from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro

from benchmarks.harness import HOOKS, LEAN, case_of, random_model, ratio, rounds, write
from benchmarks.peers.cases import Peers
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request
from vitjax.layerwise.target import PREDICTED

OURS, BASE = "transformer_attribution", "transformer_mm"


def main(model: str = "deit_tiny_patch16_224", batch: int = 16, repeats: int = 5) -> None:
    """Time vitjax and PyTorch in the same rounds, and compare the temporary memory with transformer_mm's.

    Args:
        model: architecture; its weights are random.
        batch: images per call of vitjax; PyTorch explains one image per call.
        repeats: number of rounds.
    """
    subject = random_model(model)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(batch, *subject.config.image_size, 3)), jnp.float32)
    targets, seeds = np.full(batch, PREDICTED, np.int32), np.arange(batch, dtype=np.uint32)
    arguments = (subject.params, x, targets, seeds, np.uint32(0))

    peers = Peers(subject).cases(OURS, x, np.zeros(batch, np.int32))
    with jax.default_matmul_precision(subject.precision):
        ours = {
            name: case_of(compiled(subject.config, (request(name),)), *arguments, items=batch) for name in (OURS, BASE)
        }
    memory = {name: case.memory() for name, case in ours.items()}
    seconds = rounds({name: case.run for name, case in {**ours, **peers}.items()}, repeats)
    per_image = {OURS: batch, BASE: batch, HOOKS: 1, LEAN: 1}
    figures = {
        "model": model,
        "batch": batch,
        "rounds": repeats,
        "torch_threads": torch.get_num_threads(),
        "images_per_s": {name: round(per_image[name] / median(times), 2) for name, times in seconds.items()},
        "times_faster_per_image": {peer: round(batch * ratio(seconds, peer, OURS), 2) for peer in (HOOKS, LEAN)},
        "temporary_MiB": memory,
        "temporary_memory_over_transformer_mm": round(memory[OURS] / memory[BASE], 2),
    }
    for key, value in figures.items():
        print(f"{key}: {value}")
    print(write("relevance", figures))


if __name__ == "__main__":
    tyro.cli(main)
