"""`vitjax.plots` in use: an overlay, a grid of methods, a file."""

import numpy as np
import pytest
from PIL import Image

from tests.plots.test_figures import blob, photo, texts
from vitjax import maps, plots


def test_an_overlay_is_most_colourful_where_relevance_is_highest():
    image, relevance = photo(), blob()
    heatmap = np.asarray(maps.to_display(relevance, (96, 96)))
    laid = np.asarray(plots.overlay(image, heatmap), float)
    changed = np.abs(laid - np.asarray(plots.overlay(image, 0 * heatmap), float)).sum(axis=-1)
    assert changed[heatmap > 0.9].mean() > 2 * changed[(heatmap > 0.1) & (heatmap < 0.3)].mean()
    assert changed[heatmap < 0.01].max() <= 3
    with pytest.raises(ValueError, match=r"heatmap must lie in \[0, 1\]"):
        plots.overlay(image, 2 * heatmap)


def test_the_colour_of_an_overlay_is_the_sign_of_relevance():
    image, heatmap = photo(), np.zeros((96, 96), np.float32)
    heatmap[:, :48], heatmap[:, 48:] = -1, 1
    laid = np.asarray(plots.overlay(image, heatmap, signed=True), float)
    red_minus_blue = laid[..., 0] - laid[..., 2]
    assert red_minus_blue[:, :48].mean() < -20 and red_minus_blue[:, 48:].mean() > 20


def test_a_grid_of_methods_names_them_and_stamps_maps_without_information(tmp_path):
    images = [photo(seed=0), photo(seed=1)]
    shown = {"rollout": [blob(seed=0), blob(seed=1)], "flat": [np.zeros((14, 14)), np.full((14, 14), np.nan)]}
    cells = [plots.Placed(plots.Cell(image), row, 0) for row, image in enumerate(images)]
    for column, raw_maps in enumerate(shown.values(), start=1):
        for row, (image, raw) in enumerate(zip(images, raw_maps, strict=True)):
            overlay = plots.overlay_cell(image, raw, np.asarray(maps.to_display(raw, (96, 96))))
            cells.append(plots.Placed(overlay, row, column))
    figure = plots.draw_grid(plots.Grid(cells, ["photo", *shown], ["a cat", "a dog"], repeated=1), width_mm=89)
    words = [text.get_text() for text in texts(figure)]
    assert {"photo", "rollout", "flat", "a cat", "a dog"} <= set(words)
    assert words.count("degenerate") == words.count("not finite") == 1
    (written,) = plots.save(figure, tmp_path / "figures" / "grid")
    with Image.open(written) as saved:
        assert written.name == "grid.png" and np.asarray(saved.convert("L")).std() > 20
        assert saved.size == tuple(int(300 * inches + 1e-6) for inches in figure.get_size_inches())
