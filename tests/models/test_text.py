"""Text towers and zero-shot classifiers against transformers and OpenCLIP, with random weights."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from tests.cases import tiny_images, tiny_model
from tests.evaluating.world import Pictures, run
from tests.models.two_towers import (
    LENGTH,
    huggingface_clip,
    huggingface_siglip,
    open_clip_model,
    open_clip_siglip_text,
    torch,
)
from vitjax.cli.main import main
from vitjax.errors import ConfigError, WeightsError
from vitjax.explaining.run import explain, explain_many
from vitjax.methods import METHODS
from vitjax.models.load import load
from vitjax.models.text import TEMPLATES, TextTower, with_text, zero_shot
from vitjax.nn.text import text_embeddings
from vitjax.nn.vit_config import ViTConfig
from weights_convert import text
from weights_convert.__main__ import convert
from weights_convert.text import text_tower_of

pytestmark = pytest.mark.unoptimised

TEXTS = ["a photo of a cat", "the dog", "a sketch of the dog ."]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """(transformers' module, its folder, the model)."""
    folder = tmp_path_factory.mktemp("clip")
    module = huggingface_clip(folder)
    return module, folder, load(folder)


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory):
    """(OpenCLIP's module, the model)."""
    folder = tmp_path_factory.mktemp("open_clip")
    module = open_clip_model(folder)
    return module, load(folder, arch=None)


def images_of(model, count=2):
    return np.random.default_rng(0).normal(size=(count, *model.config.image_size, 3)).astype(np.float32)


def channels_first(x):
    return torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))


def test_text_embeddings_and_logits_equal_those_of_transformers(clip):
    module, _, model = clip
    assert model.config.num_classes == 0 and model.config.embedding == 8 and model.text.config.length == LENGTH
    ids = model.text.ids(TEXTS)
    images = images_of(model)
    with torch.no_grad():
        expected = module.get_text_features(input_ids=torch.tensor(ids).long())
        expected = getattr(expected, "pooler_output", expected)
        outputs = module(input_ids=torch.tensor(ids).long(), pixel_values=channels_first(images))
    expected = (expected / expected.norm(dim=-1, keepdim=True)).numpy()
    np.testing.assert_allclose(model.text.embed(TEXTS), expected, atol=1e-5)
    found = zero_shot(model, TEXTS, ["{}"])
    np.testing.assert_allclose(found.logits(images), outputs.logits_per_image.numpy(), atol=1e-5)
    assert found.labels.names == tuple(TEXTS) and found.config.num_classes == 3


def test_a_converted_directory_keeps_both_towers_and_the_tokenizer(clip, tmp_path):
    _, folder, model = clip
    assert convert(str(folder), tmp_path / "out") == 0
    copy = load(tmp_path / "out")
    assert copy.text.config == model.text.config and copy.text.scale == model.text.scale
    np.testing.assert_array_equal(copy.text.embed(TEXTS), model.text.embed(TEXTS))
    tokenizer = tmp_path / "out" / "text" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    with pytest.raises(WeightsError, match=r"text: damaged: sha256 differs.*tokenizer\.json"):
        load(tmp_path / "out")


def test_a_text_as_target_is_the_logit_of_transformers_and_its_gradient(clip):
    module, _, model = clip
    images = images_of(model)
    targets = [[f"text:{TEXTS[0]}", f"text:{TEXTS[1]} - text:{TEXTS[2]}"]] * 2
    found = explain_many(model, images, ["saliency", "gradient_x_input", "rollout"], targets)
    e = found["saliency"]
    assert e.target_names == (TEXTS[0], f"{TEXTS[1]} - {TEXTS[2]}") * 2 and e.model.config.num_classes == 3
    ids = torch.tensor(model.text.ids(TEXTS)).long()
    pixels = channels_first(images).requires_grad_(True)
    logits = module(input_ids=ids, pixel_values=pixels).logits_per_image
    np.testing.assert_allclose(e.logits[::2], logits.detach().numpy(), atol=1e-5)
    for position, score in enumerate((logits[:, 0], logits[:, 1] - logits[:, 2])):
        (gradient,) = torch.autograd.grad(score.sum(), pixels, retain_graph=True)
        gradient = gradient.numpy().transpose(0, 2, 3, 1)
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(e.maps[position::2], np.abs(gradient).max(-1), atol=2e-5 * scale)
        product = found["gradient_x_input"].maps[position::2]
        np.testing.assert_allclose(product, (images * gradient).sum(-1), atol=1e-4 * scale)


@pytest.mark.slow
def test_every_class_specific_method_runs_on_a_zero_shot_model_and_depends_on_the_text(clip):
    _, _, model = clip
    classifier = zero_shot(model, ["cat", "dog", "sketch"])
    image = images_of(model, 1)
    quick = {"tam": {"steps": 2}, "rise": {"n": 4, "cells": 2}, "smooth_grad": {"n": 2}}
    quick |= {"integrated_gradients": {"steps": 2}, "meaningful_perturbation": {"steps": 8, "area": 0.001}}
    names = [name for name, method in METHODS.items() if method.class_specific]
    methods = [{"method": name, **quick.get(name, {})} for name in names]
    found = explain_many(classifier, image, methods, [["cat", "dog"]])
    assert len(found) == len(names) > 20
    for label, explanation in found.items():
        assert np.isfinite(explanation.maps).all(), label
        assert np.abs(explanation.maps[0] - explanation.maps[1]).max() > 0, label


def test_class_names_are_put_into_templates_and_averaged(clip):
    _, folder, model = clip
    templates = ("a photo of a {}.", "the {}")
    embeddings = model.text.embed(["a photo of a cat.", "the cat", "a photo of a dog.", "the dog"]).reshape(2, 2, -1)
    mean = embeddings.mean(axis=1)
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    found = zero_shot(model, ["cat", "dog"], templates)
    np.testing.assert_allclose(found.params["classes"]["kernel"], np.exp(2.0) * mean.T, rtol=1e-5)
    loaded = load(folder, class_names=["cat", "dog"])
    default = zero_shot(model, ["cat", "dog"], TEMPLATES)
    np.testing.assert_array_equal(loaded.params["classes"]["kernel"], default.params["classes"]["kernel"])
    assert loaded.labels.names == ("cat", "dog")
    assert found.weights["classes"] == ["cat", "dog"] and found.weights["templates"] == list(templates)  # for manifests


def test_templates_of_the_command_line_hold_for_class_names_and_for_text_targets(clip, tmp_path, capsys):
    _, folder, model = clip
    templates = ["a photo of a {}.", "the {}"]
    mean = model.text.embed(["a photo of a cat.", "the cat"]).mean(axis=0)
    photo, names = tmp_path / "photo.png", tmp_path / "names.txt"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(photo)
    names.write_text("cat\ndog\n")
    expected = explain(model, photo, "rollout", mean).logits[:, -1]
    command = ["explain", str(photo), "--model", str(folder), "--templates", *templates]
    main([*command, "--target", "text:cat", "-o", str(tmp_path / "text")])
    np.testing.assert_allclose(np.load(tmp_path / "text" / "rollout.npz")["logits"][:, -1], expected, rtol=1e-5)
    main([*command, "--class-names", str(names), "-o", str(tmp_path / "names")])
    np.testing.assert_allclose(np.load(tmp_path / "names" / "rollout.npz")["logits"][:, 0], expected, rtol=1e-5)
    with pytest.raises(SystemExit, match="1"):
        main([*command[:-1], "no braces", "--target", "text:cat", "-o", str(tmp_path / "none")])
    assert "must be a list of texts that contain {}" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="has no text tower"):
        load("vitjax_scenes", templates=templates)


@pytest.mark.slow
def test_an_embedding_as_target_is_its_scaled_cosine(clip):
    _, _, model = clip
    images = images_of(model)
    vector = 3.0 * model.text.embed([TEXTS[0]])[0]
    by_vector, by_text = (explain(model, images, "saliency", target) for target in (vector, f"text:{TEXTS[0]}"))
    np.testing.assert_allclose(by_vector.logits, by_text.logits, rtol=1e-5)
    np.testing.assert_allclose(by_vector.maps, by_text.maps, rtol=1e-4, atol=1e-6)
    assert by_vector.target_names == ("embedding", "embedding")
    headless = tiny_model("similarity")
    params = {name: leaf for name, leaf in headless.params.items() if name != "classes"}
    headless = replace(headless, config=replace(headless.config, similarity=False, num_classes=0), params=params)
    x = tiny_images(headless, 1)
    features = np.asarray(headless.logits(x))[0]
    prototype = np.linspace(-1, 1, 12)
    cosine = features @ prototype / np.linalg.norm(features) / np.linalg.norm(prototype)
    np.testing.assert_allclose(explain(headless, x, "saliency", prototype).logits[0], [cosine], rtol=1e-5)


def test_open_clip_has_the_same_embeddings_and_logits(open_clip):
    module, model = open_clip
    ids = torch.tensor(model.text.ids(TEXTS)).long()
    images = images_of(model)
    with torch.no_grad():
        texts = module.encode_text(ids, normalize=True)
        logits = module.logit_scale.exp() * module.encode_image(channels_first(images), normalize=True) @ texts.T
    np.testing.assert_allclose(model.text.embed(TEXTS), texts.numpy(), atol=1e-5)
    np.testing.assert_allclose(zero_shot(model, TEXTS, ["{}"]).logits(images), logits.numpy(), atol=1e-5)


@pytest.mark.parametrize("layers", [2, 3])
def test_legrad_equals_the_authors_package_in_its_own_configuration(tmp_path, layers):
    """Its default is the last two blocks; maps are min-max normalised at pixel size, as `Explanation.pixels`."""
    legrad = pytest.importorskip("legrad")
    module, folder = open_clip_model(tmp_path), tmp_path
    model = load(folder)
    image = images_of(model, 1)
    with torch.no_grad():
        texts = module.encode_text(torch.tensor(model.text.ids(TEXTS[:2])).long(), normalize=True)
    # The package hands tokens on with the batch axis second, as the OpenCLIP of its time did: the blocks that it does
    # not replace would otherwise attend over the images of a batch.
    for block in module.visual.transformer.resblocks:
        block.attn.batch_first = False
    wrapped = legrad.LeWrapper(module, layer_index=-layers)
    expected = wrapped.compute_legrad_clip(texts, channels_first(image)).detach().numpy()[0]
    found = explain(model, image, "legrad", [[f"text:{text}" for text in TEXTS[:2]]], pool="mean", layers=layers)
    np.testing.assert_allclose(found.pixels(), expected, atol=2e-5)


def test_without_a_tokenizer_or_a_text_tower_the_error_says_so(clip, tmp_path):
    _, _, model = clip
    bare = with_text(model, replace(model.text, tokenizer=None))
    with pytest.raises(ConfigError, match=r"no tokenizer\.json"):
        explain(bare, images_of(model), "saliency", "text:cat")
    with pytest.raises(ConfigError, match="target text:cat: model 'plain' has no text tower"):
        explain(tiny_model("plain"), tiny_images(tiny_model("plain"), 1), "saliency", "text:cat")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match="not a tokenizer"):
        replace(model.text, tokenizer=tmp_path / "tokenizer.json").ids(["cat"])
    with pytest.raises(ConfigError, match="the text is empty"):
        explain(model, images_of(model), "saliency", "text: ")
    with pytest.raises(ConfigError, match="different names"):
        zero_shot(model, ["cat", "cat"])
    with pytest.raises(ConfigError, match="templates"):
        zero_shot(model, ["cat"], ["a cat"])
    with pytest.raises(ConfigError, match="7 classes of its own"):
        zero_shot(tiny_model("plain"), ["cat"], embeddings=np.ones((1, 24)))
    with pytest.raises(ConfigError, match=r"needs \[1, 8\]"):
        zero_shot(model, ["cat"], embeddings=np.ones((1, 9)))


def test_siglip_text_embeddings_scale_and_bias_equal_those_of_transformers(tmp_path):
    module = huggingface_siglip(tmp_path)
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    read = text_tower_of(state, ViTConfig(width=16, depth=2, heads=2, mlp_dim=32, num_classes=0), tmp_path)
    tower = TextTower(**read._asdict())
    assert (
        not tower.config.causal
        and tower.config.end == "last"
        and tower.config.mlp == "gelu_tanh"
        and tower.clean == "canonical"
    )
    np.testing.assert_allclose((tower.scale, tower.bias), (np.exp(2.0), module.logit_bias.item()), rtol=1e-6)
    ids = tower.ids(["A photo of a cat!", "the DOG"])
    assert ids[1, 2:].tolist() == [1] * (LENGTH - 2) and ids[0].tolist() == tower.ids(["a photo of a cat"])[0].tolist()
    with torch.no_grad():
        found = module.get_text_features(input_ids=torch.tensor(ids).long())
        expected = getattr(found, "pooler_output", found)
    expected = (expected / expected.norm(dim=-1, keepdim=True)).numpy()
    np.testing.assert_allclose(text_embeddings(tower.config, tower.params, ids), expected, atol=1e-5)


def test_texts_of_siglip_2_are_lowercased_keep_their_punctuation_and_are_padded_with_gemmas_token(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(text, "GEMMA", 8)  # the tiny vocabulary has a few tokens more
    state = {key: value.numpy() for key, value in huggingface_siglip(tmp_path).state_dict().items()}
    config = ViTConfig(width=16, depth=2, heads=2, mlp_dim=32, num_classes=0)
    tower = TextTower(**text.text_tower_of(state, config, tmp_path)._asdict())
    ids = tower.ids(["A sketch of the DOG."])[0].tolist()
    plain = tower.ids(["a sketch of the dog ."])[0].tolist()
    assert (tower.clean, tower.pad) == ("lower", 0) and ids == plain and 2 not in ids and ids[-1] == 0


def test_a_text_as_target_of_siglip_is_the_biased_logit_of_transformers_and_its_gradient(tmp_path):
    module = huggingface_siglip(tmp_path)
    model = load(tmp_path)
    images = images_of(model)
    target = f"text:{TEXTS[0]}"
    methods = ["saliency", "transformer_mm", "conservative_lrp", "transformer_attribution"]
    found = explain_many(model, images, methods, target)
    pixels = channels_first(images).requires_grad_(True)
    logits = module(input_ids=torch.tensor(model.text.ids(TEXTS[:1])).long(), pixel_values=pixels).logits_per_image
    np.testing.assert_allclose(found["saliency"].logits, logits.detach().numpy(), atol=1e-5)
    (gradient,) = torch.autograd.grad(logits.sum(), pixels)
    expected = np.abs(gradient.numpy()).max(1)
    np.testing.assert_allclose(found["saliency"].maps, expected, atol=2e-5 * expected.max())
    probability = 1 / (1 + np.exp(-logits[0, 0].item()))
    assert found["saliency"].caption(0)["target_probability"] == pytest.approx(probability, rel=1e-5)
    assert all(np.isfinite(e.maps).all() and not e.degenerate.any() for e in found.values())


def test_the_text_tower_of_an_open_clip_siglip(tmp_path):
    module, config = open_clip_siglip_text()
    state = {f"module.text.{key}": value.numpy() for key, value in module.state_dict().items()}
    state |= {"module.logit_scale": np.float32(1.5), "module.logit_bias": np.full(1, -3.0, np.float32)}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"text_cfg": config}}))
    read = text_tower_of(state, ViTConfig(width=16, depth=2, heads=2, mlp_dim=32, num_classes=0), tmp_path)
    assert read.config.end == "last" and not read.config.causal and read.config.projection_bias
    assert read.bias == -3.0 and read.tokenizer is None
    ids = np.random.default_rng(0).integers(0, read.config.vocabulary, (3, LENGTH))
    with torch.no_grad():
        expected = torch.nn.functional.normalize(module(torch.tensor(ids)), dim=-1).numpy()
    np.testing.assert_allclose(text_embeddings(read.config, read.params, ids), expected, atol=1e-5)


def test_a_damaged_text_tower_is_refused(clip):
    module, _, model = clip
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    config = model.config
    missing = {key: value for key, value in state.items() if "final_layer_norm" not in key}
    with pytest.raises(WeightsError, match=r"text tower: .*text_model\.final_layer_norm"):
        text_tower_of(missing, config)
    wrong = {**state, "text_model.final_layer_norm.bias": np.ones(7, np.float32)}
    with pytest.raises(WeightsError, match=r"text tower: .*final_layer_norm\.bias has the shape \[7\], needs \[16\]"):
        text_tower_of(wrong, config)
    with pytest.raises(WeightsError, match="NaN"):
        text_tower_of({**state, "text_model.final_layer_norm.bias": np.full(16, np.nan, np.float32)}, config)
    assert text_tower_of({key: value for key, value in state.items() if "text" not in key}, config) is None


def test_texts_need_the_tokenizers_package(clip, monkeypatch):
    _, _, model = clip
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"pip install 'vitjax\[text\]'"):
        model.text.embed(["cat"])


def test_the_command_line_explains_a_text_and_names_it_in_every_file(clip, tmp_path):
    module, folder, model = clip
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(photo)
    out = tmp_path / "out"
    main(["explain", str(photo), "--model", str(folder), "--target", f"text:{TEXTS[0]}", "-o", str(out)])
    (row,) = csv.DictReader((out / "predictions.csv").open())
    assert row["target_name"] == TEXTS[0]
    assert json.loads((out / "manifest.json").read_text())["options"]["target"] == f"text:{TEXTS[0]}"
    with torch.no_grad():
        ids, pixels = torch.tensor(model.text.ids(TEXTS[:1])).long(), channels_first(model.preprocess(str(photo)))
        expected = module(input_ids=ids, pixel_values=pixels).logits_per_image.numpy()
    np.testing.assert_allclose(np.load(out / "rollout.npz")["logits"], expected, atol=1e-5)


@pytest.mark.slow
def test_a_zero_shot_model_and_a_text_are_evaluated(clip, tmp_path):
    _, _, model = clip
    metrics = ["energy_pointing_game", {"metric": "aopc", "levels": (0, 50)}]
    classifier = zero_shot(model, ["cat", "dog", "sketch"])
    done = run(tmp_path / "classes", Pictures(2), model=classifier, methods=["transformer_mm"], metrics=metrics)
    records = done.records()
    assert records["status"].to_pylist() == ["ok", "ok"] and set(records["prediction"].to_pylist()) <= {0, 1, 2}
    target = f"text:{TEXTS[0]} - text:{TEXTS[1]}"
    done = run(tmp_path / "text", Pictures(2), model=model, methods=["saliency"], metrics=metrics[:1], target=target)
    assert done.records()["target_kind"].to_pylist() == ["difference"] * 2 and done.config["target"] == target
    assert set(done._overlays()(["picture000"], "saliency")) == {"picture000"}


def test_a_single_text_of_clip_has_a_similarity_and_no_probability(clip, tmp_path):
    _, _, model = clip
    images = images_of(model, 1)
    alone = explain(model, images, "saliency", "text:the dog")
    assert alone.caption(0)["target_probability"] is None and alone.verdict(0) == "the dog" and alone.best(0) == []
    with pytest.raises(ConfigError, match="one text, which has a similarity"):
        _ = alone.probabilities
    with pytest.raises(ConfigError, match=r"a single text of model .* does not have; score=logit explains it"):
        explain(model, images, "rise", "text:the dog")
    single = {"model": model, "methods": ["saliency"], "target": "text:the dog"}
    with pytest.raises(ConfigError, match=r"'deletion' cannot be used with model .* one text, whose similarity"):
        run(tmp_path / "refused", Pictures(1), metrics=["deletion"], **single)
    biased = with_text(model, replace(model.text, bias=-3.0))  # as SigLIP, whose probability is a sigmoid
    probability = 1 / (1 + np.exp(-(alone.logits[0, 0] - 3.0)))
    found = explain(biased, images, "saliency", "text:the dog").caption(0)["target_probability"]
    assert found == pytest.approx(probability, rel=1e-5)


def test_a_text_tower_of_another_width_is_left_aside_and_said(tmp_path, capsys):
    folder = tmp_path / "clip"
    open_clip_model(folder)
    path = folder / "open_clip_model.safetensors"
    state = load_file(path)
    state["text_projection"] = state["text_projection"][:, :6].copy()
    save_file(state, path)
    assert load(folder).text is None
    assert "left the text tower aside: its embedding has width 6, not 8" in capsys.readouterr().err
