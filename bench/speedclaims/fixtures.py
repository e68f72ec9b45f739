"""What a test uses: the ``pair`` fixture and its result."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from speedclaims import processes, rows
from speedclaims.ablation import Ablation, recorded
from speedclaims.pairing import (
    Measurement,
    Settings,
    SideName,
    Work,
    default_synchronize,
    measure,
    setup_for,
    time_side,
)
from speedclaims.passes import CEILINGS, PASSES, SIDES, STAGES, Alone, late, measure_passes, not_run, passes_of
from speedclaims.session import gate_percent
from speedclaims.stages import Stages, check_stages, measure_stages
from speedclaims.statistics import Interval, hull, min_values

if TYPE_CHECKING:
    from speedclaims.claims import Claim
    from speedclaims.session import SpeedSession

WORKS = ("same", "less", "different")
CONTROL_PROCESSES = 3


@dataclass(frozen=True)
class Result:
    """What ``pair`` returns.

    Attributes:
        speedup: before time / after time; above 1 the after side is faster.
        low: low end of its confidence interval, NaN when there were too few rounds for one.
        high: high end of its confidence interval, NaN when there were too few rounds for one.
        num_rounds: rounds measured, one before and one after each.
        before_s: median seconds of one call of the before side.
        after_s: median seconds of one call of the after side.
        verdict: the verdict on the claim that the test's marker names, None without one.
        row: the pair's row of the record.
    """

    speedup: float
    low: float
    high: float
    num_rounds: int
    before_s: float
    after_s: float
    verdict: str | None
    row: Mapping[str, Any] = field(repr=False)


class Pair:
    """Measures two callables in alternation; see the ``pair`` fixture."""

    def __init__(
        self, request: pytest.FixtureRequest, benchmark: Any, session: "SpeedSession", labels: Mapping[str, str | None]
    ) -> None:
        """Bind the fixture to its test."""
        self._item: pytest.Item = request.node
        self._config = request.config
        self._benchmark = benchmark
        self._session = session
        self._labels = labels
        self._used = False
        self._share_s = session.share_s(request.node.nodeid)

    def __call__(  # noqa: PLR0913 - the public signature
        self,
        before: Callable[[], object],
        after: Callable[[], object],
        *,
        equivalent: Callable[[], object] | None = None,
        work: str = "same",
        units: float = 1,
        setup: Callable[..., object] | None = None,
        synchronize: Callable[[], object] | None = None,
        passes: Sequence[str] | None = None,
        calls: tuple[float, float] = (1, 1),
        stages: Stages | None = None,
        ablation: Ablation | None = None,
        least_bytes: Callable[[], float] | None = None,
        rounds: str | None = None,
    ) -> Result:
        """Measure ``before`` against ``after`` and return the speedup with its interval.

        Args:
            before: does one unit of work the old way.
            after: does the same the new way.
            equivalent: runs first and says whether both compute the same. It returns None or True when they do, False
                or an AssertionError when they do not (the speedup is then withheld and the test fails), and a text or
                several when they differ by design, saying in what.
            work: ``same``, ``less`` or ``different`` work on the after side.
            units: how many batches, images or rows one call does, for rates.
            setup: runs before each side outside the clock; it may take the side's name, ``"before"`` or ``"after"``.
            synchronize: waits for the device inside the clock; by default of PyTorch and TensorFlow whatever is
                imported already.
            passes: of ``time``, ``cold``, ``memory``, ``syncs``, ``gpu`` and ``profile`` what to measure instead of
                ``--speedup-passes``; the marker ``speedup_passes`` adds some to either.
            calls: how many calls of each side make the whole that is compared, for example ``(250, 100)`` epochs: the
                speedup is that of 250 calls before against 100 after, reckoned from the ratio of one to one.
            stages: parts of the work to measure alone, outside the pair, for their rates in units per second: a name
                and two callables, of the before and of the after side, each doing ``units`` units.
            ablation: which row of an ablation this pair is: ``{"of": "fast trainer", "kind": "ladder", "switches":
                {"cached": True, "fused": False}}``, the switches all of them in the ladder's order. Of kind
                ``ladder`` the after side has the first so many on, of ``leave_one_out`` all but one; of ``added_last``
                the before side has all but one, and the after side all. ``not_here`` may name those that do nothing on
                this machine, with the reason.
            least_bytes: returns how many bytes a call of either side cannot but read and write; the pass ``profile``
                asks for it, after the timing, and says what share of the machine's measured copy that is.
            rounds: a name. Pairs of one run that give the same name have the same sides: the first one measures, and
                the others take its rounds. For claims that ask the same of other `calls`, a whole training or an epoch.

        Raises:
            ValueError: an argument is not what it should be, or the fixture was called before in this test.
            TypeError: a side is not callable, or the setup takes more than one argument.
        """
        self._check(before, after, work, units, passes)
        marked = self._marked
        _check_calls(calls)
        check_stages(stages or {})
        row_of_ablation = recorded(ablation)
        sides = Work(before, after, setup_for(setup), synchronize or default_synchronize(), resets=setup is not None)
        job = processes.job_of(self._config)
        if job is not None:
            self._serve(job, sides, stages or {}, units)
        row = self._row(before, after, work, units)
        row.update(calls_before=calls[0], calls_after=calls[1], **row_of_ablation)
        claims = self._session.claims_of(self._item, work)
        row["equivalence"], row["equivalence_details"] = _check_equivalence(equivalent)
        if row["equivalence"] == "failed":
            self._withhold(row)
        if not rows.enabled(self._benchmark):
            self._run_once(row, sides)
        measurements = self._shared_measure(rounds, sides, int(row["num_processes"]))
        spread = hull([m.interval(self._settings.confidence) for m in measurements])
        row.update(_timed(measurements, spread, calls[0] / calls[1], self._limit))
        # From here on the timing is kept, whatever happens to the passes.
        self._session.add_row(self._item, row)
        rows.add(self._benchmark, self._item.name, _seconds(measurements), _extra(row))
        names = [*(passes or self._session.passes), *marked]
        if not self._config.getoption("speedup_passes_last"):
            row["stages"] = measure_stages(stages or {}, units, sides.synchronize)
        elif stages:
            names.append(STAGES)
        self._other_passes(names, row, claims, least_bytes)
        verdicts = [self._session.judge(claim, row)["verdict"] for claim in claims]
        return Result(
            speedup=row["speedup"],
            low=math.nan if row["low"] is None else row["low"],
            high=math.nan if row["high"] is None else row["high"],
            num_rounds=row["num_rounds"],
            before_s=row["before_s"],
            after_s=row["after_s"],
            verdict=verdicts[0] if verdicts else None,
            row=row,
        )

    @property
    def _times_longer(self) -> float:
        marker = self._item.get_closest_marker("long_pair")
        if marker is None:
            return 1.0
        if len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], int | float) or marker.args[0] <= 0:
            msg = f"{self._item.nodeid}: long_pair takes one positive number, how many times --speedup-max-time"
            raise pytest.UsageError(msg)
        return float(marker.args[0])

    @property
    def _max_time(self) -> float:
        """Seconds that the pair may take: what its options say, and no more than its share of the run's."""
        job = processes.job_of(self._config)
        if job is not None and job.max_time is not None:
            return job.max_time
        return min(self._asked_s, self._share_s)

    @property
    def _asked_s(self) -> float:
        asked: float = self._config.getoption("speedup_max_time")
        return asked * self._times_longer

    @property
    def _limit(self) -> str:
        """The option that would give the pair more time."""
        return "--speedup-total-time" if self._share_s < self._asked_s else "--speedup-max-time"

    @property
    def _settings(self) -> Settings:
        option = self._config.getoption
        return Settings(
            max_time=self._max_time,
            precision=option("speedup_precision"),
            confidence=option("speedup_confidence"),
            disable_gc=rows.garbage_collector_off(self._benchmark),
        )

    def _check(self, before: object, after: object, work: str, units: float, passes: Sequence[str] | None) -> None:
        if self._used:
            msg = "pair measures one pair a test: give the second one a test of its own, or parametrize"
            raise ValueError(msg)
        self._used = True
        for name, side in (("before", before), ("after", after)):
            if not callable(side):
                msg = f"{name} is {type(side).__name__}, not callable: pass a function of no arguments"
                raise TypeError(msg)
        if work not in WORKS:
            msg = f"work is {work!r}: it is one of {', '.join(WORKS)}"
            raise ValueError(msg)
        if not units > 0:
            msg = f"units is {units!r}: it is the positive number of batches, images or rows that one call does"
            raise ValueError(msg)
        unknown = sorted(set(passes or ()) - set(PASSES))
        if unknown:
            msg = f"unknown pass {unknown[0]!r}: the passes are {', '.join(PASSES)}"
            raise ValueError(msg)

    def _row(self, before: object, after: object, work: str, units: float) -> dict[str, Any]:
        control = self._item.get_closest_marker("control_pair") is not None
        asked: int = self._config.getoption("speedup_processes")
        return {
            **blank_row(self._item, control=control),
            "family": self._labels.get("family"),
            "before": _label(before, "before"),
            "after": _label(after, "after"),
            "work": work,
            "preset": self._labels.get("preset"),
            "device": self._labels.get("device") or "cpu",
            "units": units,
            "num_processes": asked or (CONTROL_PROCESSES if control else 0),
            "confidence": self._settings.confidence,
            "fail_percent": gate_percent(self._item),
        }

    def _withhold(self, row: dict[str, Any]) -> NoReturn:
        why = "; ".join(row["equivalence_details"]) or "the check returned False"
        row.update(status="withheld", reason=f"the equivalence check failed: {why}")
        self._session.add_row(self._item, row)
        pytest.fail(f"speedup withheld, the equivalence check failed: {why}", pytrace=False)

    def _run_once(self, row: dict[str, Any], sides: Work) -> NoReturn:
        for name in SIDES:
            time_side(sides, name, 1)
        row.update(status="not_measured", reason=rows.why_disabled(self._config), num_processes=0)
        self._session.add_row(self._item, row)
        pytest.skip(f"not_measured: {row['reason']}")

    def _shared_measure(self, rounds: str | None, sides: Work, num_processes: int) -> list[Measurement]:
        """Return the rounds that another pair of this run measured under the same name, or measure."""
        kept = self._session.measurements
        if rounds is None or rounds not in kept:
            found = self._measure(sides, num_processes)
            if rounds is not None:
                kept[rounds] = found
            return found
        return kept[rounds]

    def _measure(self, sides: Work, num_processes: int) -> list[Measurement]:
        if num_processes == 0:
            return [measure(sides, self._settings)]
        found = [self._child("time") for _ in range(num_processes)]
        return [Measurement(**measurement) for measurement in found]

    def _child(self, task: str, side: str = "") -> Any:
        limit = self._session.seconds_left if self._config.getoption("speedup_passes_last") else math.inf
        return processes.run(self._config, self._item.nodeid, task, side, max_time=self._settings.max_time, limit=limit)

    def _other_passes(
        self,
        names: Sequence[str],
        row: dict[str, Any],
        claims: "Sequence[Claim]",
        least_bytes: Callable[[], float] | None,
    ) -> None:
        """Measure the passes beside the times, now or after all pairs, and add their fields to the row."""
        least = None
        if least_bytes is not None and "profile" in names:
            from speedclaims.recorders.flops import least as figure_of  # noqa: PLC0415

            least = figure_of(least_bytes())

        def ceilings_of(framework: str | None) -> Mapping[str, Any]:
            # Once a run, in a process that one side has set up: threads and numerical settings are as they are for it.
            return self._session.ceilings_of(framework, row["device"], lambda: self._child(CEILINGS, "before"))

        def add(chosen: Sequence[str]) -> None:
            if self._session.seconds_left <= 0:
                row.update(late(chosen, row, self._session.time_is_up))
            else:
                row.update(measure_passes(chosen, row, self._child, ceilings_of, least))

        if not self._config.getoption("speedup_passes_last"):
            add(names)
            return
        needed = passes_of(claims)
        add([name for name in names if name in needed])
        self._session.put_off([name for name in names if name not in needed], add)

    @property
    def _marked(self) -> set[str]:
        """The passes that the test's marker adds."""
        names: set[str] = set()
        for marker in self._item.iter_markers("speedup_passes"):
            if not marker.args or marker.kwargs or set(marker.args) - set(PASSES):
                msg = f"{self._item.nodeid}: speedup_passes takes some of {', '.join(PASSES)}"
                raise pytest.UsageError(msg)
            names.update(marker.args)
        return names

    def _serve(self, job: processes.Job, sides: Work, stages: Stages, units: float) -> NoReturn:
        """Do a child's job: leave its figures in the file and end the test."""
        if job.task == "time":
            processes.leave(job, asdict(measure(sides, self._settings)))
        else:
            name: SideName = "before" if job.side == "before" else "after"
            device, root = self._labels.get("device") or "cpu", self._config.invocation_params.dir
            alone = Alone(name, sides, device, root, units, stages)
            alone.run(job.task, lambda found, is_all: processes.leave(job, found, is_all=is_all))
        pytest.skip("figures left for the process that asked for them")


def _check_calls(calls: tuple[float, float]) -> None:
    if len(calls) != 2 or not all(number > 0 for number in calls):
        msg = f"calls is {calls!r}: give two positive numbers, of the before and of the after side"
        raise ValueError(msg)


def blank_row(item: pytest.Item, *, control: bool = False) -> dict[str, Any]:
    """Return the record's row of a test's pair before anything is known about it."""
    documentation = (getattr(item, "function", None) and item.function.__doc__) or ""  # type: ignore[attr-defined]
    return {
        "name": item.name,
        "nodeid": item.nodeid,
        "title": documentation.strip().split("\n")[0].strip() or item.name,
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
        "equivalence": "not_checked",
        "equivalence_details": [],
        **not_run(lambda name: f"the {name} pass did not run"),
        "stages": {},
        "status": "not_measured",
        "reason": None,
    }


def _check_equivalence(equivalent: Callable[[], object] | None) -> tuple[str, list[str]]:
    """Run the check and return the equivalence with its details."""
    if equivalent is None:
        return "not_checked", []
    try:
        answer = equivalent()
    except AssertionError as error:
        return "failed", [" ".join(str(error).split()) or "the check's assertion failed"]
    if isinstance(answer, str):
        return "different_by_design", [answer]
    if isinstance(answer, Sequence):
        details = [str(detail) for detail in answer]
        return ("different_by_design", details) if details else ("passed", [])
    return ("passed", []) if answer is None or bool(answer) else ("failed", [])


def _label(side: object, default: str) -> str:
    """Return a side's name: its ``label``, or its function's name."""
    label = getattr(side, "label", None)
    if isinstance(label, str) and label:
        return label
    name = getattr(side.func if isinstance(side, partial) else side, "__name__", None)
    return default if name is None or name == "<lambda>" else str(name)


def _timed(measurements: Sequence[Measurement], spread: Interval, factor: float, limit: str) -> dict[str, Any]:
    """Return a row's fields that come from the clock.

    Args:
        measurements: of each process.
        spread: the interval over all of them.
        factor: calls of before to calls of after.
        limit: the option to raise where the rounds were too few.
    """
    seconds = _seconds(measurements)
    values = [value + math.log(factor) for m in measurements for value in m.log_ratios]
    enough = spread.low is not None
    fewest = min(len(m.log_ratios) for m in measurements)
    needed = min_values(spread.confidence)
    return {
        "num_rounds": sum(len(m.before_s) for m in measurements),
        "process_num_values": [len(m.log_ratios) for m in measurements],
        "repeats_before": measurements[0].repeats_before,
        "repeats_after": measurements[0].repeats_after,
        "before_s": _median(seconds["before"]),
        "after_s": _median(seconds["after"]),
        "speedup": spread.speedup * factor,
        "low": None if spread.low is None else spread.low * factor,
        "high": None if spread.high is None else spread.high * factor,
        "reached_precision": all(m.reached_precision for m in measurements),
        "correlation_factor": spread.correlation_factor,
        "log_ratios": values,
        "status": "measured" if enough else "too_few_rounds",
        "reason": None if enough else _too_few(fewest, needed, spread.confidence, limit),
    }


def _too_few(fewest: int, needed: int, confidence: float, limit: str) -> str:
    return f"too few rounds: {fewest} double rounds, {confidence:.0%} needs {needed}; raise {limit}"


def _seconds(measurements: Sequence[Measurement]) -> dict[str, list[float]]:
    return {
        "before": [value for m in measurements for value in m.before_s],
        "after": [value for m in measurements for value in m.after_s],
    }


def _median(values: Sequence[float]) -> float:
    from statistics import median  # noqa: PLC0415 - pytest-benchmark loads it; others need not

    return median(values)


def _extra(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both rows of a pair carry in pytest-benchmark's ``extra_info``."""
    keys = ("speedup", "low", "high", "confidence", "work", "family", "preset", "device", "equivalence", "num_rounds")
    return {key: row[key] for key in keys} | {"label_before": row["before"], "label_after": row["after"]}
