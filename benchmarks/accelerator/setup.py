"""What a run of `python -m benchmarks.accelerator` measures, and how much time it has.

Has no command of its own. `Setup` is the complete run, `DRY_RUN` the one of --dry-run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Setup:
    """What a run measures. Picklable.

    model, dtype: the main model, and the dtype of all models but those of `parity`.
    others: further models, which only `measure_others` of throughput.py measures. `parity` uses the last one.
    changes: fields of every configuration that differ from the architecture's; a dry run makes models smaller.
    whats: the computations: "logits", a method, or "folds" for all attention and gradient methods of the shared pass.
    saving: the computations of the section "plans".
    first_batch, most_images: limits of the search for the best batch.
    rounds, round_seconds: number of rounds whose median is reported, and the duration of one round.
    products: sides of the square matrix products that are timed; the fastest counts.
    copied: bytes of the array that is copied within the device.
    images: number of images that the evaluation engine evaluates.
    weights, recordings: DeiT-Tiny's weights and the folder of its recorded maps. If either is None, weights are random
        and maps at precision "highest" replace the recordings.
    """

    model: str = "vit_base_patch16_224"
    dtype: str = "bfloat16"
    others: tuple[str, ...] = ("vit_large_patch16_224", "deit_tiny_patch16_224")
    changes: dict[str, Any] = field(default_factory=dict)
    whats: tuple[str, ...] = ("logits", "transformer_mm", "folds", "transformer_attribution")
    saving: tuple[str, ...] = ("transformer_mm",)
    first_batch: int = 128
    most_images: int = 1024
    rounds: int = 7
    round_seconds: float = 0.1
    products: tuple[int, ...] = (8192, 16384)
    copied: int = 2**30
    images: int = 50_000
    weights: Path | None = None
    recordings: Path | None = None


DRY_RUN = Setup(
    model="vitjax_scenes",
    others=("vitjax_scenes",),
    changes={"width": 16, "depth": 2, "heads": 2, "mlp_dim": 16, "image_size": (16, 16)},
    whats=("logits", "transformer_mm"),
    saving=("transformer_mm",),
    first_batch=2,
    most_images=2,
    rounds=3,
    round_seconds=0.01,
    products=(64, 128),
    copied=2**20,
    images=64,
)
"""The same run with a model so small that a CPU completes it in less than a minute."""


class Clock:
    """The time that is left to a section. Sections check it before every step, because a step cannot be interrupted.

    Args:
        deadline: of `time.time()`, which is the same in all processes.
        rounds, round_seconds: as in `Setup`.
    """

    def __init__(self, deadline: float, rounds: int = 7, round_seconds: float = 0.1) -> None:
        self.deadline, self.rounds, self.round_seconds = deadline, rounds, round_seconds

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()

    def allows(self, seconds: float) -> bool:
        """Whether a step of this duration would end before the deadline."""
        return self.left > seconds


class Peaks(NamedTuple):
    """Rates that the section "device" measured: FLOP/s of matrix products by dtype, and bytes/s of the memory."""

    flops: dict[str, float]
    bytes: float
