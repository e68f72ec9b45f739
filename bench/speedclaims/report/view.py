"""One record turned into the rows that every rendering shows, so that page, Markdown and terminal cannot disagree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from speedclaims.record import NOT_ASKED

from .figures import FigureTable, figure_tables
from .formatting import (
    EQUIVALENCES,
    METRICS,
    MISSING,
    VERDICTS,
    Estimate,
    Json,
    Verdict,
    clean,
    format_estimate,
    format_figure,
    format_percent,
    format_range,
    format_seconds,
    not_measured,
    plural,
    words,
)
from .ladder import Ladder, ladders
from .payback import first_call
from .phases import ProfiledPair, profiled_pairs
from .settings import best_rates, settings
from .timeline import Timeline, timelines

_HOLDS: Final = ("confirmed", "consistent")
_DECISIVE: Final = ("confirmed", "below", "above")
# When several tests judge one claim it counts once, by the verdict that speaks most against it.
_WORST_FIRST: Final = ("inconsistent", "below", "above", "ambiguous", "confirmed", "consistent", "not_measured")
_RANGE_WORDS: Final = {"below": "below", "above": "above"}
_DEFAULT_CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One claim and its verdict. ``measured`` holds the local figure also where it cannot judge the claim.

    A claim is asked if one of its tests was among those of the run, whatever became of it.
    """

    id: str
    source: str
    text: str
    kind: str
    metric: str
    claimed: str
    low: float | None
    high: float | None
    is_ratio: bool
    measured: Estimate | None
    measured_value: float | None
    measured_low: float | None
    measured_high: float | None
    verdict: Verdict
    is_judged: bool
    is_run: bool
    is_asked: bool
    reason: str
    equivalence: str
    device: str
    pair: int | None

    @property
    def result(self) -> str:
        """Return what was measured in words; for an unmet requirement the reason, with the local figure beside it."""
        if self.is_judged:
            return str(self.measured) if self.measured else (self.reason or "")
        here = f" (here on {self.device}: {self.measured})" if self.measured else ""
        return not_measured(self.reason) + here


@dataclass(frozen=True, slots=True)
class PairRow:
    """One pair. ``speedup`` is None where there is none, and ``problem`` then says why.

    The shares are of the measured ceiling, and ``first_call`` says what the first calls took and when that has paid
    off; empty where it was not measured.
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

    @property
    def result(self) -> str:
        """Return the speedup with its interval, or why there is none."""
        if self.speedup is None:
            return self.problem
        return f"{self.speedup} ({self.problem})" if self.problem else str(self.speedup)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One arithmetic claim, recomputed from the document's own figures."""

    id: str
    source: str
    text: str
    claimed: str
    recomputed: str
    formula: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Count:
    """How many claims have a verdict, and in what words the headline says so."""

    number: int
    verdict: Verdict
    phrase: str


@dataclass(frozen=True, slots=True)
class ValueRow:
    """One figure that a test measured itself, or the reason why there is none."""

    title: str
    name: str
    under: str
    told: str
    details: str
    is_measured: bool
    is_claimed: bool


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a rendering of one record shows.

    ``claims`` and ``counts`` are of what is measured; arithmetic stands by itself in ``audit`` and ``arithmetic``, so
    that a machine is not credited with a document's sums.
    """

    headline: str
    opening: str
    counts: tuple[Count, ...]
    arithmetic: tuple[Count, ...]
    arithmetic_sentence: str
    phrases: tuple[str, ...]
    machine: str
    certainty: tuple[str, ...]
    confidence: str
    claims: tuple[ClaimRow, ...]
    pairs: tuple[PairRow, ...]
    controls: tuple[PairRow, ...]
    noise: str
    noise_value: float | None
    figures: tuple[FigureTable, ...]
    missing_figures: tuple[str, ...]
    ladders: tuple[Ladder, ...]
    profiled: tuple[ProfiledPair, ...]
    values: tuple[ValueRow, ...]
    audit: tuple[AuditRow, ...]
    environment: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    command: str
    date: str
    commit: str
    device_name: str


def view_record(record: Json) -> View:
    """Return the rows of one record, in the order in which they are shown."""
    run = record["speedclaims"]
    index_of = {pair["nodeid"]: index for index, pair in enumerate(run["pairs"])}
    audit = tuple(audit_row(row) for row in run["audit"])
    measured = _without(run["claims"], {row["id"] for row in run["audit"]})
    rows = [_pair_row(index, pair, run["claims"]) for index, pair in enumerate(run["pairs"])]
    pairs = tuple(row for row in rows if not row.is_control)
    is_asked = any(claim["reason"] != NOT_ASKED for claim in measured)
    counts = count_verdicts(measured) if is_asked else ()
    claimed = {claim["pair"] for claim in run["claims"]}
    values = tuple(_value_row(row, is_claimed=row["nodeid"] in claimed) for row in run.get("figures", ()))
    opening = _opening(measured if is_asked else (), pairs, values)
    sentence = arithmetic_sentence([row.verdict.word for row in audit])
    tables, missing = figure_tables(run["pairs"], [row.name for row in rows])
    phrases = tuple(count.phrase for count in counts) or _pair_phrases(pairs)
    return View(
        headline=f"{_sentence(opening, phrases)} {sentence}".strip(),
        opening=opening,
        counts=counts,
        arithmetic=count_verdicts(run["audit"]),
        arithmetic_sentence=sentence,
        phrases=phrases,
        machine=machine_line(record),
        certainty=certainty(run),
        confidence=_confidence(run["pairs"]),
        claims=_claim_rows(measured, index_of),
        pairs=pairs,
        controls=tuple(row for row in rows if row.is_control),
        noise=noise_sentence(run["noise_floor"]),
        noise_value=run["noise_floor"]["value"],
        figures=tables,
        missing_figures=missing,
        ladders=ladders(run["pairs"], run["noise_floor"]["value"]),
        profiled=profiled_pairs(run["pairs"]),
        values=values,
        audit=audit,
        environment=(*settings(run["environment"]), *best_rates(run.get("ceilings", ()))),
        command=clean(run["environment"]["command"]),
        date=clean(record["datetime"])[:16].replace("T", " "),
        commit=commit_words(run["environment"]),
        device_name=clean(run["environment"]["device_name"]),
    )


def _value_row(row: Json, *, is_claimed: bool) -> ValueRow:
    unit = "" if row["unit"] == "1" else row["unit"]
    found = row["value"] is not None
    told = (
        str(format_estimate(row["value"], row["low"], row["high"], unit=unit)) if found else not_measured(row["reason"])
    )
    under = " · ".join(clean(part) for part in (row["family"], row["preset"], row["device"]) if part)
    return ValueRow(
        title=clean(row["title"]),
        name=clean(row["name"]),
        under=under,
        told=told,
        details="; ".join(map(clean, row["details"])),
        is_measured=found,
        is_claimed=is_claimed,
    )


def _without(claims: Sequence[Json], audited: set[str]) -> list[Json]:
    """Return the claims that stand in no audit row."""
    return [claim for claim in claims if claim["kind"] != "arithmetic" or claim["id"] not in audited]


def arithmetic_sentence(verdicts: Sequence[str]) -> str:
    """Return in a sentence how the documents' own arithmetic came out; empty where there is none."""
    total, wrong = len(verdicts), verdicts.count("inconsistent")
    if not total:
        return ""
    if total == 1:
        told = f"one sentence, which {'contradicts' if wrong else 'agrees with'} its own figures"
    elif not wrong:
        told = f"all {total} sentences agree with their own figures"
    else:
        told = f"{wrong} of {total} sentences {'contradicts its' if wrong == 1 else 'contradict their'} own figures"
    return f"The documents' own arithmetic: {told}."


def count_verdicts(claims: Iterable[Json]) -> tuple[Count, ...]:
    """Return how many claims have each verdict; a claim judged by several tests counts once, by its worst."""
    verdict_of: dict[str, str] = {}
    for claim in claims:
        known = verdict_of.get(claim["id"], "not_measured")
        verdict_of[claim["id"]] = min(known, claim["verdict"], key=_WORST_FIRST.index)
    numbers = Counter(verdict_of.values())
    return tuple(
        Count(numbers[name], verdict, _count_phrase(numbers[name], name, verdict))
        for name, verdict in VERDICTS.items()
        if numbers[name]
    )


def _count_phrase(number: int, name: str, verdict: Verdict) -> str:
    if name in _RANGE_WORDS:
        return f"{number} {_RANGE_WORDS[name]} {'its' if number == 1 else 'their'} claimed range"
    return f"{number} {verdict.word}"


def _opening(claims: Sequence[Json], pairs: Sequence[PairRow], values: Sequence[ValueRow]) -> str:
    counts = count_verdicts(claims)
    total = sum(count.number for count in counts)
    holding = sum(count.number for count in counts if count.verdict.word in _HOLDS)
    judged = sum(count.number for count in counts if count.verdict.word != MISSING)
    if total and not judged:
        return f"None of {plural(total, 'claim')} could be judged on this machine"
    if total:
        return f"{holding} of {plural(judged, 'claim')} judged on this machine {'holds' if judged == 1 else 'hold'}"
    if pairs:
        measured = sum(pair.speedup is not None for pair in pairs)
        return f"{measured} of {plural(len(pairs), 'pair')} measured on this machine"
    if values:
        measured = sum(value.is_measured for value in values)
        return f"{measured} of {plural(len(values), 'figure')} measured on this machine"
    return "Nothing was measured on this machine"


def _pair_phrases(pairs: Sequence[PairRow]) -> tuple[str, ...]:
    """Return how the pairs came out; only pairs of the same work can be faster or slower."""
    measured = [pair for pair in pairs if pair.speedup is not None]
    same = [pair for pair in measured if pair.work == "same"]
    faster = sum(pair.low is not None and pair.low > 1 for pair in same)
    slower = sum(pair.high is not None and pair.high < 1 for pair in same)
    phrases = (
        (faster, "faster"),
        (slower, "slower"),
        (len(same) - faster - slower, "with no clear difference"),
        (len(measured) - len(same), "of less or different work"),
    )
    return tuple(f"{number} {word}" for number, word in phrases if number)


def _sentence(opening: str, phrases: Sequence[str]) -> str:
    return f"{opening}: {', '.join(phrases)}." if phrases else f"{opening}."


def machine_line(record: Json) -> str:
    """Return where and when: machine, device, date, commit."""
    environment = record["speedclaims"]["environment"]
    device = clean(environment["device"])
    parts = (
        clean(environment["device_name"]),
        "CPU only" if device == "cpu" else device,
        _presets(record),
        clean(record["datetime"])[:10],
        commit_words(environment),
    )
    return " · ".join(part for part in parts if part)


def _presets(record: Json) -> str:
    run = record["speedclaims"]
    names = sorted({clean(row["preset"]) for row in (*run["pairs"], *run.get("figures", ())) if row["preset"]})
    return f"preset {', '.join(names)}" if names else ""


def commit_words(environment: Json) -> str:
    """Return a run's commit in words, and whether the tree had changes."""
    commit = environment["commit"]
    name = clean(commit["id"] or "")
    # pytest-benchmark calls a tree without version control "unversioned"
    if not name or not set(name) <= set("0123456789abcdef"):
        return "no commit"
    return f"commit {name[:7]}{' with local changes' if commit['dirty'] else ''}"


def certainty(run: Json) -> tuple[str, ...]:
    """Return how sure the run is of itself: the intervals, the noise floor and what chance alone gets wrong."""
    parts = []
    if run.get("not_run"):
        told = plural(len(run["not_run"]), "test")
        parts.append(f"The run was cut off: {told} never ran, and what follows is of those that had ended.")
    if run["pairs"]:
        parts.append(f"Intervals at {_confidence(run['pairs'])}.")
    parts.append(_noise_short(run["noise_floor"]))
    confidence_of = {pair["nodeid"]: pair["confidence"] for pair in run["pairs"]}
    wrong = [
        1 - confidence_of.get(claim["pair"], _DEFAULT_CONFIDENCE)
        for claim in run["claims"]
        if claim["verdict"] in _DECISIVE and claim["measured_low"] != claim["measured_high"]
    ]
    if wrong:
        verdicts = plural(len(wrong), "interval verdict")
        parts.append(f"Of {verdicts}, chance alone would get {sum(wrong):.2g} wrong.")
    missed = [1 - pair["confidence"] for pair in run["pairs"] if pair["low"] is not None]
    if missed and not run["claims"]:
        parts.append(f"Of {plural(len(missed), 'interval')}, chance alone would make {sum(missed):.2g} miss the truth.")
    return tuple(parts)


def _confidence(pairs: Sequence[Json]) -> str:
    levels = sorted({pair["confidence"] for pair in pairs}) or [_DEFAULT_CONFIDENCE]
    return " and ".join(f"{100 * level:.4g} %" for level in levels)


def _noise_short(noise: Json) -> str:
    if noise["value"] is None:
        return f"Noise floor {not_measured(noise['reason'])}."
    return f"Two identical sides differed by up to {format_percent(noise['value'])} here."


def noise_sentence(noise: Json) -> str:
    """Return the noise floor in one sentence, with where it comes from and any caveat."""
    if noise["value"] is None:
        return f"The noise floor was {not_measured(noise['reason'])}."
    processes = noise["num_processes"]
    where = f"in {plural(processes, 'fresh process')}" if processes == 1 else f"in {processes} fresh processes"
    origin = where if processes else "in the test's own process"
    caveat = f" ({clean(noise['reason'])})" if noise["reason"] else ""
    return f"Noise floor: {format_percent(noise['value'])}, measured {origin}{caveat}."


def _claim_rows(claims: Sequence[Json], index_of: Mapping[str, int]) -> tuple[ClaimRow, ...]:
    rows = [_claim_row(claim, index_of) for claim in claims]
    # What was judged comes first, measured before arithmetic; inside a group the ledger's order stays.
    return tuple(sorted(rows, key=lambda row: (not row.is_judged, row.kind != "measured", not row.is_run)))


def _claim_row(claim: Json, index_of: Mapping[str, int]) -> ClaimRow:
    is_judged = claim["verdict"] != "not_measured"
    bounds = [bound for bound in (claim["low"], claim["high"]) if bound is not None]
    ends = (claim["measured_low"], claim["measured_high"])
    measured = None
    # a quality is no ratio: without a unit of its own it is a plain number
    is_ratio = claim["unit"] == "1" and claim["metric"] != "quality"
    unit = claim["unit"] if is_ratio or claim["unit"] != "1" else ""
    if claim["measured"] is not None:
        measured = format_estimate(claim["measured"], *ends, unit=unit, bounds=bounds)
    claimed = format_range(claim["low"], claim["high"], unit, unicode=True)
    return ClaimRow(
        id=clean(claim["id"]),
        source=clean(claim["source"]),
        text=clean(claim["text"]),
        kind=claim["kind"],
        metric=_metric(claim),
        claimed=claimed or "as quoted",
        low=claim["low"],
        high=claim["high"],
        is_ratio=is_ratio,
        measured=measured,
        measured_value=claim["measured"],
        measured_low=claim["measured_low"],
        measured_high=claim["measured_high"],
        verdict=VERDICTS[claim["verdict"]],
        is_judged=is_judged,
        is_run=is_judged or claim["measured"] is not None or claim["pair"] in index_of,
        is_asked=claim["reason"] != NOT_ASKED,
        reason=_claim_reason(claim, is_judged=is_judged),
        equivalence=_equivalence(claim["equivalence"]),
        device=clean(claim["device"] or ""),
        pair=index_of.get(claim["pair"]),
    )


def _metric(claim: Json) -> str:
    if claim["kind"] == "arithmetic":
        return "arithmetic"
    metric = METRICS.get(claim["metric"] or "", words(claim["metric"] or ""))
    work = f", {claim['work']} work" if claim["work"] else ""
    return f"{metric}{work}"


def _claim_reason(claim: Json, *, is_judged: bool) -> str:
    if claim["reason"] or is_judged:
        return clean(claim["reason"] or "")
    return "needs " + ", ".join(clean(need) for need in claim["requires"].values()) if claim["requires"] else ""


def _equivalence(name: str | None) -> str:
    return EQUIVALENCES.get(name, words(name)) if name else ""


def _pair_row(index: int, pair: Json, claims: Sequence[Json]) -> PairRow:
    judging = [claim for claim in claims if claim["pair"] == pair["nodeid"]]
    ranges = tuple(
        (claim["low"], claim["high"])
        for claim in judging
        if claim["metric"] == "speedup" and claim["verdict"] != "not_measured" and claim["unit"] == "1"
    )
    bounds = [1.0, *(bound for range_ in ranges for bound in range_ if bound is not None)]
    has_speedup = pair["speedup"] is not None
    return PairRow(
        index=index,
        name=clean(pair["name"]),
        nodeid=clean(pair["nodeid"]),
        title=clean(pair["title"]),
        before=clean(pair["before"]),
        after=clean(pair["after"]),
        work=pair["work"],
        where=", ".join(clean(part) for part in (pair["family"], pair["preset"], pair["device"]) if part),
        device=clean(pair["device"]),
        is_control=pair["control"],
        before_time=format_seconds(pair["before_s"]),
        after_time=format_seconds(pair["after_s"]),
        before_share=_share(pair, "before"),
        after_share=_share(pair, "after"),
        first_call=clean(first_call(pair)),
        speedup=format_estimate(pair["speedup"], pair["low"], pair["high"], bounds=bounds) if has_speedup else None,
        value=pair["speedup"],
        low=pair["low"],
        high=pair["high"],
        confidence=pair["confidence"],
        rounds=str(pair["num_rounds"]) if pair["num_rounds"] else "none",
        processes=f"in {pair['num_processes']} processes" if pair["num_processes"] > 1 else "",
        equivalence=_equivalence(pair["equivalence"]),
        is_equivalence_bad=pair["equivalence"] == "failed",
        details=(*_reckoning(pair), *(clean(detail) for detail in pair["equivalence_details"])),
        status=words(pair["status"]),
        problem=_problem(pair),
        log_ratios=tuple(pair["log_ratios"]),
        timelines=timelines(pair),
        claimed=ranges,
        claims=tuple(dict.fromkeys(clean(claim["id"]) for claim in judging)),
    )


def _share(pair: Json, side: str) -> str:
    """Return a side's shares of the measured ceilings in words, empty where there are none."""
    told = []
    for name, words_of in (("flops", "{} of the ceiling"), ("bytes", "at least {} of the copy")):
        share = pair[name]["share"][side] if name in pair else None
        if share is not None and share["value"] is not None:
            told.append(words_of.format(format_figure(share)))
    return ", ".join(told)


def _reckoning(pair: Json) -> tuple[str, ...]:
    """Return how many calls of each side were compared, where that is not one against one."""
    before, after = (pair.get(f"calls_{side}", 1) for side in ("before", "after"))
    if before == after:
        return ()
    return (f"reckoned for {before:g} calls before against {after:g} after, from one against one",)


def _problem(pair: Json) -> str:
    reason = "; ".join(part for part in (clean(pair["reason"] or ""), _contention(pair)) if part)
    if pair["status"] != "measured":
        status = words(pair["status"])
        return reason if reason.startswith(status) else f"{status}: {reason}" if reason else status
    if pair["reached_precision"] is False:
        return reason or "time limit before the precision asked for"
    return reason


def _contention(pair: Json) -> str:
    """Return that others used the GPU beside a side, empty where none did or nobody knows."""
    sides = pair["gpu"].get("other_processes", {})
    most = max((figure["value"] or 0 for side, figure in sides.items() if side != "ratio"), default=0)
    return f"{most:.0f} other {'process' if most == 1 else 'processes'} used the GPU meanwhile" if most else ""


def audit_row(row: Json) -> AuditRow:
    """Return one row of the record's audit for showing."""
    keys = ("id", "source", "text", "claimed", "recomputed", "formula")
    return AuditRow(**{key: clean(row[key]) for key in keys}, verdict=VERDICTS[row["verdict"]])
