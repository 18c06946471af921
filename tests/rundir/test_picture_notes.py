"""What was done to read pictures is counted by status and report, also of runs that other versions wrote."""

import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.data.pictures import pixels
from vitjax.errors import RunError
from vitjax.rundir.picture_notes import UNKNOWN, count_notes, lines


@pytest.fixture
def photos(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    (tmp_path / "photos").mkdir()
    for number in range(3):
        options = {"exif": exif} if number else {}
        Image.fromarray(pixels(64, 64, number)).save(tmp_path / f"photos/{number}.png", **options)
    return f"folder:{tmp_path / 'photos'}"


def test_pictures_with_an_exif_orientation_are_counted(photos, tmp_path):
    model = vitjax.load("vitjax_scenes")

    def run(name, **options):
        out = tmp_path / name
        return vitjax.evaluate(model, photos, ["centre", "random"], ["complexity"], out, profile=False, **options)

    ignored, applied = run("ignored"), run("applied", exif="apply")
    assert ignored.status().pictures == {"exif_ignored": 2}
    assert "2 of 3 pictures have an EXIF orientation, which was ignored" in str(ignored.status())
    assert "2 of 3 pictures turned by their EXIF orientation" in str(applied.status())
    page = ignored.report(with_pictures=False)[-1].read_text()
    assert "2 of 3 pictures have an EXIF orientation, which was ignored" in page
    with pytest.raises(RunError, match=r'data\.exif: "ignore" -> "apply"'):
        run("ignored", exif="apply")
    predictions = {name: each.records()["prediction"].to_pylist() for name, each in (("i", ignored), ("a", applied))}
    paths = [f"{photos.removeprefix('folder:')}/{number}.png" for number in range(3)]
    for name, exif in (("i", "ignore"), ("a", "apply")):
        explained = vitjax.explain(model, paths, exif=exif).predicted
        np.testing.assert_array_equal(predictions[name][::2], explained)


def test_records_without_notes_are_read_and_say_so(photos, tmp_path):
    run = vitjax.evaluate(
        vitjax.load("vitjax_scenes"), photos, ["centre"], ["complexity"], tmp_path / "run", profile=False
    )
    older = run.records().drop_columns(["notes"])
    assert lines(count_notes(older), 3) == [UNKNOWN]
    (path,) = run.store.finished().values()
    path.unlink()
    run.store.write(0, older)
    again = vitjax.evaluating.run.Run(tmp_path / "run")
    assert UNKNOWN in str(again.status()) and again.status().evaluated == 3
