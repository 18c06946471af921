"""The page is one file that loads nothing, escapes every name, and stays within its size."""

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.conftest import SHARED, needs_shared
from tests.explore.conftest import HOSTILE
from vitjax.cli import explore as command
from vitjax.cli.main import main
from vitjax.data.scenes import scene
from vitjax.errors import ConfigError, LabelError
from vitjax.explaining.inputs import prepare
from vitjax.explore import explore_images, write_page
from vitjax.explore.view import Request, plan
from vitjax.nn.vit_config import ViTConfig


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.texts.append((tag, dict(attributes), ""))

    def handle_endtag(self, tag):
        self.tags.append(("/" + tag, {}))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style"):
            tag, attributes, text = self.texts[-1]  # long texts come in several parts
            self.texts[-1] = (tag, attributes, text + data)


def contents_of(page):
    parsed = Parsed(page)
    return json.loads(next(text for tag, attributes, text in parsed.texts if attributes.get("id") == "contents"))


def test_the_page_loads_nothing_and_runs_its_own_script_only(explored):
    text = explored.page.read_text(encoding="utf-8")
    parsed = Parsed(text)
    policy = next(a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert not [a for tag, a in parsed.tags if {"src", "href", "style", "onclick"} & a.keys()]
    for tag, allowed in (("script", "script-src"), ("style", "style-src")):
        (code,) = (code for found, attributes, code in parsed.texts if found == tag and not attributes)
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{allowed} 'sha256-{digest}'" in policy
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", code)


def test_names_are_escaped(explored):
    text = explored.page.read_text(encoding="utf-8")
    name = HOSTILE.replace("/", "∕")
    assert contents_of(text)["images"] == ["scene", name]
    assert name not in text and "<img" not in text and text.count("<script") == text.count("</script>")


def test_arrays_hold_what_was_computed(explored):
    text = explored.page.read_text(encoding="utf-8")
    contents = contents_of(text)
    view, part = contents["views"][1][0], explored.parts[0]
    texts = {a["id"]: code for tag, a, code in Parsed(text).texts if a.get("id", "").startswith("array")}

    def array(number, dtype):
        return np.frombuffer(zlib.decompress(base64.b64decode(texts[f"array{number}"])), dtype)

    assert (array(view["photo"], np.uint8) == part.images.pixels[1].ravel()).all()
    assert (array(view["attention"]["heads"]["codes"], np.uint8) == part.attention[1].heads.codes.ravel()).all()
    assert (array(view["attention"]["mean"]["codes"], "<u2") == part.attention[1].mean.codes.ravel()).all()
    assert [target["name"] for target in view["targets"]] == list(part.explanations["rollout"].target_names[2:])
    assert [len(maps) for maps in view["maps"]] == [1, 2, 2]


def test_the_command_writes_one_file_and_says_where(tmp_path, capsys):
    file, page = tmp_path / "scene.png", tmp_path / "page.html"
    Image.fromarray(scene(3).image).save(file)
    arguments = ["explore", str(file), "-o", str(page), "--methods", "rollout", "--heads", "mean", "--no-curves"]
    main(arguments)
    printed = capsys.readouterr().out
    assert str(page) in printed and "1 image x 1 model," in printed
    contents = contents_of(page.read_text(encoding="utf-8"))
    assert contents["views"][0][0]["attention"]["heads"] is None
    assert contents["views"][0][0]["maps"][0][0]["removal"] is None
    assert len(contents["views"][0][0]["targets"]) == 3
    before = page.read_bytes()
    wrong = {page: "exists", tmp_path / "page": "must end in .html", tmp_path / "no/page.html": "does not exist"}
    for out, cause in wrong.items():
        with pytest.raises(SystemExit):
            main([*arguments[:2], "-o", str(out)])
        assert cause in capsys.readouterr().err
    assert page.read_bytes() == before


def test_a_page_that_browsers_cannot_load_is_refused_before_anything_is_computed(tmp_path, capsys, monkeypatch):
    file = tmp_path / "scene.png"
    Image.fromarray(scene(3).image).save(file)
    monkeypatch.setattr(command, "LARGEST", 100_000)
    monkeypatch.setattr("vitjax.explore.view.explore_images", None)
    with pytest.raises(SystemExit):
        main(["explore", str(file), "-o", str(tmp_path / "page.html")])
    error = capsys.readouterr().err
    assert "give fewer images or --heads mean" in error and not (tmp_path / "page.html").exists()


def test_photographs_need_a_model_and_a_second_one_its_name(tmp_path, capsys):
    file = tmp_path / "photo.png"
    Image.fromarray(np.zeros((80, 60, 3), np.uint8)).save(file)
    for more, cause in (([], "name the model to explain"), (["--beside.arch", "vit"], "--beside.model is missing")):
        with pytest.raises(SystemExit):
            main(["explore", str(file), "-o", str(tmp_path / "page.html"), *more])
        assert cause in capsys.readouterr().err


def test_what_a_model_cannot_have(capsys):
    model = vitjax.load("vitjax_scenes")
    with pytest.raises(ConfigError, match="heads='one'"):
        plan(model, heads="one")
    with pytest.raises(LabelError, match="class 10 is out of range"):
        plan(model, target=10)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
    function = vitjax.from_function(
        lambda params, image: image.mean((0, 1)) @ params, weights, image_size=16, num_classes=4
    )
    with pytest.raises(ConfigError, match="needs a transformer"):
        plan(function, ["rollout", "saliency"])
    kept = plan(function, ["rollout", "saliency"], required=False)
    assert kept.methods == ("saliency",) and "left out: method 'rollout'" in capsys.readouterr().err


def test_a_function_has_maps_and_curves_but_no_attention(tmp_path):
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
    function = vitjax.from_function(
        lambda params, image: image.mean((0, 1)) @ params, weights, image_size=16, num_classes=4
    )
    wanted = plan(function, ["saliency"])
    part = explore_images(wanted, prepare(function, scene(3).image))
    contents = contents_of(write_page(tmp_path / "page.html", [part]).read_text(encoding="utf-8"))
    assert contents["models"][0]["tokens"] is None and contents["views"][0][0]["attention"] is None
    assert contents["views"][0][0]["maps"][0][0]["degenerate"]  # the gradient of a mean is the same at every pixel
    assert contents["views"][0][0]["maps"][0][0]["removal"]["areas"]["probability"]["positive"] is None


def test_attention_of_vit_base_is_far_below_25_mb():
    config = ViTConfig(width=768, depth=12, heads=12, mlp_dim=3072)
    model = vitjax.load("vitjax_scenes").__class__(config=config, params={}, preprocessing=None)
    assert 5e6 < Request(model, (), None, "all", True).bytes(1) < 10e6
    assert Request(model, (), None, "mean", True).bytes(1) < 2e6


@needs_shared
@pytest.mark.slow
def test_a_page_of_deit_tiny_is_below_8_mb(tmp_path):
    model = vitjax.load("deit_tiny_patch16_224", SHARED / "data/deit_tiny_patch16_224.safetensors")
    images = prepare(model, SHARED / "data/classics/catdog.png")
    page = write_page(tmp_path / "page.html", [explore_images(plan(model, curves=False), images)])
    assert page.stat().st_size < 8e6
