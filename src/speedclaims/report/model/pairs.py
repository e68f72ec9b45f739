"""Rows of a record's pairs, as every rendering shows them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from speedclaims.record.types import RecordedClaim, RecordedPair, SideName
from speedclaims.recorders.flops.count import possible_shares
from speedclaims.recorders.phases.recorder import saved_words
from speedclaims.recorders.recorder import SIDES
from speedclaims.report.model.break_even import first_call
from speedclaims.report.model.formatting import (
    MISSING,
    Estimate,
    agreeing_seconds,
    clean,
    equivalence_words,
    format_estimate,
    format_figure,
    format_number,
    format_times,
    words,
)
from speedclaims.report.model.timeline import Timeline, timelines

_SHORT_ROUND_S = 0.005
_MANY_INTERRUPTED = 20
"""From this percent of interrupted rounds on, a report says so."""
_MUCH_TAKEN = 10
"""From this percent of stolen or throttled time on, a report says so."""
_MUCH_CARRIED_OVER = 2
"""A report says that alternating matters if it surely changes the speedup by this percent."""


@dataclass(frozen=True, slots=True)
class PairRow:
    """One pair. ``speedup`` is None where there is none, and ``problem`` then gives the reason.

    ``rates`` are the units per second of both sides. The shares are of the measured ceiling; that of the after side
    ends in the work saved. ``first_call`` gives the seconds of the first calls and the number of calls to break even;
    it is empty where they were not measured. ``change`` says of two revisions how much longer the after side takes.
    ``anchor`` is the id of the row in a page. ``recorded`` is the row of the
    record.
    """

    index: int
    name: str
    nodeid: str
    title: str
    before: str
    after: str
    work: str
    where: str
    device: str
    is_control: bool
    before_time: str
    after_time: str
    rates: str
    before_share: str
    after_share: str
    first_call: str
    speedup: Estimate | None
    value: float | None
    low: float | None
    high: float | None
    confidence: float
    rounds: str
    processes: str
    equivalence: str
    is_equivalence_bad: bool
    details: tuple[str, ...]
    status: str
    problem: str
    log_ratios: tuple[float, ...]
    timelines: tuple[Timeline, ...]
    claimed: tuple[tuple[float | None, float | None], ...]
    claims: tuple[str, ...]
    anchor: str
    change: str
    recorded: RecordedPair = field(compare=False, repr=False)

    @property
    def missing(self) -> str:
        """Return why there is no speedup; empty where there is one."""
        return "" if self.speedup else self.problem

    @property
    def group(self) -> str:
        """Return the family under which a table shows the row."""
        return clean(self.recorded["family"] or "")

    @property
    def result(self) -> str:
        """Return the speedup with its interval, or why there is none."""
        if self.speedup is None:
            return self.problem
        return f"{self.speedup} ({self.problem})" if self.problem else str(self.speedup)

    def as_evidence(self, device: str) -> str:
        """Return the pair in words for a claim that it does not judge: its sides, its speedup and the device's name."""
        work = "" if self.work == "same" else f" ({self.work} work)"
        return f"{self.before} against {self.after}, {self.speedup}{work} on {device}"


def pair_row(index: int, pair: RecordedPair, claims: Sequence[RecordedClaim]) -> PairRow:
    """Return the report's row of one pair, with the ranges of the claims that it judges."""
    judging = [claim for claim in claims if claim["pair"] == pair["nodeid"]]
    ranges = tuple(
        (claim["low"], claim["high"])
        for claim in judging
        if claim["metric"] == "speedup" and claim["verdict"] != "not_measured" and claim["unit"] == "1"
    )
    bounds = [1.0, *(bound for range_ in ranges for bound in range_ if bound is not None)]
    speedup, ratio = None, None
    if pair["speedup"] is not None:
        speedup = format_estimate(pair["speedup"], pair["low"], pair["high"], bounds=bounds)
        ratio = pair["speedup"] * pair["calls_after"] / pair["calls_before"]
    seconds = agreeing_seconds(pair["before_s"], pair["after_s"], ratio)
    is_equal = speedup is None or pair["calls_before"] != pair["calls_after"] or float(speedup.point[:-1]) == 1
    times = format_times(*seconds, is_equal=is_equal) if seconds else (MISSING, MISSING)
    return PairRow(
        index=index,
        name=clean(pair["name"]),
        nodeid=clean(pair["nodeid"]),
        title=clean(pair["title"]),
        before=clean(pair["before"]),
        after=clean(pair["after"]),
        work=pair["work"],
        where=", ".join(
            clean(part)
            for part in (pair["family"], pair["preset"], pair["device"], _ranks(pair), pair.get("machine"))
            if part
        ),
        device=clean(pair["device"]),
        is_control=pair["control"],
        before_time=times[0],
        after_time=times[1],
        rates=_rates(pair["units"], seconds),
        before_share=_share(pair, "before"),
        after_share=_share(pair, "after"),
        first_call=clean(first_call(pair)),
        speedup=speedup,
        value=pair["speedup"],
        low=pair["low"],
        high=pair["high"],
        confidence=pair["confidence"],
        rounds=str(pair["num_rounds"]) if pair["num_rounds"] else "none",
        processes=f"in {pair['num_processes']} processes" if pair["num_processes"] > 1 else "in one process",
        equivalence=equivalence_words(pair["equivalence"]),
        is_equivalence_bad=pair["equivalence"] == "failed",
        details=(*_calls(pair), *(clean(detail) for detail in pair["equivalence_details"])),
        status=words(pair["status"]),
        problem=_problem(pair),
        log_ratios=tuple(pair["log_ratios"]),
        timelines=timelines(pair),
        claimed=ranges,
        claims=tuple(dict.fromkeys(clean(claim["id"]) for claim in judging)),
        anchor=f"pair-{index}",
        change="",
        recorded=pair,
    )


def _rates(units: float, seconds: tuple[float, float] | None) -> str:
    """Return the units that each side does in a second; empty where a call is one unit, or was not timed."""
    if units == 1 or not seconds or not all(seconds):
        return ""
    return " → ".join(format_number(units / one) for one in seconds)


def _ranks(pair: RecordedPair) -> str | None:
    """Return in words how many ranks work on both sides, None for a pair of one process."""
    number = pair.get("ranks")
    return None if number is None else f"{number} rank{'s' * (number != 1)}"


def _share(pair: RecordedPair, side: SideName) -> str:
    """Return a side's shares of the measured ceilings, and of the after side the work saved, in words."""
    found = []
    if "flops" in pair:
        found.append((possible_shares(pair["flops"])[side], "{} of the ceiling"))
    if "bytes" in pair:
        found.append((pair["bytes"]["share"][side], "at least {} of the copy"))
    shares = [text.format(format_figure(share)) for share, text in found if share["value"] is not None]
    return ", ".join([*shares, *filter(None, [saved_words(pair) if side == "after" else ""])])


def _calls(pair: RecordedPair) -> tuple[str, ...]:
    """Return how many calls of each side were compared, where that is not one against one."""
    before, after = pair["calls_before"], pair["calls_after"]
    if before == after:
        return ()
    return (f"computed for {before:g} calls before against {after:g} after, from one against one",)


def _problem(pair: RecordedPair) -> str:
    notes = clean(pair["reason"] or ""), _contention(pair), _interruptions(pair), _throttling(pair), _carry_over(pair)
    reason = "; ".join(note for note in notes if note)
    if pair["status"] != "measured":
        status = words(pair["status"])
        return reason if reason.startswith(status) else f"{status}: {reason}" if reason else status
    if pair["reached_precision"] is False:
        return reason or "time limit before the precision asked for"
    return reason


def _interruptions(pair: RecordedPair) -> str:
    """Return a note that other load interrupted many rounds; empty where it did not, or it is unknown."""
    percent = pair["interrupted_percent"] or 0
    if (pair["before_s"] or 0) * pair["repeats_before"] > _SHORT_ROUND_S:
        return ""  # so long a round is interrupted on a quiet machine too
    return f"other load interrupted {percent:.0f}% of the rounds" if percent >= _MANY_INTERRUPTED else ""


def _throttling(pair: RecordedPair) -> str:
    """Return a note that the run got less than its processors; empty where it did not, or it is unknown."""
    taken = {
        "the hypervisor took {:.0f}% of the processors' time": pair["stolen_percent"],
        "the processor quota was used up {:.0f}% of the time": pair["throttled_percent"],
    }
    return "; ".join(text.format(percent) for text, percent in taken.items() if (percent or 0) >= _MUCH_TAKEN)


def _carry_over(pair: RecordedPair) -> str:
    """Return a note that each side's time depends on which side ran before it; empty where that matters little."""
    found = pair["carry_over"]
    low, high = found.get("low"), found.get("high")
    if low is None or high is None or max(low, -high) < _MUCH_CARRIED_OVER:
        return ""
    return (
        f"the side that ran before matters: the speedup is {found['value']:+.0f}% after the other side, compared with "
        "after its own"
    )


def _contention(pair: RecordedPair) -> str:
    """Return a note that other processes used the GPU during a side; empty where none did or it is unknown."""
    sides = pair["gpu"].get("other_processes")
    most = 0 if sides is None else max(sides[side]["value"] or 0 for side in SIDES)
    return f"{most:.0f} other {'process' if most == 1 else 'processes'} used the GPU meanwhile" if most else ""
