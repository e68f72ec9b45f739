"""The page in a browser: it opens offline, its first screen shows the result, and nothing overflows."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speedclaims.report.html.page import write_report
from tests.speedclaims.report.conftest import poison
from tests.speedclaims.report.history import history, hostile_history
from tests.speedclaims.report.sample import (
    Row,
    add_inconsistent,
    gpu_record,
    ladder_record,
    sample_record,
    with_variants,
)

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not both on the path"
)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a browser with a profile of its own, which notes every request."""
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield driver
    driver.quit()


def show(browser: Any, record: Row | list[Row], directory: Path, width: int, height: int) -> None:
    """Write a report of one or several records and open it in a window of a size."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    write_report(record if isinstance(record, list) else [record], directory)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get((directory / "index.html").as_uri())


def requests(browser: Any) -> list[str]:
    """Return the addresses that were asked for since the page was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [message["params"]["request"]["url"] for message in sent]


@pytest.mark.parametrize("make", [sample_record, gpu_record, lambda: poison(ladder_record()), history])
def test_the_page_opens_without_errors_and_asks_for_nothing(browser: Any, make: Any, tmp_path: Path) -> None:
    show(browser, make(), tmp_path, 1280, 800)
    assert browser.find_element("tag name", "h1").is_displayed()
    assert browser.get_log("browser") == []
    outside = [address for address in requests(browser) if not address.startswith(("file:", "data:"))]
    assert outside == []


def test_the_first_screen_has_the_headline_the_certainty_and_the_first_claims(browser: Any, tmp_path: Path) -> None:
    show(browser, sample_record(), tmp_path, 1280, 800)
    bottoms = browser.execute_script(
        "return [...document.querySelectorAll('h1, .counts, .machine, .sure, .claims tbody tr')]"
        ".map(e => e.getBoundingClientRect().bottom)"
    )
    assert all(bottom <= 800 for bottom in bottoms[:8])
    assert "3 of 5 claims judged on this machine hold" in browser.find_element("tag name", "h1").text


def test_forty_arithmetic_claims_leave_the_first_screen_to_what_was_measured(browser: Any, tmp_path: Path) -> None:
    record = sample_record()
    add_inconsistent(record, 40)
    show(browser, record, tmp_path, 1280, 800)
    tops = browser.execute_script(
        "return ['.arithmetic', '.claims tbody', '#audit']"
        ".map(path => document.querySelector(path).getBoundingClientRect().top)"
    )
    assert tops[0] < tops[1] < 800 < tops[2]


@pytest.mark.parametrize("width", [400, 768, 1280])
@pytest.mark.parametrize(
    "make",
    [
        sample_record,
        gpu_record,
        ladder_record,
        lambda: poison(ladder_record()),
        with_variants,
        lambda: poison(with_variants()),
        history,
        hostile_history,
    ],
)
def test_the_page_never_scrolls_sideways(browser: Any, make: Any, width: int, tmp_path: Path) -> None:
    show(browser, make(), tmp_path, width, 800)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_verdicts_are_readable_in_light_and_dark(browser: Any, scheme: str, tmp_path: Path) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    show(browser, sample_record(), tmp_path, 1280, 800)
    colors = browser.execute_script(
        "const back = getComputedStyle(document.body).backgroundColor;"
        "return [...document.querySelectorAll('h1, .badge, .under, .sure, .none, .good, .bad, a')]"
        ".map(e => [getComputedStyle(e).color, back])"
    )
    assert min(contrast(parse(text), parse(back)) for text, back in colors) >= 4.5


def parse(color: str) -> tuple[float, ...]:
    """Return the red, green and blue of a computed colour, from 0 to 1."""
    numbers = color[color.index("(") + 1 : color.index(")")].split(",")
    return tuple(float(number) / 255 for number in numbers[:3])


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Return the contrast of two colours as WCAG 2 defines it; 4.5 is its limit for small text."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: tuple[float, ...]) -> float:
    """Return the relative luminance of WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
