"""report.html is self-contained, escapes names, and shows all results."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.report.synthetic import METRICS, one_metric, profile_of, whole_run
from vitjax.errors import ImageError
from vitjax.report import summarise
from vitjax.report.extremes import best_and_worst, extremes, leader
from vitjax.report.facts import run_facts
from vitjax.report.page import page
from vitjax.report.pictures import NO_OVERLAYS, Picture, thumbnail
from vitjax.report.records import Records

HOSTILE = ["random", "<script>alert(1)</script>", "a_b & 50%", '" onclick="x']
VOID = {"meta", "img", "br", "line", "path", "rect", "wbr"}
SQUARE = np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 30.0]])


class Checker(HTMLParser):
    """Parses a page, asserts that every tag is closed, and collects attributes and the number of scripts."""

    def __init__(self, html):
        super().__init__()
        self.open, self.scripts, self.attributes = [], 0, []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def built(methods=("random", "a", "b"), count=40, pictures=None, partial=False, **options):
    config, table = whole_run(list(methods), count)
    table = table.slice(0, len(methods) * count // 2) if partial else table
    records = Records(table, methods)
    summary = summarise(config, records, profile_of(methods), metrics=METRICS, resamples=50, partial=partial)
    facts = run_facts(config, summary, table)
    images = extremes(summary, records)
    return page(summary, config, facts=facts, extremes=images, pictures=pictures, **options)


@pytest.mark.parametrize("partial", [False, True])
def test_is_well_formed_and_self_contained(partial):
    checked = Checker(built(partial=partial, curves=b"png"))
    assert checked.scripts == 1
    for tag, name, value in checked.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith(("data:", "#")), (tag, value)
    assert "http" not in built()


def test_names_are_escaped():
    html = built(HOSTILE, pictures=lambda ids, label: {ids[0]: Picture(Image.new("RGB", (8, 8)), caption="<i>&")})
    checked = Checker(html)
    assert checked.scripts == 1 and not [name for _, name, _ in checked.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in html and "a_b &amp; 50%" in html and "&lt;i&gt;&amp;" in html


def test_every_number_can_be_sorted_and_undefined_ones_are_empty():
    html = built()
    sorts = re.findall(r'<td[^>]* data-sort="([^"]*)"', html)
    assert sorts and all(text == "" or np.isfinite(float(text)) for text in sorts)
    assert html.count('<th scope="col"') >= html.count('<button type="button"') > 10
    assert "aria-sort" in html


def test_shows_facts_about_the_run():
    html = built()
    for text in ("tiny on scenes:8", "a" * 64, "images/s", "peak MiB", "predicted", "Removal", "Nobody 2026", "jax"):
        assert text in html, text


def test_partial_run_is_marked_on_top_and_at_every_table():
    html = built(partial=True)
    assert html.count("partial: 20 of 40 images") >= 1 + 1 + 6
    assert "partial" not in built().split("<style>")[0]


class TestOverlays:
    def test_without_overlays_the_page_says_why_and_lists_ids(self):
        html = built()
        assert NO_OVERLAYS in html and "<img" not in html and "image000" in html

    def test_requested_once_per_method(self):
        requested = []

        def pictures(ids, label):
            requested.append(label)
            assert len(set(ids)) == len(ids)
            return {name: Picture(Image.new("RGBA", (500, 250)), [SQUARE], "tabby (62.3 %)") for name in ids}

        html = built(pictures=pictures)
        assert len(requested) == len(set(requested))
        pictures = html.count("data:image/jpeg")
        assert pictures > 10 and NO_OVERLAYS not in html
        assert (
            html.count('class="line" d="M10,10 L20,10 L20,30 Z"')
            == html.count("tabby (62.3\N{NO-BREAK SPACE}%)")
            == pictures
        )

    def test_contours_keep_the_coordinates_of_the_whole_picture(self):
        made = thumbnail(Picture(Image.new("RGB", (448, 448)), [SQUARE, SQUARE + 1]))
        assert (made.width, made.height) == (448, 448)
        assert made.path == "M10,10 L20,10 L20,30 Z M11,11 L21,11 L21,31 Z"

    def test_missing_overlays_are_omitted(self):
        html = built(pictures=lambda ids, label: {})
        assert "<figcaption>" in html and "data:image" not in html

    def test_an_error_is_shown(self):
        def pictures(ids, label):
            raise ImageError("photos/<1>.jpg: gone")

        assert "Some overlays are missing: photos/&lt;1&gt;.jpg: gone" in built(pictures=pictures)


class TestExtremes:
    def of(self, values, methods=None, **options):
        config, table = one_metric(values, methods=methods, **options)
        records = Records(table, [method["label"] for method in config["methods"]])
        return extremes(summarise(config, records, metrics=METRICS, resamples=10), records, count=2)

    def test_best_and_worst_of_the_best_method(self):
        values = np.array([[9, 1], [9, 4], [9, 2], [9, 3], [9, 5]]) / 10
        (entry,) = self.of(values, ["random", "a"])
        assert entry.method == "a"  # not the baseline, although its values are higher
        assert entry.best == (("image00004", "50.0 %", 1), ("image00001", "40.0 %", 2))
        assert entry.worst == (("image00000", "10.0 %", 5), ("image00002", "20.0 %", 4))
        assert entry.images == 5 and entry.omitted == 0

    def test_ties_share_a_rank(self):
        (entry,) = self.of([[1.0], [0.0], [1.0], [1.0], [0.0]])
        assert [(image.image_id, image.rank) for image in entry.best] == [("image00000", 1), ("image00002", 1)]
        assert [image.rank for image in entry.worst] == [4, 4]

    def test_no_image_twice_and_what_is_left_out_is_counted(self):
        config, table = whole_run(["random", "a"], 24)
        records = Records(table, ["random", "a"])
        made = extremes(summarise(config, records, metrics=METRICS, resamples=10), records, count=4)
        ids = [image.image_id for entry in made for image in (*entry.best, *entry.worst)]
        assert [entry.figure for entry in made] == ["IoU", "Removal, positive"] and len(ids) == len(set(ids)) == 16
        first, second = made
        column = records.scalar("removal.positive")[records.rows[second.method]]
        lowest = [f"image{i:05d}" for i in np.argsort(column)[:4]]
        above = {image.image_id for image in (*first.best, *first.worst)}
        assert [image.image_id for image in second.best] == [
            name for name in (f"image{i:05d}" for i in np.argsort(column)) if name not in above
        ][:4]
        assert second.omitted >= len(above & set(lowest))

    def test_best_and_worst_are_disjoint(self):
        rng = np.random.default_rng(0)
        for n in range(1, 12):
            goodness = rng.integers(3, size=n).astype(float)
            best, worst = best_and_worst(goodness, 5)
            assert len(best) and not set(best) & set(worst)
            assert not len(worst) or goodness[worst].max() < goodness.max()

    def test_single_image_and_all_undefined(self):
        (entry,) = self.of([[0.5]])
        assert [image.rank for image in entry.best] == [1] and not entry.worst
        assert self.of([[np.nan], [np.nan]]) == []

    def test_lower_is_better(self):
        config, table = whole_run(["random", "a", "b"], 40)
        summary = summarise(config, table, metrics=METRICS, resamples=10)
        assert leader(summary, summary.figures["removal positive"]) == "b"
        assert leader(summary, summary.figures["removal negative"]) == "b"
