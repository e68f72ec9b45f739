"""Recorders of other packages are found by entry points, recorded, shown and judged like the built-in ones."""

import json
import os
import subprocess
import sys

import pytest

from speedclaims import cli
from speedclaims.recorders import registry
from speedclaims.recorders.recorder import Recorder
from tests.speedclaims.conftest import LIGHT

RECORDER = """
import sys

from speedclaims.recorders.recorder import Metric, Recorder, Side
from speedclaims.record.figure import figure


def ratio(pair):
    figures = pair["recorders"].get("blocks")
    return None if figures is None else figures["allocated"]["ratio"]


class Blocks(Recorder):
    name = "blocks"
    help = "memory blocks that one call allocates"
    units = {"allocated": "1"}
    metrics = (Metric("block_ratio", "allocated blocks", ratio),)

    def record_side(self, side: Side) -> object:
        side.prepare()
        before = sys.getallocatedblocks()
        kept = side.act()
        found = figure(float(sys.getallocatedblocks() - before), "1")
        del kept
        return {"allocated": found}
"""

TEST = """
import pytest

@pytest.mark.speedup_claim("fewer-blocks")
def test_lists(pair):
    pair(before=lambda: [object() for _ in range(10_000)], after=lambda: [object() for _ in range(1_000)])
"""

LEDGER = """
[[claim]]
id = "fewer-blocks"
source = "paper"
text = "several times fewer allocations"
kind = "measured"
metric = "block_ratio"
low = 5
"""


def install(folder, target="blocks_recorder:Blocks"):
    """Put a package with a recorder where Python finds it, as an installer leaves it."""
    metadata = folder / "blocks_recorder-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "blocks_recorder.py").write_text(RECORDER)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: blocks-recorder\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{registry.GROUP}]\nblocks = {target}\n")
    return folder


@pytest.fixture
def run(tmp_path):
    def run(*arguments, target="blocks_recorder:Blocks", module=("pytest", "-pno:xdist", *LIGHT)):
        site = install(tmp_path / "site", target)
        (tmp_path / "test_b.py").write_text(TEST)
        (tmp_path / "claims.toml").write_text(LEDGER)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
        command = [sys.executable, "-m", *module, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_recorder_of_another_package_records_is_shown_and_judges_a_claim(run, tmp_path):
    done = run("--speedup-passes=time,blocks", "--speedup-max-time=0.3", "--speedup-report=out")
    assert done.returncode == 0, done.stdout
    record = json.loads((tmp_path / "out" / "record.json").read_text())["speedclaims"]
    allocated = record["pairs"][0]["recorders"]["blocks"]["allocated"]
    assert 10_000 <= allocated["before"]["value"] < 10_500
    assert allocated["ratio"]["value"] == pytest.approx(10, rel=0.1)
    (claim,) = record["claims"]
    assert (claim["verdict"], claim["measured"]) == ("confirmed", allocated["ratio"]["value"])
    tables = (tmp_path / "out" / "speedups.md").read_text()
    assert "### blocks: allocated" in tables
    assert "allocated blocks" in tables
    assert "blocks: allocated" in (tmp_path / "out" / "index.html").read_text()


def test_without_its_pass_the_claim_is_not_measured(run, tmp_path):
    assert run("--speedup-max-time=0.3", "--speedup-report=out").returncode == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())["speedclaims"]
    assert record["pairs"][0]["recorders"] == {}
    (claim,) = record["claims"]
    assert claim["verdict"] == "not_measured"
    assert "block ratio" in claim["reason"]


def test_doctor_names_it(run):
    done = run("doctor", module=("speedclaims",))
    assert json.loads(done.stdout)["passes"]["blocks"] == {"possible": True, "reason": None}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module:Blocks", "it cannot be loaded (ModuleNotFoundError"),
        ("json:JSONDecoder", "not a subclass of speedclaims.recorders.recorder.Recorder"),
        ("speedclaims.recorders.memory:Memory", "another recorder has the name memory"),
    ],
)
def test_a_broken_one_is_refused_in_one_line_before_anything_is_measured(run, target, words):
    done = run("--speedup-report=out", target=target)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert f"entry point blocks = {target}" in line
    assert words in line
    assert "passed" not in done.stdout


def test_every_recorder_of_this_package_says_what_it_is():
    found = registry.recorders()
    assert list(found)[:6] == ["stages", "cold", "memory", "syncs", "profile", "gpu"]
    for name, one in found.items():
        assert isinstance(one, Recorder)
        assert (one.name, bool(one.help)) == (name, True)
    assert registry.passes()[0] == "time"
    assert "stages" not in registry.passes()


def test_a_ledger_takes_the_metrics_of_the_recorders_alone(tmp_path, capsys):
    (tmp_path / "claims.toml").write_text(LEDGER)
    assert cli.main(["audit", str(tmp_path / "claims.toml")]) == 2
    assert "metric: 'block_ratio' is not one of speedup, quality, memory_ratio" in capsys.readouterr().err
