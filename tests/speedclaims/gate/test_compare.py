"""The gate as a user meets it: the exit code and the line for every state of the base."""

import json
import re

import pytest
from rich.cells import cell_len

from speedclaims import cli
from speedclaims.gate.compare import Rules, compare
from speedclaims.report.model.gate import CHANGES
from speedclaims.report.terminal.gate_table import gate_summary
from tests.speedclaims.comparing import gone, judged, measured, record, save, slowed
from tests.speedclaims.report.conftest import HOSTILE

FAILED, USAGE = 1, 4
ANSI = re.compile(r"\x1b\[[0-9;]*m")

# The clock of these runs goes on by what the sides say they took: every machine measures the same, at once.
PAIRS = """
import os, random
import pytest
from speedclaims import clock

NOW, DRAW = [0.0], random.Random(os.getpid())
clock.timer = lambda: lambda: NOW[0]

class Side:
    def __init__(self, label, seconds):
        self.label, self.seconds = label, seconds

    def __call__(self):
        NOW[0] += self.seconds * DRAW.gauss(1, 0.004)

def test_a(pair):
    pair(before=Side("old", 0.010), after=Side("new", 0.005))

def test_b(pair):
    pair(before=Side("old", 0.010), after=Side("new", 0.008))
"""
SLOWER = PAIRS.replace("0.005", "0.0065")
FEW = "--speedup-processes=3"
GATE = ("--benchmark-compare=base.json", "--speedup-fail=5")


BASES = {}
"""The base of these pairs, measured once and used by all tests that do not look at how."""


@pytest.fixture
def saved(project):
    """A project with a saved base, measured in five processes a pair."""
    project.write(test_p_py=PAIRS)
    base = project.path / "base.json"
    if BASES:
        base.write_text(BASES["base"])
    else:
        assert project.run("--speedup-processes=5", "--benchmark-json=base.json").ret == 0
        BASES["base"] = base.read_text()
    return project


def flat(result):
    return " ".join(line.strip() for line in result.outlines).replace("  ", " ")


def change(project, edit, name="base.json"):
    path = project.path / name
    data = json.loads(path.read_text())
    edit(data["speedclaims"])
    path.write_text(json.dumps(data))


# -- sessions ------------------------------------------------------------------------------------------------------


def test_an_unchanged_project_passes_and_a_slower_one_fails(project):
    project.write(test_p_py=PAIRS)
    assert project.run(FEW, "--benchmark-autosave").ret == 0
    same = project.run("--benchmark-compare", "--speedup-fail=5", "--speedup-report=out")
    same.stdout.fnmatch_lines(["*speedclaims gate*", "test_a *2.0*held", "Gate passed. 2 pairs: 2 held."])
    assert same.ret == 0
    assert [row["process_num_values"] != [] for row in project.record()["speedclaims"]["pairs"]] == [True, True]
    assert {row["num_processes"] for row in project.record()["speedclaims"]["pairs"]} == {3}
    project.write(test_p_py=SLOWER)
    slower = project.run("--benchmark-compare=0001", "--speedup-fail=5")
    slower.stdout.fnmatch_lines(
        ["test_a *regressed", "test_b *held", "Gate failed, 1 alarm. 2 pairs: 1 regressed, 1 held."]
    )
    assert slower.ret == FAILED
    slower.assert_outcomes(passed=2)


WORK = """
import time
from speedclaims import clock
clock.timer = lambda: time.thread_time  # what other programs take of the processor is not counted

def work(number):
    return lambda: sum(i * i for i in range(number))

def test_work(pair):
    pair(before=work(3000), after=work(1000))
"""


def test_real_work_that_became_slower_by_thirty_per_cent_fails(project):
    project.write(test_w_py=WORK)
    assert project.run(FEW, "--benchmark-json=base.json").ret == 0
    project.write(test_w_py=WORK.replace("1000", "1300"))
    result = project.run(*GATE)
    result.stdout.fnmatch_lines(["test_work *regressed"])
    assert result.ret == FAILED


@pytest.mark.parametrize("option", ["--benchmark-save=mine", "--benchmark-autosave", "--speedup-report=out"])
def test_whatever_a_run_saves_can_be_a_base(project, option):
    project.write(test_p_py=PAIRS)
    assert project.run(FEW, option).ret == 0
    compared = "--benchmark-compare=out/record.json" if "report" in option else "--benchmark-compare"
    result = project.run(FEW, compared, "--speedup-fail=5")
    assert "Gate passed. 2 pairs: 2 held." in result.stdout.str()
    assert result.ret == 0


CHANGED = """
def test_a_renamed(pair):
    pair(before=Side("old", 0.010), after=Side("new", 0.005))

@pytest.mark.skip(reason="not today")
def test_b(pair):
    pair(before=Side("old", 0.010), after=Side("newer", 0.008))

def test_c(pair):
    pair(before=Side("old", 0.010), after=Side("newer", 0.004))

def test_d(pair):
    pair(before=Side("old", 0.010), after=Side("new", 0.003), equivalent=lambda: "losses differ" == "")

def test_f(pair):
    pair(before=Side("old", 0.010), after=Side("new", 0.002))
"""


def test_pairs_that_are_renamed_missing_changed_wrong_or_new_are_told_one_by_one(project):
    head, _, _ = PAIRS.partition("def test_a(")
    names = {"a": 0.005, "b": 0.008, "c": 0.004, "d": 0.003}
    sides = 'before=Side("{}", 0.01), after=Side("new", {})'
    tests = [
        f"def test_{name}(pair):\n    pair({sides.format('other' if name == 'b' else 'old', seconds)})\n"
        for name, seconds in names.items()
    ]
    project.write(test_p_py=head + "\n".join(tests))
    assert project.run(FEW, "--benchmark-json=base.json").ret == 0
    project.write(test_p_py=head + CHANGED)
    result = project.run(FEW, *GATE)
    assert result.ret == FAILED
    told = flat(result)
    assert "renamed: test_p.py::test_a: in the base, not in this run; it may be test_p.py::test_a_renamed now" in told
    assert "missing: test_p.py::test_b: in the base, not in this run: not today" in told
    assert "reconfigured: test_p.py::test_c: after side new" in told
    assert "withheld: test_p.py::test_d: the equivalence check failed" in told
    assert "new: test_p.py::test_f: not in the base" in told
    assert "Gate failed, 4 alarms. 6 pairs: 1 missing, 1 renamed, 1 reconfigured, 1 withheld, 2 new." in told


def test_a_deselected_pair_is_missing_not_passed(saved):
    result = saved.run(*GATE, "-k", "test_a")
    assert "missing: test_p.py::test_b: in the base, not in this run: deselected" in flat(result)
    assert result.ret == FAILED


def test_a_base_from_another_machine_and_a_dirty_tree_passes_and_says_so(saved):
    def edit(section):
        section["environment"]["cpu"]["model"] = "Xeon"
        section["environment"]["device_name"] = "Xeon, 8 cores"
        section["environment"]["commit"] = {"id": "0123456789", "dirty": True}

    change(saved, edit)
    result = saved.run(*GATE)
    told = flat(result)
    assert "another machine: the base was measured on Xeon, 8 cores, this on" in told
    assert "ratios are compared, absolute times are not" in told
    assert "measured on a tree with changes that are not in 0123456" in told
    assert result.ret == 0


def test_the_markers_threshold_is_kept_and_goes_before_the_option(saved):
    saved.write(test_p_py=SLOWER.replace("def test_a", "@pytest.mark.speedup_fail(80)\ndef test_a"))
    result = saved.run(*GATE, "--speedup-report=out")
    result.stdout.fnmatch_lines(["test_a *80%*held"])
    assert result.ret == 0
    assert [row["fail_percent"] for row in saved.record()["speedclaims"]["pairs"]] == [80, None]


@pytest.mark.parametrize("arguments", ["", "0", "'5'", "5, 6", "percent=5", "float('nan')", "True"])
def test_a_wrong_threshold_is_told_before_anything_is_measured(project, arguments):
    project.write(test_p_py=PAIRS.replace("def test_a", f"@pytest.mark.speedup_fail({arguments})\ndef test_a"))
    assert "test_p.py::test_a: speedup_fail takes one positive number" in usage_line(project.run())


def test_a_session_that_is_cut_off_is_not_compared(saved):
    saved.write(test_z_py="def test_z():\n    raise KeyboardInterrupt\n")
    result = saved.run(*GATE)
    result.stdout.fnmatch_lines(["no gate: the session was cut off: nothing is compared"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


# -- what cannot be gated ------------------------------------------------------------------------------------------


def usage_line(result):
    assert result.ret == USAGE
    lines = [line for line in result.outlines + result.errlines if line.startswith("ERROR: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    return lines[0]


MODES = {
    "no base": (("--speedup-fail=5",), "--speedup-fail 5 has nothing to compare with: add --benchmark-compare"),
    "disabled": ((*GATE, "--benchmark-disable"), "benchmarks are disabled: remove --benchmark-disable"),
    "skipped": ((*GATE, "--benchmark-skip"), "benchmarks are skipped: remove --benchmark-skip"),
    "turned off": (("--speedup-fail=5", "-pno:benchmark"), "pytest-benchmark is turned off: remove -p no:benchmark"),
    "nothing saved": (("--benchmark-compare", "--speedup-fail=5"), "no saved run in "),
    "no such number": (("--benchmark-compare=0007", "--speedup-fail=5"), "no saved run that '0007' fits in "),
    "no such file": (
        ("--benchmark-compare=a/b/c.json", "--speedup-fail=5"),
        "a/b/c.json: there is no such record: name one, such as report/record.json",
    ),
}


@pytest.mark.parametrize("name", MODES)
def test_a_run_that_cannot_be_gated_ends_before_it_begins(project, name):
    options, words = MODES[name]
    project.write(test_p_py=PAIRS)
    save(project.path / "base.json", record(measured("a")))
    assert words in usage_line(project.run(*options))


def test_under_xdist_nothing_is_gated(project):
    project.write(test_p_py=PAIRS)
    save(project.path / "base.json", record(measured("a")))
    line = usage_line(project.run_with_xdist("-n2", *GATE))
    assert "benchmarks do not run under pytest-xdist: remove -n and --dist" in line


@pytest.mark.parametrize("percent", ["0", "-5", "nan", "five"])
def test_a_threshold_that_is_no_number_is_refused(project, percent):
    project.write(test_p_py=PAIRS)
    result = project.run(f"--speedup-fail={percent}")
    assert result.ret == USAGE
    result.stderr.fnmatch_lines([f"*argument --speedup-fail: '{percent}' is not a positive number of percent*"])


def with_status(made, status):
    made["speedclaims"]["pairs"][0]["status"] = status
    return made


def with_twice_the_same(made):
    made["speedclaims"]["pairs"] *= 2
    return made


BAD = {
    "truncated": (lambda text: text[:-100], "damaged or not JSON"),
    "empty": (lambda _: "", "damaged or not JSON"),
    "not a record": (lambda _: "[]", "no speedclaims section"),
    "of pytest-benchmark alone": (lambda _: '{"benchmarks": [], "machine_info": {}}', "no speedclaims section"),
    "of another schema version": (
        lambda text: text.replace('"schema_version": 2', '"schema_version": 99'),
        "schema version 99, this speedclaims reads 1 to 2: measure again, or use the version that wrote it",
    ),
    "of a speedup outside its interval": (
        lambda text: text.replace('"low": 1.98', '"low": 2.5'),
        "the speedup 2.0 is not between 2.5 and 2.02",
    ),
    "of a speedup above its interval": (
        lambda text: text.replace('"speedup": 2.0', '"speedup": 2.5'),
        "the speedup 2.5 is not between 1.98 and 2.02",
    ),
    "of a speedup that was withheld": (
        lambda text: json.dumps(with_status(json.loads(text), "withheld")),
        "it is withheld and has a speedup",
    ),
    "of half an interval": (lambda text: text.replace('"low": 1.98', '"low": null'), "some are null and some are not"),
    "of a speedup of 0": (lambda text: text.replace('"speedup": 2.0', '"speedup": 0.0'), "speedup must be bigger than"),
    "of two pairs of one name": (
        lambda text: json.dumps(with_twice_the_same(json.loads(text))),
        "two pairs have the name bench/test_a.py::a",
    ),
    "of no units": (lambda text: re.sub('"units": [0-9.]+', '"units": 0', text), "units must be bigger than 0"),
    "of a confidence above 1": (
        lambda text: text.replace('"confidence": 0.95', '"confidence": 2'),
        "confidence must be",
    ),
    "with NaN": (lambda text: text.replace('"speedup": 2.0', '"speedup": NaN'), "it holds NaN"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_base_that_is_damaged_is_refused_in_one_line(project, tmp_path, capsys, name):
    damage, words = BAD[name]
    project.write(test_p_py=PAIRS)
    good = save(project.path / "good.json", record(measured("a")))
    (project.path / "base.json").write_text(damage(good.read_text()))
    line = usage_line(project.run(*GATE))
    assert line.startswith("ERROR: the base cannot be used: base.json: ")
    assert words in line
    capsys.readouterr()
    for arguments in (["base.json", "good.json"], ["good.json", "base.json"]):
        assert cli.main(["compare", *(str(project.path / name) for name in arguments)]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("pairs", [[], [gone("a")], [measured("a", 1.0, control=True)]])
def test_a_base_without_a_measured_pair_is_refused(project, pairs):
    project.write(test_p_py=PAIRS)
    save(project.path / "base.json", record(*pairs))
    line = usage_line(project.run(*GATE))
    assert line == "ERROR: the base base.json holds no measured pair: save another with --benchmark-autosave"


# -- the command ---------------------------------------------------------------------------------------------------

A = measured("a")
COMPARED = {
    "the same": (record(A), record(A), 0, "Gate passed. 1 pair: 1 held."),
    "slower": (record(A), slowed(record(A), 1.06), 1, "Gate failed, 1 alarm. 1 pair: 1 regressed."),
    "faster": (record(A), slowed(record(A), 0.9), 0, "Gate passed. 1 pair: 1 improved."),
    "noisy": (
        record(measured("a", noise=0.5)),
        record(measured("a", noise=0.5, seed=1)),
        0,
        "Gate passed, but the noise hides what became of 1 pair. 1 pair: 1 ambiguous.",
    ),
    "a failed equivalence": (
        record(A),
        record(gone("a", "withheld", "the equivalence check failed: x", equivalence="failed")),
        1,
        "withheld: bench/test_a.py::a: the equivalence check failed: x",
    ),
    "a lost claim": (
        record(A, claims=[judged("x", "confirmed", A)]),
        record(A, claims=[judged("x", "refuted", A)]),
        1,
        "lost claim: claim tabular-regressor.x was confirmed in the base and is refuted now",
    ),
    "an empty base": (record(), record(A), 3, "Nothing could be compared. 1 pair: 1 new."),
    "nothing new": (record(A), record(), 3, "missing: bench/test_a.py::a: in the base, not in this run"),
    "nothing at all": (record(), record(), 3, "Nothing could be compared. no pairs."),
    "one of two missing": (record(A, measured("b")), record(A), 1, "missing: bench/test_a.py::b"),
    "an extra pair": (record(A), record(A, measured("b", after="x")), 0, "new: bench/test_a.py::b: not in the base"),
}


@pytest.mark.parametrize("name", COMPARED)
def test_the_command_says_and_returns_what_became_of_the_pairs(tmp_path, capsys, name):
    base, new, code, words = COMPARED[name]
    paths = [str(save(tmp_path / f"{side}.json", made)) for side, made in (("base", base), ("new", new))]
    assert cli.main(["compare", *paths]) == code
    out, error = capsys.readouterr()
    assert words in " ".join(out.split())
    assert error == ""


def test_the_commands_threshold_can_be_given(tmp_path):
    base, new = save(tmp_path / "a.json", record(A)), save(tmp_path / "b.json", slowed(record(A), 1.06))
    assert cli.main(["compare", str(base), str(new), "--fail", "50"]) == 0
    for wrong in ("0", "nan", "x"):
        with pytest.raises(SystemExit) as caught:
            cli.main(["compare", str(base), str(new), "--fail", wrong])
        assert caught.value.code == 2


def everything():
    """A comparison in which every verdict occurs."""
    names = ("held", "slow", "fast", "noisy", "lost", "was", "off", "other")
    base = [measured(name, noise=0.5 if name == "noisy" else 0.004) for name in names]
    base += [measured("wrong", before="x"), gone("gpu")]
    new = [measured("held", seed=1), measured("slow", 1.8), measured("fast", 2.2), measured("noisy", noise=0.5, seed=1)]
    new += [
        measured("is"),
        gone("off"),
        measured("other", preset="default"),
        gone("wrong", "withheld"),
        measured("gpu"),
    ]
    new += [measured("more", after="x")]
    base[4]["after"] = "gone"
    a = judged("x", "confirmed", base[0])
    lost = {**a, "verdict": "refuted", "overall": "refuted"}
    return record(*base, claims=[a], dirty=True), record(*new, claims=[lost], device_name="B")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("unicode", [False, True])
@pytest.mark.parametrize("hostile", [False, True])
def test_no_line_is_longer_than_the_width_and_every_verdict_is_told(width, color, unicode, hostile):
    base, new = everything()
    if hostile:
        for row in base["speedclaims"]["pairs"] + new["speedclaims"]["pairs"]:
            row |= {"nodeid": f"{row['nodeid']}{HOSTILE}速度", "name": f"{row['name']}{HOSTILE}速度"}
    gate = compare(base["speedclaims"], new["speedclaims"], Rules(5))
    assert {change.verdict for change in gate.changes} == set(CHANGES)
    text = gate_summary(gate, width, color=color, unicode=unicode)
    plain = ANSI.sub("", text)
    assert max(cell_len(line) for line in plain.splitlines()) <= width
    assert "\x1b" not in plain
    assert unicode or plain.isascii()
    assert all(verdict.word in plain for verdict in CHANGES.values())
    assert "lost claim" in plain


def test_noise_floors_that_hide_the_threshold_are_told():
    base, new = record(A), record(A)
    base["speedclaims"]["noise_floor"]["value"] = 0.04
    gate = compare(base["speedclaims"], new["speedclaims"], Rules(5))
    told = " ".join(gate_summary(gate, 100, color=False).split())
    assert "Noise floor 4% in the base, 0.6% now, more than half of the 5% that fail" in told
    base["speedclaims"]["noise_floor"]["value"] = None
    gate = compare(base["speedclaims"], new["speedclaims"], Rules(5))
    told = " ".join(gate_summary(gate, 100, color=False).split())
    assert "Noise floor not measured in the base, 0.6% now." in told


# -- ambiguous pairs, subsets, and where the verdict stands --------------------------------------------------------

NOISY = PAIRS.replace(
    "DRAW = [0.0], random.Random(os.getpid())", "DRAW = [0.0], random.Random(os.getpid())\nOFF = DRAW.gauss(1, 0.02)"
).replace("DRAW.gauss(1, 0.004)", "DRAW.gauss(1, 0.004) * (OFF if self.label == 'new' else 1)")
"""Each process is off by some per cent."""


def test_processes_are_added_until_a_pair_is_decided(project):
    assert "OFF if" in NOISY
    project.write(test_p_py=NOISY)
    assert project.run("--speedup-processes=5", "--benchmark-json=base.json").ret == 0
    project.write(test_p_py=NOISY.replace("0.005", "0.0056"))
    result = project.run(*GATE, "--speedup-until-decided=14", "--speedup-processes=5", "--speedup-report=out")
    section = project.record()["speedclaims"]
    rows = {row["name"]: row for row in section["pairs"]}
    changes = {change["name"]: change for change in section["gate"]["changes"]}
    assert changes["test_a"]["verdict"] == "regressed"
    assert result.ret == FAILED
    assert max(row["num_processes"] for row in rows.values()) > 5  # whatever chance did, one was ambiguous at first
    for row in rows.values():
        assert len(row["process_num_values"]) == len(row["hash_seeds"]) == row["num_processes"]
        assert set(row["hash_seeds"]) == {1, 2, 3, 4, 5}
        assert sum(row["process_num_values"]) == len(row["log_ratios"])
        new = changes[row["name"]]["new"]
        assert (new["speedup"], new["low"], new["high"]) == (row["speedup"], row["low"], row["high"])
    saved = {bench["name"]: bench for bench in project.record()["benchmarks"]}
    for row in rows.values():
        assert saved[f"{row['name']}[before]"]["extra_info"]["speedup"] == row["speedup"]
        assert saved[f"{row['name']}[before]"]["stats"]["rounds"] == row["num_rounds"]


def test_without_time_left_nothing_is_added(project):
    project.write(test_p_py=NOISY)
    assert project.run("--speedup-processes=5", "--benchmark-json=base.json").ret == 0
    project.run(*GATE, "--speedup-until-decided=0.001", "--speedup-processes=5", "--speedup-report=out")
    assert {row["num_processes"] for row in project.record()["speedclaims"]["pairs"]} == {5}


def test_a_process_that_fails_while_more_are_added_keeps_what_there_is(project):
    project.write(test_p_py=NOISY)
    assert project.run("--speedup-processes=5", "--benchmark-json=base.json").ret == 0
    breaks = "\nif 'PYTHONHASHSEED' in os.environ and os.path.exists('now'):\n    raise RuntimeError('broken')\n"
    hook = (
        "def pytest_runtest_teardown(item):\n"
        "    if item.name == 'test_b' and item.config.getoption('speedup_child') is None:\n"
        "        open('now', 'w').close()\n"
    )
    project.write(test_p_py=NOISY.replace("0.005", "0.0054") + breaks, conftest_py=hook)
    result = project.run(*GATE, "--speedup-until-decided=1e6", "--speedup-processes=5", "--speedup-report=out")
    (project.path / "now").unlink()
    gate = project.record()["speedclaims"]["gate"]
    if any(change["verdict"] == "ambiguous" for change in gate["changes"]):
        assert any("no further process: ChildError" in warning for warning in gate["warnings"])
    assert "INTERNALERROR" not in result.stdout.str()
    assert {row["num_processes"] for row in project.record()["speedclaims"]["pairs"]} == {5}


@pytest.mark.parametrize("option", ["--speedup-until-decided", "--speedup-fail-ambiguous", "--speedup-compare-subset"])
def test_an_option_of_the_gate_without_the_gate_is_refused_in_one_line(project, option):
    project.write(test_p_py=PAIRS)
    result = project.run(option)
    assert result.ret == USAGE
    (line,) = [line for line in result.errlines if line]
    assert line == f"ERROR: {option} is about the gate, which is off: add --speedup-fail PCT"


def test_a_pair_that_noise_hides_fails_where_that_is_asked_for(saved):
    change(
        saved,
        lambda section: section["pairs"][0].update(
            log_ratios=[0.0, 1.4] * 20, process_num_values=[20, 20], hash_seeds=[], process_before_s=[]
        ),
    )
    assert saved.run(*GATE).ret == 0
    result = saved.run(*GATE, "--speedup-fail-ambiguous")
    assert result.ret == FAILED
    assert "Gate failed, 1 alarm. 2 pairs: 1 ambiguous, 1 held." in flat(result)


def test_a_part_of_the_suite_is_gated_alone(saved):
    assert saved.run(*GATE, "-k", "test_b").ret == FAILED
    result = saved.run(*GATE, "-k", "test_b", "--speedup-compare-subset")
    assert "Gate passed. 1 pair: 1 held." in flat(result)
    assert "1 pairs of the base were not run and are left out." in flat(result)
    assert result.ret == 0


def test_the_gate_stands_in_record_page_and_markdown_with_the_figures_of_the_terminal(saved):
    saved.write(test_p_py=SLOWER)
    result = saved.run(*GATE, "--speedup-report=out", "--benchmark-json=new.json")
    section = saved.record()["speedclaims"]
    assert [change["verdict"] for change in section["gate"]["changes"]] == ["regressed", "held"]
    assert json.loads((saved.path / "new.json").read_text())["speedclaims"]["gate"] == section["gate"]
    told = "Gate failed, 1 alarm. 2 pairs: 1 regressed, 1 held."
    loss = section["gate"]["changes"][0]["loss"]["value"]
    pages = [(saved.path / "out" / name).read_text() for name in ("index.html", "speedups.md")]
    for text in (result.stdout.str(), *pages):
        assert told in text
        assert f"{100 * loss:+.1f}%" in text
    assert all('<h2 id="gate">Against the base</h2>' in text or "## Against the base" in text for text in pages)


def test_a_run_that_is_not_gated_has_no_such_section(project):
    project.write(test_p_py=PAIRS)
    assert project.run(FEW, "--speedup-report=out").ret == 0
    assert "gate" not in project.record()["speedclaims"]
    assert "Against the base" not in (project.path / "out/index.html").read_text()
