"""Label the rows with their library, and skip a library whose version is not the one that claims.toml quotes."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest

_REQUIREMENTS = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8")
PINNED = dict(line.split("==") for line in _REQUIREMENTS.splitlines() if "==" in line)


@pytest.fixture
def library(request: pytest.FixtureRequest) -> str | None:
    """Return the library that a test is about: the first part of its claims' names, None for a test without one."""
    claim = request.node.get_closest_marker("speedup_claim")
    return None if claim is None else claim.args[0].partition(".")[0]


@pytest.fixture
def pair_labels(library: str | None) -> Mapping[str, str | None]:
    """Return the labels of a test's row."""
    return {"family": library}


@pytest.fixture(autouse=True)
def quoted_version(library: str | None) -> None:
    """Skip a test whose library is installed in another version than the quoted one: the claim is not about it."""
    if library is not None and version(library) != PINNED[library]:
        pytest.skip(f"{library} {version(library)} is installed, the claim is of {PINNED[library]}: "
                    "pip install -r requirements.txt")  # fmt: skip
