"""The page in a browser: what it computes and draws, by mouse, touch and keyboard."""

import numpy as np
import pytest

import vitjax
from tests.explore.conftest import HOSTILE
from vitjax.explore.removal import thresholds

LEFT, RIGHT = "article:nth-of-type(1)", "article:nth-of-type(2)"
CANVAS = """
const canvas = document.querySelector(arguments[0]);
return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
"""


@pytest.fixture
def page(browser, explored):
    """The page, loaded and drawn."""
    return opened(browser, explored)


def opened(browser, explored, **window):
    browser.open(explored.page, **window)
    wait(browser, "return document.querySelectorAll('section.methods[data-drawn]').length === 2")
    assert browser.complaints() == []
    return browser


def wait(browser, condition, *arguments):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser.driver, 20, 0.02).until(lambda driver: driver.execute_script(condition, *arguments))


def settle(browser):
    """Wait until everything is drawn."""
    browser.driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)));"
    )


def point(browser, selector, row, column, grid, click=False):
    """Move the mouse to the middle of a patch."""
    from selenium.webdriver import ActionChains

    canvas = browser.find(selector)
    size = canvas.size["height"], canvas.size["width"]
    offset = [round(((cell + 0.5) / grid - 0.5) * side) for cell, side in zip((row, column), size, strict=True)]
    actions = ActionChains(browser.driver, duration=0).move_to_element_with_offset(canvas, offset[1], offset[0])
    (actions.click() if click else actions).perform()
    settle(browser)


def rgb(browser, selector, size):
    return np.asarray(browser.run(CANVAS, selector)).reshape(*size, 4)[..., :3].astype(int)


def text(browser, selector):
    return browser.text(selector).replace("\u00a0", " ")


def test_pointing_shows_what_a_patch_attends_to_and_what_attends_to_it(page, explored):
    traced = vitjax.trace(explored.models[0], str(explored.files[0]), score=None)
    attention = np.asarray(traced.attention)[0, -1].mean(0)
    point(page, f"{LEFT} .photo canvas", 2, 5, 8)
    token = 1 + 2 * 8 + 5
    assert text(page, f"{LEFT} .photo p") == "Patch at row 2, column 5"
    shown = text(page, f"{LEFT} .to p"), text(page, f"{LEFT} .by p")
    assert shown[0] == f"class token {100 * attention[token, 0]:.1f} %, itself {100 * attention[token, token]:.1f} %"
    assert shown[1].startswith(f"class token {100 * attention[0, token]:.1f} %")
    assert text(page, f"{LEFT} .to .bar").endswith(f"{100 * attention[token, 1:].max():.1f} %")
    point(page, f"{LEFT} .to canvas", 4, 4, 8)
    assert text(page, f"{LEFT} .to p") == f"row 4, column 4: {100 * attention[token, 1 + 4 * 8 + 4]:.2f} %"
    assert text(page, f"{LEFT} .photo p") == "Patch at row 2, column 5"  # pointing at a map chooses nothing


def test_a_click_keeps_a_patch_and_the_other_model_follows(page):
    point(page, f"{LEFT} .photo canvas", 1, 6, 8, click=True)
    point(page, f"{LEFT} .photo canvas", 7, 0, 8)
    assert text(page, f"{LEFT} .photo p") == "Patch at row 1, column 6, kept"
    assert text(page, f"{RIGHT} .photo p") == "Patch at row 0, column 3, kept"  # on a grid of 4 x 4
    point(page, f"{LEFT} .photo canvas", 1, 6, 8, click=True)
    point(page, f"{LEFT} .photo canvas", 7, 0, 8)
    assert text(page, f"{LEFT} .photo p") == "Patch at row 7, column 0"
    page.find(f"{LEFT} .controls button").click()  # "class token", which the right one has too
    settle(page)
    assert text(page, f"{LEFT} .photo p") == text(page, f"{RIGHT} .photo p") == "Class token"


def test_keys_move_the_patch_and_choose_block_and_head(page, explored):
    page.run("document.querySelector(arguments[0]).focus()", f"{LEFT} .photo canvas")
    page.press("ArrowDown", "ArrowDown", "ArrowLeft")
    settle(page)
    assert text(page, f"{LEFT} .photo p") == "Patch at row 5, column 3, kept"  # from the middle, row 4 and column 4
    page.run("document.querySelector(arguments[0]).focus()", f"{LEFT} .sheet")
    page.press("ArrowDown", "ArrowDown", "ArrowLeft")
    settle(page)
    assert text(page, f"{LEFT} .chosen") == "Block 4, head 1"
    shown = page.run("return Array.from(window.vitjax.panels[0].attention.shown.to)")
    traced = vitjax.trace(explored.models[0], str(explored.files[0]), score=None)
    expected = np.asarray(traced.attention)[0, 4, 1, 1 + 5 * 8 + 3]
    assert np.abs(shown - expected).max() < 0.004 * expected.max()


def test_what_attends_to_a_patch_and_the_mean_over_heads(page, explored):
    attention = np.asarray(vitjax.trace(explored.models[0], str(explored.files[0]), score=None).attention)[0]
    column = np.asarray(page.run("return Array.from(window.vitjax.panels[0].attention.attention.attending(3, 2, 9))"))
    assert (np.abs(column - attention[3, 2, :, 9]) < 0.004 * attention[3, 2].max(axis=-1)).all()
    mean = page.run(
        "const a = window.vitjax.panels[0].attention.attention; const query = new Float64Array(a.n); query[9] = 1;"
        "return Array.from(a.attended(3, null, query))"
    )
    np.testing.assert_allclose(mean, attention[3, :, 9].mean(0), atol=1e-5)


@pytest.mark.parametrize("model, start", [(0, 0), (0, 3), (1, 0)])
def test_rollout_of_the_page_is_vitjaxs_within_its_bound(page, explored, model, start):
    panel = f"window.vitjax.panels[{model}].attention"
    query = f"{panel}.tokens.pooled ? {panel}.attention.readout : Float64Array.from({{length: {panel}.attention.n}}, "
    query += "(_, i) => i === 0 ? 1 : 0)"
    found = np.asarray(
        page.run(f"const a = {panel}.attention; return Array.from(a.rolloutAttended({start}, a.blocks - 1, {query}))")
    )
    own = vitjax.explain(explored.models[model], str(explored.files[0]), "rollout", start_layer=start).maps[0].ravel()
    prefix = explored.models[model].config.prefix
    assert np.abs(found[prefix:] - own).sum() <= explored.parts[model].attention[0].bounds[start]
    assert found.sum() == pytest.approx(1, abs=1e-5)
    columns = page.run(  # the same product, read by columns
        f"const a = {panel}.attention; return [prefix => a.rolloutAttending({start}, prefix)[a.blocks - 1][1]]"
        f".flatMap(each => Array.from({{length: a.n}}, (_, key) => each(key)))"
    )
    rows = page.run(
        f"const a = {panel}.attention; const q = new Float64Array(a.n); q[1] = 1;"
        f"return Array.from(a.rolloutAttended({start}, a.blocks - 1, q))"
    )
    np.testing.assert_allclose(columns, rows, atol=1e-12)


def test_rollout_starts_at_the_block_of_the_slider(page, explored):
    page.run("document.querySelector(arguments[0]).focus()", f"{LEFT} .start input")
    page.press("ArrowRight", "ArrowRight")
    settle(page)
    bound = explored.parts[0].attention[0].bounds[2]
    expected = f"Rollout of blocks 2 to 5; off by at most {100 * bound:.2f} % of all weight"
    assert text(page, f"{LEFT} .chosen") == expected


def test_overlays_are_those_of_vitjax_for_every_method_and_class(page, explored):
    part = explored.parts[0]
    methods = f"{LEFT} .methods select"
    for number, (label, target) in enumerate([("transformer_mm", 0), ("transformer_mm", 1), ("gradient_x_input", 1)]):
        page.run(
            "const [method, target] = document.querySelectorAll(arguments[0]);"
            "method.selectedIndex = arguments[1]; method.dispatchEvent(new Event('change'));"
            "target.selectedIndex = arguments[2]; target.dispatchEvent(new Event('change'));",
            methods,
            list(part.explanations).index(label),
            target,
        )
        settle(page)
        expected = np.asarray(part.explanations[label].overlay(target)).astype(int)
        assert np.abs(rgb(page, f"{LEFT} .relevance canvas", (64, 64)) - expected).max() <= 2, number
        assert text(page, f"{LEFT} .relevance p") == f"for {part.explanations[label].target_names[target]}"


def test_the_slider_removes_pixels_and_tells_the_probability_of_the_metric(page, explored):
    removal = explored.parts[0].removals["rollout", 0]
    page.run("document.querySelector(arguments[0]).focus()", f"{LEFT} input.level")
    page.press("ArrowRight", "ArrowRight", "ArrowRight")
    settle(page)
    share = removal.curves["positive"]["predicted"][3]
    assert text(page, f"{LEFT} .removed p").startswith(f"15 %: striped star {share:.1f} %")
    count = int(64 * 64 * 0.15)
    gone = removal.order <= thresholds(64 * 64).index(count)
    mean = np.rint(255 * np.asarray(explored.models[0].preprocessing.mean))
    expected = np.where(gone[..., None], mean, explored.parts[0].images.pixels[0])
    assert gone.sum() == count and (rgb(page, f"{LEFT} .removed canvas", (64, 64)) == expected).all()
    assert text(page, f"{LEFT} .curve").count(f"area {removal.areas['probability']['positive']:.2f} %") == 1
    assert page.run("return document.querySelectorAll('input.level')[1].value") == "3"  # the other model follows
    page.find_all(f"{LEFT} .order button")[1].click()
    settle(page)
    assert f"area {removal.areas['probability']['negative']:.2f} %" in text(page, f"{LEFT} .curve")
    cells = text(page, f"{LEFT} tbody tr").split()
    areas = [removal.areas[measure][order] for measure in removal.areas for order in ("positive", "negative")]
    assert cells[-4:] == [f"{area:.2f}" for area in areas]


def test_another_image_is_shown_whatever_its_name(page, explored):
    page.run(
        "const select = document.getElementById('image'); select.selectedIndex = 1;"
        "select.dispatchEvent(new Event('change'))"
    )
    wait(page, "return document.getElementById('main').dataset.image === '1'")
    settle(page)
    assert HOSTILE.replace("/", "∕") in page.run("return document.getElementById('image').textContent")
    assert (rgb(page, f"{LEFT} .photo canvas", (64, 64)) == explored.parts[0].images.pixels[1]).all()
    assert page.run("return document.images.length") == 0 and page.complaints() == []


def test_touch_on_a_narrow_screen(browser, explored):
    page = opened(browser, explored, width=375, height=800, touch=True)
    assert page.overflow() == 0
    box = page.run(
        "const c = document.querySelector(arguments[0]); c.scrollIntoView({block: 'center'});"
        "const b = c.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]",
        f"{LEFT} .photo canvas",
    )
    place = {"x": box[0] + box[2] * 3.5 / 8, "y": box[1] + box[3] * 6.5 / 8}
    page.command("Input.dispatchTouchEvent", type="touchStart", touchPoints=[place])
    page.command("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    settle(page)
    assert text(page, f"{LEFT} .photo p") == "Patch at row 6, column 3, kept"


def test_dark_and_light(browser, explored):
    page, colours = opened(browser, explored), {}
    for scheme in ("light", "dark"):
        page.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours[scheme] = page.run("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    page.command("Emulation.setEmulatedMedia", features=[])
    assert colours["light"][1] == "rgb(255, 255, 255)" and colours["dark"][1] == "rgb(20, 24, 29)"
    assert colours["light"][0] != colours["dark"][0]


def test_print_shows_the_choice_and_no_controls(browser, explored):
    page = opened(browser, explored, media="print")
    assert text(page, f"{LEFT} .methods select").startswith("Attention rollout")
    assert not page.find(f"{LEFT} input.level").is_displayed() and page.find(f"{LEFT} .sheet").is_displayed()
    page.command("Emulation.setEmulatedMedia", media="")
