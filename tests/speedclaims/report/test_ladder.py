"""The gain of each switch in a report: steps and losses with their intervals, in order, and nothing made up."""

import math
import random
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedclaims.report.html.page import render_html, render_markdown
from speedclaims.report.html.svg_ladder import waterfall_svg
from speedclaims.report.model.ladder import FASTER, SLOWER, UNSEEN, Factor, ladders, quotient
from speedclaims.report.terminal.summary import claims_summary
from tests.speedclaims.report.conftest import HOSTILE, poison
from tests.speedclaims.report.sample import Row, ladder_record, rung, sample_record

NOISE = 0.006
POSITIVE = st.floats(0.01, 100)


def the_ladder(record: Row | None = None, noise: float | None = NOISE):
    """Return the only ablation of a record."""
    (found,) = ladders((record or ladder_record())["speedclaims"]["pairs"], noise)
    return found


def ablation_of(*rows: Row) -> Row:
    """Return a record with these pairs alone."""
    record = sample_record()
    record["speedclaims"]["pairs"] = list(rows)
    return record


# --- the quotient of two speedups ---


def test_a_quotients_interval_adds_the_widths_as_roots_of_squares() -> None:
    three, four = math.exp(0.03), math.exp(0.04)
    found = quotient(Factor(2.0, 2.0 / three, 2.0 * four), Factor(1.0, 1 / three, four))
    assert found.value == pytest.approx(2)
    # down: its own lower end and the other's upper one; up: the other way round
    assert found.low == pytest.approx(2 * math.exp(-math.hypot(0.03, 0.04)))
    assert found.high == pytest.approx(2 * math.exp(math.hypot(0.04, 0.03)))
    skewed = quotient(Factor(1.0, 1.0, four), Factor(1.0, 1.0, three))
    assert (skewed.low, skewed.high) == pytest.approx((math.exp(-0.03), four))


@given(POSITIVE, POSITIVE, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_quotients_interval_holds_it_and_turns_round_with_it(a: float, b: float, wide: float, narrow: float) -> None:
    first = Factor(a, a * math.exp(-wide), a * math.exp(narrow))
    second = Factor(b, b * math.exp(-narrow), b * math.exp(wide))
    one, other = quotient(first, second), quotient(second, first)
    assert one.value == pytest.approx(a / b)
    assert one.low <= one.value * (1 + 1e-12)
    assert one.value <= one.high * (1 + 1e-12)
    assert (one.low, one.high) == pytest.approx((1 / other.high, 1 / other.low))


def test_a_quotients_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(3)  # noqa: S311 - a simulation, not a secret

    def measured(truth: float, spread: float) -> Factor:
        log = math.log(truth) + draw.gauss(0, spread)
        return Factor(*(math.exp(log + z * spread) for z in (0.0, -1.96, 1.96)))

    held = 0
    for _ in range(4000):
        found = quotient(measured(3.0, 0.02), measured(2.0, 0.05))
        held += found.low <= 1.5 <= found.high
    assert 0.935 < held / 4000 < 0.965


def test_what_has_no_speedup_or_no_interval_gives_none() -> None:
    known, bare, missing = Factor(2.0, 1.9, 2.1), Factor(2.0), Factor(problem="not measured: no GPU")
    for pair in ((known, missing), (missing, known)):
        assert quotient(*pair).value is None
        assert "a row has no speedup" in quotient(*pair).told
    for pair in ((known, bare), (bare, known)):
        found = quotient(*pair)
        assert (found.value, found.low, found.high) == (1.0, None, None)
        assert "too few rounds" in found.told
        assert found.seen(None) == ""


@pytest.mark.parametrize(
    ("factor", "noise", "seen"),
    [
        (Factor(1.1, 1.05, 1.15), None, FASTER),
        (Factor(0.9, 0.85, 0.95), None, SLOWER),
        (Factor(1.1, 0.99, 1.2), None, UNSEEN),
        (Factor(1.1, 1.05, 1.15), 0.12, UNSEEN),
        (Factor(0.95, 0.94, 0.96), 0.06, UNSEEN),
        (Factor(0.94, 0.93, 0.95), 0.06, SLOWER),
    ],
)
def test_what_is_smaller_than_the_noise_or_may_be_1_is_not_seen(factor: Factor, noise: float, seen: str) -> None:
    assert factor.seen(noise) == seen


# --- the rows ---


def test_the_rows_stand_in_the_order_of_the_switches_however_they_were_run() -> None:
    shuffled = ladder_record()
    random.Random(1).shuffle(shuffled["speedclaims"]["pairs"])  # noqa: S311 - an order, not a secret
    for record in (ladder_record(), shuffled):
        found = the_ladder(record)
        assert [one.label for one in found.rungs] == ["all off", "+ cached", "+ fused", "+ graphs"]
        assert [one.speedup.value for one in found.rungs] == [0.99, 1.96, 1.965, 2.4]
        names = [record["speedclaims"]["pairs"][one.speedup.pair]["after"] for one in found.rungs]
        assert names == ["fastest: restructured", "fastest: +cached", "fastest: +fused", "fastest: +graphs"]


def test_a_step_is_by_the_row_above_and_what_is_added_last_by_all_but_it() -> None:
    found = the_ladder()
    assert [one.step.value for one in found.rungs] == pytest.approx([0.99, 1.96 / 0.99, 1.965 / 1.96, 2.4 / 1.965])
    assert found.rungs[0].last is None
    # the first from two pairs against the reference, the second from a pair of all but it against all
    assert [one.last.value for one in found.rungs[1:3]] == pytest.approx([2.4 / 1.2, 0.996])
    assert math.prod(one.step.value for one in found.rungs) == pytest.approx(found.whole.value)


def test_a_verdict_says_where_a_switch_is_seen() -> None:
    off, cached, fused, graphs = the_ladder().rungs
    # the noise floor is 0.6%, the interval of restructured 2% to each side
    assert off.verdict == UNSEEN
    assert cached.verdict == FASTER
    assert fused.verdict == UNSEEN
    # its other row was withheld, so the step speaks alone
    assert graphs.verdict == FASTER
    assert (graphs.last.value, graphs.last.told) == (None, "withheld: losses differ")


def test_why_all_but_one_has_no_speedup_is_said_however_it_was_measured() -> None:
    record = ladder_record()
    (without,) = (row for row in record["speedclaims"]["pairs"] if row["after"] == "fastest: -cached")
    without |= {"speedup": None, "low": None, "high": None, "status": "not_measured", "reason": "no GPU"}
    assert the_ladder(record).rungs[1].last.told == "not measured: no GPU"


def test_a_measured_pair_of_all_but_one_against_all_counts_more_than_two_against_the_reference() -> None:
    record = ladder_record()
    record["speedclaims"]["pairs"].append(rung("-cached", "added_last", (False, True, True), 1.9))
    last = the_ladder(record).rungs[1].last
    assert (last.value, last.low, last.high) == (1.9, 1.9 / 1.02, 1.9 * 1.02)
    assert record["speedclaims"]["pairs"][last.pair]["before"] == "fastest: -cached"


def test_pairs_against_all_belong_to_their_test_s_ladder_and_stand_alone_where_it_did_not_run() -> None:
    lasts = [
        rung("-cached", "added_last", (False, True, True), 1.9),
        rung("-fused", "added_last", (True, False, True), 0.9),
    ]
    other = rung("-graphs", "added_last", (True, True, False), 1.5)
    other["nodeid"] = "bench/test_other.py::test_switches[-graphs]"
    ladder = rung("+graphs", "ladder", (True, True, True), 2.4)
    first, second = ladders([*lasts, other, ladder], None)
    assert [one.last.value for one in first.rungs[1:]] == [1.9, 0.9, None]
    assert first.under.startswith("fastest against reference ·")
    assert first.whole.value == 2.4
    assert second.under.startswith("fastest against all but one ·")
    assert [one.last.value for one in second.rungs[1:]] == [None, None, 1.5]
    assert [one.verdict for one in second.rungs] == ["not measured"] * 3 + [FASTER]
    assert second.num_intervals == 1


def test_a_ratio_without_an_interval_is_measured_but_shows_nothing() -> None:
    short = {"status": "too_few_rounds", "reason": "too few rounds: 2 double rounds", "low": None, "high": None}
    rows = [
        rung("restructured", "ladder", (False, False, False), 0.9, **short),
        rung("+cached", "ladder", (True, False, False), 2.0, **short),
    ]
    assert [one.verdict for one in the_ladder(ablation_of(*rows)).rungs] == [
        "no interval", "no interval", "not measured", "not measured",
    ]  # fmt: skip


def test_where_step_and_loss_disagree_both_are_told() -> None:
    record = ladder_record()
    (without,) = (row for row in record["speedclaims"]["pairs"] if row["after"] == "fastest: -cached")
    without |= {"speedup": 3.6, "low": 3.5, "high": 3.7}
    assert the_ladder(record).rungs[1].verdict == "faster when it is added, slower with all the others on"


def test_rows_that_did_not_run_are_said_to_and_end_the_steps_beside_them() -> None:
    ran = rung("+cached", "ladder", (True, False, False), 2.0)
    found = the_ladder(ablation_of(ran))
    assert [one.speedup.value for one in found.rungs] == [None, 2.0, None, None]
    assert found.rungs[0].speedup.told == "not measured: its test did not run"
    assert [one.step.value for one in found.rungs] == [None] * 4
    assert {one.verdict for one in found.rungs} == {"not measured"}
    assert found.num_intervals == 0


def test_ablations_of_other_tests_devices_or_sides_stay_apart() -> None:
    rows = [rung("+cached", "ladder", (True, False, False), 2.0) for _ in range(5)]
    rows[1]["device"] = "cuda"
    rows[2]["before"] = "optimized"
    rows[3]["nodeid"] = "bench/test_other.py::test_switches[+cached]"
    rows[4]["ablation"]["of"] = "another tier"
    assert [one.index for one in ladders(rows, None)] == list(range(5))
    again = rung("+cached", "ladder", (True, False, False), 3.0)
    (one,) = ladders([rows[0], again], None)
    assert one.rungs[1].speedup.value == 2.0


def test_a_record_without_ablations_has_none() -> None:
    assert ladders(sample_record()["speedclaims"]["pairs"], NOISE) == ()
    assert "What each switch brings" not in render_html([sample_record()])
    assert "What each switch brings" not in render_markdown([sample_record()])


# --- the drawing ---


def test_each_bar_begins_where_the_one_above_ended() -> None:
    root = ET.fromstring(waterfall_svg(the_ladder(), NOISE))  # noqa: S314 - drawn by the code under test
    bars = [(float(r.attrib["x"]), float(r.attrib["x"]) + float(r.attrib["width"])) for r in root.iter("rect")]
    one = float(next(line for line in root.iter("line") if line.attrib["class"] == "one").attrib["x1"])
    off, cached, fused, graphs, whole = bars
    assert off[1] == pytest.approx(one, abs=0.11)  # slower than the reference: it reaches to the left
    assert cached[0] == pytest.approx(off[0], abs=0.11)
    assert fused[0] == pytest.approx(cached[1], abs=0.11)
    assert graphs[0] == pytest.approx(fused[1], abs=1.6)  # a bar of next to nothing is still 1.5 wide
    assert whole == pytest.approx((one, graphs[1]), abs=0.11)
    styles = [g.attrib["class"] for g in root.iter("g")]
    assert styles == ["untold", "faster", "untold", "faster", "whole"]


def test_the_drawing_says_every_row_in_words() -> None:
    root = ET.fromstring(waterfall_svg(the_ladder(), NOISE))  # noqa: S314 - drawn by the code under test
    text = " ".join(root.itertext())
    for words in ("all off", "+ cached", "+ fused", "+ graphs", "all on", "1.96x [1.92, 2.00]", "1.98x [1.93, 2.04]"):
        assert words in text
    assert root.attrib["role"] == "img"
    assert "+ cached 1.96x" in root.attrib["aria-label"]


def test_a_row_without_a_speedup_is_drawn_as_words_and_breaks_the_chain() -> None:
    record = ladder_record()
    (row,) = (row for row in record["speedclaims"]["pairs"] if row["after"] == "fastest: +fused")
    row |= {"speedup": None, "low": None, "high": None, "status": "not_measured", "reason": "no GPU"}
    root = ET.fromstring(waterfall_svg(the_ladder(record), NOISE))  # noqa: S314 - drawn by the code under test
    assert len(list(root.iter("rect"))) == 3  # all off, + cached and the whole
    assert "not measured: no GPU" in " ".join(root.itertext())


def test_hostile_names_stay_text_in_the_drawing() -> None:
    record = poison(ladder_record())
    (found,) = ladders(record["speedclaims"]["pairs"], None)
    svg = waterfall_svg(found, None)
    assert "<script" not in svg
    assert "alert(1)" in "".join(ET.fromstring(svg).itertext())  # noqa: S314 - drawn by the code under test
    assert HOSTILE[:3] in svg


# --- page, Markdown, terminal ---


def test_the_page_draws_the_ladder_links_its_pairs_and_names_what_does_nothing_here() -> None:
    page = render_html([ladder_record()])
    section = page[page.index('id="ladders"') : page.index('id="phases"')]
    assert section.count('<svg class="waterfall"') == 1
    assert section.count("<tr ") == 5
    assert section.count("<td") == 4 * 4
    links = re.findall(r'href="#(pair-[^"]+)">([^<]+)', section)
    (nodeid,) = [p["nodeid"] for p in ladder_record()["speedclaims"]["pairs"] if p["name"] == "test_switches[+cached]"]
    assert (f"pair-{nodeid}", "1.96x [1.92, 2.00]") in links
    assert "streams: for GPUs" in section
    assert "Expected wrong intervals of switches by chance: 0.2 of 4." in section
    assert "too few rounds" in section


def test_markdown_has_a_row_for_each_switch() -> None:
    text = render_markdown([ladder_record()])
    section = text[text.index("## What each switch brings") : text.index("## Where the time goes")]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "Switch" not in line]
    assert [line.split(" | ")[0] for line in rows] == [
        "| all off (fastest: restructured)", "| + cached", "| + fused", "| + graphs",
    ]  # fmt: skip
    assert rows[2].endswith(f"| {UNSEEN} |")
    assert "1.98x \\[1.93, 2.04\\]" in rows[1]


def test_the_terminal_has_one_line_for_an_ablation() -> None:
    told = claims_summary(ladder_record(), 400, color=False)
    (line,) = (line for line in told.splitlines() if line.startswith("Switches of"))
    assert "all off 0.99x [0.97, 1.01], all on 2.40x [2.35, 2.45]; not seen here: fused" in line
    assert "Switches of" not in claims_summary(sample_record(), 400, color=False)


def test_the_terminal_names_what_is_slower_and_what_each_brings_where_the_ladder_did_not_run() -> None:
    record = sample_record()
    record["speedclaims"]["pairs"] += [
        rung("-cached", "added_last", (False, True, True), 1.9),
        rung("-fused", "added_last", (True, False, True), 0.9),
        rung("-graphs", "added_last", (True, True, False), 1.01),
    ]
    assert the_line_of_switches(record).endswith(
        ": added last, cached 1.90x [1.86, 1.94], fused 0.90x [0.88, 0.92], graphs 1.01x [0.99, 1.03]; "
        "slower: fused; not seen here: graphs"
    )


def test_the_terminal_says_once_why_switches_have_no_interval_or_nothing() -> None:
    record = sample_record()
    short = {"status": "too_few_rounds", "reason": "too few rounds: 2 double rounds", "low": None, "high": None}
    record["speedclaims"]["pairs"] += [
        rung("-cached", "added_last", (False, True, True), 1.9, **short),
        rung("-fused", "added_last", (True, False, True), 0.9, **short),
    ]
    assert the_line_of_switches(record).endswith(
        ": added last, cached 1.90x, fused 0.900x; too few rounds: 2 double rounds: cached, fused; "
        "not measured: its test did not run: graphs"
    )


def test_rows_of_an_ablation_that_do_not_fit_keep_the_switch_s_name() -> None:
    told = claims_summary(ladder_record(), 80, color=False)
    assert "tches[+cached]" in told


def the_line_of_switches(record: Row) -> str:
    """Return the terminal's line about the only ablation of a record."""
    told = claims_summary(record, 400, color=False)
    (line,) = (line for line in told.splitlines() if line.startswith("Switches of"))
    return line
