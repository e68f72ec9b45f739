"""The summary at the end of a run fits the terminal and shows claim, measurement, place and certainty."""

import re

import pytest
from rich.cells import cell_len

from speedclaims.report.model.formatting import VERDICTS
from speedclaims.report.terminal.summary import claims_summary
from tests.speedclaims.report.sample import (
    Row,
    add_inconsistent,
    claim,
    empty_record,
    figures_alone,
    ladder_record,
    sample_record,
    without_claims,
)

WIDTHS = [80, 100, 140]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def flat(text: str) -> str:
    """Return text on one line without colours."""
    return " ".join(ANSI.sub("", text).split())


@pytest.mark.parametrize("width", [*WIDTHS, 60, 40])
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("unicode", [False, True])
def test_no_line_is_longer_than_the_width(any_record: Row, width: int, *, color: bool, unicode: bool) -> None:
    lines = claims_summary(any_record, width, color=color, unicode=unicode).splitlines()
    assert max(cell_len(ANSI.sub("", line)) for line in lines) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_and_wide_letters_do_not_break_a_line(hostile: Row, width: int) -> None:
    hostile["speedclaims"]["claims"][2] |= {"text": "速度" * 60, "id": "速度" * 40, "reason": "理由 " * 40}
    text = claims_summary(hostile, width, color=False)
    assert "\x1b" not in text
    assert max(cell_len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_every_verdict_is_told(record: Row, width: int) -> None:
    text = claims_summary(record, width, color=False)
    assert all(verdict.word in text for verdict in VERDICTS.values())


@pytest.mark.parametrize("width", WIDTHS)
def test_a_stranger_finds_claim_result_machine_and_certainty(record: Row, width: int) -> None:
    text = flat(claims_summary(record, width, color=False))
    assert "3 of 5 claims judged on this machine hold" in text
    assert "The documents' own arithmetic: 1 of 2 sentences contradicts its own figures." in text
    assert "1.42x [1.38, 1.46]" in text
    assert "AMD EPYC 7763, 2 cores" in text
    assert "commit abc1234" in text
    assert "Intervals at 95%." in text
    assert "Noise floor 0.6%." in text
    assert "Expected wrong verdicts by chance: 0.15 of 3." in text


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_one_screen(record: Row, width: int) -> None:
    assert len(claims_summary(record, width, color=False).splitlines()) <= 40


@pytest.mark.parametrize("width", WIDTHS)
def test_an_unmet_requirement_stands_with_the_local_figure_beside_it(record: Row, width: int) -> None:
    text = flat(claims_summary(record, width, color=False))
    assert "needs cuda (here on cpu: 0.95x [0.93, 0.97])" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_pair_without_a_speedup_tells_its_whole_reason(record: Row, width: int) -> None:
    text = flat(claims_summary(record, width, color=False))
    for pair in record["speedclaims"]["pairs"]:
        if pair["speedup"] is None:
            assert pair["reason"] in text


@pytest.mark.parametrize("width", WIDTHS)
def test_without_claims_every_pair_is_listed(width: int) -> None:
    record = without_claims()
    text = claims_summary(record, width, color=False)
    for pair in record["speedclaims"]["pairs"]:
        assert pair["name"] in text


def test_other_work_never_passes_for_a_speedup_of_the_same_work() -> None:
    for width in WIDTHS:
        lines = claims_summary(without_claims(), width, color=False).splitlines()
        assert "less" in next(line for line in lines if "test_fewer_epochs" in line)


def test_claims_that_did_not_run_are_one_line(record: Row) -> None:
    extra = [claim(f"c{i}", f"claim {i}", "not_measured", reason="its test was not selected") for i in range(30)]
    record["speedclaims"]["claims"] += extra
    lines = claims_summary(record, 80, color=False).splitlines()
    assert "31 claims not run: its test was not selected" in lines
    assert not [line for line in lines if "claim 7" in line]


def test_many_claims_take_one_line_each(record: Row) -> None:
    template = record["speedclaims"]["claims"][3]
    record["speedclaims"]["claims"] = [template | {"id": f"c{i}", "text": f"text {i}"} for i in range(30)]
    lines = claims_summary(record, 80, color=False).splitlines()
    assert sum("confirmed" in line and "c" in line for line in lines) >= 30
    assert not [line for line in lines if "“text" in line and "confirmed" not in line]


@pytest.mark.parametrize("width", [*WIDTHS, 70])
def test_no_claim_s_id_and_no_name_of_a_test_is_cut(width: int) -> None:
    for record in (sample_record(), without_claims(), ladder_record(), figures_alone()):
        run = record["speedclaims"]
        for number, pair in enumerate(run["pairs"]):
            pair["name"] = f"test_adversarial_batches_of_the_discriminator[{number}-incremental]"
        lines = claims_summary(record, width, color=False).splitlines()
        names = [row["name"] for row in run["figures"]] if not run["pairs"] else []
        names += [row["id"] for row in run["claims"] if row["pair"]]
        judging = {row["pair"] for row in run["claims"]}
        names += [row["name"] for row in run["pairs"] if row["nodeid"] not in judging and not row["control"]]
        assert names
        assert not [name for name in names if not any(name in line for line in lines)]


@pytest.mark.parametrize("width", [*WIDTHS, 40])
def test_what_looks_like_markup_of_the_terminal_s_library_is_printed_as_it_is(width: int) -> None:
    record = sample_record()
    run = record["speedclaims"]
    for row in (*run["claims"], *run["audit"]):
        row["id"] = "[bold red]:x:[/]"
    for pair in run["pairs"]:
        pair |= {"name": "[link=a]:y:", "reason": "[/z]"}
    text = flat(claims_summary(record, width, color=True))
    assert all(word in text for word in ("[bold red]:x:[/]", "[link=a]:y:", "[/z]"))


def test_many_arithmetic_claims_are_counted_in_one_line(record: Row) -> None:
    add_inconsistent(record, 8)
    text = flat(claims_summary(record, 80, color=False))
    assert "10 arithmetic claims: 1 consistent, 9 inconsistent" in text
    assert "9 of 10 sentences contradict their own figures" in text
    assert "a7" not in text


def test_a_few_inconsistent_sentences_are_told_with_their_figures(record: Row) -> None:
    text = flat(claims_summary(record, 80, color=False))
    assert "tabular-regressor.compatible: claimed no default changes, its own figures give 2 defaults change" in text


def test_arithmetic_changes_nothing_of_what_is_said_about_the_machine(record: Row) -> None:
    before = flat(claims_summary(record, 80, color=False))
    add_inconsistent(record, 40)
    after = flat(claims_summary(record, 80, color=False))
    opening = "3 of 5 claims judged on this machine hold: 2 confirmed, 1 exceeded, 1 refuted"
    assert opening in before
    assert opening in after


@pytest.mark.parametrize("width", WIDTHS)
def test_without_unicode_everything_is_ascii(any_record: Row, width: int) -> None:
    assert claims_summary(any_record, width, color=False, unicode=False).isascii()


def test_colour_is_an_addition_and_the_words_stay() -> None:
    colored = claims_summary(sample_record(), 100, color=True)
    plain = claims_summary(sample_record(), 100, color=False)
    assert "\x1b[" in colored
    assert "\x1b" not in plain
    assert [line.rstrip() for line in ANSI.sub("", colored).splitlines()] == plain.splitlines()


def test_the_environment_of_the_process_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = claims_summary(sample_record(), 100, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "50")
    assert claims_summary(sample_record(), 100, color=True) == expected


@pytest.mark.parametrize("name", [None, "unversioned"])
def test_a_tree_without_version_control_has_no_commit(record: Row, name: str | None) -> None:
    record["speedclaims"]["environment"]["commit"] |= {"id": name, "dirty": None}
    assert "no commit" in flat(claims_summary(record, 80, color=False))


def test_a_run_without_anything_says_so() -> None:
    text = claims_summary(empty_record(), 80, color=False)
    assert "Nothing was measured on this machine." in text
    assert "Noise floor" not in text  # nobody asked for a control pair


@pytest.mark.parametrize("width", [*WIDTHS, 50])
def test_a_run_of_figures_tells_them_and_where_they_were_measured(width: int) -> None:
    text = claims_summary(figures_alone(), width, color=False)
    told = flat(text)
    assert "1 of 2 figures measured on this machine." in told
    assert "preset smoke" in told
    # where a name is cut, its end stays
    assert "[optimized]" in told
    assert "0.003% per epoch [-0.001, 0.007]" in told
    assert "not measured: the data set is not installed" in told
    assert max(map(len, text.splitlines())) <= width


def test_how_a_figure_came_about_is_told_where_figures_are_few() -> None:
    record = figures_alone()
    few = record["speedclaims"]["figures"]
    assert "60 epochs, median 412.3 MiB" in claims_summary(record, 100, color=False)
    record["speedclaims"]["figures"] = few * 7
    assert "60 epochs" not in claims_summary(record, 100, color=False)


def test_beside_pairs_figures_are_counted_and_one_that_judges_a_claim_is_not(record: Row) -> None:
    assert "2 figures that judge no claim: see the report" in claims_summary(record, 80, color=False)
    record["speedclaims"]["claims"][0]["pair"] = record["speedclaims"]["figures"][0]["nodeid"]
    assert "1 figure that judges no claim: see the report" in claims_summary(record, 80, color=False)
    record["speedclaims"]["claims"][1]["pair"] = record["speedclaims"]["figures"][1]["nodeid"]
    assert "no claim" not in claims_summary(record, 80, color=False)


def test_claims_of_several_documents_have_a_heading_for_each(record: Row) -> None:
    assert "004_" not in claims_summary(record, 80, color=False)
    for number, row in enumerate(record["speedclaims"]["claims"]):
        row["source"] = ("one.md", "two.md")[number % 2]
    lines = claims_summary(record, 80, color=False).splitlines()
    headings = [line for line in lines if line.startswith(("one.md: ", "two.md: "))]
    assert [line.partition(":")[0] for line in headings] == ["one.md", "two.md"]
    assert all(re.search(r": \d (confirmed|refuted|exceeded|ambiguous)", line) for line in headings)


@pytest.mark.parametrize("width", range(60, 100))
def test_no_interval_is_split_between_lines(record: Row, width: int) -> None:
    reason = "without a GPU the published program's mixed precision does nothing"
    for row in record["speedclaims"]["claims"]:
        row["reason"] = row["reason"] and f"{reason} (here on cpu: 1.46x [1.38, 1.55])"
    lines = claims_summary(record, width, color=False).splitlines()
    assert any("1.46x [1.38, 1.55]" in line for line in lines)
    assert not [line for line in lines if line.count("[") != line.count("]") or re.search(r"\dx$", line.strip())]
