"""Return after how many calls a side with a slower first call breaks even.

Tracing, compiling and autotuning cost time once, in the first call, and save time in each further call. After n further
calls a side has taken its first call and n warm ones. The after side breaks even as soon as n x (before_s - after_s)
covers the seconds that its first call took longer.
"""

import math

from speedclaims.record.types import RecordedPair
from speedclaims.report.model.formatting import format_count, format_seconds, not_measured, plural


def num_calls(more_s: float, saved_s: float) -> int:
    """Return after how many warm calls a slower first call is amortized.

    Args:
        more_s: seconds that the first call took longer.
        saved_s: seconds that each further call saves, above 0.
    """
    return max(0, math.ceil(more_s / saved_s))


def first_call(pair: RecordedPair) -> str:
    """Return a sentence with the first calls of a pair's sides and the number of calls to break even.

    Empty where neither was measured: the tables of figures give the reason.
    """
    before, after = pair["cold_before_s"], pair["cold_after_s"]
    if before["value"] is None and after["value"] is None:
        return ""
    if before["value"] is None:
        return f"first call before {not_measured(before['reason'])}"
    if after["value"] is None:
        return f"first call after {not_measured(after['reason'])}"
    seconds = f"first call {format_seconds(before['value'])} before, {format_seconds(after['value'])} after"
    return f"{seconds}: {_break_even(pair, after['value'] - before['value'])}"


def _break_even(pair: RecordedPair, more_s: float) -> str:
    """Return when the after side breaks even, for a first call that took more_s seconds longer."""
    unknown, before_s, after_s = _unknown(pair), pair["before_s"], pair["after_s"]
    if unknown or before_s is None or after_s is None:
        return unknown if more_s > 0 else "amortized from the first call"
    # The speedup's interval excludes 1: it is certain on which side the further calls are faster.
    saved_s = before_s - after_s
    if saved_s > 0:
        if more_s > 0:
            return f"amortized after {_calls(pair, num_calls(more_s, saved_s))}"
        return "amortized from the first call"
    if more_s > 0:
        return "never amortized, because each further call is slower too"
    return f"ahead for {_calls(pair, num_calls(-more_s, -saved_s))} only, because each of them is slower"


def _unknown(pair: RecordedPair) -> str:
    """Return why the saving of a further call is unknown; empty where it is known."""
    if pair["speedup"] is None or pair["before_s"] is None or pair["after_s"] is None:
        return f"the calls to break even are {not_measured(pair['reason'])}"
    if pair["calls_before"] != pair["calls_after"]:
        return "no number of calls to break even, because the sides need different numbers of calls"
    if pair["low"] is None or pair["high"] is None:
        return "the calls to break even are unknown: the speedup has no interval"
    is_faster = pair["before_s"] > pair["after_s"]
    if pair["low"] <= 1 <= pair["high"] or is_faster != (pair["low"] > 1):
        return "whether it is ever amortized is unknown: the further calls may take as long on both sides"
    return ""


def _calls(pair: RecordedPair, number: int) -> str:
    """Return a number of further calls, with the units (batches, images, rows) they do where the pair has units."""
    units = "" if pair["units"] == 1 else f" ({format_count(number * pair['units'])} units)"
    return f"{plural(number, 'further call')}{units}"
