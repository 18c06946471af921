"""The page of `vitjax compare` in a browser: titles, marks of class-agnostic methods, sizes, keyboard, print."""

import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax.explaining.figure_grid import AGNOSTIC
from vitjax.report.compare_page import write_page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    model = tiny_model("plain")
    es = vitjax.explain_many(
        model, tiny_images(model, 2), ["rollout", "rollout:head_fusion=max", "saliency"], [[1, 2], 0]
    )
    return write_page(tmp_path_factory.mktemp("compare") / "index.html", "3 methods", es)


def test_titles_sizes_and_keys(browser, page):
    browser.open(page, width=900)
    heads = [head.text.splitlines() for head in browser.find_all(".pictures th")[1:]]
    agnostic = "Attention rollout†"
    assert heads == [[agnostic, "rollout"], [agnostic, "rollout(head_fusion=max)"], ["Saliency", "saliency"]]
    assert AGNOSTIC in browser.text("body") and browser.overflow() == 0
    overlay = browser.find("td button img")
    photo, before = browser.find("td img").get_attribute("src"), overlay.get_attribute("src")
    browser.press("Tab")  # to the slider
    browser.press(*["ArrowRight"] * 10)
    assert overlay.size == {"width": 248, "height": 248} and browser.overflow() == 0  # wide tables scroll by themselves
    browser.run("document.querySelector('td button').focus()")
    browser.press("Enter")
    assert overlay.get_attribute("src") == photo != before
    browser.press("Enter")
    assert overlay.get_attribute("src") == before and not browser.complaints()


def test_the_whole_table_fits_on_paper(browser, page):
    browser.open(page, width=700, media="print")
    table = browser.find(".pictures")
    assert 0 < table.size["width"] <= 700 and browser.overflow() == 0
    assert not browser.find("#side").is_displayed()


def test_without_class_agnostic_methods_no_mark(tmp_path):
    model = tiny_model("plain")
    e = vitjax.explain(model, tiny_images(model, 1), "saliency")
    assert "†" not in write_page(tmp_path / "index.html", "one", {"saliency": e}).read_text(encoding="utf-8")
