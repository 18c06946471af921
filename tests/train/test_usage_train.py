"""`vitjax.train` in use: a source of batches of one's own, a folder as a source, and what training writes."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from tests.train.test_train import TINY, colours
from vitjax.images.reading import Preprocessing, preprocess
from vitjax.models.model import Model
from vitjax.train import TrainConfig, train
from vitjax.train.folder import FolderBatches
from vitjax.train.trainer import losses

pytestmark = pytest.mark.unoptimised


def test_a_tiny_vit_learns_from_a_function_of_the_step(tmp_path):
    recipe = TrainConfig(
        steps=60, batch_size=16, learning_rate=1e-2, warmup_steps=10, checkpoint_every=30, flip=False, shift=0, jitter=0
    )
    params = train(TINY, colours, recipe, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [30, 60]
    assert lines[1]["loss"] < 0.5 * lines[0]["loss"] and lines[1]["accuracy"] > 0.9

    unseen = colours(step=1000, batch_size=32)
    logits = Model(TINY, params, Preprocessing((16, 16))).logits(unseen.images)
    assert losses(logits, unseen, presence_weight=0)["accuracy"] > 0.9


def test_a_folder_of_class_folders_is_a_source_that_shows_every_image_once_in_an_epoch(tmp_path):
    preprocessing = Preprocessing((16, 16), crop_pct=1.0)
    for number, name in enumerate(("red/1", "red/2", "blue/1", "blue/2", "blue/3")):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), 50 * number, np.uint8)).save(path)
    source = FolderBatches(tmp_path, preprocessing, seed=3)
    assert source.classes == ("blue", "red")
    batches = [source(step, 2) for step in range(5)]  # two epochs of five images
    brightness = [round(float(image.mean()), 3) for batch in batches for image in batch.images]
    labels = [int(label) for batch in batches for label in batch.labels]
    seen = list(zip(brightness, labels, strict=True))
    assert sorted(seen[:5]) == sorted(seen[5:]) and seen[:5] != seen[5:] and len(set(seen[:5])) == 5
    blue = round(float(preprocess(tmp_path / "blue" / "1.png", preprocessing).mean()), 3)
    assert (blue, 0) in seen[:5]
    jax.tree.map(np.testing.assert_array_equal, source(3, 2), batches[3])  # so that a run can resume at any step
