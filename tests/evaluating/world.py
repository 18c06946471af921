"""Helpers of the evaluation tests: a tiny evaluation, generated images with masks, and child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.cases import tiny_model
from vitjax.data.source import Raw
from vitjax.evaluating.run import Run, evaluate

METHODS = ["rollout", "transformer_mm", "random"]
METRICS = ["energy_pointing_game", "mean_iou", {"metric": "perturbation_auc", "levels": (0, 30, 60, 100)}]


@dataclass(frozen=True)
class Pictures:
    """A source of `count` images of 32 x 32 noise with a bright square, the object; all depend only on the index.

    pause: duration of reading an image [s]. damaged: indices of images that cannot be decoded.
    """

    count: int
    pause: float = 0.0
    damaged: tuple[int, ...] = ()
    version: int = 0
    has_masks: bool = True
    name: str = "pictures"
    resize: str = "timm"

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"picture{number:03d}" for number in range(self.count))

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(number % 7 for number in range(self.count))

    def read(self, index: int) -> Raw:
        time.sleep(self.pause)
        rng = np.random.default_rng(1000 + index)  # with 0 + index, a pixel of one map lies at the metric's threshold
        image = rng.integers(0, 150, (32, 32, 3), dtype=np.uint8)
        top, left = rng.integers(0, 20, 2)
        mask = np.zeros((32, 32), np.uint8)
        mask[top : top + 12, left : left + 12] = 255
        image[mask > 0] += 100
        return Raw(b"no image" if index in self.damaged else image, mask)

    def digest(self) -> str:
        return f"{self.count} {self.damaged} {self.version}"


def run(out: Path, source: Any, **options: Any) -> Run:
    """`evaluate` with a tiny model, small chunks and the methods and metrics above, unless other options are passed."""
    options = {"chunk_size": 4, "batch_size": 4, "workers": 0, "profile": False, **options}
    methods, metrics = options.pop("methods", METHODS), options.pop("metrics", METRICS)
    return evaluate(options.pop("model", None) or tiny_model("plain"), source, methods, metrics, out, **options)


def metric_values(table: pa.Table) -> dict[str, np.ndarray]:
    """The confidence and all metric columns as arrays [records] or [records, levels]."""
    return {
        name: np.asarray(table[name].to_pylist(), np.float64)
        for name in table.column_names
        if "." in name or name == "confidence"
    }


def assert_same_records(one: pa.Table, other: pa.Table, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Check that two tables are equal, metric values within the tolerances."""
    for name in ("index", "image_id", "label", "method", "status", "prediction", "target", "mask_state"):
        assert one[name].to_pylist() == other[name].to_pylist(), name
    assert one.column_names == other.column_names
    left, right = metric_values(one), metric_values(other)
    for name in left:
        np.testing.assert_allclose(left[name], right[name], rtol=rtol, atol=atol, err_msg=name)


def child(code: str, *, devices: int = 1, **more: Any) -> subprocess.Popen:
    """Start a Python process that runs `code` with the names of this module, on a number of simulated CPU devices."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    program = f"from pathlib import Path\nfrom tests.evaluating.world import *\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for a process, check that it succeeded, and return its output."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return out
