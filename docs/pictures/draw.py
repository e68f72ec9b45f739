"""Draw the pictures of a record's report: `python docs/pictures/draw.py RECORD.json`.

They go to reports/pictures: the first screen of the page on a desktop, in the dark, on a phone and on paper, and the
end of a run in terminals of 80 and 120 columns; and the README's example in a terminal. It needs Chromium,
chromedriver and selenium.
"""

import argparse
import base64
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from speedclaims import boundary
from speedclaims.errors import SpeedclaimsError
from speedclaims.record.io import read
from speedclaims.report.html.page import write_report
from speedclaims.report.terminal.summary import claims_summary

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "pictures"
SCREENS = {
    "report": (1280, 1000, "screen", "light"),
    "report-dark": (1280, 1000, "screen", "dark"),
    "report-phone": (390, 844, "screen", "light"),
    "report-print": (794, 1123, "print", "light"),
}
"""Width and height in pixels, medium and colour scheme; paper is A4 at 96 pixels an inch."""


def screenshots(page: Path) -> None:
    """Take the screenshots of a page."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    with webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver"))) as browser:
        for name, (width, height, medium, scheme) in SCREENS.items():
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
            )
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})
            browser.get(page.as_uri())
            taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
            (FOLDER / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))


def main(arguments: list[str]) -> int:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    record = read(parser.parse_args(arguments).record)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_report([record], Path(folder))
        screenshots(Path(folder, "index.html"))
    for columns in (80, 120):
        draw_terminal(claims_summary(record, columns, color=True), columns, f"terminal-{columns}", "pytest bench/")
    draw_example()
    return 0


def draw_terminal(text: str, columns: int, name: str, title: str) -> None:
    """Draw what a terminal shows."""
    console = Console(record=True, width=columns, file=io.StringIO())
    console.print(Text.from_ansi(text))
    console.save_svg(str(FOLDER / f"{name}.svg"), title=title)


def draw_example() -> None:
    """Run the README's example in a terminal of 80 columns, and draw what it prints."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    files = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    command = "pytest test_join.py --speedup-report report"
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files:
            Path(folder, name).write_text(text, encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - the README's own command
            [sys.executable, "-m", *command.split(), "-q", "--color=yes", "-pno:xdist", "-pno:hypothesispytest"],
            cwd=folder, env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    draw_terminal(done.stdout, 80, "example", command)


if __name__ == "__main__":
    sys.exit(boundary.run(partial(main, sys.argv[1:]), SpeedclaimsError, "draw.py"))
