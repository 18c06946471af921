"""The harness for tests of pages: what it reports of a page that is known."""

from PIL import Image

PAGE = """<!doctype html><title>t</title><style>@media print { p { display: none } }</style><body style="margin: 0">
<h1>Results</h1><p style="width: 700px; height: 2000px">wide</p><button>one</button><button>two</button>
<script>
  addEventListener("keydown", (event) => { document.title += " " + (event.shiftKey ? "Shift+" : "") + event.key; });
</script>"""


def test_size_media_keys_and_screenshots(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    browser.open(page, width=320, height=500)
    assert browser.text("h1") == "Results" and browser.overflow() == 380
    browser.press("Tab", "Shift+Tab", "ArrowLeft", "a")
    assert browser.run("return document.title") == "t Tab Shift+Shift Shift+Tab ArrowLeft a"
    assert Image.open(browser.screenshot(tmp_path / "window.png", whole=False)).size == (320, 500)
    assert Image.open(browser.screenshot(tmp_path / "page.png")).height > 2000
    browser.open(page, media="print")
    assert not browser.find("p").is_displayed() and not browser.complaints()
    assert browser.pdf(tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_complains_of_exceptions_and_of_the_network(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<!doctype html><img src="http://example.com/a.png"><script>undefined_name()</script>')
    browser.open(page)
    exception, network = sorted(browser.complaints(), key=lambda text: "ERR_" in text)
    assert "undefined_name is not defined" in exception and "ERR_NAME_NOT_RESOLVED" in network
