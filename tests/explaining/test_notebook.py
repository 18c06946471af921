"""A notebook shows heatmaps, not arrays: executed for real."""

import base64
import io

import pytest
from PIL import Image

SETUP = """
import vitjax
from vitjax.data.scenes import scene
model = vitjax.load("vitjax_scenes")
e = vitjax.explain(model, scene(3).image, "transformer_mm")
es = vitjax.explain_many(model, [scene(3).image, scene(4).image], ["rollout", "transformer_mm"])
trace = vitjax.trace(model, scene(3).image)
import matplotlib.pyplot  # whose formatter of all figures would show them at 300 dpi
"""
SHOWN = {
    "model": "text/html",
    "trace": "text/html",
    "e": "image/png",
    "es": "image/png",
    "e.plot(0)": "image/png",
    "vitjax.figure(es, width_mm=89)": "image/png",
}


@pytest.mark.slow
def test_last_expressions_show_pictures_and_tables_of_few_bytes():
    client, form = pytest.importorskip("nbclient"), pytest.importorskip("nbformat.v4")
    pytest.importorskip("ipykernel")
    notebook = form.new_notebook(cells=[form.new_code_cell(source) for source in (SETUP, *SHOWN)])
    client.NotebookClient(notebook, timeout=300).execute()
    for source, cell in zip(SHOWN, notebook.cells[1:], strict=True):
        (output,) = cell.outputs
        kinds = set(output["data"])
        assert kinds == {"text/plain", SHOWN[source]}, source
        assert sum(map(len, output["data"].values())) < 300_000 and len(output["data"]["text/plain"]) < 300, source
        if SHOWN[source] == "image/png":
            with Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))) as image:
                assert image.size[0] == pytest.approx(1.25 * output["metadata"]["image/png"]["width"], abs=2), source
