"""Memory is compared by the increase over the level before the call, where the increase is more than noise."""

import pytest

from speedclaims.record.figure import figure
from speedclaims.recorders.memory import Memory, call_memory
from speedclaims.recorders.recorder import PairContext

MIB = 2**20


def recorded(before: list[float], after: list[float]) -> dict:
    """Return the fields of a pair of increases in MiB, in a process that holds 30 MiB before the call."""
    sides = (
        [{"peak": figure((30 + one) * MIB, "bytes"), "increase": figure(one * MIB, "bytes")} for one in found]
        for found in (before, after)
    )
    return dict(Memory().fields(*sides, PairContext({"device": "cpu"}, lambda framework: {})))


def test_an_increase_leaves_out_what_the_process_holds_before_the_call():
    held = bytearray(b"x") * (64 * MIB)
    found = call_memory("cpu", lambda: bytearray(b"x") * (16 * MIB))
    if found["peak"]["value"] is None:
        pytest.skip(found["peak"]["reason"])
    assert found["peak"]["value"] > len(held) + 16 * MIB
    assert found["increase"]["value"] == pytest.approx(16 * MIB, rel=0.05)


def test_memory_that_an_earlier_call_freed_is_no_level():
    def call():
        return [b"x" * (100_000 + i) for i in range(200)]  # small enough for the C library to keep

    call()
    found = call_memory("cpu", call)["increase"]
    if found["value"] is None:
        pytest.skip(found["reason"])
    assert found["value"] > 15e6


def test_both_ratios_are_recorded_with_their_ranges():
    found = recorded([20.0, 22.0, 24.0], [10.0, 11.0, 12.0])
    assert found["memory"]["ratio"]["value"] == pytest.approx(52 / 41)
    ratio = found["memory_increase"]["ratio"]
    assert (ratio["value"], ratio["low"], ratio["high"]) == (2, pytest.approx(20 / 12), pytest.approx(2.4))


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ([20.0], [0.5], "the after side takes 512 KiB above the level before the call: below 1 MiB no ratio"),
        ([0.0], [9.0], "the before side takes 0 KiB above the level before the call: below 1 MiB no ratio"),
        ([9.0], [0.5, 3.0, 3.0], "the after side takes 512 KiB above the level before the call: below 1 MiB no ratio"),
    ],
)
def test_an_increase_below_one_mebibyte_has_no_ratio(before, after, reason):
    found = recorded(before, after)["memory_increase"]
    assert (found["ratio"]["value"], found["ratio"]["reason"]) == (None, reason)
    assert None not in (found["before"]["value"], found["after"]["value"])


def test_an_increase_of_one_mebibyte_has_a_ratio():
    assert recorded([2.0], [1.0])["memory_increase"]["ratio"]["value"] == 2


@pytest.mark.parametrize(("device", "has_ratio"), [("cpu", False), ("cuda", True)])
def test_the_report_shows_the_ratio_of_peaks_only_where_it_judges(device, has_ratio):
    fields = recorded([22.0], [11.0])
    peaks, increases = Memory().tables([{"device": device, **fields}])
    assert (peaks.rows[0].ratio is not None) == has_ratio
    assert increases.rows[0].ratio["value"] == 2


def test_a_record_without_increases_has_the_table_of_peaks_alone():
    fields = recorded([22.0], [11.0])
    (peaks,) = Memory().tables([{"device": "cpu", "memory": fields["memory"]}])
    assert peaks.rows[0].ratio["value"] == pytest.approx(52 / 41)
