import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.conftest import SHARED, needs_shared
from tests.torch_peer import import_timm
from vitjax.errors import ConfigError, ImageError
from vitjax.images.reading import Preprocessing, check_images, load_image, normalise, preprocess, to_pixels

DEV_IMAGES = sorted((SHARED / "data/dev/images").glob("*"))
DEIT = Preprocessing()


def timm_transform(source, preprocessing):
    """timm's preprocessed float32 [H, W, 3] for a path or a PIL image."""
    transform = import_timm().data.create_transform(
        (3, *preprocessing.size),
        is_training=False,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
    image = source if isinstance(source, Image.Image) else Image.open(source)
    return transform(image.convert("RGB")).permute(1, 2, 0).numpy()


def photo(width=60, height=40, channels=3, seed=0):
    """A smooth image with some noise, uint8 [height, width, channels]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + c)) + np.cos(y / (5 - c / 2)) for c in range(channels)]
    values = 128 + 50 * np.stack(waves, -1) + rng.normal(0, 8, (height, width, channels))
    return values.clip(0, 255).astype(np.uint8)


@needs_shared
@pytest.mark.parametrize("path", DEV_IMAGES, ids=lambda path: path.stem)
def test_dev_image_equals_timm(path):
    np.testing.assert_array_equal(preprocess(path, DEIT), timm_transform(path, DEIT))


@pytest.mark.parametrize("size", [(224, 224), (96, 160), (33, 32)], ids=str)
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("crop_pct", [0.875, 1.3])
def test_other_configurations_equal_timm(size, crop_mode, crop_pct):
    preprocessing = Preprocessing(
        size, crop_pct, crop_mode, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7)
    )
    for width, height in [(301, 200), (77, 113), (64, 64), (33, 500)]:
        image = Image.fromarray(photo(width, height))
        np.testing.assert_array_equal(
            preprocess(image, preprocessing), timm_transform(image, preprocessing), f"{width} x {height}"
        )


def in_mode(mode):
    if mode == "LA":
        return Image.fromarray(photo(channels=4)).convert("LA")
    if mode in ("RGBA", "PA"):
        image = Image.fromarray(photo(channels=4))
        return image if mode == "RGBA" else image.convert("LA").convert("PA")
    return Image.fromarray(photo()).convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "jpg"), ("CMYK", "jpg"), ("P", "png"), ("RGBA", "png"), ("1", "png"), ("LA", "png")],
)
def test_mode_is_converted_as_timm_does_and_recorded(mode, suffix, tmp_path):
    path = tmp_path / f"image.{suffix}"
    in_mode(mode).save(path)
    loaded = load_image(path)
    assert loaded.mode == mode
    assert loaded.pixels.shape == (40, 60, 3)
    assert loaded.pixels.dtype == np.uint8
    assert loaded.name == str(path)
    np.testing.assert_array_equal(preprocess(path, DEIT), timm_transform(path, DEIT))


def test_palette_with_alpha_and_transparent_palette():
    for image in (in_mode("PA"), in_mode("P")):
        image.info["transparency"] = 0
        np.testing.assert_array_equal(preprocess(image, DEIT), timm_transform(image, DEIT))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_image_is_scaled_not_clipped(suffix, tmp_path):
    grey = photo()[..., 0]
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    loaded = load_image(path)
    assert loaded.mode.startswith("I")
    np.testing.assert_array_equal(loaded.pixels, np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(preprocess(path, DEIT), timm_transform(Image.fromarray(grey), DEIT))


def test_sixteen_bit_ramp_keeps_its_mean():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert abs(load_image(Image.fromarray(ramp)).pixels.mean() - ramp.mean() / 257) < 1e-6
    assert abs(load_image(Image.fromarray(ramp.astype(np.int32))).pixels.mean() - ramp.mean() / 257) < 1e-6


def test_pixels_of_unknown_range_are_rejected():
    with pytest.raises(ImageError, match="do not fit 16 bits"):
        load_image(Image.fromarray(np.full((4, 4), 70000, np.int32)))
    with pytest.raises(ImageError, match="float pixels"):
        load_image(Image.fromarray(np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, tmp_path):
    upright = photo()
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(upright).save(path, exif=exif)
    ignored, applied = load_image(path), load_image(path, exif="apply")
    assert ignored.exif_orientation == applied.exif_orientation == orientation
    np.testing.assert_array_equal(ignored.pixels, upright)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, -1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright),
    }
    np.testing.assert_array_equal(applied.pixels, turned[orientation])


def test_exif_of_a_jpeg_is_ignored_as_in_timm(tmp_path):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo()).save(path, exif=exif)
    np.testing.assert_array_equal(preprocess(path, DEIT), timm_transform(path, DEIT))
    upright = Image.open(path).convert("RGB").transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(preprocess(path, DEIT, exif="apply"), timm_transform(upright, DEIT))


def test_all_kinds_of_sources_give_the_same_pixels(tmp_path):
    path = tmp_path / "image.png"
    pixels = photo()
    Image.fromarray(pixels).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path), pixels):
        np.testing.assert_array_equal(load_image(source).pixels, pixels)
    assert to_pixels(path, DEIT).dtype == np.uint8
    assert preprocess(path, DEIT).dtype == normalise(pixels, DEIT).dtype == np.float32
    np.testing.assert_array_equal(load_image(pixels[..., 0]).pixels, np.repeat(pixels[..., :1], 3, 2))


def jpeg_bytes():
    from io import BytesIO

    out = BytesIO()
    Image.fromarray(photo(300, 200)).save(out, "JPEG")
    return out.getvalue()


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def png_half():
    from io import BytesIO

    out = BytesIO()
    Image.fromarray(photo(300, 200)).save(out, "PNG")
    return out.getvalue()[: len(out.getvalue()) // 2]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML or XML page"),
        (b"just some text", "not an image"),
        (jpeg_bytes()[: len(jpeg_bytes()) // 2], "truncated"),
        (png_half(), "truncated"),
        (jpeg_bytes()[:20], "damaged|not an image"),
        (png_header(30000, 30000), "30000 x 30000 = 900000000 pixels"),
        (png_header(300, 300), "truncated"),
    ],
    ids=["empty", "html", "text", "half a jpeg", "half a png", "jpeg head", "bomb", "short png"],
)
def test_error_of_a_damaged_file_names_it(content, cause, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=cause) as raised:
        load_image(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    with pytest.raises(ImageError, match="image bytes: "):
        load_image(content)


def test_decompression_bomb_is_rejected_without_pillows_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="30000 x 30000"):
        load_image(png_header(30000, 30000))


def test_pillow_setting_that_accepts_truncated_images_is_rejected(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="LOAD_TRUNCATED_IMAGES"):
        load_image(jpeg_bytes()[: len(jpeg_bytes()) // 2])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (50, 1, 3)], ids=str)
def test_error_of_a_tiny_image_states_its_size(shape):
    with pytest.raises(ImageError, match=f"{shape[1]} x {shape[0]} pixels is too small"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("crop_mode", ["center", "border"])
def test_thin_image_is_rejected_before_it_is_enlarged(crop_mode):
    with pytest.raises(ImageError, match="2000000 x 2 pixels is too long and thin"):
        to_pixels(np.zeros((2, 2_000_000, 3), np.uint8), Preprocessing(crop_mode=crop_mode))


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 2), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)],
    ids=["float", "two channels", "batch"],
)
def test_array_of_wrong_dtype_or_shape_is_rejected(array):
    with pytest.raises(ImageError, match=r"uint8 \[h, w, 3\]"):
        load_image(array)


def test_sources_that_are_not_image_files_are_rejected(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.jpg: no such file"):
        load_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="directory"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="not int"):
        load_image(3)


def test_missing_images_are_counted_and_the_first_five_named(tmp_path):
    present = tmp_path / "present.png"
    Image.fromarray(photo()).save(present)
    missing = [tmp_path / f"missing{i}.png" for i in range(7)]
    check_images([present])
    with pytest.raises(ImageError, match=r"7 of 8 images missing: .*missing4\.png and 2 more$") as raised:
        check_images([present, *missing])
    assert "missing5" not in str(raised.value)
    with pytest.raises(ImageError, match=r"1 of 2 images missing: .*missing0\.png$"):
        check_images([present, missing[0]])


def test_from_timm():
    cfg = {"input_size": (3, 384, 384), "crop_pct": 1.0, "crop_mode": "squash", "mean": (0.5,) * 3}
    assert Preprocessing.from_timm(cfg) == Preprocessing((384, 384), 1.0, "squash", mean=(0.5,) * 3)
    assert Preprocessing.from_timm({}).crop_pct == 0.875
    with pytest.raises(ConfigError, match="1 channels"):
        Preprocessing.from_timm({"input_size": (1, 28, 28)})


@pytest.mark.parametrize(
    "field",
    [
        {"size": (0, 224)},
        {"crop_pct": 0.0},
        {"crop_mode": "centre"},
        {"interpolation": "cubic"},
        {"std": (0.0, 1.0, 1.0)},
    ],
    ids=str,
)
def test_error_of_invalid_preprocessing_names_the_field(field):
    with pytest.raises(ConfigError, match=next(iter(field))):
        Preprocessing(**field)
