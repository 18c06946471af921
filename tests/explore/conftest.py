"""One page of two images in two models, for all tests of this folder."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import vitjax
from tests.browser import browser  # noqa: F401 - a fixture
from tests.cases import tiny_model
from vitjax.data.scenes import scene
from vitjax.explaining.inputs import prepare
from vitjax.explore import explore_images, write_page
from vitjax.explore.view import plan

HOSTILE = "<img src=x onerror=alert(1)>&amp;</script><script>alert(2)<!--"
"""Name of the second file, but for the slash, which is a division slash there."""


@pytest.fixture(scope="session")
def explored(tmp_path_factory):
    """files, models, wanted (plans), parts (Explored) and the page of two scenes in two models: the bundled one, and a
    tiny one with registers and an attention pooling head."""
    folder = tmp_path_factory.mktemp("explore")
    files = [folder / "scene.png", folder / f"{HOSTILE.replace('/', '∕')}.png"]
    for number, file in enumerate(files):
        Image.fromarray(scene(number + 3).image).save(file)
    models = [vitjax.load("vitjax_scenes"), tiny_model("pooling_head")]
    wanted = [
        plan(models[0], ["rollout", "transformer_mm", "gradient_x_input"], ["top2", "striped star"]),
        plan(models[1], ["rollout"], 3),
    ]
    parts = [explore_images(each, prepare(each.model, files)) for each in wanted]
    page = write_page(folder / "page.html", parts)
    return SimpleNamespace(files=files, models=models, wanted=wanted, parts=parts, page=Path(page))
