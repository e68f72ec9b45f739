"""The times of a pair never contradict the speedup shown with them."""

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speedclaims.report.model.pairs import PairRow, pair_row
from tests.speedclaims.report.sample import pair

UNITS = {"min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
LOG = {"allow_nan": False, "allow_infinity": False}


def row(before_s: float, after_s: float, speedup: float, half: float | None = 0.0, **changes: Any) -> PairRow:
    """Return the report's row of a pair whose interval has a half-width relative to the speedup; None: no interval."""
    ends = {"low": None, "high": None} if half is None else {"low": speedup / (1 + half), "high": speedup * (1 + half)}
    return pair_row(0, pair("t", "T", before_s=before_s, after_s=after_s, speedup=speedup, **ends, **changes), [])


def rounded(text: str) -> tuple[float, float]:
    """Return the least and the greatest number that a shown number may stand for."""
    decimals = len(text.partition(".")[2])
    value, half = float(text), 0.5 * 10.0**-decimals
    return (value - half) * (1 - 1e-9), (value + half) * (1 + 1e-9)


def seconds(text: str) -> tuple[float, float]:
    """Return the least and the greatest duration that a shown one may stand for."""
    number, unit = text.split()
    low, high = rounded(number)
    return low * UNITS[unit], high * UNITS[unit]


@pytest.mark.parametrize(
    ("before_s", "after_s", "speedup", "half", "times"),
    [
        (1.00e-3, 1.00e-3, 1.05, 0.02, ("1.00 ms", "952 µs")),
        (10e-3, 11e-3, 1.02, 0.01, ("10.0 ms", "9.80 ms")),
        (1.004, 1.004, 1.004, 0.0005, ("1.004 s", "1.000 s")),
        (1.004, 1.1, 1.0, 0.1, ("1.00 s", "1.00 s")),
        (2.0, 1.0, 2.0, None, ("2.00 s", "1.00 s")),
    ],
)
def test_the_after_time_follows_the_speedup(
    before_s: float, after_s: float, speedup: float, half: float | None, times: tuple[str, str]
) -> None:
    found = row(before_s, after_s, speedup, half)
    assert (found.before_time, found.after_time) == times
    assert (found.recorded["before_s"], found.recorded["after_s"]) == (before_s, after_s)


@given(
    log_before=st.floats(math.log(2e-7), math.log(1e5), **LOG),
    log_speedup=st.floats(math.log(0.02), math.log(50), **LOG),
    log_noise=st.floats(-0.2, 0.2, **LOG),
    half=st.none() | st.floats(1e-4, 0.5, **LOG),
    calls=st.sampled_from([(1, 1), (250, 100), (1, 3)]),
)
@example(log_before=math.log(1.004), log_speedup=math.log(1.004), log_noise=0.0, half=5e-4, calls=(1, 1))
def test_shown_before_by_shown_after_is_the_shown_speedup_within_the_rounding_of_their_digits(
    log_before: float, log_speedup: float, log_noise: float, half: float | None, calls: tuple[int, int]
) -> None:
    before_s, speedup = math.exp(log_before), math.exp(log_speedup)
    factor = calls[0] / calls[1]
    after_s = before_s * factor / speedup * math.exp(log_noise)
    found = row(before_s, after_s, speedup, half, calls_before=calls[0], calls_after=calls[1])
    assert found.speedup is not None
    before, after = seconds(found.before_time), seconds(found.after_time)
    low, high = rounded(found.speedup.point.removesuffix("x"))
    assert factor * before[0] / after[1] <= high
    assert factor * before[1] / after[0] >= low
    if calls[0] == calls[1]:
        shown = float(found.speedup.point.removesuffix("x"))
        if shown != 1:
            assert (before > after) == (shown > 1)


def test_without_a_speedup_the_medians_are_shown() -> None:
    found = pair_row(0, pair("t", "T", before_s=2.0, after_s=3.0, status="withheld", reason="it differs"), [])
    assert (found.before_time, found.after_time) == ("2.00 s", "3.00 s")
    nothing = pair_row(0, pair("t", "T", status="not_measured", reason="no GPU"), [])
    assert (nothing.before_time, nothing.after_time, nothing.rates) == ("not measured", "not measured", "")
