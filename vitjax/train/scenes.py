"""The recipe of the bundled model: a small ViT on procedural scenes, two stages, 496,000 scenes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from safetensors.numpy import save_file

from vitjax.data.scenes import CLASSES, TEST_SEED, TRAIN_SEED, Scenes, scene
from vitjax.images.reading import Preprocessing, normalise
from vitjax.models.load import BUNDLED, load
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Params
from vitjax.train.trainer import Batch, TrainConfig, train
from weights_convert.keys import to_state

log = logging.getLogger(__name__)

CONFIG = ViTConfig(
    width=128, depth=6, heads=4, mlp_dim=256, patch_size=8, image_size=(64, 64), num_classes=len(CLASSES)
)
STAGES = (  # the second starts from the first one's weights, on scenes of its own: a warm restart
    TrainConfig(steps=8000, batch_size=32, learning_rate=1e-3, shift=0, jitter=0.0),
    TrainConfig(steps=7500, batch_size=32, learning_rate=8e-4, warmup_steps=200, shift=0, jitter=0.0, seed=1),
)
PREPROCESSING = Preprocessing((64, 64), crop_pct=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def scene_batch(step: int, batch_size: int, *, first: int = 0) -> Batch:
    """Training batch number `first + step`: scenes that no other has, with the presence of every class."""
    scenes = [scene((first + step) * batch_size + i, seed=TRAIN_SEED) for i in range(batch_size)]
    present = np.zeros((batch_size, len(CLASSES)), np.float32)
    for row, made in zip(present, scenes, strict=True):
        row[made.labels] = 1
    images = normalise(np.stack([made.image for made in scenes]), PREPROCESSING)
    return Batch(images, np.array([made.labels[0] for made in scenes]), present)


def evaluate_scenes(
    logits: Callable[[np.ndarray], Any], n: int = 10_000, *, seed: int = TEST_SEED, chunk: int = 250
) -> dict[str, float]:
    """How well logits tell the largest object, and whether they know of the others.

    Args: logits: float32 [b, 64, 64, 3] in [-1, 1] -> [b, k]. n: scenes of `seed`, from index 0.
    Returns: shares in [0, 1]:
      largest: arg-max is the largest object.
      largest_alone, largest_among_others: the same, of scenes with one object, and with more.
      second_in_top2: of scenes with two or more objects, the second largest has the second highest logit.
      second_present: ... the second largest has sigmoid > 0.5.
      all_present: of every object in every scene, sigmoid > 0.5.
      false_presence: of every absent class in every scene, sigmoid > 0.5.
    Cost: n forwards and about a millisecond a scene.
    """
    outputs: list[np.ndarray] = []
    presence: list[np.ndarray] = []
    leading: list[np.ndarray] = []
    counts: list[int] = []
    for start in range(0, n, chunk):
        made = list(Scenes(min(chunk, n - start), seed=seed, start=start))
        images = np.stack([one.image for one in made])
        outputs.append(np.asarray(logits(normalise(images, PREPROCESSING))))
        presence.extend(np.isin(np.arange(len(CLASSES)), one.labels) for one in made)
        counts.extend(len(one.labels) for one in made)
        leading.extend(np.resize(one.labels, 2) for one in made)  # a lone object is its own second, unused
    z, present, several = np.concatenate(outputs), np.stack(presence), np.array(counts) > 1
    first, second = np.stack(leading).T
    ranking = np.argsort(-z)
    right = ranking[:, 0] == first
    figures = {
        "scenes": n,
        "largest": right.mean(),
        "largest_alone": right[~several].mean(),
        "largest_among_others": right[several].mean(),
        "second_in_top2": (ranking[:, :2] == second[:, None]).any(1)[several].mean(),
        "second_present": (z[np.arange(n), second] > 0)[several].mean(),
        "all_present": (z[present] > 0).mean(),
        "false_presence": (z[~present] > 0).mean(),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def save(params: Params, path: Path, metadata: dict[str, Any]) -> None:
    """Write float16 weights under timm's names, and `metadata` as JSON values in the safetensors header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {key: json.dumps(value) for key, value in metadata.items()}
    save_file({key: array.astype(np.float16) for key, array in to_state(params).items()}, path, header)


def logits_of(config: ViTConfig, params: Params) -> Callable[[np.ndarray], jax.Array]:
    """Compiled float32 [b, H, W, 3] -> [b, k]."""
    module = ViT(config)
    forward = jax.jit(jax.vmap(lambda p, image: module.apply({"params": p}, image), in_axes=(None, 0)))
    return lambda images: forward(params, images)


def scenes(
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/scenes"),
) -> None:
    """Train the bundled model and write `vitjax_scenes.safetensors`; the same command again continues a run.

    Args:
      out: directory of checkpoints, logs and the finished weights.
    """
    start = time.time()
    params, seen = None, 0
    for number, stage in enumerate(STAGES, 1):
        params = train(CONFIG, partial(scene_batch, first=seen), stage, out / f"stage{number}", params)
        seen += stage.steps
    log.info("trained in %.1f minutes", (time.time() - start) / 60)
    path = out / f"{BUNDLED}.safetensors"
    figures = finish(params, path)
    print(f"{path}  largest object right: {figures['largest']:.2%}")


def finish(params: Params, path: Path) -> dict[str, float]:
    """Score the weights as they will be stored, in float16, and write them with the figures. Returns the figures."""
    half = jax.tree.map(lambda array: np.asarray(array, np.float16).astype(np.float32), params)
    figures = evaluate_scenes(logits_of(CONFIG, half))
    metadata = {
        "config": asdict(CONFIG),
        "classes": CLASSES,
        "mean": PREPROCESSING.mean,
        "std": PREPROCESSING.std,
        "training": [asdict(stage) for stage in STAGES],
        "train_seed": TRAIN_SEED,
        "test_seed": TEST_SEED,
        "test": figures,
    }
    save(params, path, metadata)
    return figures


def evaluate(weights: Path | None = None, n: int = 10_000) -> None:
    """Score weights on unseen scenes and print the figures as JSON.

    Args:
      weights: a file that `scenes` wrote; the bundled one where none is given.
      n: number of scenes.
    """
    print(json.dumps(evaluate_scenes(load(BUNDLED, weights).logits, n), indent=1))


def main() -> None:
    """`python -m vitjax.train`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    logging.getLogger("absl").setLevel(logging.WARNING)
    tyro.extras.subcommand_cli_from_dict({"scenes": scenes, "evaluate": evaluate})
