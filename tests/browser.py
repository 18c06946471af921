"""A headless Chromium for tests of pages: the fixture `browser`, which skips where Chromium is not installed.

    def test_page(browser, tmp_path):
        browser.open(tmp_path / "index.html", width=400)
        browser.find("button").click()
        assert browser.text("h1") == "Results" and not browser.complaints()
        browser.screenshot(tmp_path / "page.png")

Pages have no network: every host name but that of the page fails to resolve, and `complaints` reports the attempt.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
"""Debian's paths; `apt-get install chromium chromium-driver`."""
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # continuous integration runs as root
    "--disable-dev-shm-usage",  # containers have little shared memory
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--disable-background-networking",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Browser:
    """A Chromium with one page.

    Attributes:
        driver: selenium's WebDriver, for what the methods here do not offer.
    """

    def __init__(self) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in ARGUMENTS:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))

    def open(self, page: Path, *, width: int = 1200, height: int = 900, touch: bool = False, media: str = "") -> None:
        """Load a page.

        Args:
            page: HTML file.
            width, height: of the window [CSS pixels]; narrower than a headless window allows is possible.
            touch: whether the page sees a touch screen.
            media: "print" or "screen" instead of the default.
        """
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.command("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.command("Emulation.setEmulatedMedia", media=media)
        self.complaints()
        self.driver.get(page.resolve().as_uri())

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Send a command of the Chrome DevTools Protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that JavaScript returns; its arguments are `arguments[0]` and so on."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector.

        Raises:
            NoSuchElementException: no element matches.
        """
        return self.driver.find_element("css selector", selector)

    def find_all(self, selector: str) -> list[Any]:
        """All elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        """The visible text of the first element of a CSS selector."""
        return self.find(selector).text

    def press(self, *keys: str) -> None:
        """Press keys one after the other, as `browser.press("Tab", "Enter", "a")`; "Shift+Tab" is pressed together."""
        from selenium.webdriver import ActionChains, Keys

        for combination in keys:
            actions = ActionChains(self.driver, duration=0)
            *held, key = [_key(Keys, name) for name in combination.split("+")]
            for name in held:
                actions.key_down(name)
            actions.send_keys(key)
            for name in held:
                actions.key_up(name)
            actions.perform()

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the last call: uncaught exceptions, files that did not load."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def overflow(self) -> int:
        """By how many CSS pixels the page is wider than the window."""
        return self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def screenshot(self, file: Path, *, whole: bool = True) -> Path:
        """Write a PNG of the whole page, or of the window."""
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return _write(file, shot["data"])

    def pdf(self, file: Path) -> Path:
        """Write the page as it prints."""
        printed = self.command("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return _write(file, printed["data"])

    def close(self) -> None:
        self.driver.quit()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a process; skips where it or selenium is not installed."""
    pytest.importorskip("selenium", reason="needs selenium")
    for program in (CHROMIUM, DRIVER):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install chromium chromium-driver")
    started = Browser()
    yield started
    started.close()


def _key(names: Any, name: str) -> str:
    """Selenium's code of a key such as "Tab" or "ArrowLeft"; a single character stands for itself."""
    return name if len(name) == 1 else getattr(names, name.replace("Arrow", "Arrow_").upper())


def _write(file: Path, data: str) -> Path:
    file.write_bytes(base64.b64decode(data))
    return file
