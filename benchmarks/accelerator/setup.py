"""What one run measures, and how much time it has."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Setup:
    """The subjects of a run. Picklable.

    model, dtype: of the main rows. others: further models, rows of `throughput` alone. changes: fields of every
    configuration that a dry run makes smaller.
    whats: what is timed: "logits", a method, or "folds" for all methods of the shared pass. saving: of these, what is
        timed with outputs of linear layers saved and recomputed, at which multiples of first_batch.
    first_batch, most_images: where the search for the best batch begins and ends.
    rounds, round_seconds: how many rounds a time is the median of, and how long one is.
    products: sizes of the square products that the peak is looked for among. copied: bytes of the array copied.
    images: through the evaluation engine.
    weights, recordings: DeiT-Tiny's weights and the folder of its recorded maps; None: random weights, and "highest"
        precision stands for the recordings.
    """

    model: str = "vit_base_patch16_224"
    dtype: str = "bfloat16"
    others: tuple[str, ...] = ("vit_large_patch16_224", "deit_tiny_patch16_224")
    changes: dict[str, Any] = field(default_factory=dict)
    whats: tuple[str, ...] = ("logits", "transformer_mm", "folds", "transformer_attribution")
    saving: tuple[str, ...] = ("transformer_mm", "folds")
    multiples: tuple[int, ...] = (1, 4, 2)
    first_batch: int = 64
    most_images: int = 1024
    rounds: int = 7
    round_seconds: float = 0.1
    products: tuple[int, ...] = (4096, 8192, 16384)
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
    multiples=(1,),
    first_batch=2,
    most_images=2,
    rounds=3,
    round_seconds=0.01,
    products=(64, 128),
    copied=2**20,
    images=64,
)
"""The same run with a model so small that a CPU does all of it in less than a minute."""


class Clock:
    """How much of a section's time is left; asked before every step, since a step cannot be stopped.

    deadline: of `time.time()`, which processes share. rounds, round_seconds: as of `Setup`.
    """

    def __init__(self, deadline: float, rounds: int = 7, round_seconds: float = 0.1) -> None:
        self.deadline, self.rounds, self.round_seconds = deadline, rounds, round_seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.time()

    def allows(self, seconds: float) -> bool:
        """Whether a step that takes so long would end in time."""
        return self.left > seconds


class Peaks(NamedTuple):
    """What the device section measured: FLOP/s of matrix products by dtype, bytes/s of its memory."""

    flops: dict[str, float]
    bytes: float
