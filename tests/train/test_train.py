"""The trainer on tiny models: it learns, resumes exactly and starts from given weights."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import vitjax
from vitjax.cli import train as commands
from vitjax.data.scenes import CLASSES, TRAIN_SEED, VALIDATION_SEED, scene
from vitjax.errors import ConfigError, ImageError, WeightsError
from vitjax.images.reading import Preprocessing
from vitjax.models.load import BUNDLED, BUNDLED_FILE
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig
from vitjax.train.folder import finetune, with_new_head
from vitjax.train.recipe import TrainConfig, augment, make_optimizer
from vitjax.train.scenes import CONFIG, evaluate_scenes, save, scene_batch
from vitjax.train.trainer import Batch, initial_params, train

TINY = ViTConfig(width=8, depth=2, heads=2, mlp_dim=16, patch_size=8, image_size=(16, 16), num_classes=3)
RUN = TrainConfig(steps=6, batch_size=4, checkpoint_every=2)
bundled = pytest.mark.skipif(not BUNDLED_FILE.exists(), reason="the bundled weights do not exist")


def colours(step: int, batch_size: int) -> Batch:
    """Noise images with one bright channel, which is their class."""
    rng = np.random.default_rng([step, 1])
    labels = rng.integers(0, 3, batch_size)
    images = 0.3 * rng.standard_normal((batch_size, 16, 16, 3)).astype(np.float32)
    images[np.arange(batch_size), :, :, labels] += 1
    return Batch(images, labels, np.eye(3, dtype=np.float32)[labels])


def assert_equal_trees(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.slow
def test_resumed_run_equals_an_uninterrupted_run(tmp_path):
    uninterrupted = train(TINY, colours, RUN, tmp_path / "uninterrupted")

    def interrupted(step: int, batch_size: int) -> Batch:
        if step == 3:
            raise KeyboardInterrupt
        return colours(step, batch_size)

    with pytest.raises(KeyboardInterrupt):
        train(TINY, interrupted, RUN, tmp_path / "resumed")
    assert_equal_trees(train(TINY, colours, RUN, tmp_path / "resumed"), uninterrupted)
    # The run is complete: its parameters are restored and the source is not called.
    assert_equal_trees(train(TINY, interrupted, RUN, tmp_path / "resumed"), uninterrupted)


def test_different_recipe_in_the_same_directory_is_refused(tmp_path):
    train(TINY, colours, RUN, tmp_path)
    with pytest.raises(ConfigError, match="different recipe"):
        train(TINY, colours, TrainConfig(steps=7, batch_size=4), tmp_path)


def test_altered_checkpoint_is_refused(tmp_path):
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
def test_weight_decay_applies_to_kernels_only():
    params = jax.tree.map(np.ones_like, initial_params(TINY, 0))
    optimizer = make_optimizer(TrainConfig(steps=10, warmup_steps=1))
    state = optimizer.init(params)
    zero = jax.tree.map(np.zeros_like, params)
    for _ in range(2):
        updates, state = optimizer.update(zero, state, params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        assert (np.abs(update).max() > 0) == (path[-1].key == "kernel"), path


def test_augmentation_keeps_the_shape_and_can_be_switched_off():
    images = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
    key = jax.random.key(3)
    off = TrainConfig(steps=1, flip=False, shift=0, jitter=0.0)
    np.testing.assert_array_equal(augment(images, key, off), images)
    changed = augment(images, key, TrainConfig(steps=1))
    assert changed.shape == images.shape
    assert all(not np.array_equal(a, b) for a, b in zip(changed, images, strict=True))


def test_scene_batches_are_deterministic_and_use_the_training_seed():
    batch, repeated = scene_batch(5, 4), scene_batch(5, 4)
    assert_equal_trees(batch._asdict(), repeated._asdict())
    first = scene(20, seed=TRAIN_SEED)
    assert batch.labels[0] == first.labels[0]
    assert set(np.flatnonzero(batch.present[0])) == set(first.labels.tolist())
    np.testing.assert_allclose(batch.images[0], first.image / 127.5 - 1, atol=1e-6)


def test_evaluate_scenes_scores_perfect_and_constant_logits():
    scenes = (scene(i) for i in range(60))

    def perfect(images):
        logits = -np.ones((len(images), len(CLASSES)))
        for logits_of_scene, one in zip(logits, scenes, strict=False):
            logits_of_scene[one.labels] = [3, 2, 1][: len(one.labels)]
        return logits

    scores = evaluate_scenes(perfect, 60, chunk=20)
    assert scores.pop("false_presence") == 0 and scores.pop("scenes") == 60
    assert set(scores.values()) == {1.0}
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
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 120, (20, 24, 3), np.uint8)
            pixels[..., 2 - 2 * label] += 130
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


@pytest.mark.slow
def test_finetune_with_a_new_head(folder, tmp_path):
    start = Model(TINY, initial_params(TINY, 0), Preprocessing((16, 16)))
    cfg = TrainConfig(steps=40, batch_size=8, learning_rate=1e-2, warmup_steps=5, checkpoint_every=40, shift=1)
    tuned = finetune(start, folder, cfg, tmp_path / "run")
    assert tuned.config.num_classes == 2 and tuned.labels.names == ("blue", "red")
    images = sorted(folder.glob("*/*.png"))
    logits = np.asarray(tuned.logits(tuned.preprocess(images)))
    assert (logits.argmax(-1) == [0] * 6 + [1] * 6).mean() > 0.9
    assert_equal_trees(start.params, initial_params(TINY, 0))  # training does not change the given model


def test_the_command_writes_a_model_that_loads_by_its_folder(folder, tmp_path, monkeypatch, capsys):
    start = Model(TINY, initial_params(TINY, 0), Preprocessing((16, 16)))
    monkeypatch.setattr("vitjax.cli.train.load", lambda name: start)
    for _ in range(2):  # the second call finds the run finished
        commands.finetune("tiny", folder, tmp_path / "run", steps=2, batch_size=4)
    assert f"{tmp_path / 'run' / 'model'}  2 classes" in capsys.readouterr().out
    model = vitjax.load(str(tmp_path / "run" / "model"))
    assert model.labels.names == ("blue", "red") and model.preprocessing == Preprocessing((16, 16))
    with pytest.raises(ConfigError, match="steps"):
        commands.finetune("tiny", folder, tmp_path / "run", steps=0)


def test_new_head_is_zero_and_the_other_parameters_are_kept():
    params = initial_params(TINY, 0)
    changed = with_new_head(params, replace(TINY, num_classes=5))
    assert changed["head"]["kernel"].shape == (8, 5) and not np.any(changed["head"]["kernel"])
    assert_equal_trees(changed["blocks"], params["blocks"])


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ImageError, match="contains no images"):
        finetune(Model(TINY, initial_params(TINY, 0), Preprocessing((16, 16))), tmp_path, RUN, tmp_path / "run")


@bundled
def test_bundled_file_is_small_and_describes_the_model():
    model = vitjax.load(BUNDLED)
    assert BUNDLED_FILE.stat().st_size <= 3_000_000
    assert sum(array.size for array in jax.tree.leaves(model.params)) <= 1_500_000
    assert model.config == CONFIG and model.labels.names == CLASSES
    assert evaluate_scenes(model.logits, 100, seed=VALIDATION_SEED)["largest"] >= 0.9


@bundled
@pytest.mark.slow
def test_bundled_model_finds_the_largest_object():
    scores = evaluate_scenes(vitjax.load(BUNDLED).logits, 2000)
    assert scores["largest"] >= 0.95
    # The model detects the second object far more often than it reports an absent class.
    assert scores["second_present"] >= 0.65
    assert scores["false_presence"] <= 0.03
