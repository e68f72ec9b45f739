"""The example of public claims: its quotes are the libraries' own words, and its pairs compute the same."""

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

import pytest

from speedclaims.claims.ledger import load_ledger

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "public_claims"
CLAIMS = load_ledger(EXAMPLE / "claims.toml").claims
PINNED = dict(
    line.split("==") for line in (EXAMPLE / "requirements.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)
SOURCE = re.compile(r"(?P<library>\S+) (?P<version>\S+), (?P<text>long description|\S+ of the source distribution), ")
LINE = re.compile(r"line (\d+)$")
MOST_LINES = 12
"""No part of a quote is longer than that."""


def without_markup(text):
    """Return a text without links, asterisks and line breaks."""
    return " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("**", "").split())


def misquoted(lines, number, quote):
    """Return the parts of a quote that are not in a text in this order, the first of them from a line on."""
    first, *others = map(without_markup, quote.split("…"))
    start = without_markup("\n".join(lines[number - 1 : number - 1 + MOST_LINES]))
    missing = [] if first in start and first not in without_markup("\n".join(lines[number:])) else [first]
    rest = without_markup("\n".join(lines[number - 1 :])).partition(first)[2]
    for part in others:
        _, found, rest = rest.partition(part)
        missing += [] if found else [part]
    return missing


def of_other_versions(pinned):
    """Return the packages that are missing or installed in another version, each with a word on it."""
    found = []
    for name, wanted in pinned.items():
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            found.append(f"{name} is not installed")
        else:
            found += [f"{name} is {installed}, not {wanted}"] * (installed != wanted)
    return found


def test_every_claim_is_judged_by_a_test_and_every_test_s_claim_is_in_the_ledger():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in EXAMPLE.glob("test_*.py")]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    libraries = "|".join({name.partition(".")[0] for name in CLAIMS})
    named = {text for text in texts if isinstance(text, str) and re.fullmatch(rf"({libraries})\.[a-z0-9-]+", text)}
    assert named == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_s_source_names_the_pinned_version_of_its_library(name):
    source = SOURCE.match(CLAIMS[name].source)
    assert source["library"] == name.partition(".")[0]
    assert source["version"] == PINNED[source["library"]]
    assert LINE.search(CLAIMS[name].source)


@pytest.mark.parametrize(
    "name", [name for name, claim in CLAIMS.items() if SOURCE.match(claim.source)["text"] == "long description"]
)
def test_a_quote_is_in_the_long_description_of_the_installed_library(name):
    library = name.partition(".")[0]
    wrong = of_other_versions({library: PINNED[library]})
    if wrong:
        pytest.skip(wrong[0])
    found = metadata(library)
    lines = (found.get_payload() or found["Description"]).splitlines()
    assert misquoted(lines, int(LINE.search(CLAIMS[name].source)[1]), CLAIMS[name].text) == []


def test_a_wrong_quote_and_a_wrong_line_would_be_seen():
    lines = ["# fast", "", "It is **2x", "faster** than [this](that).", "", "| a | 1 |", "| b | 2 |"]
    assert misquoted(lines, 3, "It is 2x faster than this. … | b | 2 |") == []
    assert misquoted(lines, 3, "It is 3x faster than this.") == ["It is 3x faster than this."]
    assert misquoted(lines, 2, "It is 2x faster") == ["It is 2x faster"]
    assert misquoted(lines, 3, "It is 2x … | b | 2 | … | a | 1 |") == ["| a | 1 |"]


def test_the_pairs_compute_the_same():
    wrong = of_other_versions(PINNED)
    if wrong:
        pytest.skip(f"{'; '.join(wrong)}: pip install -r examples/public_claims/requirements.txt")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))}
    command = [sys.executable, "-m", "pytest", EXAMPLE, "--benchmark-disable", "-q", "-p", "no:cacheprovider", "-rs"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    # Each pair passes its check and calls each side once; then its test is skipped, for nothing is measured.
    skipped = re.search(r"^SKIPPED \[(\d+)\] .*: not_measured: benchmarks are disabled", output, re.MULTILINE)
    assert skipped, output
    assert re.search(rf"^{skipped[1]} skipped in ", output, re.MULTILINE), output
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, output
