"""Numbers are written with the digits they have, and never contradict the verdict of their row."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedclaims.report.model.formatting import (
    clean,
    format_bytes,
    format_estimate,
    format_figure,
    format_percent,
    format_range,
    format_ratio,
    format_seconds,
    shorten,
)
from speedclaims.report.model.sentences import count_verdicts
from tests.speedclaims.report.sample import figure

RATIOS = st.floats(min_value=0.01, max_value=1000)


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (1.42, 1.38, 1.46, "1.42x [1.38, 1.46]"),
        (1.4231, 1.4190, 1.4271, "1.423x [1.419, 1.427]"),
        (12.3, 10.9, 14.1, "12x [11, 14]"),
        (2.0, 1.2, 2.9, "2.0x [1.2, 2.9]"),
        (1.0011, 0.9972, 1.0049, "1.001x [0.997, 1.005]"),
        (1.29, None, None, "1.29x"),
        (1.875, 1.875, 1.875, "1.88x"),
        (2.0, 2.0, 2.0, "2.00x"),
        (None, None, None, "not measured"),
        (math.nan, None, None, "not measured"),
    ],
)
def test_a_ratio_has_the_digits_that_its_interval_carries(
    value: float | None, low: float | None, high: float | None, expected: str
) -> None:
    assert format_ratio(value, low, high) == expected


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "expected"),
    [
        (4.0, 4.0, 4.0, "of 4 faults", "4 of 4 faults"),
        (5.0, 5.0, 5.0, "losses", "5 losses"),
        (640.0, 640.0, 640.0, "", "640"),
        (2.5, 2.5, 2.5, "calls", "2.50 calls"),
        (4.0, 3.0, 5.0, "losses", "4.0 losses [3.0, 5.0]"),
        (4.0, None, None, "losses", "4.00 losses"),
        (2e-10, 1e-10, 3e-10, "J", "2e-10 J [1e-10, 3e-10]"),
        (3e-7, None, None, "losses", "3e-07 losses"),
        (1e308, -1e308, 1e308, "losses", "1e+308 losses [-1e+308, 1e+308]"),
        (2.0, 2.0, 2.0, "sd", "2.00 sd"),
        (2.0, 2.0, 2.0, "percent", "2.00%"),
        (2.0, 2.0, 2.0, "% per epoch", "2.00% per epoch"),
    ],
)
def test_an_exact_count_has_no_decimals(
    value: float, low: float | None, high: float | None, unit: str, expected: str
) -> None:
    assert str(format_estimate(value, low, high, unit=unit)) == expected


def test_rounding_does_not_move_an_end_across_a_claimed_bound() -> None:
    assert str(format_estimate(1.52, 1.4996, 1.54, bounds=[1.5])) == "1.5200x [1.4996, 1.5400]"


@given(RATIOS, RATIOS, RATIOS, RATIOS)
def test_a_shown_interval_never_contradicts_the_bound(a: float, b: float, c: float, bound: float) -> None:
    low, value, high = sorted((a, b, c))
    if low == high or min(abs(end - bound) for end in (low, value, high)) < 1e-4:
        return
    shown = str(format_estimate(value, low, high, bounds=[bound])).replace("x", "").replace("[", "").replace("]", "")
    for text, end in zip(shown.replace(",", "").split(), (value, low, high), strict=True):
        assert (float(text) < bound) == (end < bound)


@pytest.mark.parametrize(
    ("low", "high", "unit", "expected"),
    [
        (1.5, 2.0, "1", "1.5-2x"),
        (3.0, None, "1", ">= 3x"),
        (None, 0.5, "1", "<= 0.5x"),
        (80, 95, "percent", "80-95%"),
        (4.0, 4.0, "1", "4x"),
        (0.03, 0.05, "s", "30.0 ms - 50.0 ms"),
        (None, None, "1", ""),
        (None, 2**30, "bytes", "<= 1.00 GiB"),
    ],
)
def test_a_claimed_range_is_written_in_its_unit(
    low: float | None, high: float | None, unit: str, expected: str
) -> None:
    assert format_range(low, high, unit) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.2413, "241 ms"),
        (1.5, "1.50 s"),
        (3.1e-5, "31.0 µs"),
        (4e-9, "4.00 ns"),
        (0.9996, "1.00 s"),
        (754.0, "12.6 min"),
        (None, "not measured"),
    ],
)
def test_a_time_has_three_digits_and_a_fitting_unit(seconds: float | None, expected: str) -> None:
    assert format_seconds(seconds) == expected


def test_a_size_is_scaled() -> None:
    assert [format_bytes(size) for size in (512, 2048, 3 * 2**20, None)] == [
        "512 B",
        "2.00 KiB",
        "3.00 MiB",
        "not measured",
    ]


def test_a_share_is_written_as_percent() -> None:
    assert [format_percent(share) for share in (0.006, 0.12, None)] == ["0.6%", "12%", "not measured"]


def test_a_figure_that_is_missing_tells_why_and_a_measured_zero_is_zero() -> None:
    assert format_figure(figure(None, "J", "no GPU")) == "not measured: no GPU"
    assert format_figure(figure(0, "1")) == "0"
    assert format_figure(figure(2.0, "1"), is_ratio=True) == "2.00x"
    assert format_figure(figure(640, "1")) == "640"


@given(st.text(max_size=60))
def test_clean_text_is_one_line_without_control_characters(text: str) -> None:
    cleaned = clean(text)
    assert cleaned == cleaned.strip()
    assert cleaned.isprintable() or not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in cleaned)
    assert clean(cleaned) == cleaned


@given(st.text(max_size=40), st.integers(min_value=0, max_value=50))
def test_shortened_text_fits(text: str, width: int) -> None:
    assert len(shorten(text, width)) <= max(width, 0)


def test_a_claim_judged_by_several_tests_counts_once() -> None:
    rows = [("a", "refuted"), ("a", "refuted"), ("b", "exceeded"), ("b", "exceeded")]
    assert {count.verdict.word: count.number for count in count_verdicts(rows)} == {"refuted": 1, "exceeded": 1}
