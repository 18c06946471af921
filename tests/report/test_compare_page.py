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
    first = [[agnostic, "rollout"], [agnostic, "rollout(head_fusion=max)"], ["Explained"]]
    assert heads == [*first, ["Saliency", "saliency"]]
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


def test_the_map_of_a_class_agnostic_method_stands_once_for_all_targets_of_an_image(browser, page):
    browser.open(page, width=900)
    images = [[row.find_elements("css selector", "td") for row in body] for body in _rows(browser)]
    assert [[len(cells) for cells in image] for image in images] == [[5, 2], [5]]
    spans = [cell.get_attribute("rowspan") for cell in images[0][0]]
    assert spans == ["2", "2", "2", None, None] and len(browser.find_all("td button img")) == 2 * 2 + 3
    second = images[0][1][1].find_element("css selector", "img")
    photo = browser.find("td img").get_attribute("src")
    second.click()
    assert second.get_attribute("src") == photo  # the photo of its image, which stands in another row


def _rows(browser):
    return [body.find_elements("css selector", "tr") for body in browser.find_all(".pictures tbody")]


def test_the_whole_table_fits_on_paper(browser, page):
    browser.open(page, width=700, media="print")
    table = browser.find(".pictures")
    assert 0 < table.size["width"] <= 700 and browser.overflow() == 0
    assert not browser.find("#side").is_displayed()


def test_class_agnostic_methods_alone_have_one_row_per_image_and_no_class(tmp_path):
    model = tiny_model("plain")
    es = vitjax.explain_many(model, tiny_images(model, 2), ["rollout"], [[1, 2], 0])
    page = write_page(tmp_path / "index.html", "one", es).read_text(encoding="utf-8")
    assert page.count("data-photo=") == 2 and "explained:" not in page and "<th>Explained" not in page


def test_without_class_agnostic_methods_no_mark(tmp_path):
    model = tiny_model("plain")
    e = vitjax.explain(model, tiny_images(model, 1), "saliency")
    assert "†" not in write_page(tmp_path / "index.html", "one", {"saliency": e}).read_text(encoding="utf-8")
