"""report.html: nothing from elsewhere, nothing hostile, everything there."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.report.synthetic import METRICS, one_metric, profile_of, whole_run
from vitjax.errors import ImageError
from vitjax.report import summarise
from vitjax.report.extremes import ends, extremes, leader
from vitjax.report.facts import run_facts
from vitjax.report.page import NO_PICTURES, page
from vitjax.report.records import Records

HOSTILE = ["random", "<script>alert(1)</script>", "a_b & 50%", '" onclick="x']
VOID = {"meta", "img", "br", "line", "rect", "wbr"}


class Checker(HTMLParser):
    """Every tag is closed, and what is loaded is in the page."""

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


def built(methods=("random", "a", "b"), count=40, pictures=None, partial=False, **more):
    config, table = whole_run(list(methods), count)
    table = table.slice(0, len(methods) * count // 2) if partial else table
    records = Records(table, methods)
    summary = summarise(config, records, profile_of(methods), metrics=METRICS, resamples=50, partial=partial)
    facts = run_facts(config, summary, table)
    found = extremes(summary, records)
    return page(summary, config, facts=facts, extremes=found, pictures=pictures, **more)


@pytest.mark.parametrize("partial", [False, True])
def test_is_well_formed_and_self_contained(partial):
    found = Checker(built(partial=partial, curves=b"png"))
    assert found.scripts == 1
    for tag, name, value in found.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith(("data:", "#")), (tag, value)
    assert "http" not in built()


def test_names_cannot_break_out():
    html = built(HOSTILE, pictures=lambda ids, label: {ids[0]: Image.new("RGB", (8, 8))})
    found = Checker(html)
    assert found.scripts == 1 and not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in html and "a_b &amp; 50%" in html


def test_every_number_can_be_sorted_and_undefined_stays_out():
    html = built()
    sorts = re.findall(r'<td[^>]* data-sort="([^"]*)"', html)
    assert sorts and all(text == "" or np.isfinite(float(text)) for text in sorts)
    assert html.count('<th scope="col"') >= html.count('<button type="button"') > 10
    assert "aria-sort" in html


def test_says_what_the_run_was():
    html = built()
    for text in ("tiny on scenes:8", "a" * 64, "images/s", "peak MiB", "predicted", "Removal", "Nobody 2026", "jax"):
        assert text in html, text


def test_partial_is_marked_on_top_and_at_every_table():
    html = built(partial=True)
    assert html.count("partial: 20 of 40 images") >= 1 + 1 + 6
    assert "partial" not in built().split("<style>")[0]


class TestPictures:
    def test_none_says_why_and_lists_ids(self):
        html = built()
        assert NO_PICTURES in html and "<img" not in html and "image000" in html

    def test_asked_once_for_each_method(self):
        asked = []

        def pictures(ids, label):
            asked.append(label)
            assert len(set(ids)) == len(ids)
            return {name: Image.new("RGBA", (500, 250)) for name in ids}

        html = built(pictures=pictures)
        assert len(asked) == len(set(asked))
        assert html.count("data:image/jpeg") > 10 and NO_PICTURES not in html

    def test_vanished_images_are_left_out(self):
        html = built(pictures=lambda ids, label: {})
        assert "<figcaption>" in html and "data:image" not in html

    def test_a_failure_is_told(self):
        def pictures(ids, label):
            raise ImageError("photos/<1>.jpg: gone")

        assert "Some overlays are missing: photos/&lt;1&gt;.jpg: gone" in built(pictures=pictures)


class TestExtremes:
    def of(self, values, methods=None, **options):
        config, table = one_metric(values, methods=methods, **options)
        records = Records(table, [each["label"] for each in config["methods"]])
        return extremes(summarise(config, records, metrics=METRICS, resamples=10), records, count=2)

    def test_best_and_worst_of_the_best_method(self):
        values = np.array([[9, 1], [9, 4], [9, 2], [9, 3], [9, 5]]) / 10
        (found,) = self.of(values, ["random", "a"])
        assert found.method == "a"  # a baseline's pictures say nothing
        assert [shot.image_id for shot in found.best] == ["image00004", "image00001"]
        assert [shot.image_id for shot in found.worst] == ["image00000", "image00002"]
        assert [shot.value for shot in found.worst] == ["10.0", "20.0"] and found.ties == ""

    def test_ties_are_told(self):
        (found,) = self.of([[1.0], [0.0], [1.0], [1.0], [0.0]])
        assert [shot.image_id for shot in found.best] == ["image00000", "image00002"]
        assert found.ties == "best: the first 2 of 3 images with this value"

    def test_none_on_both_sides(self):
        rng = np.random.default_rng(0)
        for n in range(1, 12):
            goodness = rng.integers(3, size=n).astype(float)
            best, worst = ends(goodness, 5)
            assert len(best) and not set(best) & set(worst)
            assert not len(worst) or goodness[worst].max() < goodness.max()

    def test_single_image_and_all_undefined(self):
        (found,) = self.of([[0.5]])
        assert len(found.best) == 1 and not found.worst
        assert self.of([[np.nan], [np.nan]]) == []

    def test_lower_is_better(self):
        config, table = whole_run(["random", "a", "b"], 40)
        summary = summarise(config, table, metrics=METRICS, resamples=10)
        assert leader(summary, summary.figures["removal positive"]) == "b"
        assert leader(summary, summary.figures["removal negative"]) == "b"
