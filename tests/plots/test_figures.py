"""Figures: their content, text without overlaps, and reproducible files."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitjax import maps, plots
from vitjax.errors import ConfigError
from vitjax.plots.cells import inside_original, outlines
from vitjax.plots.figures import fit, fit_together, text_width
from vitjax.plots.fonts import drawable
from vitjax.plots.overlay import LUMA, blue_red, scheme

LONG = "German short-haired pointer, Deutscher Kurzhaar, a versatile hunting dog of the $19th_century$ " * 3
CAPTION = {"predicted": LONG, "predicted_probability": 0.8717, "target": "tench", "target_probability": 1e-4}


def photo(height=96, width=96, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def blob(shape=(14, 14), seed=0, scale=1.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    cy, cx = np.random.default_rng(seed).uniform(3, 10, 2)
    return (scale * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8)).astype(np.float32)


def strip(image, raw, signed=False, **options):
    """`plots.strip` with the overlay that `Explanation.save` hands it."""
    informative = signed and np.ptp(raw) > 0
    heatmap = np.asarray(maps.to_display(raw, image.shape[:2], signed=informative))
    return plots.strip(image, raw, plots.overlay_cell(image, raw, heatmap, signed=signed), signed=signed, **options)


def texts(figure):
    (axes,) = figure.axes
    return [text for text in axes.texts if text.get_text()]


def assert_no_text_overlaps(figure):
    renderer = figure.canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
    for (a, first), (b, second) in itertools.combinations(boxes, 2):
        assert not first.overlaps(second), (a, b)
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text


def oklab_lightness(rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_cone = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    return np.cbrt(linear @ to_cone.T) @ [0.2104542553, 0.7936177850, -0.0040720468]


class TestOverlay:
    def test_size_and_mode(self):
        overlay = plots.overlay(photo(60, 90), blob((60, 90)))
        assert isinstance(overlay, Image.Image) and overlay.size == (90, 60) and overlay.mode == "RGB"

    @pytest.mark.parametrize("signed", [False, True])
    def test_without_relevance_the_photo_is_recognisable_and_muted(self, signed):
        original = photo()
        bare = np.asarray(plots.overlay(original, np.zeros((96, 96)), signed=signed)).astype(float)
        correlation = np.corrcoef((original @ LUMA).ravel(), (bare @ LUMA).ravel())[0, 1]
        assert correlation > 0.99
        assert (bare.max(-1) - bare.min(-1)).mean() < 0.5 * np.ptp(original, axis=-1).mean()

    def test_at_full_relevance_the_photo_shows_through(self):
        original = photo()
        full = np.asarray(plots.overlay(original, np.ones((96, 96)))).astype(float)
        assert np.corrcoef((original @ LUMA).ravel(), (full @ LUMA).ravel())[0, 1] > 0.9

    def test_more_relevance_is_more_colour(self):
        grey = np.full((1, 256, 3), 128, np.uint8)
        ramp = np.asarray(plots.overlay(grey, np.linspace(0, 1, 256)[None])).astype(float)[0]
        assert (np.diff(np.abs(ramp - ramp[0]).sum(-1)) >= -2).all()  # 2: rounding to 8 bits
        assert np.abs(ramp[-1] - ramp[0]).sum() > 200

    def test_colour_shows_the_sign(self):
        grey = np.full((1, 3, 3), 128, np.uint8)
        against, neither, in_favour = np.asarray(plots.overlay(grey, np.array([[-1.0, 0, 1]]), signed=True), int)[0]
        assert against[2] > against[0] + 80 and in_favour[0] > in_favour[2] + 80
        assert np.ptp(neither) <= 4 and neither.min() > 190  # a pale centre
        assert abs(against @ LUMA - in_favour @ LUMA) < 10  # both signs are equally dark

    def test_small_signed_values_are_visible(self):
        grey = np.full((1, 3, 3), 128, np.uint8)
        against, neither, in_favour = np.asarray(plots.overlay(grey, np.array([[-0.1, 0, 0.1]]), signed=True), int)[0]
        assert min(abs(against - neither).max(), abs(in_favour - neither).max()) >= 5

    def test_a_colormap_by_name(self):
        heatmap = np.ones((96, 96))
        other = plots.overlay(photo(), heatmap, colormap="viridis")
        assert np.asarray(other).tobytes() != np.asarray(plots.overlay(photo(), heatmap)).tobytes()

    def test_alpha_zero_hides_the_map(self):
        bare = np.asarray(plots.overlay(photo(), np.zeros((96, 96))))
        np.testing.assert_array_equal(np.asarray(plots.overlay(photo(), blob((96, 96)), alpha=0)), bare)

    def test_nan_is_grey(self):
        heatmap = np.zeros((96, 96))
        heatmap[:10] = np.nan
        pixels = np.asarray(plots.overlay(photo(), heatmap))
        assert (pixels[:10] == 128).all() and not (pixels[10:] == 128).all()

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ((photo().astype(np.float32), blob((96, 96))), "uint8"),
            ((photo()[..., 0], blob((96, 96))), "uint8"),
            ((photo(), blob()), "differ in size"),
            ((photo(), 3 * blob((96, 96))), r"\[0, 1\].*normalise"),
            ((photo(), -blob((96, 96))), r"\[0, 1\]"),
        ],
    )
    def test_invalid_input_is_an_error(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            plots.overlay(*arguments)


class TestColours:
    def test_lightness_of_the_default_increases(self):
        lightness = oklab_lightness(scheme("inferno")(np.linspace(0, 1, 256))[:, :3])
        assert (np.diff(lightness) > 0).all()

    def test_diverging_lightness_is_symmetric_and_linear(self):
        colours = blue_red()
        lightness = oklab_lightness(colours)
        np.testing.assert_allclose(lightness, lightness[::-1], atol=2e-3)
        np.testing.assert_allclose(np.diff(lightness[:128]), 2 * 0.49 / 255, atol=5e-4)
        assert colours[127:129].min() > 0.93
        assert colours[0].argmax() == 2 and colours[-1].argmax() == 0


class TestText:
    def test_fit_keeps_to_width_and_lines(self):
        for lines in (1, 2, 4):
            rows = fit(LONG, 1.2, 7, lines=lines).split("\n")
            assert len(rows) == lines and rows[-1].endswith("…")
            assert all(text_width(row, 7) <= 1.2 for row in rows)

    def test_short_text_is_unchanged(self):
        assert fit("tench", 1.2, 7) == "tench"
        assert fit("tench\n87 %", 1.2, 7, lines=2) == "tench\n87 %"

    def test_the_last_paragraph_is_kept(self):
        assert fit(f"{LONG}\n87 %", 1.2, 7, lines=3).split("\n")[-1] == "87 %"

    def test_a_word_wider_than_the_line_is_truncated(self):
        assert fit("a" * 200, 1.0, 7, lines=2).endswith("a…")

    def test_texts_share_the_largest_size_that_cuts_none(self):
        texts, size = fit_together(["Meaningful perturbation", "LRP"], text_width("perturbation", 5.5), 6.5, lines=2)
        assert size == 5.5 and texts == ["Meaningful\nperturbation", "LRP"]
        assert fit_together(["a" * 200], 1, 7)[1] == 5
        assert "…" not in "".join(fit_together(["Transformer-MM"], text_width("Transformer-", 5.25), 6.5, lines=2)[0])

    def test_scripts_without_spaces_are_broken_anywhere(self):
        assert fit("猫は窓のそばで眠っている", text_width("猫は窓の", 7), 7, lines=3).split("\n") == [
            "猫は窓の",
            "そばで眠",
            "っている",
        ]

    def test_characters_that_no_font_has_are_said_once(self):
        with pytest.warns(UserWarning, match="no installed font has"):
            assert drawable("a\U000e0fff")[0] == "a□"


class TestStrip:
    @pytest.mark.parametrize("shape", [(96, 96), (96, 48), (48, 96)])
    @pytest.mark.parametrize("scale", [1.0, 1e-7, 3e6])
    def test_no_text_overlaps(self, shape, scale):
        figure = strip(photo(*shape), blob(scale=scale), method=LONG, **CAPTION)
        assert_no_text_overlaps(figure)
        assert len(figure.axes[0].images) == 4  # photo, map, colour bar, overlay

    def test_names_and_probabilities(self):
        words = " | ".join(t.get_text() for t in texts(strip(photo(), blob(), method="lrp", **CAPTION)))
        for expected in ("LRP (Bach et al., 2015)", "German short-haired", "87.2 %", "tench", "< 0.1 %", "14 × 14"):
            assert expected in words

    @pytest.mark.parametrize(
        "raw, power, ticks",
        [
            (np.linspace(0, 3e-5, 196), "×10⁻⁵", {"0", "1", "2", "3"}),
            (np.linspace(0, 0.5, 196), None, {"0.0", "0.1", "0.2", "0.3", "0.4", "0.5"}),
            (np.linspace(1, 1.001, 196), None, {"1.0000", "1.0005", "1.0010"}),
        ],
    )
    def test_the_colour_bar_shows_raw_values(self, raw, power, ticks):
        words = {t.get_text() for t in texts(strip(photo(), raw.reshape(14, 14), method="m", **CAPTION))}
        if power:
            assert power in words
        else:
            assert not any(word.startswith("×") for word in words)
        assert len(ticks & words) >= 3

    def test_signed_limits_are_symmetric(self):
        figure = strip(photo(), blob() - 0.3, method="m", signed=True, **CAPTION)
        low, high = figure.axes[0].images[1].get_clim()
        assert low == -high == pytest.approx(-(blob() - 0.3).max())

    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize("value, word", [(0, "degenerate"), (0.25, "degenerate"), (np.nan, "not finite")])
    def test_degenerate_and_non_finite_maps_are_stamped(self, value, word, signed):
        raw = np.full((14, 14), value)
        figure = strip(photo(), raw, method="m", signed=signed, **CAPTION)
        assert [t.get_text() for t in texts(figure)].count(word) == 2
        assert_no_text_overlaps(figure)
        figure.canvas.draw()

    def test_a_batch_of_maps_is_an_error(self):
        with pytest.raises(ValueError, match="one map"):
            plots.strip(photo(), np.zeros((2, 14, 14)), plots.Cell(photo()), method="m", **CAPTION)

    def test_one_extreme_pixel_leaves_the_others_their_colour(self):
        raw = np.random.default_rng(0).normal(size=(96, 96)).astype(np.float32)
        raw[0, 0] = 1000
        low, high = strip(photo(), raw, method="m", signed=True, **CAPTION).axes[0].images[1].get_clim()
        assert low == -high and 2 < high < 3

    def test_a_class_agnostic_map_has_no_class(self):
        words = " | ".join(t.get_text() for t in texts(strip(photo(), blob(), method="m", agnostic=True, **CAPTION)))
        assert "class-agnostic" in words and "tench" not in words


class TestGrid:
    def grid(
        self, rows, columns, *, shape=(96, 96), label=LONG, header="A method (with=1, long_options=True)", **options
    ):
        cells = [
            plots.Placed(plots.Cell(photo(*shape, seed=row), **options), row, column)
            for row in range(rows)
            for column in range(columns + 1)
        ]
        headers = ["Input", *(f"{header} {column}" for column in range(columns))]
        bars = [(False, "Relevance"), (True, LONG)]
        return plots.Grid(cells, headers, [label] * rows, repeated=1, bars=bars, footnotes=[LONG])

    @pytest.mark.parametrize("rows, columns", [(1, 1), (3, 8), (2, 30)])
    @pytest.mark.parametrize("width", [89, 183])
    def test_width_texts_and_images(self, rows, columns, width):
        figure = plots.draw_grid(self.grid(rows, columns, note="IoU 41.7"), width_mm=width)
        assert figure.get_size_inches()[0] * 25.4 == pytest.approx(width)
        assert_no_text_overlaps(figure)
        boxes = [image.get_window_extent() for image in figure.axes[0].images]
        panels = sum(text.get_text() == "Input" for text in texts(figure))
        assert len(boxes) == rows * (columns + panels) + 2  # each panel repeats the input; two colour bars
        assert max(box.x1 for box in boxes) <= figure.bbox.x1 and min(box.x0 for box in boxes) >= 0
        for a, b in itertools.combinations(boxes, 2):
            assert not a.overlaps(b)

    def test_type_has_the_size_of_print_and_is_not_cut(self):
        grid = self.grid(2, 6, header="Meaningful perturbation", label="tabby (87 %)")
        figure = plots.draw_grid(grid._replace(bars=[(True, "Relevance")], footnotes=()), width_mm=89)
        found = texts(figure)
        assert {text.get_fontsize() for text in found} <= {5, 5.25, 5.5, 5.75, 6, 6.25, 6.5}
        assert not any(text.get_text().endswith("…") for text in found)
        words = {text.get_text() for text in found}
        assert {"Meaningful", "tabby"} & words and "−0.5" in words

    @pytest.mark.parametrize("shape", [(96, 48), (48, 96)])
    def test_images_keep_their_shape(self, shape):
        figure = plots.draw_grid(self.grid(2, 2, shape=shape))
        box = figure.axes[0].images[0].get_window_extent()
        assert box.height / box.width == pytest.approx(shape[0] / shape[1], rel=0.02)

    def test_rows_are_made_to_fit_on_a_page(self):
        width, height = 25.4 * plots.draw_grid(self.grid(9, 1)).get_size_inches()
        assert width == pytest.approx(183) and height < 260

    @pytest.mark.parametrize("rows, columns, bars", [(2, 3, 2), (12, 3, 1), (12, 3, 2)])
    def test_colour_bars_stand_under_the_grid(self, rows, columns, bars):
        grid = self.grid(rows, columns)
        figure = plots.draw_grid(grid._replace(bars=grid.bars[:bars]))
        boxes = [image.get_window_extent() for image in figure.axes[0].images]
        cells, below = boxes[: rows * (columns + 1)], boxes[rows * (columns + 1) :]
        assert len(below) == bars and below[0].x0 == pytest.approx(min(cell.x0 for cell in cells), abs=1)
        assert below[-1].x1 <= figure.bbox.x1

    def test_a_cell_of_several_rows_stands_in_the_first_below_its_header(self):
        tall = plots.Placed(plots.Cell(photo()), 0, 0, down=3)
        others = [plots.Placed(plots.Cell(photo(seed=row)), row, 1) for row in range(3)]
        figure = plots.draw_grid(
            plots.Grid([tall, *others], ["Input", "A"], ["a", "b", "c"], label_column=1, repeated=1)
        )
        boxes = [image.get_window_extent() for image in figure.axes[0].images]
        assert boxes[0].y0 == pytest.approx(boxes[1].y0, abs=1)
        assert boxes[0].height == pytest.approx(boxes[1].height, abs=1)
        label = next(text for text in texts(figure) if text.get_text() == "b").get_window_extent()
        assert boxes[0].x1 <= label.x0 and label.x1 <= boxes[2].x0

    def test_a_figure_too_tall_to_be_drawn_is_an_error(self):
        grid = self.grid(1, 1)
        grid = grid._replace(cells=[each._replace(row=row) for row in range(300) for each in grid.cells], row_labels=())
        with pytest.raises(ConfigError, match=r"300 rows would be \d+ mm tall, \d+ pixels at 300 dpi"):
            plots.draw_grid(grid)

    def test_outlines_follow_the_mask(self):
        mask = np.zeros((96, 96), bool)
        mask[20:40, 50:] = True
        (line,) = outlines(mask)
        assert line.min(axis=0) == pytest.approx((50, 20), abs=0.6) and line.max(axis=0) == pytest.approx(
            (96, 40), abs=0.6
        )
        figure = plots.draw_grid(plots.Grid([plots.Placed(plots.Cell(photo(), mask=mask), 0, 0)], [""]))
        assert [each.get_color() for each in figure.axes[0].lines] == ["black", "white"]

    def test_the_part_that_the_model_sees_is_outlined_in_the_whole_picture(self):
        whole = photo(96, 160)
        cell = inside_original(plots.Cell(whole[:, 32:128]), whole, 0, 32)
        assert cell.image.shape == whole.shape and cell.part == (32, 0, 96, 96)
        np.testing.assert_array_equal(cell.image[:, 32:128], whole[:, 32:128])
        assert (cell.image[:, :32] != whole[:, :32]).any()
        padded = inside_original(plots.Cell(photo(96, 96)), photo(96, 40), 0, -28)
        assert padded.image.shape == (96, 96, 3) and padded.part == (0, 0, 96, 96)


class TestAttentionSheet:
    def attention(self, layers, heads, tokens):
        weights = np.random.default_rng(0).gamma(0.5, size=(layers, heads, tokens, tokens))
        return weights / weights.sum(-1, keepdims=True)

    @pytest.mark.parametrize("prefix", [0, 1, 2])
    def test_every_head_and_the_mean(self, prefix):
        attention = self.attention(3, 4, prefix + 6)
        figure = plots.attention_sheet(photo(), attention, prefix, (2, 3))
        images = figure.axes[0].images
        assert len(images) == 2 + 3 * 5  # photo, legend, maps
        row = attention[0, 0, 0] if prefix else attention[0, 0].mean(0)
        patches = row[prefix:].reshape(2, 3)
        expected = (patches - patches.min()) / np.ptp(patches)
        np.testing.assert_allclose(images[2].get_array(), expected, atol=1e-5)
        assert_no_text_overlaps(figure)

    def test_a_full_model(self):
        figure = plots.attention_sheet(photo(), self.attention(12, 12, 50), 1, (7, 7))
        assert len(figure.axes[0].images) == 2 + 12 * 13
        assert_no_text_overlaps(figure)

    def test_wrong_token_count_is_an_error(self):
        with pytest.raises(ValueError, match=r"1 prefix tokens and 2 x 3"):
            plots.attention_sheet(photo(), self.attention(1, 1, 8), 1, (2, 3))


class TestSave:
    def figure(self):
        return strip(photo(), blob(), method="rollout", **CAPTION)

    def test_png_and_pdf(self, tmp_path):
        png, pdf = plots.save(self.figure(), tmp_path / "deep" / "er" / "a.png", pdf=True)
        assert (png.name, pdf.name) == ("a.png", "a.pdf")
        with Image.open(png) as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            assert image.size == tuple((self.figure().get_size_inches() * 300 + 1e-6).astype(int))
        content = pdf.read_bytes()
        assert content.startswith(b"%PDF")
        assert b"/FontFile2" in content and b"/Type3" not in content
        assert b"CreationDate" not in content
        assert b"/Width 96" in content  # images keep the pixels of the model's input

    def test_the_suffix_is_added(self, tmp_path):
        assert plots.save(self.figure(), tmp_path / "norm=0.5") == [tmp_path / "norm=0.5.png"]

    def test_equal_figures_give_equal_bytes_in_another_process(self, tmp_path):
        code = (
            "import sys; from tests.plots.test_figures import TestSave, plots\n"
            "plots.save(TestSave().figure(), sys.argv[1], pdf=True)\n"
            "assert 'matplotlib.pyplot' not in sys.modules"
        )
        other = tmp_path / "other" / "a.png"
        # Another hash seed changes the order of sets, on which no file may depend.
        environment = os.environ | {"PYTHONHASHSEED": "7"}
        subprocess.run(
            [sys.executable, "-c", code, str(other)], check=True, env=environment, cwd=Path(__file__).parents[2]
        )
        for path in plots.save(self.figure(), tmp_path / "own" / "a.png", pdf=True):
            assert path.read_bytes() == other.with_name(path.name).read_bytes()

    def test_importing_plots_does_not_import_matplotlib(self):
        code = "import sys, vitjax.plots; assert 'matplotlib' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("inches", [0.7, 0.8, 0.9, 1.0, 1.1, 1.2])
def test_a_label_is_not_broken_after_a_parenthesis_opens_or_at_a_no_break_space(inches):
    lines = fit("checked square (97\N{NO-BREAK SPACE}%)", inches, 8, lines=4).split("\n")
    assert lines[-1].endswith("(97\N{NO-BREAK SPACE}%)") and not any(line.endswith("(") for line in lines)
