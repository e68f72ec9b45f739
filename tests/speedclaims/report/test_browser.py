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
Keys = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed").Keys
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not both on the path"),
]
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
        "const back = e => { const own = getComputedStyle(e).backgroundColor;"
        " return own === 'rgba(0, 0, 0, 0)' ? back(e.parentElement) : own; };"
        "return [...document.querySelectorAll('h1, .badge, .under, .sure, .none, .good, .bad, a')]"
        ".map(e => [getComputedStyle(e).color, back(e)])"
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


WIDER = (
    "return [...document.querySelectorAll('.scroll')].filter(e => e.querySelector('table')"
    " && e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
)
SHOWN = "return [...document.querySelectorAll('.claims tr[data-verdict]')].filter(e => e.getClientRects().length)"


@pytest.mark.parametrize("make", [sample_record, gpu_record, ladder_record, with_variants, history])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_table_is_wider_than_the_page(browser: Any, make: Any, width: int, tmp_path: Path) -> None:
    show(browser, make(), tmp_path, width, 800)
    assert browser.execute_script(WIDER) == []


@pytest.mark.parametrize("make", [sample_record, gpu_record, with_variants])
def test_a_printed_page_has_tables_as_wide_as_the_paper(browser: Any, make: Any, tmp_path: Path) -> None:
    show(browser, make(), tmp_path, 720, 1000)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    width = browser.execute_script("return document.documentElement.scrollWidth")
    tables = browser.execute_script(
        "return [...document.querySelectorAll('table')].map(e => getComputedStyle(e).display)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert width <= 720
    assert set(tables) == {"table"}


def test_a_press_on_a_count_shows_the_claims_of_that_verdict_and_no_empty_group(browser: Any, tmp_path: Path) -> None:
    record = sample_record()
    for row in record["speedclaims"]["claims"]:
        row["source"] = row["verdict"]
    show(browser, record, tmp_path, 1280, 800)
    every = browser.execute_script(SHOWN)
    browser.find_element("css selector", "label[for=show-claims-refuted]").click()
    shown = browser.execute_script(SHOWN)
    assert {row.get_attribute("data-verdict") for row in shown} == {"refuted"}
    headings = [one for one in browser.find_elements("css selector", ".claims .group") if one.is_displayed()]
    assert [one.get_attribute("textContent").strip() for one in headings] == ["refuted: 1 refuted"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    printed = browser.execute_script(SHOWN)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert printed == every
    number = browser.execute_script(
        "return [...document.querySelectorAll('[name=show-claims]')].findIndex(e => e.checked)"
    )
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT * number)
    assert browser.execute_script(SHOWN) == every


def test_a_press_on_a_heading_sorts_the_rows_within_their_groups(browser: Any, tmp_path: Path) -> None:
    show(browser, sample_record(), tmp_path, 1280, 800)
    values = "return [...document.querySelectorAll('.claims tr[data-keys]')].map(e => JSON.parse(e.dataset.keys)[2][0])"
    button = browser.find_element("css selector", ".claims th:nth-child(3) button")
    measured = sorted(value for value in browser.execute_script(values) if value is not None)
    assert len(measured) > 2
    num_missing = len(browser.execute_script(values)) - len(measured)
    for expected, state in ((measured, "ascending"), (measured[::-1], "descending")):
        button.send_keys(Keys.ENTER)
        assert browser.execute_script(values) == [*expected, *[None] * num_missing]
        assert browser.find_element("css selector", ".claims th:nth-child(3)").get_attribute("aria-sort") == state
    assert browser.find_element("css selector", ".claims tbody tr").get_attribute("class") == "group"


def test_no_script_but_the_pages_own_can_run(browser: Any, tmp_path: Path) -> None:
    show(browser, sample_record(), tmp_path, 1280, 800)
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'document.title = \"run\"';"
        "document.body.append(script); document.body.setAttribute('onclick', 'document.title = \"run\"');"
    )
    browser.find_element("tag name", "h1").click()
    assert browser.title != "run"
    assert [entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]


def test_every_label_of_a_plot_is_whole_and_inside_it(browser: Any, tmp_path: Path) -> None:
    record = sample_record()
    for pair in record["speedclaims"]["pairs"]:
        pair["title"] = "An epoch of the published program, its figures fetched one by one, against one before. " * 2
        pair["after"] = "restructured + loader_workers + persistent_workers + mixed_precision + sparse_logging"
    show(browser, record, tmp_path, 1280, 800)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.forest g text[text-anchor=start]')]"
        ".map(e => [e.getBBox().x, e.getBBox().x + e.getBBox().width])"
    )
    assert boxes
    assert all(left >= -1 and right <= 390 for left, right in boxes)
    text = browser.find_element("css selector", ".forest").get_attribute("textContent")
    assert "…" not in text
