"""`vitjax.models` in use: what a name stands for, the bundled model, another image size."""

import numpy as np
import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax.data.scenes import scene
from vitjax.errors import ConfigError
from vitjax.models.families import find

pytestmark = pytest.mark.unoptimised


def test_a_name_stands_for_an_architecture_its_preprocessing_and_default_weights():
    entry = find("deit_small_distilled_patch16_224")
    assert (entry.config.width, entry.config.depth, entry.config.heads) == (384, 12, 6)
    assert entry.config.tokens == 2 + 14 * 14 and entry.config.distilled
    assert entry.preprocessing.mean == (0.485, 0.456, 0.406) and entry.preprocessing.crop_pct == 0.9
    assert entry.hub == "timm/deit_small_distilled_patch16_224.fb_in1k"


def test_the_bundled_model_names_the_largest_object_of_a_scene():
    model, scenes = vitjax.load("vitjax_scenes"), [scene(3), scene(4)]
    x = model.preprocess([each.image for each in scenes])
    np.testing.assert_allclose(x[0], scenes[0].image / 127.5 - 1, atol=1e-6)
    logits = np.asarray(model.logits(x))
    assert logits.argmax(axis=-1).tolist() == [int(each.labels[0]) for each in scenes]
    assert model.label(int(logits[0].argmax())) == "striped star"
    assert model.labels.index("striped star") == scenes[0].labels[0]


def test_a_model_at_another_image_size_is_another_model():
    model = tiny_model("plain")
    larger = model.at_size((48, 40))
    assert larger.config.grid == (6, 5) and larger.weights["positions"] == "resampled 4x4 -> 6x5"
    assert larger.preprocessing.size == (48, 40)
    np.testing.assert_array_equal(larger.params["pos_embed"][0], model.params["pos_embed"][0])  # of the class token
    assert model.config.grid == (4, 4)
    images = tiny_images(larger, 1)
    np.testing.assert_array_equal(model.logits(images), larger.logits(images))  # the size is that of the images
    with pytest.raises(ConfigError, match="image height 50 is not a multiple of the patch size 8"):
        model.at_size((50, 40))
