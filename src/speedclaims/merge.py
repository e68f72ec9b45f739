"""Make one record of those of several runs, such as the shards of one suite."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

from speedclaims.claims.verdict import overall
from speedclaims.errors import SpeedclaimsError
from speedclaims.record.io import NOT_ASKED, why_unusable
from speedclaims.record.pair_key import test_id
from speedclaims.record.types import (
    Environment,
    Record,
    RecordedClaim,
    RecordedFigure,
    RecordedMerged,
    RecordedPair,
    RecordedShard,
    Section,
)
from speedclaims.session import noise_floor

MARK = b'"speedclaims": {'
"""A part of every record, by which a file that may be replaced is known."""
_MOST_NAMES = 3
_Row = TypeVar("_Row", RecordedPair, RecordedFigure)


class MergeError(SpeedclaimsError, ValueError):
    """Records that are not of one suite at one commit."""


def merge(records: Sequence[Record], names: Sequence[str]) -> Record:
    """Return one record with the pairs, figures and claims of several.

    A test that several records have counts once: the later measured one. What is missing of a suite in shards is named
    in the section ``merged``.

    Args:
        records: at least one.
        names: of their files.

    Raises:
        MergeError: they are of several commits or suites, or compare revisions.
    """
    _check(records, names)
    order = sorted(range(len(records)), key=lambda place: str(records[place]["datetime"]))
    ordered = [records[place] for place in order]
    called = [names[place] for place in order]
    sections = [record["speedclaims"] for record in ordered]
    machines = [section["environment"]["device_name"] for section in sections]
    notes: list[str] = []
    pairs = _rows([section["pairs"] for section in sections], called, machines, notes)
    figures = _rows([section["figures"] for section in sections], called, machines, notes)
    shards = [section["shard"] for section in sections if "shard" in section]
    plan = list(shards[0]["tests"]) if shards else []
    place = {name: number for number, name in enumerate(plan)}
    pairs.sort(key=lambda row: (row.get("machine", ""), place.get(test_id(row), -1)))
    figures.sort(key=lambda row: (row.get("machine", ""), place.get(test_id(row), -1)))
    holes, missing = _holes(sections, shards, _tests(pairs, figures))
    newest = ordered[-1]
    merged: RecordedMerged = {"files": list(names), "holes": holes, "notes": [*notes, *_differences(sections)]}
    environment: Environment = {
        **newest["speedclaims"]["environment"],
        "device_name": " and ".join(dict.fromkeys(machines)),
    }
    section: Section = {
        **sections[-1],
        "environment": environment,
        "pairs": pairs,
        "figures": figures,
        "noise_floor": noise_floor(pairs),
        "ceilings": _distinct(
            [one for each in sections for one in each["ceilings"]], lambda one: repr(sorted(one.items()))
        ),
        "not_run": sorted(
            {*missing} | {name for each in sections for name in each["not_run"]} - _tests(pairs, figures)
        ),
        "claims": _claims(sections),
        "audit": _distinct([one for each in sections for one in each["audit"]], lambda one: one["id"]),
        "merged": merged,
    }
    section.pop("shard", None)
    section.pop("gate", None)
    found: Record = {
        **newest,
        "benchmarks": _distinct(
            [one for record in reversed(ordered) for one in record["benchmarks"]], lambda one: str(one.get("fullname"))
        ),
        "speedclaims": section,
    }
    why = why_unusable(found)
    if why is not None:
        raise MergeError(f"the records do not make one: {why}")
    return found


def _check(records: Sequence[Record], names: Sequence[str]) -> None:
    first = records[0]["speedclaims"]
    for record, name in zip(records, names, strict=True):
        section = record["speedclaims"]
        if "against" in section:
            raise MergeError(f"{name} compares revisions: merge records of one suite")
        for what, of in _MUST_AGREE.items():
            if of(section) != of(first):
                raise MergeError(
                    f"{name} has another {what} than {names[0]} ({of(section)} and {of(first)}): merge records of one "
                    "suite at one commit"
                )
    shards = [record["speedclaims"]["shard"] for record in records if "shard" in record["speedclaims"]]
    for shard in shards[1:]:
        if (shard["count"], shard["tests"]) != (shards[0]["count"], shards[0]["tests"]):
            raise MergeError(
                "the records are shards of different plans: give all shards the same tests, options and durations"
            )


_MUST_AGREE: "dict[str, Callable[[Section], object]]" = {
    "commit": lambda section: section["environment"]["commit"]["id"],
    "root folder": lambda section: section["environment"].get("root"),
}


def _tests(*rows: Sequence[RecordedPair] | Sequence[RecordedFigure]) -> set[str]:
    return {test_id(row) for each in rows for row in each}


def _rows(lists: Sequence[list[_Row]], names: Sequence[str], machines: Sequence[str], notes: list[str]) -> list[_Row]:
    """Return each row once, in the order of the records; note which had several."""
    kept: dict[str, _Row] = {}
    of: dict[str, str] = {}
    for rows, name, machine in zip(lists, names, machines, strict=True):
        for row in rows:
            made = cast("_Row", {**row, "machine": machine}) if len(set(machines)) > 1 else row
            nodeid = row["nodeid"]
            if nodeid in kept and not _replaces(made, kept[nodeid]):
                made, used = kept[nodeid], of[nodeid]
            else:
                used = name
            if nodeid in of and not row.get("control"):
                notes.append(f"{nodeid} is in {of[nodeid]} and in {name}: that of {used} counts")
            kept[nodeid], of[nodeid] = made, used
    return list(kept.values())


def _replaces(new: _Row, old: _Row) -> bool:
    """Return whether a later row of a test takes the place of an earlier one; of control pairs the wider one stays."""
    if new["status"] != "measured" or old["status"] != "measured":
        return old["status"] != "measured"
    if new.get("control"):
        return _reach(new["low"], new["high"]) > _reach(old["low"], old["high"])
    return True


def _reach(low: float | None, high: float | None) -> float:
    """Return how far an interval reaches from 1, as a ratio."""
    return max((max(end, 1 / end) for end in (low, high) if end), default=0.0)


def _holes(
    sections: Sequence[Section], shards: Sequence[RecordedShard], measured: set[str]
) -> tuple[list[str], list[str]]:
    """Return what is missing of the plan, a sentence a shard, and the tests."""
    if not shards:
        return [], []
    plan, count = shards[0]["tests"], shards[0]["count"]
    given = {one["index"] for one in shards}
    not_run = {name for section in sections for name in section["not_run"]}
    holes, missing = [], []
    for index in range(1, count + 1):
        tests = [name for name, place in plan.items() if place == index]
        lost = [name for name in tests if name not in measured and (index not in given or name in not_run)]
        if not lost:
            continue
        missing += lost
        shown = ", ".join(lost[:_MOST_NAMES]) + (
            f" and {len(lost) - _MOST_NAMES} more" if len(lost) > _MOST_NAMES else ""
        )
        how = "was cut off" if index in given else "is missing"
        holes.append(
            f"shard {index} of {count} {how}: {len(lost)} of its {len(tests)} tests never ran ({shown}): run it again "
            f"with --speedup-shard {index}/{count}"
        )
    return holes, missing


def _differences(sections: Sequence[Section]) -> Iterator[str]:
    """Yield in what the machines or their libraries differ."""
    environments = [section["environment"] for section in sections]
    for what, told in (
        ("machines", [one["device_name"] for one in environments]),
        ("versions of Python", [one["python"] for one in environments]),
    ):
        found = list(dict.fromkeys(told))
        if len(found) > 1:
            yield f"{len(found)} {what}: {', '.join(found)}"
    versions: dict[str, set[str]] = {}
    for one in environments:
        for name, version in one["libraries"].items():
            versions.setdefault(name, set()).add(str(version))
    unlike = sorted(name for name, found in versions.items() if len(found) > 1)
    if unlike:
        yield f"other versions of {', '.join(unlike)}"


def _claims(sections: Sequence[Section]) -> list[RecordedClaim]:
    """Return the rows of all claims, each test's from the record that measured it, with the verdict over all tests."""
    by_claim: dict[tuple[str, str | None], dict[str | None, RecordedClaim]] = {}
    for section in sections:
        for row in section["claims"]:
            rows = by_claim.setdefault((row["id"], row["variant"]), {})
            known = rows.get(row["pair"])
            if known is None or known["reason"] == NOT_ASKED or row["reason"] != NOT_ASKED:
                rows[row["pair"]] = row
    found = []
    for rows in by_claim.values():
        judged = [row for row in rows.values() if not _is_place_of(row, rows)]
        word = overall(judged[0]["over"], judged[0]["better"], judged)
        found += [cast("RecordedClaim", {**row, "overall": word}) for row in judged]
    return found


def _is_place_of(row: RecordedClaim, rows: "dict[str | None, RecordedClaim]") -> bool:
    """Return whether a row only says that its test did not run, and other rows are of that test."""
    test = row["pair"]
    others = [name for name in rows if name is not None and name != test]
    if row["reason"] != NOT_ASKED or test is None:
        return row["reason"] == NOT_ASKED and bool(others)
    return any(name.startswith((f"{test}[", f"{test[:-1]}-")) for name in others)


_One = TypeVar("_One")


def _distinct(found: Sequence[_One], key: Callable[[_One], object]) -> list[_One]:
    """Return each once, the first of each key."""
    return list({key(one): one for one in reversed(found)}.values())[::-1]
