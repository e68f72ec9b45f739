"""Each example runs as its README says."""

import shutil
from pathlib import Path

import pytest

from tests.docs.test_pages import follow

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/README.md"))
MEASURED_APART = {"public_claims"}  # it needs ten libraries, see test_public_claims.py


@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES if one.name not in MEASURED_APART], ids=lambda one: one.name
)
def test_an_example_does_what_its_readme_says(example, tmp_path):
    folder = tmp_path / example.name
    shutil.copytree(example, folder)
    page = (example / "README.md").read_text(encoding="utf-8")
    assert "$ pytest" in page
    assert follow(page, folder) == []


def test_every_example_is_in_the_list():
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    folders = [path.name for path in (ROOT / "examples").iterdir() if path.is_dir()]
    assert [name for name in folders if f"[{name}]({name}/" not in listed] == []
