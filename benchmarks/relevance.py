"""transformer_attribution in one batched program, against the same written plainly in PyTorch, an image at a time."""

from __future__ import annotations

from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro

from benchmarks.harness import random_model, ratio, rounds, write
from tests.oracles.relprop import propagate
from vitjax.api import compiled, request
from vitjax.fold import PREDICTED
from weights_convert.check import timm_peer
from weights_convert.keys import to_state

OURS, PEER, BASE = "transformer_attribution", "PyTorch, one image", "transformer_mm"


def main(model: str = "deit_tiny_patch16_224", batch: int = 16, repeats: int = 5) -> None:
    """Time both in the same rounds, and compare the temporary memory with transformer_mm's.

    Args:
        model: architecture; its weights are random.
        batch: images per call of ours; PyTorch runs one.
        repeats: rounds.
    """
    subject = random_model(model)
    peer = timm_peer(subject.config, to_state({**subject.params}), model).requires_grad_(False)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(batch, *subject.config.image_size, 3)), jnp.float32)
    first = np.asarray(x[0])
    targets, seeds = np.full(batch, PREDICTED, np.int32), np.arange(batch, dtype=np.uint32)
    arguments = (subject.params, x, targets, seeds, np.uint32(0))

    cases, memory = {}, {}
    with jax.default_matmul_precision(subject.precision):
        for name in (OURS, BASE):
            program = compiled(subject.config, (request(name),)).lower(*arguments).compile()
            cases[name] = lambda program=program: program(*arguments)
            memory[name] = program.memory_analysis().temp_size_in_bytes
        cases[PEER] = lambda: propagate(peer, subject.config, first, 0, "zplus", to_pixels=False).attention
        seconds = rounds(cases, repeats)
    speed = batch * ratio(seconds, PEER, OURS)
    per_image = {OURS: batch, BASE: batch, PEER: 1}
    figures = {
        "model": model,
        "batch": batch,
        "rounds": repeats,
        "torch_threads": torch.get_num_threads(),
        "images_per_s": {name: round(per_image[name] / median(times), 2) for name, times in seconds.items()},
        "times_faster_per_image": round(speed, 2),
        "temporary_MiB": {name: round(size / 2**20, 1) for name, size in memory.items()},
        "temporary_memory_over_transformer_mm": round(memory[OURS] / memory[BASE], 2),
    }
    for key, value in figures.items():
        print(f"{key}: {value}")
    print(write("relevance", figures))


if __name__ == "__main__":
    tyro.cli(main)
