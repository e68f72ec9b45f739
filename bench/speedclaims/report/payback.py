"""When a dearer first call is paid back: tracing, compiling and autotuning cost once what the warm calls then save.

After n further calls a side has taken its first call and n warm ones. The after side has caught up as soon as
n x (before_s - after_s) covers what its first call took longer.
"""

import math

from .formatting import Json, format_count, format_seconds, not_measured, plural


def num_calls(more_s: float, saved_s: float) -> int:
    """Return after how many warm calls a saving in each has made up for what the first call took longer.

    Args:
        more_s: seconds that the first call took longer.
        saved_s: seconds that each further call saves, above 0.
    """
    return max(0, math.ceil(more_s / saved_s))


def first_call(pair: Json) -> str:
    """Return in a sentence what the first calls of a pair's sides took and when the dearer one has paid off.

    Empty where neither was measured, which the tables of figures say with the reason.
    """
    before, after = pair["cold_before_s"], pair["cold_after_s"]
    if before["value"] is None and after["value"] is None:
        return ""
    for side, figure in (("before", before), ("after", after)):
        if figure["value"] is None:
            return f"first call {side} {not_measured(figure['reason'])}"
    told = f"first call {format_seconds(before['value'])} before, {format_seconds(after['value'])} after"
    return f"{told}: {_paid_back(pair, after['value'] - before['value'])}"


def _paid_back(pair: Json, more_s: float) -> str:
    """Return when the after side has made up for a first call that took so much longer."""
    unknown = _unknown(pair)
    if unknown:
        return unknown if more_s > 0 else "pays back at once"
    # the speedup's interval says for sure on which side the further calls are faster
    saved_s = pair["before_s"] - pair["after_s"]
    if saved_s > 0:
        return f"pays back after {_calls(pair, num_calls(more_s, saved_s))}" if more_s > 0 else "pays back at once"
    if more_s > 0:
        return "never pays back, for each further call takes longer too"
    return f"ahead for {_calls(pair, num_calls(-more_s, -saved_s))} only, for each of them takes longer"


def _unknown(pair: Json) -> str:
    """Return why nobody knows what a further call saves; empty where it is known."""
    if pair["speedup"] is None:
        return f"when it pays back is {not_measured(pair['reason'])}"
    if pair.get("calls_before", 1) != pair.get("calls_after", 1):
        return "one call does not stand against one here, so there is no number of calls that pays it back"
    if pair["low"] is None:
        return "when it pays back cannot be told: there is no interval of the speedup"
    is_faster = pair["before_s"] > pair["after_s"]
    if pair["low"] <= 1 <= pair["high"] or is_faster != (pair["low"] > 1):
        return "whether it ever pays back cannot be told: the further calls may take as long on both sides"
    return ""


def _calls(pair: Json, number: int) -> str:
    """Return a number of further calls, and how many units (batches, images, rows) they do where that is told."""
    units = "" if pair["units"] == 1 else f" ({format_count(number * pair['units'])} units)"
    return f"{plural(number, 'further call')}{units}"
