"""The recipe of the bundled model: a small ViT trained on 496,000 procedural scenes in two stages."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from vitjax.data.scenes import CLASSES, TEST_SEED, TRAIN_SEED, Scenes, scene
from vitjax.images.reading import Preprocessing, normalise
from vitjax.models.load import BUNDLED
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Params
from vitjax.train.recipe import TrainConfig
from vitjax.train.trainer import Batch, train
from weights_convert.keys import to_state

log = logging.getLogger(__name__)

CONFIG = ViTConfig(
    width=128, depth=6, heads=4, mlp_dim=256, patch_size=8, image_size=(64, 64), num_classes=len(CLASSES)
)
STAGES = (  # the second stage starts from the weights of the first and sees other scenes: a warm restart
    TrainConfig(steps=8000, batch_size=32, learning_rate=1e-3, shift=0, jitter=0.0),
    TrainConfig(steps=7500, batch_size=32, learning_rate=8e-4, warmup_steps=200, shift=0, jitter=0.0, seed=1),
)
PREPROCESSING = Preprocessing((64, 64), crop_pct=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def scene_batch(step: int, batch_size: int, *, first: int = 0) -> Batch:
    """Training batch number `first + step`. No two batches share a scene.

    Args:
        step: step of the stage.
        batch_size: scenes per batch.
        first: number of batches of the earlier stages.

    Returns:
        The batch; its labels are the largest objects, and `present` marks the classes of all objects.
    """
    batch = [scene((first + step) * batch_size + i, seed=TRAIN_SEED) for i in range(batch_size)]
    present = np.zeros((batch_size, len(CLASSES)), np.float32)
    for indicators, one in zip(present, batch, strict=True):
        indicators[one.labels] = 1
    images = normalise(np.stack([one.image for one in batch]), PREPROCESSING)
    return Batch(images, np.array([one.labels[0] for one in batch]), present)


def evaluate_scenes(
    logits: Callable[[np.ndarray], Any], n: int = 10_000, *, seed: int = TEST_SEED, chunk: int = 250
) -> dict[str, float]:
    """Score logits on scenes: whether they recognise the largest object and the presence of the others.

    Args:
        logits: function of float32 pixels [b, 64, 64, 3] in [-1, 1] that returns logits [b, k].
        n: number of scenes of `seed`, from index 0.
        seed: seed of the scenes.
        chunk: scenes per call of `logits`.

    Returns:
        "scenes": n, and shares in [0, 1]:
        "largest": of all scenes, the highest logit is the largest object's.
        "largest_alone", "largest_among_others": the same for scenes with one object, and with more.
        "second_in_top2": of scenes with two or more objects, the second largest is among the two highest logits.
        "second_present": of the same scenes, the sigmoid of the second largest object's logit exceeds 0.5.
        "all_present": of all objects of all scenes, the sigmoid exceeds 0.5.
        "false_presence": of all absent classes of all scenes, the sigmoid exceeds 0.5.

    Cost: n forwards, and about a millisecond per scene to draw it.
    """
    logits_by_chunk: list[np.ndarray] = []
    presence: list[np.ndarray] = []
    two_largest: list[np.ndarray] = []
    counts: list[int] = []
    for start in range(0, n, chunk):
        scenes_of_chunk = list(Scenes(min(chunk, n - start), seed=seed, start=start))
        images = np.stack([one.image for one in scenes_of_chunk])
        logits_by_chunk.append(np.asarray(logits(normalise(images, PREPROCESSING))))
        presence.extend(np.isin(np.arange(len(CLASSES)), one.labels) for one in scenes_of_chunk)
        counts.extend(len(one.labels) for one in scenes_of_chunk)
        # The second entry of a scene with one object repeats the first and is not used.
        two_largest.extend(np.resize(one.labels, 2) for one in scenes_of_chunk)
    z, present, several = np.concatenate(logits_by_chunk), np.stack(presence), np.array(counts) > 1
    first, second = np.stack(two_largest).T
    ranking = np.argsort(-z)
    correct = ranking[:, 0] == first
    shares = {
        "scenes": n,
        "largest": correct.mean(),
        "largest_alone": correct[~several].mean(),
        "largest_among_others": correct[several].mean(),
        "second_in_top2": (ranking[:, :2] == second[:, None]).any(1)[several].mean(),
        "second_present": (z[np.arange(n), second] > 0)[several].mean(),
        "all_present": (z[present] > 0).mean(),
        "false_presence": (z[~present] > 0).mean(),
    }
    return {name: round(float(value), 4) for name, value in shares.items()}


def save(params: Params, path: Path, metadata: dict[str, Any]) -> None:
    """Write a safetensors file with float16 weights under timm's names, and the metadata as JSON in its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {key: json.dumps(value) for key, value in metadata.items()}
    save_file({key: array.astype(np.float16) for key, array in to_state(params).items()}, path, header)


def logits_of(config: ViTConfig, params: Params) -> Callable[[np.ndarray], jax.Array]:
    """Compiled function of float32 pixels [b, H, W, 3] that returns logits [b, k]."""
    module = ViT(config)
    forward = jax.jit(jax.vmap(lambda p, image: module.apply({"params": p}, image), in_axes=(None, 0)))
    return lambda images: forward(params, images)


def train_scenes(out: Path) -> tuple[Path, dict[str, float]]:
    """Train the bundled model, or resume that, and write `vitjax_scenes.safetensors`.

    Args:
        out: directory of checkpoints, logs and the final weights.

    Returns:
        The file of the weights, and their scores as `evaluate_scenes` gives them.
    """
    start = time.time()
    params, batches_used = None, 0
    for number, stage in enumerate(STAGES, 1):
        params = train(CONFIG, partial(scene_batch, first=batches_used), stage, out / f"stage{number}", params)
        batches_used += stage.steps
    log.info("trained in %.1f minutes", (time.time() - start) / 60)
    path = out / f"{BUNDLED}.safetensors"
    return path, finish(params, path)


def finish(params: Params, path: Path) -> dict[str, float]:
    """Score the weights rounded to float16, as they are stored, write weights and scores, and return the scores."""
    half = jax.tree.map(lambda array: np.asarray(array, np.float16).astype(np.float32), params)
    scores = evaluate_scenes(logits_of(CONFIG, half))
    metadata = {
        "config": asdict(CONFIG),
        "classes": CLASSES,
        "mean": PREPROCESSING.mean,
        "std": PREPROCESSING.std,
        "training": [asdict(stage) for stage in STAGES],
        "train_seed": TRAIN_SEED,
        "test_seed": TEST_SEED,
        "test": scores,
    }
    save(params, path, metadata)
    return scores
