"""Summarize a whole record in sentences: its verdicts, its machine, its intervals and its noise floor."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from speedclaims.record.types import (
    Environment,
    NoiseFloor,
    Record,
    RecordedPair,
    RecordedRevision,
    Section,
)
from speedclaims.record.types import Verdict as VerdictName
from speedclaims.record.verdicts import worst
from speedclaims.report.model.formatting import VERDICTS, Verdict, clean, format_percent, not_measured, plural

_MOST_LIBRARIES: Final = 6
_DECISIVE: Final = ("confirmed", "refuted", "exceeded")
_DEFAULT_CONFIDENCE: Final = 0.95
_BUSY: Final = 10
"""From this percent of waiting for a processor on, a report says that the machine was busy."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many claims have a verdict, and in what words the headline says so."""

    number: int
    verdict: Verdict
    phrase: str


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


def count_verdicts(found: Iterable[tuple[str, VerdictName]]) -> tuple[Count, ...]:
    """Return how many claims have each verdict.

    Args:
        found: the id and the overall verdict of each row; a claim counts once.
    """
    verdict_of: dict[str, VerdictName] = {}
    for claim, word in found:
        verdict_of[claim] = worst((word, verdict_of.get(claim, word)))
    numbers: Counter[str] = Counter(verdict_of.values())
    return tuple(
        Count(numbers[name], verdict, f"{numbers[name]} {verdict.word}")
        for name, verdict in VERDICTS.items()
        if numbers[name]
    )


def machine_line(record: Record) -> str:
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


def device_words(environment: Environment, device: str) -> str:
    """Return the name of the hardware behind a row's device, as far as the record knows it."""
    if device.startswith("cuda"):
        names = sorted({clean(gpu["name"]) for gpu in environment["gpus"]})
        return ", ".join(names) or clean(device)
    return clean(environment["cpu"]["model"] or device)


def _presets(record: Record) -> str:
    run = record["speedclaims"]
    names = sorted({clean(row["preset"]) for row in (*run["pairs"], *run["figures"]) if row["preset"]})
    return f"preset {', '.join(names)}" if names else ""


def commit_words(environment: Environment) -> str:
    """Return a run's commit in words, and whether the tree had changes."""
    commit = environment["commit"]
    name = clean(commit["id"] or "")
    # pytest-benchmark calls a tree without version control "unversioned"
    if not name or not set(name) <= set("0123456789abcdef"):
        return "no commit"
    return f"commit {name[:7]}{' with local changes' if commit['dirty'] else ''}"


def certainty(run: Section) -> tuple[str, ...]:
    """Return how sure the run is of itself: the intervals, the noise floor and what chance alone gets wrong."""
    parts = list(_compared(run))
    if "merged" in run:
        merged = run["merged"]
        parts.append(f"Merged from {plural(len(merged['files']), 'record')}.")
        parts += [f"{clean(one)}." for one in (*map(_capital, merged["holes"]), *merged["notes"])]
    elif run["not_run"]:
        told = plural(len(run["not_run"]), "test")
        parts.append(f"The run was cut off: {told} never ran, and what follows is of those that had ended.")
    if run["pairs"]:
        parts.append(f"Intervals at {confidence_words(run['pairs'])}.")
    if run["noise_floor"]["value"] is not None or any(pair["control"] for pair in run["pairs"]):
        parts.append(_noise_short(run["noise_floor"]))
    parts += _busy(run["pairs"])
    confidence_of = {pair["nodeid"]: pair["confidence"] for pair in run["pairs"]}
    wrong = [
        1 - confidence_of.get(claim["pair"] or "", _DEFAULT_CONFIDENCE)
        for claim in run["claims"]
        if claim["verdict"] in _DECISIVE and claim["measured_low"] != claim["measured_high"]
    ]
    if wrong:
        parts.append(f"Expected wrong verdicts by chance: {sum(wrong):.2g} of {len(wrong)}.")
    if not run["claims"]:
        parts += _missed([pair for pair in run["pairs"] if pair["low"] is not None])
    return tuple(parts)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _missed(pairs: Sequence[RecordedPair]) -> Iterator[str]:
    """Yield how many intervals miss the truth by chance; those of several alternatives do so together, by case."""
    alone = [1 - pair["confidence"] for pair in pairs if "alternative" not in pair]
    cases = {
        (pair["alternative"]["of"], *pair["alternative"]["case"].items()): 1 - pair["confidence"]
        for pair in pairs
        if "alternative" in pair
    }
    missed = [*alone, *cases.values()]
    if missed and not cases:
        yield f"Expected wrong intervals by chance: {sum(missed):.2g} of {len(missed)}."
    elif missed:
        what = "pairs and cases" if alone else "cases"
        yield f"Expected {what} with a wrong interval by chance: {sum(missed):.2g} of {len(missed)}."


def _compared(run: Section) -> Iterator[str]:
    """Yield what the sides are, where they are two revisions or two interpreters."""
    if "against" not in run:
        return
    against = run["against"]
    before, after = against["before"], against["after"]
    yield f"Before: {_side_words(before)}; after: {_side_words(after)}."
    if before["python"] != after["python"]:
        yield f"Python {clean(before['python'])} → {clean(after['python'])}."
    changed = [
        f"{clean(name)} {clean(both['before'] or 'none')} → {clean(both['after'] or 'none')}"
        for name, both in against["libraries"].items()
    ]
    if changed:
        more = f" and {len(changed) - _MOST_LIBRARIES} more" if len(changed) > _MOST_LIBRARIES else ""
        yield f"Other versions: {', '.join(changed[:_MOST_LIBRARIES])}{more}."
    yield from (f"{clean(note)}." for note in against["notes"])


def _side_words(side: RecordedRevision) -> str:
    commit = side["commit"]
    return clean(side["label"]) if commit is None else f"{clean(side['label'])} ({commit[:7]})"


def _busy(pairs: Sequence[RecordedPair]) -> Iterator[str]:
    """Yield how busy the machine was while the pairs were measured, where it was."""
    waiting = [pair["waiting_percent"] for pair in pairs if pair["waiting_percent"] is not None]
    if waiting and fmean(waiting) >= _BUSY:
        yield (
            f"The machine was busy, which widens the intervals: some task waited for a processor {fmean(waiting):.0f}% "
            "of the measuring time."
        )


def confidence_words(pairs: Sequence[RecordedPair]) -> str:
    """Return the confidence of the pairs' intervals; the default where there are none."""
    levels = sorted({pair["confidence"] for pair in pairs}) or [_DEFAULT_CONFIDENCE]
    return " and ".join(f"{100 * level:.4g}%" for level in levels)


def _noise_short(noise: NoiseFloor) -> str:
    if noise["value"] is None:
        return f"Noise floor {not_measured(noise['reason'])}."
    return f"Noise floor {format_percent(noise['value'])}."


def noise_sentence(noise: NoiseFloor) -> str:
    """Return the noise floor in one sentence, with where it comes from and any caveat."""
    if noise["value"] is None:
        return f"The noise floor was {not_measured(noise['reason'])}."
    processes = noise["num_processes"]
    where = f"in {plural(processes, 'fresh process')}" if processes == 1 else f"in {processes} fresh processes"
    origin = where if processes else "in the test's own process"
    caveat = f" ({clean(noise['reason'])})" if noise["reason"] else ""
    return f"Noise floor {format_percent(noise['value'])}, measured {origin}{caveat}."
