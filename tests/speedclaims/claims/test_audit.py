"""Arithmetic claims: the rule, the documents' own figures, refusals, and the printed table."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from speedclaims.claims.arithmetic import (
    Range,
    Recomputed,
    allows,
    at_least,
    counted,
    from_figures,
    product,
    two_statements,
)
from speedclaims.claims.audit import audit_rows, claim_rows
from speedclaims.claims.ledger import LedgerError, load_ledger
from speedclaims.cli import main
from speedclaims.report.terminal.audit_table import audit_table

ROOT = Path(__file__).parents[3]
LEDGER = ROOT / "bench" / "claims.toml"
AUDITS = ROOT / "bench" / "audits.py"
SOURCES = Path(os.environ.get("SPEEDCLAIMS_DOCUMENTS", ROOT.parent / "shared" / "sources"))
"""Where documents 000 to 004 lie, which are not part of the repository (docs/suite.md)."""
BAD_INPUT, NOTHING = 2, 3

CLAIM = """
[[claim]]
id = "notes.ratio"
source = "notes.txt"
text = "twice as fast"
kind = "arithmetic"
audit = "ratio"
"""
RATIO = """
from speedclaims.audit import Range, from_figures

def ratio():
    return from_figures(claimed=2, recomputed=Range(10, 12) / Range(5, 6), unit="x", formula="10-12 s / 5-6 s")
"""
ends = st.floats(0.01, 1e4)
ranges = st.tuples(ends, ends).map(lambda pair: Range(min(pair), max(pair)))


@pytest.fixture(scope="module")
def rows():
    return {row["id"]: row for row in audit_rows(load_ledger(LEDGER))}


# -- the rule ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recomputed", "claimed", "digits", "expected"),
    [
        (Range(3.0, 6.7), Range(3, 5), 0, True),
        (Range(3.4, 4.6), Range(3, 5), 0, True),
        (Range(3.6, 4.6), Range(3, 5), 0, False),
        (Range(3.4, 4.4), Range(3, 5), 0, False),
        (Range(16.7, 21.7), Range(60, 80), 0, False),
        (Range.of(1.6290125), Range.of(1.64), 2, False),
        (Range.of(1.644), Range.of(1.64), 2, True),
        (Range.of(0.755), Range.of(0.69), 1, False),
        (Range.of(100), Range.of(101), 0, False),
    ],
)
def test_every_claimed_value_must_be_one_that_the_figures_can_give_within_its_rounding(
    recomputed, claimed, digits, expected
):
    assert allows(recomputed, claimed, digits) is expected


@given(ranges, ranges, st.integers(0, 3))
def test_what_the_figures_give_is_always_allowed_and_never_by_more_than_half_a_unit(given_, claimed, digits):
    assert allows(given_, given_, digits)
    half = 0.5 * 10**-digits
    outside = max(given_.low - claimed.low, claimed.high - given_.high)
    if abs(outside - half) > 1e-6 * max(1, given_.high, claimed.high):
        assert allows(given_, claimed, digits) is (outside < half)


@given(ranges, ranges, st.floats(0, 1), st.floats(0, 1))
def test_interval_arithmetic_holds_every_value_that_its_figures_can_give(one, other, a, b):
    x, y = one.low + a * (one.high - one.low), other.low + b * (other.high - other.low)
    for got, value in [(one + other, x + y), (one - other, x - y), (one * other, x * y), (one / other, x / y)]:
        slack = 1e-9 * max(1, abs(value))
        assert got.low - slack <= value <= got.high + slack


def test_a_number_may_stand_on_either_side_of_a_range():
    assert 2 * Range(3, 4) == Range(3, 4) * 2 == Range(6, 8)
    assert 12 / Range(3, 4) == Range(3, 4)
    assert 1 - Range(3, 4) == Range(-3, -2)
    assert 1 + Range(3, 4) == Range(4, 5)
    assert product([2, Range(1.5, 2), Range(-1, 1)]) == Range(-4, 4)


@pytest.mark.parametrize("ends_", [(2, 1), (float("nan"), 1), (0, float("inf"))])
def test_what_is_no_range_is_refused(ends_):
    with pytest.raises(ValueError, match="no range"):
        Range(*ends_)


def test_dividing_by_a_range_that_holds_zero_is_refused():
    with pytest.raises(ZeroDivisionError):
        Range(1, 2) / Range(-1, 1)


def test_a_claim_that_is_open_above_needs_figures_that_reach_its_bound():
    assert at_least(1, recomputed=3, formula="f").consistent
    assert at_least(3, recomputed=Range(1, 3), formula="f").consistent
    assert not at_least(1, recomputed=0, formula="f").consistent


def test_two_statements_agree_only_when_each_allows_the_other():
    assert two_statements(one=Range(3, 4), other=Range(3, 4), formula="f").consistent
    assert not two_statements(one=Range(3, 4), other=4, formula="f").consistent
    assert not two_statements(one=4, other=Range(3, 4), formula="f").consistent


def test_counts_are_compared_exactly():
    assert counted(claimed=6, recomputed=6, what="issues", formula="f").consistent
    assert not counted(claimed=6, recomputed=5, what="issues", formula="f").consistent


def test_the_recomputed_value_shows_the_decimal_that_tells_it_from_the_claim():
    shown = from_figures(claimed=1.64, recomputed=1.6290125, digits=2, formula="f")
    assert (shown.claimed, shown.recomputed) == ("1.64", "1.629")
    shown = from_figures(claimed=640, recomputed=Range(6366.47, 6388.1), unit="batches", formula="f")
    assert (shown.claimed, shown.recomputed) == ("640 batches", "6,366.5 to 6,388.1 batches")


@pytest.mark.parametrize("fields", [("", "b", "c", True), ("a", 1, "c", True), ("a", "b", "c", 1)])
def test_a_result_that_no_record_could_hold_is_refused(fields):
    with pytest.raises(TypeError):
        Recomputed(*fields)


# -- the documents' own figures ----------------------------------------------------------------------------------------


def test_at_least_twenty_sentences_contradict_their_own_figures(rows):
    assert sum(row["verdict"] == "inconsistent" for row in rows.values()) >= 20
    assert sum(row["verdict"] == "consistent" for row in rows.values()) >= 10


def test_every_audit_function_of_ours_belongs_to_a_claim():
    tree = ast.parse(AUDITS.read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}
    named = {claim.audit for claim in load_ledger(LEDGER).claims.values() if claim.kind == "arithmetic"}
    assert functions == named


def test_our_audits_import_nothing_of_the_trainers_and_write_no_verdict_by_hand():
    tree = ast.parse(AUDITS.read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"itertools", "math", "speedclaims.audit"}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "Recomputed" not in called


def plain(text):
    """Return text without what Markdown adds, on one line."""
    return " ".join(re.sub(r"[*|`#]", "", text).split())


@pytest.mark.parametrize("claim", load_ledger(LEDGER).claims.values(), ids=lambda claim: claim.id)
def test_every_claim_is_quoted_as_it_stands_in_each_of_its_sources(claim):
    if not SOURCES.is_dir():
        pytest.skip("documents 000 to 004 are not here: name their folder in SPEEDCLAIMS_DOCUMENTS (docs/suite.md)")
    for name in claim.source.split(", "):
        assert plain(claim.text) in plain((SOURCES / name).read_text(encoding="utf-8")), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dialogue-gan.batch-time", (150 / 50, 200 / 30)),
        ("dialogue-gan.epoch-time", (50 / 15, 65 / 10)),
        ("dialogue-gan.total-before", (1000 / 60, 1300 / 60)),
        ("dialogue-gan.total-after", (200 / 60, 300 / 60)),
        ("dialogue-gan.numpy-calls", (44 / 10,)),
        ("dialogue-gan.sync-reduction", (11,)),
        ("dialogue-gan.conversions", (44,)),
        ("dialogue-gan.conversions-once", (4 * 319,)),
        ("dialogue-gan.temperature-5", (2 * 0.95**4,)),
        ("dialogue-gan.temperature-10", (2 * 0.95**9,)),
        ("dialogue-gan.temperature-15", (2 * 0.95**14,)),
        ("dialogue-gan.temperature-20", (2 * 0.95**19,)),
        ("dialogue-gan.final-temperature", (2 * 0.95**20,)),
        ("dialogue-gan.total-batches", (20 * 12.335 / 0.03875, 20 * 12.345 / 0.03865)),
        ("dialogue-gan.total-of-640-batches", (640 * 0.0312 / 60,)),
        ("dialogue-gan.epoch-of-640-batches", (32 * 0.03115, 32 * 0.03125)),
        ("dialogue-gan.thousand-batches-before", (150, 200)),
        ("dialogue-gan.thousand-batches-after", (30, 50)),
        ("dialogue-gan.gpu-utilization-ratio", (80 / 60, 95 / 40)),
        ("dialogue-gan.discriminator-loss", (0.65017, 29.0127)),
        ("dialogue-gan.loss-and-accuracy", (0.99983, 29.0127)),
        ("dialogue-gan.final-accuracy", (3491 / 4096,)),
        ("dialogue-gan.run-the-cells", (4,)),
        ("dialogue-gan.no-breaking-changes", (0, 2)),
        ("text-to-image.fewer-epochs", (60,)),
        ("text-to-image.memory-per-image", (75,)),
        ("text-to-image.combined", (31.5, 44)),
        ("text-to-image.combined-per-epoch", (12.6, 17.6)),
        ("text-to-image.combined-same-work", (1.575, 2.2)),
        ("tabular-regressor.signatures", (2,)),
        ("tabular-regressor.compatible", (2,)),
    ],
)
def test_a_key_figure_comes_out_as_calculated_by_hand(rows, name, expected):
    found = [number.replace(",", "") for number in re.findall(r"[\d,]+\.?\d*", rows[name]["recomputed"])]
    assert len(found) == len(expected)
    for text, value in zip(found, expected, strict=True):
        decimals = len(text.partition(".")[2])
        assert abs(float(text) - value) <= 0.5001 * 10**-decimals


CHANGES = {
    # figures that would make the sentence true, and one true sentence made false
    "total_before": ("= Range(50, 65), Range(10, 15)", "= Range(180, 240), Range(10, 15)"),
    "batch_time": ("= Range(150, 200), Range(30, 50)", "= Range(150, 200), Range(60, 90)"),
    "final_temperature": ("TEMP_DECAY = 2.0, 0.5, 0.95", "TEMP_DECAY = 2.0, 0.5, 0.9484"),
    "total_batches": ("EPOCH_S = Range.rounded(12.34, 2)", "EPOCH_S = Range.rounded(1.24, 2)"),
    "numpy_calls_per_batch": ("PRINT_EVERY = 10", "PRINT_EVERY = 1"),
    "discriminator_interval": ("D_TRAIN_INTERVAL = 1", "D_TRAIN_INTERVAL = 2"),
    "combined_of_all": ("EPOCHS_BEFORE, EPOCHS_AFTER = 250, 100", "EPOCHS_BEFORE, EPOCHS_AFTER = 100, 150"),
    "fewer_pixels": ("= 64 * 64, 32 * 32", "= 64 * 64, 48 * 48"),
    "backward_compatible": ("if name not in FILES_BEFORE", "if name not in FILES_AFTER"),
    "signatures_preserved": ("GAINED = {", "GAINED, _ = {}, {"),
    "thousand_batches_after": ("= Range(150, 200), Range(30, 50)", "= Range(150, 200), Range(60, 90)"),
    "thousand_batches_before": ("= Range(150, 200), Range(30, 50)", "= Range(250, 300), Range(30, 50)"),
    "discriminator_loss_of_batch_20": ("LABEL_SMOOTHING = 0.1", "LABEL_SMOOTHING = 0.05"),
    "discriminator_loss_of_batch_10": ("Range.rounded(0.52, 2)", "Range.rounded(0.99, 2)"),
    "final_accuracy": ("TOTAL_BATCHES = 640", "TOTAL_BATCHES = 20"),
    "run_the_cells": ('"loss, loss_real, loss_fake, acc"', '"loss, acc"'),
    "no_breaking_changes": ("char_cond, scene_cond, temperature=1.0", "char_cond, scene_cond, temperature"),
    "loss_functions_unchanged": ("TEMP_DECAY = 2.0, 0.5, 0.95", "TEMP_DECAY = 1.0, 1.0, 1.0"),
    "verification_of_dead_code": ("clip_by_global_norm(gradients", "identity(gradients"),
    "data_pipeline": ('"num_epochs": ', '"num_workers": '),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_figure_flips_the_verdict(rows, name, tmp_path):
    claim = next(claim for claim in load_ledger(LEDGER).claims.values() if claim.audit == name)
    text, (old, new) = AUDITS.read_text(encoding="utf-8"), CHANGES[name]
    assert old in text
    changed = text.replace(old, new)
    if name == "verification_of_dead_code":
        changed = changed.replace("tf.math.is_nan(gradients)", "gradients")
    (tmp_path / "audits.py").write_text(changed)
    (tmp_path / "claims.toml").write_text(CLAIM.replace('"ratio"', json.dumps(name)))
    (row,) = audit_rows(load_ledger(tmp_path / "claims.toml"))
    assert {row["verdict"], rows[claim.id]["verdict"]} == {"consistent", "inconsistent"}


def test_the_file_is_read_anew_each_time_and_leaves_nothing_behind(tmp_path):
    ledger = tmp_path / "claims.toml"
    ledger.write_text(CLAIM)
    modules = set(sys.modules)
    for claimed, verdict in ((2, "consistent"), (3, "inconsistent"), (2, "consistent")):
        (tmp_path / "audits.py").write_text(RATIO.replace("claimed=2", f"claimed={claimed}"))
        assert audit_rows(load_ledger(ledger))[0]["verdict"] == verdict
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audits.py", "claims.toml"]
    assert set(sys.modules) == modules


def test_a_claims_row_of_an_arithmetic_claim_has_a_verdict_and_nothing_measured():
    ledger = load_ledger(LEDGER)
    found = claim_rows(ledger)
    assert [row["id"] for row in found] == [c.id for c in ledger.claims.values() if c.kind == "arithmetic"]
    for row in found:
        assert row["verdict"] in {"consistent", "inconsistent"}
        empty = ("measured", "measured_low", "measured_high", "reason", "pair", "device", "equivalence", "metric")
        assert [row[key] for key in empty] == [None] * len(empty)


# -- what is refused ---------------------------------------------------------------------------------------------------

BAD = {
    "no audits.py": (None, "audits.py: no such file, and the claim 'notes.ratio'"),
    "an unknown function": ("", "no function 'ratio', which the claim 'notes.ratio'"),
    "a function that is a number": ("ratio = 3", "no function 'ratio'"),
    "a function that raises": (
        "def ratio():\n    return 1 / 0",
        "audits.py:2: ratio, named by the claim 'notes.ratio', raised ZeroDivisionError",
    ),
    "a function that ends the process": ("def ratio():\n    raise SystemExit(0)", "raised SystemExit: 0"),
    "an error of several lines": ("def ratio():\n    raise ValueError('a\\nb')", "raised ValueError: a b"),
    "a function with arguments": ("def ratio(x):\n    return x", "raised TypeError"),
    "another type": ("def ratio():\n    return True", "ratio, named by the claim 'notes.ratio', returned bool"),
    "nothing": ("def ratio():\n    pass", "returned NoneType"),
    "a figure that is NaN": (RATIO.replace("claimed=2", "claimed=float('nan')"), "raised ValueError: no range"),
    "a text that is empty": (RATIO.replace("10-12 s / 5-6 s", " "), "raised TypeError: formula must be a text"),
    "not Python": ("def ratio(:", "audits.py:1: cannot be loaded (SyntaxError"),
    "a missing import": ("import nowhere_at_all", "audits.py:1: cannot be loaded (ModuleNotFoundError"),
    "not text": (b"\xff\xfe", "cannot be loaded (SyntaxError"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_audits_are_refused_in_one_line_that_ends_with_2(name, tmp_path, capsys):
    text, words = BAD[name]
    (tmp_path / "claims.toml").write_text(CLAIM)
    if text is not None:
        (tmp_path / "audits.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LedgerError) as caught:
        audit_rows(load_ledger(tmp_path / "claims.toml"))
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))
    assert main(["audit", str(tmp_path / "claims.toml")]) == BAD_INPUT
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("text", [None, "[[claim]\n", CLAIM + 'colour = "red"\n', CLAIM.replace("audit", "# audit")])
def test_a_bad_ledger_ends_with_2_and_one_line(text, tmp_path, capsys):
    path = tmp_path / "claims.toml"
    if text is not None:
        path.write_text(text)
    assert main(["audit", str(path)]) == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1


def test_audits_are_not_loaded_where_no_claim_is_arithmetic(tmp_path, capsys):
    measured = CLAIM.replace("arithmetic", "measured").replace('audit = "ratio"', "low = 2.0")
    (tmp_path / "claims.toml").write_text(measured)
    (tmp_path / "audits.py").write_text("raise RuntimeError")
    assert main(["audit", str(tmp_path / "claims.toml")]) == NOTHING
    assert "no arithmetic claim" in capsys.readouterr().err


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path, monkeypatch):
    (tmp_path / "audits.py").write_text(RATIO)
    (tmp_path / "claims.toml").write_text(CLAIM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("folder", [".", "bench", "tests"])
def test_without_a_name_the_ledger_is_looked_for_in_three_places(good, folder, capsys):
    (good / folder).mkdir(exist_ok=True)
    for name in ("claims.toml", "audits.py"):
        (good / name).rename(good / folder / name)
    assert main(["audit"]) == 0
    assert "twice as fast" in capsys.readouterr().out


def test_without_any_ledger_one_line_says_where_it_was_looked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["audit"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "bench/claims.toml" in error


def test_only_strict_makes_an_inconsistent_claim_a_failure(good, capsys):
    assert main(["audit", "--strict"]) == 0
    (good / "audits.py").write_text(RATIO.replace("claimed=2", "claimed=9"))
    assert main(["audit"]) == 0
    assert main(["audit", "--strict"]) == 1
    assert "contradicts its own figures" in capsys.readouterr().out


def test_what_an_audit_prints_does_not_spoil_the_json(good, capsys):
    (good / "audits.py").write_text(RATIO.replace("    return", "    print('hello')\n    return"))
    assert main(["audit", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["consistent"], found["inconsistent"], found["ledger"]) == (1, 0, "claims.toml")
    assert found["audit"][0]["recomputed"] == "1.7 to 2.4x"
    assert "hello" in printed.err


def audit_of_ours(**environment):
    command = [sys.executable, "-m", "speedclaims", "audit", str(LEDGER)]
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    return subprocess.run(
        command, env={**kept, **environment}, capture_output=True, encoding="utf-8", timeout=300, check=False
    )


@pytest.mark.parametrize("width", [40, 80, 140])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_table_fits_the_terminal_and_is_plain_where_there_is_none(width, encoding):
    done = audit_of_ours(COLUMNS=str(width), PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert done.stdout.isascii() is (encoding == "ascii")
    assert max(cell_len(line) for line in done.stdout.splitlines()) <= width


def flat(text):
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("width", [40, 64, 80, 119, 120, 140, 200])
def test_no_word_of_the_table_is_cut(rows, width):
    text = audit_table(list(rows.values()), width, color=False)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    words = set(text.split())
    for row in rows.values():
        told = " ".join(row[key] for key in ("text", "claimed", "recomputed", "formula")).split()
        assert not [word for word in told if len(word) < 9 and not any(word in shown for shown in words)]
        assert flat(row["source"]) in flat(text)
    assert re.search(r"(\d+) of (\d+) sentences contradict their own figures\.$", " ".join(text.split()))


def test_wide_letters_and_control_characters_do_not_break_a_line(rows):
    hostile = [
        {**row, **dict.fromkeys(("source", "text", "claimed", "recomputed", "formula"), "速度\x1b[31m" * 30)}
        for row in list(rows.values())[:3]
    ]
    for width in (40, 80, 140):
        text = audit_table(hostile, width, color=False)
        assert "\x1b" not in text
        assert max(cell_len(line) for line in text.splitlines()) <= width


def test_colour_adds_nothing_but_colour(rows):
    colored = audit_table(list(rows.values()), 100, color=True)
    assert "\x1b[" in colored
    bare = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", colored).splitlines()]
    assert bare == audit_table(list(rows.values()), 100, color=False).splitlines()


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m speedclaims audit {LEDGER} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300, check=True)  # noqa: S602
    assert done.stderr == ""


# -- the plugin --------------------------------------------------------------------------------------------------------

TEST = "def test_loop(pair):\n    pair(before=lambda: sum(range(9_000)), after=lambda: sum(range(900)))\n"


def test_an_arithmetic_claim_needs_no_test_and_stands_in_the_record(project):
    project.write(test_loop_py=TEST, claims_toml=CLAIM, audits_py=RATIO)
    assert project.run("--speedup-report=out").ret == 0
    run = project.record()["speedclaims"]
    (row,) = run["audit"]
    assert (row["id"], row["claimed"], row["recomputed"]) == ("notes.ratio", "2x", "1.7 to 2.4x")
    (claim,) = run["claims"]
    assert (claim["kind"], claim["verdict"], claim["reason"], claim["measured"]) == (
        "arithmetic",
        "consistent",
        None,
        None,
    )


def test_an_inconsistent_claim_changes_the_exit_code_only_when_strict(project):
    project.write(test_loop_py=TEST, claims_toml=CLAIM, audits_py=RATIO.replace("claimed=2", "claimed=9"))
    result = project.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*notes.ratio: claimed 9x, its own figures give 1.7 to 2.4x"])
    assert project.run("--speedup-strict").ret == 1
    project.write(audits_py=RATIO)
    assert project.run("--speedup-strict").ret == 0


def test_a_bad_audit_ends_the_session_in_one_line_before_anything_is_measured(project):
    project.write(test_loop_py=TEST, claims_toml=CLAIM, audits_py="def ratio():\n    return 1 / 0\n")
    result = project.run()
    assert result.ret == 4
    lines = [line for line in result.outlines + result.errlines if line.startswith("ERROR: ")]
    assert len(lines) == 1
    assert "audits.py:2: ratio, named by the claim 'notes.ratio', raised ZeroDivisionError" in lines[0]


def test_a_marker_that_names_an_arithmetic_claim_is_an_error(project):
    marked = "import pytest\n\n@pytest.mark.speedup_claim('notes.ratio')\n" + TEST
    project.write(test_loop_py=marked, claims_toml=CLAIM, audits_py=RATIO)
    result = project.run()
    assert result.ret == 4
    assert "is arithmetic: its audit function judges it" in result.stderr.str() + result.stdout.str()


def test_a_ledger_that_no_test_belongs_to_is_not_audited(project):
    other = project.path / "elsewhere"
    other.mkdir()
    (other / "claims.toml").write_text(CLAIM)
    (other / "audits.py").write_text("raise RuntimeError")
    project.write(test_loop_py=TEST)
    assert project.run("--speedup-report=out").ret == 0
    assert project.record()["speedclaims"]["audit"] == []
