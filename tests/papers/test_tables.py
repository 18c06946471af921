"""The papers' tables: all requests are valid, one table runs end to end, and Joita 2025's values are reproduced."""

import inspect
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHARED, needs_shared
from tests.evaluating.world import Pictures
from vitjax.cli.main import main
from vitjax.data.decode import decode
from vitjax.data.source import Raw
from vitjax.errors import ImageError
from vitjax.evaluating.run import evaluate
from vitjax.explaining.requests import check_needs, request
from vitjax.images.reading import Preprocessing
from vitjax.metrics.masks import mask_on_grid
from vitjax.models.families import find
from vitjax.models.load import load
from vitjax.models.model import Model
from vitjax.papers import PAPERS
from vitjax.papers.protocols import SquashedImages, WholeMaskOnGrid, not_normalised
from vitjax.papers.tables import shown_name

TABLES = {f"{paper.name}-{table.name}": table for paper in PAPERS.values() for table in paper.tables}
PARTS = [pytest.param(table, part, id=f"{name}-{part.name}") for name, table in TABLES.items() for part in table.parts]


class Photographs(Pictures):
    """Random images with another aspect ratio than the model's, and masks with soft edges."""

    def read(self, index):
        rng = np.random.default_rng(index)
        grey = Image.fromarray(rng.integers(0, 256, (5, 7), dtype=np.uint8)).resize((70, 50))
        return Raw(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8), np.asarray(grey), ignore=-1)


def test_every_table_of_the_papers_is_defined():
    assert set(TABLES) == {
        "das2025-table2",
        "joita2025-table1",
        *("coporan2025-table3", "coporan2025-table4"),
        *(f"vtranm2024-table{number}" for number in (1, 2, 3, 4)),
    }


@pytest.mark.parametrize(("table", "part"), PARTS)
def test_requests_are_valid(table, part):
    entry = find(part.model)
    model = Model(entry.config, {}, entry.preprocessing, None, part.model)
    for row in part.rows:
        check_needs(model, request(row.method))
        assert set(row.paper) <= {column.name for column in part.columns}
    for column in part.columns:
        shown_name(column)
    assert set(part.options) <= set(inspect.signature(evaluate).parameters)
    for names in (
        [row.name for row in part.rows],
        [request(row.method).label for row in part.rows],
        [column.name for column in part.columns],
        [other.name for other in table.parts],
    ):
        assert len(set(names)) == len(names)
    part.model_as(model)


@pytest.mark.parametrize(("table", "part"), PARTS)
def test_every_part_contains_the_baselines(table, part):
    assert {"centre", "random"} <= {request(row.method).name for row in part.rows}


def test_metric_gets_the_mask_that_the_code_of_joita_2025_computes():
    preprocessing, grid = Preprocessing(size=(32, 32)), (4, 4)
    source = pickle.loads(pickle.dumps(WholeMaskOnGrid(Photographs(3), preprocessing, grid)))
    for index in range(3):
        raw = Photographs(3).read(index)
        expected = np.asarray(Image.fromarray(raw.mask).resize((4, 4))) > 127
        decoded = decode(source, index, preprocessing)
        assert decoded.status == "ok"
        np.testing.assert_array_equal(mask_on_grid(decoded.mask, grid, "centre") == 255, expected)
        np.testing.assert_array_equal(decoded.pixels, decode(Photographs(3), index, preprocessing).pixels)
    assert source.digest() != Photographs(3).digest()


def test_damaged_mask_on_the_grid_gives_a_status(tmp_path):
    class Damaged(Photographs):
        def read(self, index):
            path = tmp_path / "mask.png"
            path.write_bytes(b"not an image")
            return super().read(index)._replace(mask=path)

    with pytest.raises(ImageError, match=r"mask\.png"):
        WholeMaskOnGrid(Damaged(1), Preprocessing(size=(32, 32)), (4, 4)).read(0)
    assert decode(WholeMaskOnGrid(Damaged(1), Preprocessing(size=(32, 32)), (4, 4)), 0, Preprocessing()).status != "ok"


def test_squashed_images_keep_the_borders_that_a_crop_removes():
    class Bordered(Photographs):
        def read(self, index):
            mask = np.zeros((50, 70), np.uint8)
            mask[:, :3] = 1
            mask[:, 3:20] = 255  # void
            return super().read(index)._replace(mask=mask, ignore=255)

    preprocessing = Preprocessing(size=(50, 70), crop_pct=0.5)
    ignored = decode(SquashedImages(Bordered(1)), 0, preprocessing).mask
    assert [(ignored == value).sum() for value in (255, 128, 0)] == [150, 850, 2500]
    as_object = decode(SquashedImages(Bordered(1), void_is_object=True), 0, preprocessing).mask
    assert [(as_object == value).sum() for value in (255, 128, 0)] == [1000, 0, 2500]


def test_coporan_2025_feeds_images_without_normalisation():
    model = TABLES["coporan2025-table3"].parts[0].model_as(load("vitjax_scenes"))
    assert model.preprocessing == not_normalised(model).preprocessing
    image = np.full((64, 64, 3), 255, np.uint8)
    np.testing.assert_array_equal(model.preprocess(image), np.ones((1, 64, 64, 3), np.float32))


def test_list_names_every_table_and_its_data(capsys):
    main(["paper"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    words = " ".join(text.split())
    for table in TABLES.values():
        assert f"{table.name}: {table.title}" in words
        assert all(part.needs in words for part in table.parts)
    main(["paper", "joita2025"])
    of_one = capsys.readouterr().out
    assert of_one in text and "joita2025" in of_one and "das2025" not in of_one


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["joita25"], "did you mean 'joita2025'"),
        (["joita2025", "--tables", "table1"], "--tables needs --data SPEC"),
        (["joita2025", "--data", "scenes:4", "--tables", "table2"], "did you mean 'table1'"),
        (["joita2025", "--data", "scenes:4", "--parts", "voc"], "did you mean 'voc14'"),
        (["joita2025", "--data", "folder:nowhere", "--model", "vitjax_scenes"], "github.com/soham5498"),
        (["joita2025", "--data", "scenes:4", "--weights", "nowhere.safetensors"], "--weights FILE"),
        (
            ["das2025", "--data", "scenes:4", "--parts", "resnet50", "--cnn-weights", "nowhere.pth"],
            "--cnn-weights FILE",
        ),
    ],
)
def test_errors_say_what_to_pass(arguments, hint, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["paper", *arguments, "-o", str(tmp_path)])
    assert stop.value.code == 1
    assert hint in capsys.readouterr().err


def test_parts_are_left_out_that_the_data_do_not_suffice_for(tmp_path, capsys, monkeypatch):
    (tmp_path / "photographs").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photographs" / "one.png")
    computed = []

    def run_part(part, out, model, data, **options):
        out.mkdir(parents=True)
        computed.append((out, part.name))

    monkeypatch.setattr("vitjax.papers.tables.run_part", run_part)
    given = ["--model", "vitjax_scenes", "-o", str(tmp_path / "out")]
    main(["paper", "vtranm2024", "--data", f"folder:{tmp_path / 'photographs'}", *given])
    out = tmp_path / "out"
    assert computed == [
        (out / "table2" / "predicted", "predicted"),
        (out / "table3" / "predicted", "predicted"),
        (out / "table4" / "perturbation", "perturbation"),
    ]
    said = capsys.readouterr().err
    assert said.count("has no object masks; it needs ImageNet-Segmentation, gtsegs_ijcv.mat") == 2
    assert "part 'target' of table2: folder:" in said and "has images without a label" in said
    main(["paper", "das2025", "--data", "scenes:2", *given[:2], "-o", str(tmp_path / "das")])
    assert computed[3:] == [(tmp_path / "das" / "table2" / "deit_tiny", "deit_tiny")]
    assert "not computed: part 'resnet50' of table2 needs a ResNet: --cnn resnet50" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["paper", "joita2025", "--data", f"folder:{tmp_path / 'photographs'}", *given])
    assert "has no object masks; part 'voc14' needs the 14 images" in capsys.readouterr().err


@pytest.mark.slow
def test_table_runs_end_to_end_and_resumes(tmp_path, capsys):
    command = ["paper", "vtranm2024", "--data", "scenes:4", "--model", "vitjax_scenes", "--tables", "table4"]
    command += ["--workers", "0", "-o", str(tmp_path)]
    main([*command, "--parts", "segmentation"])
    first = json.loads((tmp_path / "table4.json").read_text())
    assert list(first["parts"]) == ["segmentation"]
    lines = first["parts"]["segmentation"]["lines"]
    assert len(lines) == 6 * 3
    assert all(line["low"] <= line["ours"] <= line["high"] and line["paper"] is None for line in lines)
    assert len(first["parts"]["segmentation"]["unlike"]) == 2  # another model and other images than the paper's
    main(command)
    both = json.loads((tmp_path / "table4.json").read_text())
    assert both["parts"]["segmentation"] == first["parts"]["segmentation"]
    assert len(both["parts"]["perturbation"]["lines"]) == 6 * 4
    printed = capsys.readouterr().out
    assert (tmp_path / "table4.md").read_text() in printed
    assert "| Aggregation + length + NECC | - |" in printed


@needs_shared
@pytest.mark.slow
def test_values_of_joita_2025_are_reproduced(tmp_path):
    data = SHARED / "data"
    weights = data / "deit_tiny_patch16_224.safetensors"
    main(["paper", "joita2025", "--data", f"folder:{data / 'voc14'}", "--weights", str(weights), "-o", str(tmp_path)])
    voc14 = json.loads((tmp_path / "table1.json").read_text())["parts"]["voc14"]
    assert voc14["unlike"] == []
    published = [line for line in voc14["lines"] if line["paper"] is not None]
    assert len(published) == 4 * 3
    for line in published:
        assert line["n"] == 14
        assert abs(line["difference"]) < 0.1, line
    assert len(voc14["lines"]) == 10 * 3
