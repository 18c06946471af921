"""Side-by-side timing on a machine that is never quite quiet: rounds over all cases, medians, ratios per round."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.model import Model
from vitjax.vit import ViT
from vitjax.zoo import entries

RESULTS = Path(__file__).parent / "results"


def rounds(cases: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each case in each of `repeats` rounds; a round runs every case once, one after the other.

    Every case runs once before, untimed. A case returns device arrays (waited for) or anything that is done.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for timed in range(repeats + 1):
        for name, run in cases.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            if timed:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], case: str, by: str) -> float:
    """Median over rounds of case / by: what both suffer in a round cancels."""
    return median(a / b for a, b in zip(seconds[case], seconds[by], strict=True))


def random_model(name: str) -> Model:
    """A named architecture with random weights: speed does not depend on them."""
    entry = entries()[name]
    image = jax.ShapeDtypeStruct((*entry.config.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(ViT(entry.config).init, jax.random.key(0), image)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.02, jnp.float32), shapes)
    return Model(entry.config, params, entry.preprocessing, None, name, {"source": "random"})


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind if device.platform != "cpu" else f"CPU, {os.cpu_count()} cores",
        "platform": device.platform,
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def write(name: str, figures: Mapping[str, Any], directory: Path = RESULTS) -> Path:
    """results/NAME_DEVICE.json"""
    about = machine()
    directory.mkdir(parents=True, exist_ok=True)
    slug = "cpu" if about["platform"] == "cpu" else about["device"].lower().replace(" ", "-")
    path = directory / f"{name}_{slug}.json"
    path.write_text(json.dumps({"machine": about, **figures}, indent=2) + "\n")
    return path
