"""report.html in a browser: sorting by mouse and by keyboard, a narrow window, print, and what is drawn."""

import numpy as np
import pytest
from PIL import Image

from tests.report.synthetic import settings
from tests.report.test_latex import many_columns
from tests.report.test_page import HOSTILE, built
from vitjax.plots import save
from vitjax.plots.curves import Line, Panel, curves
from vitjax.report.page import page as whole_page
from vitjax.report.pictures import Picture

METHODS = [*HOSTILE, "transformer_mm", "integrated_gradients(quadrature=riemann_trapezoid, steps=20)"]
SQUARE = np.array([[50.0, 50.0], [150.0, 50.0], [150.0, 150.0], [50.0, 150.0]])
NARROW, PRINTED = 360, int((297 - 2 * 12) / 25.4 * 96)
"""Widths of a phone, and of the text on the printed page [CSS pixels]."""


def pictures(ids, label):
    photo = Image.new("RGB", (200, 200), "#204060")
    return {name: Picture(photo, [SQUARE], "golden retriever (62.3 %); explained: tabby (4.0 %)") for name in ids}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    line = Line(*(np.linspace(1, end, 5) for end in (0.0, -0.1, 0.1)))
    figure = curves([Panel("Removal", np.arange(5.0), ("pixels removed (%)", "probability"), {"a": line})] * 4)
    png, *_ = save(figure, folder / "curves.png")
    file = folder / "report.html"
    file.write_text(built(METHODS, pictures=pictures, curves=png.read_bytes()), encoding="utf-8")
    return file


def column(browser, number):
    """Sort keys of a column of the first table, in the order of its rows on the screen."""
    cells = browser.find("#scores table").find_elements("css selector", f"tbody tr > :nth-child({number})")
    return [cell.get_attribute("data-sort") for cell in cells]


def test_nothing_fails_and_names_are_texts(browser, page):
    browser.open(page)
    assert browser.complaints() == [] and browser.overflow() == 0
    rows = [row.text for row in browser.find_all("#scores table tbody th")][: len(METHODS)]
    assert rows[1:4] == HOSTILE[1:] and "Transformer-MM" in rows
    assert browser.run("return document.scripts.length") == 1


def test_a_click_sorts_and_a_third_one_restores(browser, page):
    browser.open(page)
    given = column(browser, 2)
    head = browser.find("#scores table th:nth-child(2)")
    for order, sign in (("descending", -1), ("ascending", 1)):
        head.find_element("css selector", "button").click()
        assert head.get_attribute("aria-sort") == order
        assert column(browser, 2) == sorted(given, key=lambda key: sign * float(key))
    head.find_element("css selector", "button").click()
    assert head.get_attribute("aria-sort") is None and column(browser, 2) == given


def test_the_keyboard_reaches_headings_and_sorts(browser, page):
    browser.open(page)
    for _ in range(40):
        browser.press("Tab")
        if browser.run("return document.activeElement.closest('#scores th:nth-child(2)') !== null"):
            break
    given = column(browser, 2)
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    assert column(browser, 2) == sorted(given, key=lambda key: -float(key))
    browser.press("Space")
    assert column(browser, 2) == sorted(given, key=float)
    assert browser.run("return document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"


def test_a_narrow_window_scrolls_tables_and_not_the_page(browser, page):
    browser.open(page, width=NARROW, height=700, touch=True)
    assert browser.overflow() == 0 and browser.complaints() == []
    wide = browser.run(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    box = browser.find("#scores .scroll")
    browser.run("arguments[0].focus()", box)
    assert browser.run("return document.activeElement === arguments[0]", box)
    browser.run("arguments[0].scrollLeft = 200", box)
    name = browser.find("#scores tbody th").rect
    assert name["x"] >= 0 and name["width"] < NARROW / 2  # the name of the method stays beside its numbers


def test_contours_lie_on_the_overlay(browser, page):
    browser.open(page)
    image, line = (
        browser.run(
            "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [box.x, box.y, box.width, box.height]",
            selector,
        )
        for selector in (".overlay img", ".overlay .line")
    )
    x, y, width, height = image
    assert line == pytest.approx([x + width / 4, y + height / 4, width / 2, height / 2], abs=1)


def test_print_shows_every_column_and_no_controls(browser, tmp_path):
    """A table of fourteen columns with intervals on A4, landscape."""
    summary = many_columns(14, 4)
    config = settings(summary.methods, [], 20)
    page = tmp_path / "report.html"
    page.write_text(whole_page(summary, config), encoding="utf-8")
    browser.open(page, width=PRINTED, media="print")
    assert browser.overflow() == 0 and not browser.find("nav").is_displayed()
    assert browser.run("return getComputedStyle(document.querySelector('th button'), '::after').display") == "none"
    cut = browser.run(
        "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert cut == 0
