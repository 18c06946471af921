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
    assert "2 of 3 images have an EXIF orientation, which was ignored" in str(ignored.status())
    assert "2 of 3 images turned by their EXIF orientation" in str(applied.status())
    page = ignored.report(with_pictures=False)[-1].read_text()
    assert "2 of 3 images have an EXIF orientation, which was ignored" in page
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


def test_everything_that_was_done_to_pictures_and_masks_is_counted(tmp_path):
    folder = tmp_path / "odd"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    picture, y = Image.fromarray(pixels(64, 64, 0)), np.mgrid[:64, :64][0]
    square = Image.fromarray(np.where((y > 20) & (y.T > 20), 255, 0).astype(np.uint8))
    transparent = picture.copy()
    transparent.putalpha(square)
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 16)
    outlined = np.where(np.asarray(square) > 0, np.where(y == 21, 128, 255), 0).astype(np.uint8)
    for name, image, mask, suffix in (
        ("cmyk.jpg", picture.convert("CMYK"), square, "jpg"),
        ("palette.png", picture.convert("P"), square.resize((48, 48)), "png"),
        ("one_bit.png", picture.convert("1"), square.resize((16, 16)), "png"),
        ("deep.png", deep, square, "png"),
        ("clear.png", transparent, square.point(lambda value: 0), "png"),
        ("wide.png", picture.resize((160, 64)), Image.new("L", (160, 64), 255), "png"),
        ("plain.png", picture, Image.fromarray(outlined), "png"),
        ("alone.png", picture, None, ""),
        ("broken.png", None, square, "png"),
    ):
        if image is None:
            (folder / "images" / name).write_bytes(b"<html>")
        else:
            image.save(folder / "images" / name)
        if mask is not None:
            mask.save(folder / "masks" / f"{name.partition('.')[0]}.{suffix}", quality=60)
    model = vitjax.load("vitjax_scenes")
    run = vitjax.evaluate(model, f"folder:{folder}", ["centre"], ["iou"], tmp_path / "run", profile=False, workers=0)
    page = run.report(with_pictures=False)[-1].read_text()
    for text in (
        "5 of 9 images were converted to RGB: 1 of mode RGBA, 1 of mode CMYK, 1 of mode I;16, 1 of mode 1, 1 of mode P",
        "1 of 9 images have transparent pixels",
        "1 of 9 images are 16-bit files whose values use at most 14 bits",
        "1 of 9 images lose more than half of their area",
        "3 of 9 images have a mask with values between background and object",  # JPEG, and two resized
        "1 of 9 images have a mask of less than half their size",
        "1 of 9 images have a mask of another size, which was scaled to theirs",
        "1 of 9 images have a mask with pixels that are ignored",
        "1 of 9 images have a mask without an object",
        "1 of 9 images have a mask without background",
        "1 of 9 images have no mask",
    ):
        assert text in str(run.status()), str(run.status())
        assert text in page, text
    assert "1 unreadable (the image cannot be decoded): broken: " in str(run.status())
