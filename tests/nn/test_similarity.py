"""A similarity head: logits are scaled cosines of the image's embedding with class embeddings."""

from dataclasses import replace

import numpy as np
import pytest

from tests.cases import CONFIGS, tiny_images, tiny_model
from vitjax.errors import ConfigError
from vitjax.nn.network import features, network


def test_logits_are_the_scaled_cosines_of_the_embedding_that_the_model_without_classes_returns():
    model = tiny_model("similarity")
    image = tiny_images(model, 1)[0]
    tower = replace(model.config, similarity=False, num_classes=0)
    params = {name: leaf for name, leaf in model.params.items() if name != "classes"}
    embedding = np.asarray(network(tower).apply({"params": params}, image), np.float64)
    assert embedding.shape == (features(tower),) == (12,)
    classes = model.params["classes"]
    expected = embedding / np.linalg.norm(embedding) @ np.asarray(classes["kernel"]) + np.asarray(classes["bias"])
    logits = network(model.config).apply({"params": model.params}, image)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_without_an_embedding_the_pooled_features_are_normalised():
    model = tiny_model("similarity")
    image = tiny_images(model, 1)[0]
    headless = {name: leaf for name, leaf in model.params.items() if name not in ("classes", "head")}
    pooled = network(replace(model.config, similarity=False, embedding=0, num_classes=0)).apply(
        {"params": headless}, image
    )
    kernel = np.random.default_rng(0).normal(size=(24, 7)).astype(np.float32)
    params = {**headless, "classes": {"kernel": kernel, "bias": np.zeros(7, np.float32)}}
    logits = network(replace(model.config, embedding=0)).apply({"params": params}, image)
    np.testing.assert_allclose(logits, np.asarray(pooled) / np.linalg.norm(pooled) @ kernel, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"similarity": True, "num_classes": 0},
        {"similarity": True, "distilled": True},
        {"embedding": 12},
        {"embedding": 12, "num_classes": 0, "distilled": True},
        {"similarity": True, "embedding": -1},
    ],
    ids=str,
)
def test_configurations_that_have_no_meaning_are_refused(fields):
    with pytest.raises(ConfigError, match=r"similarity|embedding"):
        replace(CONFIGS["plain"], **fields)
