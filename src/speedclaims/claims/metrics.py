"""List the metrics: the figures that claims are judged by. Those of a pass come from its recorder."""

from functools import cache
from typing import TYPE_CHECKING

from speedclaims.recorders.recorder import Metric
from speedclaims.recorders.registry import recorders

if TYPE_CHECKING:
    from speedclaims.record.types import Figure, RecordedPair


def _speedup(pair: "RecordedPair") -> "Figure":
    return {
        "value": pair["speedup"],
        "unit": "1",
        "status": "not_measured" if pair["speedup"] is None else "measured",
        "reason": pair["reason"],
        "low": pair["low"],
        "high": pair["high"],
    }


def _quality(_: "RecordedPair") -> "Figure":
    reason = "a quality claim is judged by a figure, not by a pair"
    return {"value": None, "unit": "1", "status": "not_measured", "reason": reason}


@cache
def metrics() -> dict[str, Metric]:
    """Return the metrics by name."""
    found = [Metric("speedup", "time", _speedup), Metric("quality", "quality", _quality)]
    found += [metric for one in recorders().values() for metric in one.metrics]
    return {metric.name: metric for metric in found}
