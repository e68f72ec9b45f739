"""Make rows of a record before anything is known: they are complete, and say that nothing was measured."""

from speedclaims.record.figure import figure
from speedclaims.record.types import RecordedFigure


def blank_pair(name: str, nodeid: str, title: str, *, control: bool = False) -> dict[str, object]:
    """Return the fields of a pair, without those of its passes."""
    return {
        "name": name,
        "nodeid": nodeid,
        "title": title,
        "family": None,
        "before": "before",
        "after": "after",
        "work": "same",
        "preset": None,
        "device": "cpu",
        "control": control,
        "units": 1,
        "calls_before": 1,
        "calls_after": 1,
        "num_rounds": 0,
        "num_processes": 0,
        "process_num_values": [],
        "hash_seeds": [],
        "fail_percent": None,
        "repeats_before": 0,
        "repeats_after": 0,
        "before_s": None,
        "after_s": None,
        "speedup": None,
        "low": None,
        "high": None,
        "confidence": 0.95,
        "reached_precision": None,
        "correlation_factor": None,
        "log_ratios": [],
        "interrupted_percent": None,
        "waiting_percent": None,
        "stolen_percent": None,
        "throttled_percent": None,
        "carry_over": figure(None, "percent", "nothing was measured"),
        "equivalence": "not_checked",
        "equivalence_details": [],
        "status": "not_measured",
        "reason": None,
    }


def blank_figure(name: str, nodeid: str, title: str) -> RecordedFigure:
    """Return the row of a figure."""
    return {
        "name": name,
        "nodeid": nodeid,
        "title": title,
        "work": "same",
        "family": None,
        "preset": None,
        "device": "cpu",
        "value": None,
        "low": None,
        "high": None,
        "unit": "1",
        "status": "not_measured",
        "reason": None,
        "details": [],
    }
