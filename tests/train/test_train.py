"""The trainer on tiny models: it learns, it resumes exactly, it starts from given weights."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import vitjax
from vitjax.data.scenes import CLASSES, TRAIN_SEED, VALIDATION_SEED, scene
from vitjax.errors import ConfigError, ImageError, WeightsError
from vitjax.images.reading import Preprocessing
from vitjax.models.load import BUNDLED, BUNDLED_FILE
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig
from vitjax.train.folder import finetune, with_new_head
from vitjax.train.scenes import CONFIG, evaluate_scenes, save, scene_batch
from vitjax.train.trainer import Batch, TrainConfig, augment, initial_params, make_optimizer, train

TINY = ViTConfig(width=8, depth=2, heads=2, mlp_dim=16, patch_size=8, image_size=(16, 16), num_classes=3)
RUN = TrainConfig(steps=6, batch_size=4, checkpoint_every=2)
bundled = pytest.mark.skipif(not BUNDLED_FILE.exists(), reason="the bundled weights are not there")


def colours(step: int, batch_size: int) -> Batch:
    """Pictures whose one bright channel is their class."""
    rng = np.random.default_rng([step, 1])
    labels = rng.integers(0, 3, batch_size)
    images = 0.3 * rng.standard_normal((batch_size, 16, 16, 3)).astype(np.float32)
    images[np.arange(batch_size), :, :, labels] += 1
    return Batch(images, labels, np.eye(3, dtype=np.float32)[labels])


def assert_equal_trees(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_loss_goes_down_on_a_tiny_task(tmp_path):
    cfg = TrainConfig(steps=120, batch_size=16, learning_rate=1e-2, warmup_steps=10, checkpoint_every=30)
    train(TINY, colours, cfg, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [30, 60, 90, 120]
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert lines[-1]["accuracy"] > 0.9


def test_a_continued_run_equals_an_uninterrupted_one(tmp_path):
    whole = train(TINY, colours, RUN, tmp_path / "whole")

    def interrupted(step: int, batch_size: int) -> Batch:
        if step == 3:
            raise KeyboardInterrupt
        return colours(step, batch_size)

    with pytest.raises(KeyboardInterrupt):
        train(TINY, interrupted, RUN, tmp_path / "parts")
    assert_equal_trees(train(TINY, colours, RUN, tmp_path / "parts"), whole)
    assert_equal_trees(train(TINY, interrupted, RUN, tmp_path / "parts"), whole)  # finished: only read back


def test_another_recipe_in_the_same_directory_is_refused(tmp_path):
    train(TINY, colours, RUN, tmp_path)
    with pytest.raises(ConfigError, match="another recipe"):
        train(TINY, colours, TrainConfig(steps=7, batch_size=4), tmp_path)


def test_an_altered_checkpoint_is_refused(tmp_path):
    train(TINY, colours, RUN, tmp_path)
    record = next((tmp_path / "checkpoints" / "6" / "digest").rglob("metadata"))
    digest = json.loads(record.read_text())
    record.write_text(json.dumps({**digest, "sha256": "0" * 64}))
    with pytest.raises(WeightsError, match="altered"):
        train(TINY, colours, RUN, tmp_path)


def test_initial_positions_differ_by_row_and_column():
    config = replace(TINY, image_size=(32, 48))
    patches = initial_params(config, 0)["pos_embed"][1:]
    assert patches.shape == (24, 8)
    distance = np.linalg.norm(patches[:, None] - patches[None], axis=-1) + np.eye(24)
    assert distance.min() > 0.1


@pytest.mark.slow
def test_decay_is_on_kernels_only():
    params = jax.tree.map(np.ones_like, initial_params(TINY, 0))
    optimizer = make_optimizer(TrainConfig(steps=10, warmup_steps=1))
    state = optimizer.init(params)
    zero = jax.tree.map(np.zeros_like, params)
    for _ in range(2):
        changes, state = optimizer.update(zero, state, params)
    for path, change in jax.tree_util.tree_leaves_with_path(changes):
        assert (np.abs(change).max() > 0) == (path[-1].key == "kernel"), path


def test_augmentation_is_off_when_asked_and_keeps_shape():
    images = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
    key = jax.random.key(3)
    off = TrainConfig(steps=1, flip=False, shift=0, jitter=0.0)
    np.testing.assert_array_equal(augment(images, key, off), images)
    changed = augment(images, key, TrainConfig(steps=1))
    assert changed.shape == images.shape
    assert all(not np.array_equal(a, b) for a, b in zip(changed, images, strict=True))


def test_scene_batches_are_pure_and_unseen_by_the_test():
    batch, again = scene_batch(5, 4), scene_batch(5, 4)
    assert_equal_trees(batch._asdict(), again._asdict())
    first = scene(20, seed=TRAIN_SEED)
    assert batch.labels[0] == first.labels[0]
    assert set(np.flatnonzero(batch.present[0])) == set(first.labels.tolist())
    np.testing.assert_allclose(batch.images[0], first.image / 127.5 - 1, atol=1e-6)


def test_evaluate_scenes_of_an_oracle_and_of_a_constant():
    made = (scene(i) for i in range(60))

    def oracle(images):
        logits = -np.ones((len(images), len(CLASSES)))
        for row, one in zip(logits, made, strict=False):
            row[one.labels] = [3, 2, 1][: len(one.labels)]
        return logits

    figures = evaluate_scenes(oracle, 60, chunk=20)
    assert figures.pop("false_presence") == 0 and figures.pop("scenes") == 60
    assert set(figures.values()) == {1.0}
    constant = evaluate_scenes(lambda images: np.ones((len(images), len(CLASSES))), 60)
    assert constant["false_presence"] == constant["all_present"] == 1 and constant["largest"] < 0.4


def test_saved_weights_load_as_the_bundled_model(tmp_path):
    params = initial_params(CONFIG, 0)
    path = tmp_path / "model.safetensors"
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    save(params, path, {"config": asdict(CONFIG), "classes": CLASSES, **half})
    model = vitjax.load(BUNDLED, weights=path)
    assert model.config == CONFIG and model.labels.names == CLASSES
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.float16(a), np.float16(b)), params, model.params)


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for label, name in enumerate(("blue", "red")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 120, (20, 24, 3), np.uint8)
            pixels[..., 2 - 2 * label] += 130
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


def test_finetune_with_a_new_head(folder, tmp_path):
    start = Model(TINY, initial_params(TINY, 0), Preprocessing((16, 16)))
    cfg = TrainConfig(steps=40, batch_size=8, learning_rate=1e-2, warmup_steps=5, checkpoint_every=40, shift=1)
    tuned = finetune(start, folder, cfg, tmp_path / "run")
    assert tuned.config.num_classes == 2 and tuned.labels.names == ("blue", "red")
    pictures = sorted(folder.glob("*/*.png"))
    logits = np.asarray(tuned.logits(tuned.preprocess(pictures)))
    assert (logits.argmax(-1) == [0] * 6 + [1] * 6).mean() > 0.9
    assert_equal_trees(start.params, initial_params(TINY, 0))  # the given model is left alone


def test_a_new_head_starts_from_zeros_and_keeps_the_body():
    params = initial_params(TINY, 0)
    changed = with_new_head(params, replace(TINY, num_classes=5))
    assert changed["head"]["kernel"].shape == (8, 5) and not np.any(changed["head"]["kernel"])
    assert_equal_trees(changed["blocks"], params["blocks"])


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no pictures"):
        finetune(Model(TINY, initial_params(TINY, 0), Preprocessing((16, 16))), tmp_path, RUN, tmp_path / "run")


@bundled
def test_bundled_file_is_small_and_says_what_it_is():
    model = vitjax.load(BUNDLED)
    assert BUNDLED_FILE.stat().st_size <= 3_000_000
    assert sum(array.size for array in jax.tree.leaves(model.params)) <= 1_500_000
    assert model.config == CONFIG and model.labels.names == CLASSES
    assert evaluate_scenes(model.logits, 100, seed=VALIDATION_SEED)["largest"] >= 0.9


@bundled
@pytest.mark.slow
def test_bundled_model_finds_the_largest_object():
    figures = evaluate_scenes(vitjax.load(BUNDLED).logits, 2000)
    assert figures["largest"] >= 0.95
    # It knows of the second object far more often than it invents one.
    assert figures["second_present"] >= 0.65
    assert figures["false_presence"] <= 0.03
