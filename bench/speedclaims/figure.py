"""What a test uses for a value that is no time: the ``figure`` fixture and its result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from speedclaims import rows
from speedclaims.fixtures import WORKS, blank_row

if TYPE_CHECKING:
    from speedclaims.session import SpeedSession


@dataclass(frozen=True)
class FigureResult:
    """What ``figure`` returns: the verdict on the claim of the test's marker (None without one), and the row."""

    verdict: str | None
    row: Mapping[str, Any] = field(repr=False)


class Figure:
    """Records one value that a test measured itself; see the ``figure`` fixture."""

    def __init__(
        self,
        request: pytest.FixtureRequest,
        benchmark: Any,
        session: "SpeedSession",
        labels: Mapping[str, str | None],
    ) -> None:
        """Bind the fixture to its test."""
        self._item: pytest.Item = request.node
        self._session = session
        self._labels = labels
        self._used = False
        rows.mark_used(benchmark)
        if not rows.enabled(benchmark):
            why = rows.why_disabled(request.config)
            session.add_row(self._item, {**self._blank(), "reason": why})
            pytest.skip(f"not_measured: {why}")

    def _blank(self) -> dict[str, Any]:
        """Return the record's row before anything is known about the value."""
        blank = blank_row(self._item)
        return {
            **{key: blank[key] for key in ("name", "nodeid", "title", "work")},
            **{key: self._labels.get(key) for key in ("family", "preset")},
            "device": self._labels.get("device") or "cpu",
            "value": None,
            "low": None,
            "high": None,
            "unit": "1",
            "status": "not_measured",
            "reason": None,
            "details": [],
        }

    def __call__(  # noqa: PLR0913 - what a figure consists of
        self,
        value: float | None,
        *,
        low: float | None = None,
        high: float | None = None,
        exact: bool = False,
        unit: str = "1",
        work: str = "same",
        reason: str | None = None,
        details: Sequence[str] = (),
    ) -> FigureResult:
        """Record a value with its interval and judge the claims of the test's marker by it.

        Args:
            value: the value, or None when it could not be measured; then the reason is needed.
            low: low end of its confidence interval.
            high: high end of its confidence interval.
            exact: instead of an interval, for what is counted.
            unit: unit of the value, 1 for a ratio or a share.
            work: ``same``, ``less`` or ``different`` work, as for a pair.
            reason: why there is no value.
            details: how it was measured, a sentence each.

        Raises:
            ValueError: the value has neither an interval nor ``exact``, or no value and no reason, or the fixture was
                called before in this test, or its unit is not the claim's.
        """
        if self._used:
            msg = "figure records one value a test: give the second one a test of its own, or parametrize"
            raise ValueError(msg)
        self._used = True
        low, high = (value, value) if exact else (low, high)
        _check_figure(value, low, high, work, reason)
        row = {
            **self._blank(),
            "work": work,
            "value": value,
            "low": low,
            "high": high,
            "unit": unit,
            "status": "not_measured" if value is None else "measured",
            "reason": reason,
            "details": list(details),
        }
        claims = self._session.claims_of(self._item, work)
        for claim in claims:
            if claim.unit != unit:
                msg = f"the claim {claim.id!r} is in {claim.unit!r}, the figure in {unit!r}: give both the same unit"
                raise ValueError(msg)
        self._session.add_row(self._item, row)
        verdicts = [self._session.judge(claim, row)["verdict"] for claim in claims]
        return FigureResult(verdicts[0] if verdicts else None, row)


def _check_figure(value: float | None, low: float | None, high: float | None, work: str, reason: str | None) -> None:
    if work not in WORKS:
        msg = f"work is {work!r}: it is one of {', '.join(WORKS)}"
        raise ValueError(msg)
    if value is None:
        if not reason:
            msg = "a figure without a value needs the reason why it could not be measured"
            raise ValueError(msg)
        return
    if low is None or high is None:
        msg = "a figure needs its interval, low and high, or exact=True where it is counted"
        raise ValueError(msg)
    if not all(math.isfinite(number) for number in (value, low, high)) or not low <= value <= high:
        msg = f"low ({low!r}) <= value ({value!r}) <= high ({high!r}) does not hold for finite numbers"
        raise ValueError(msg)
