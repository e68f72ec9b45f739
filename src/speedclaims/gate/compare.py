"""The regression gate: what became of each pair's speedup from one record, the base, to another, the new one.

Ratios measured in one session each are compared, never absolute times, so the records may come from different
machines. The rule: a pair regressed when the whole interval of its loss lies above 0, corrected for the number of
pairs, and its estimate above half of the loss that fails. What cannot be compared fails too: a pair that is missing,
renamed, not measured any more or configured differently, a withheld speedup, a lost claim. Nothing is measured here.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, cast

from speedclaims.gate.slowdown import Loss, losses, losses_between, verdict
from speedclaims.measure.random_effects import MIN_WITHOUT_INTERVALS, Process, processes_of, standard_error
from speedclaims.measure.statistics import interval
from speedclaims.record.io import RecordError
from speedclaims.record.pair_key import CONFIGURATION, case_words, configuration, shown, test_id
from speedclaims.record.verdicts import HOLDING

if TYPE_CHECKING:
    from speedclaims.record.types import (
        Environment,
        RecordedClaim,
        RecordedGate,
        RecordedPair,
        Scalar,
        Section,
    )


CONFIDENCE = 0.95
_MOST_NAMED = 5
"""Changes that a warning names; it counts the others."""

FAILING = frozenset({"regressed", "missing", "renamed", "not_measured", "reconfigured", "withheld"})
"""Verdicts of the gate that fail; ``held``, ``improved``, ``new``, ``no_base`` and, unless asked for, ``ambiguous`` do
not."""


@dataclass(frozen=True)
class Ratio:
    """A speedup as a record holds it, with its interval where it has one."""

    speedup: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Change:
    """Hold the gate's verdict on one pair.

    Attributes:
        nodeid: the pair's test.
        name: the test's name.
        verdict: ``regressed``, ``ambiguous`` (noise hides it), ``held``, ``improved``; ``missing``, ``renamed``,
            ``not_measured``, ``reconfigured``, ``withheld``; ``new`` (not in the base), ``no_base`` (in the base
            without a speedup).
        percent: the loss in percent that fails this pair.
        base: its speedup in the base, None without one.
        new: its speedup in the new record, None without one.
        loss: what was lost, None where the two cannot be compared.
        problem: why the two cannot be compared, or why the verdict is ``ambiguous``.
    """

    nodeid: str
    name: str
    verdict: str
    percent: float
    base: Ratio | None = None
    new: Ratio | None = None
    loss: Loss | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Gate:
    """The comparison of two records.

    Attributes:
        base: where the base comes from: its file, commit and day.
        changes: one for each pair of the base, in its order, and for each that only the new record has.
        lost_claims: claims that held in the base and are refuted now, a sentence each.
        warnings: what does not fail and should be known, a sentence each.
        notes: what was compared, a sentence each.
        base_floor: the noise floor of the base, 0.01 is 1 %; None where it was not measured.
        new_floor: the noise floor of the new record.
        fails_ambiguous: whether a pair of which the noise hides what became fails too.
        has_no_base: whether both sides were measured in this run.
    """

    base: str
    changes: tuple[Change, ...]
    lost_claims: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    base_floor: float | None
    new_floor: float | None
    fails_ambiguous: bool = False
    has_no_base: bool = False

    @property
    def num_alarms(self) -> int:
        """How many pairs and claims fail."""
        return sum(map(self.fails, self.changes)) + len(self.lost_claims)

    def fails(self, change: Change) -> bool:
        """Whether the gate fails because of a pair."""
        return change.verdict in FAILING or (self.fails_ambiguous and change.verdict == "ambiguous")

    def recorded(self) -> "RecordedGate":
        """Return the comparison as a record holds it."""
        found = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        found["changes"] = [
            {key: value for key, value in change.items() if value is not None or key == "problem"}
            for change in found["changes"]
        ]
        return cast("RecordedGate", found)

    @classmethod
    def of(cls, recorded: "RecordedGate") -> "Gate":
        """Return the comparison that a record holds."""
        changes = tuple(
            Change(
                nodeid=one["nodeid"],
                name=one["name"],
                verdict=one["verdict"],
                percent=one["percent"],
                base=Ratio(**one["base"]) if "base" in one else None,
                new=Ratio(**one["new"]) if "new" in one else None,
                loss=Loss(**one["loss"]) if "loss" in one else None,
                problem=one["problem"],
            )
            for one in recorded["changes"]
        )
        return cls(
            base=recorded["base"],
            changes=changes,
            lost_claims=tuple(recorded["lost_claims"]),
            warnings=tuple(recorded["warnings"]),
            notes=tuple(recorded["notes"]),
            base_floor=recorded["base_floor"],
            new_floor=recorded["new_floor"],
            fails_ambiguous=recorded["fails_ambiguous"],
            has_no_base=recorded.get("has_no_base", False),
        )

    @property
    def num_compared(self) -> int:
        """How many pairs could be compared, the ambiguous ones among them."""
        return sum(change.base is not None and change.new is not None for change in self.changes)

    @property
    def exit_code(self) -> int:
        """0 fine, 1 an alarm, 3 where nothing could be compared and no equivalence failed."""
        if self.num_compared == 0 and not any(change.verdict == "withheld" for change in self.changes):
            return 3
        return 1 if self.num_alarms else 0


@dataclass(frozen=True)
class Rules:
    """When the gate fails; the options ``--speedup-...`` of these names.

    Attributes:
        percent: the loss that fails, in per cent, for pairs without a threshold of their own (marker ``speedup_fail``,
            kept in the new record).
        fails_ambiguous: whether a pair of which the noise hides what became fails too.
        compares_subset: whether pairs and claims of the base whose tests did not run are left out.
        num_looks: how many times at most the gate looks at the same pairs, with ever more processes.
    """

    percent: float
    fails_ambiguous: bool = False
    compares_subset: bool = False
    num_looks: int = 1


def compare(
    base: "Section", new: "Section", rules: Rules, reasons: Mapping[str, str] | None = None, words: str = "the base"
) -> Gate:
    """Compare the ``speedclaims`` sections of two records.

    Args:
        base: the section of the record that is compared against.
        new: the section of the new record.
        rules: when the gate fails.
        reasons: why pairs of the base may be missing from the new record, by node id.
        words: where the base comes from.

    Raises:
        RecordError: a pair's values do not fit together.
    """
    old_rows = {row["nodeid"]: row for row in base["pairs"] if not row["control"]}
    new_rows = {row["nodeid"]: row for row in new["pairs"] if not row["control"]}
    roots = base["environment"].get("root"), new["environment"].get("root")
    old_rows, root = _with_names_of(old_rows, new_rows, roots)
    reasons = dict(reasons or {})
    for nodeid, row in old_rows.items():  # of several alternatives, each has the reason of their test
        if test_id(row) in reasons:
            reasons[nodeid] = reasons[test_id(row)]
    num_left_out = 0
    if rules.compares_subset:
        ran = {nodeid: row for nodeid, row in old_rows.items() if nodeid in new_rows or _was_run(nodeid, reasons)}
        num_left_out, old_rows = len(old_rows) - len(ran), ran
    structural = _Structure(base, new, rules.percent, reasons).changes(old_rows, new_rows)
    both = [nodeid for nodeid in old_rows if nodeid in new_rows and nodeid not in structural]
    judged = _judge({nodeid: (old_rows[nodeid], new_rows[nodeid]) for nodeid in both}, rules)
    changes = {**structural, **judged}
    order = [*old_rows, *(nodeid for nodeid in new_rows if nodeid not in old_rows)]
    lost, claim_warnings = _claims(base["claims"], new["claims"], reasons if rules.compares_subset else None)
    left_out = [f"{num_left_out} pairs of the base were not run and are left out"] if num_left_out else []
    return Gate(
        base=words,
        changes=tuple(changes[nodeid] for nodeid in order if nodeid in changes),
        lost_claims=tuple(lost),
        warnings=(
            *_slower_baselines(changes, new_rows),
            *_machine(base["environment"], new["environment"]),
            *claim_warnings,
            *_dirty(base["environment"]),
        ),
        notes=(*root, *left_out, *_estimation("base", old_rows), *_estimation("new", new_rows)),
        base_floor=base["noise_floor"]["value"],
        new_floor=new["noise_floor"]["value"],
        fails_ambiguous=rules.fails_ambiguous,
    )


def compare_sides(section: "Section", rules: Rules, only_after: Collection[str], words: str) -> Gate:
    """Judge the pairs of a run that measured two revisions: the loss is how much longer the after side takes.

    Args:
        section: of the record.
        rules: when the gate fails.
        only_after: node ids of tests that do not run on the before side.
        words: what the before side is.

    Raises:
        RecordError: a pair's values do not fit together.
    """
    rows = {row["nodeid"]: row for row in section["pairs"] if not row["control"]}
    processes = {nodeid: _processes(row) for nodeid, row in rows.items() if row["speedup"] is not None}
    timed = {nodeid: one for nodeid, one in processes.items() if one is not None}
    lost = dict(zip(timed, losses_between(list(timed.values()), rules.num_looks), strict=True))
    changes = []
    for nodeid, row in rows.items():
        limit, loss = threshold(row, rules.percent), lost.get(nodeid)
        if row["speedup"] is None:
            word = "new" if nodeid in only_after else "withheld" if row["status"] == "withheld" else "not_measured"
        else:
            word = "ambiguous" if loss is None else verdict(loss, limit)
        base = None if row["speedup"] is None else Ratio(1.0, 1.0, 1.0)
        problem = row["reason"] if loss is None else None
        changes.append(Change(nodeid, row["name"], word, limit, base, _ratio(row), loss, problem))
    return Gate(
        base=words,
        changes=tuple(changes),
        lost_claims=(),
        warnings=(),
        notes=(),
        base_floor=None,
        new_floor=section["noise_floor"]["value"],
        fails_ambiguous=rules.fails_ambiguous,
        has_no_base=True,
    )


def _with_names_of(
    old_rows: "dict[str, RecordedPair]",
    new_rows: "Mapping[str, RecordedPair]",
    roots: tuple[str | None, str | None],
) -> "tuple[dict[str, RecordedPair], list[str]]":
    """Return the base's rows by the names that this run has for them, and a note where its root is another folder.

    The names of tests begin at pytest's root, which moves when a folder that an option names exists on the next run.

    Args:
        old_rows: of the base, by name.
        new_rows: of this run, by name.
        roots: names of the root folders of both; without them nothing is known to have moved.
    """
    missing, extra = old_rows.keys() - new_rows.keys(), new_rows.keys() - old_rows.keys()
    below, above = _folders_to(roots[0], extra, missing), _folders_to(roots[1], missing, extra)
    if len(below) + len(above) != 1:  # nothing moved, or nothing says where to
        return old_rows, []
    (folder,) = below or above
    if below:
        how, moved = "this run's root is above the base's", {f"{folder}{name}": row for name, row in old_rows.items()}
    else:
        how, moved = (
            "the base's root is above this run's",
            {name.removeprefix(folder): row for name, row in old_rows.items()},
        )
    if len(moved.keys() & new_rows.keys()) <= len(old_rows.keys() & new_rows.keys()):
        return old_rows, []
    return moved, [f"{how}: names are compared without {folder}"]


def _folders_to(root: str | None, above: "Collection[str]", below: "Collection[str]") -> list[str]:
    """Return the folders from an upper root to a lower one of a name, as names of tests at both of them say.

    Below a folder of another name, a test of the same name is another test.
    """
    folders = {name.removesuffix(other) for name in above for other in below if name.endswith(f"/{other}")}
    return sorted(folder for folder in folders if PurePath(folder).name == root)


DESELECTED = "deselected"
"""The reason of a pair whose test was collected and not asked for."""


def _slower_baselines(changes: Mapping[str, Change], rows: "Mapping[str, RecordedPair]") -> Iterator[str]:
    """Yield where all alternatives of a case have improved: their baseline may have become slower instead."""
    cases: dict[tuple[str, str], list[RecordedPair]] = {}
    for row in rows.values():
        if "alternative" in row:
            place = row["alternative"]
            cases.setdefault((place["of"], case_words(place["case"])), []).append(row)
    for (test, case), found in cases.items():
        verdicts = {changes[row["nodeid"]].verdict for row in found if row["nodeid"] in changes}
        if verdicts == {"improved"} and len(found) > 1:
            under = f" with {case}" if case else ""
            yield (
                f"{test}{under}: all alternatives have become faster than the baseline {found[0]['before']}, which may "
                "have become slower itself: --speedup-against compares revisions"
            )


def _was_run(nodeid: str, reasons: Mapping[str, str]) -> bool:
    """Whether a test without a row began: it has a reason, and not that of one that was not asked for."""
    return reasons.get(nodeid, DESELECTED) != DESELECTED


# -- pairs that cannot be compared ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Structure:
    """Finds the pairs that have no counterpart, or one that is configured differently."""

    base: "Section"
    new: "Section"
    percent: float
    reasons: Mapping[str, str]

    def changes(
        self, old_rows: "Mapping[str, RecordedPair]", new_rows: "Mapping[str, RecordedPair]"
    ) -> dict[str, Change]:
        found: dict[str, Change] = {}
        extra = {nodeid: row for nodeid, row in new_rows.items() if nodeid not in old_rows}
        for nodeid, old in old_rows.items():
            row = new_rows.get(nodeid)
            change = self._gone(old, extra) if row is None else self._differs(old, row)
            if change is not None:
                found[nodeid] = change
        for nodeid, row in extra.items():
            withheld = row["status"] == "withheld"
            verdict, problem = ("withheld", row["reason"]) if withheld else ("new", "not in the base")
            found[nodeid] = self._change(row, verdict, problem)
        return found

    def _change(
        self, row: "RecordedPair", verdict: str, problem: str | None, old: "RecordedPair | None" = None
    ) -> Change:
        is_gone = row is old
        return Change(
            row["nodeid"],
            row["name"],
            verdict,
            threshold(row, self.percent),
            base=None if old is None else _ratio(old),
            new=None if is_gone else _ratio(row),
            problem=problem,
        )

    def _gone(self, old: "RecordedPair", extra: "Mapping[str, RecordedPair]") -> Change | None:
        """Return the change of a pair that the new record lacks; None where the base has no speedup of it."""
        if old["speedup"] is None:
            return None
        alike = _alike(old, extra)
        if alike is not None:
            return self._change(old, "renamed", f"in the base, not in this run; it may be {alike} now", old)
        why = self.reasons.get(old["nodeid"])
        return self._change(old, "missing", "in the base, not in this run" + (f": {why}" if why else ""), old)

    def _differs(self, old: "RecordedPair", row: "RecordedPair") -> Change | None:
        if row["status"] == "withheld":
            return self._change(row, "withheld", row["reason"], old)
        if old["speedup"] is None:
            return self._change(row, "no_base", f"the base has no speedup: {old['reason']}", old)
        if row["speedup"] is None:
            return self._change(row, "not_measured", row["reason"], old)
        differences = list(_differences(old, row, self._gpus(old, row)))
        return self._change(row, "reconfigured", "; ".join(differences), old) if differences else None

    def _gpus(self, old: "RecordedPair", row: "RecordedPair") -> tuple[str, str] | None:
        """Return the GPUs that a pair was measured on, where they differ: figures of two kinds are never mixed."""
        if not (old["device"].startswith("cuda") and row["device"].startswith("cuda")):
            return None
        names = _gpu_names(self.base["environment"]), _gpu_names(self.new["environment"])
        return names if names[0] != names[1] else None


def _alike(old: "RecordedPair", extra: "Mapping[str, RecordedPair]") -> str | None:
    """Return the new pair of the same file and the same two sides, where there is one."""

    def look(row: "RecordedPair") -> tuple[object, ...]:
        return row["nodeid"].partition("::")[0], row["before"], row["after"], row["work"]

    return next((str(row["nodeid"]) for row in extra.values() if look(row) == look(old)), None)


def _differences(old: "RecordedPair", new: "RecordedPair", gpus: tuple[str, str] | None) -> Iterator[str]:
    for (_, words), was, now in zip(CONFIGURATION, configuration(old), configuration(new), strict=True):
        if was != now:
            yield f"{words} {shown(was)} → {shown(now)}"
    if gpus is not None:
        yield f"GPU {gpus[0]} → {gpus[1]}"
    if old["equivalence"] == "passed" != new["equivalence"]:
        yield f"equivalence passed → {new['equivalence'].replace('_', ' ')}"


# -- the losses ----------------------------------------------------------------------------------------------------


def threshold(row: "RecordedPair", percent: float) -> float:
    """Return the loss in per cent that fails a pair: its own, else the one given."""
    own = row["fail_percent"]
    return percent if own is None else own


def _judge(rows: "Mapping[str, tuple[RecordedPair, RecordedPair]]", rules: Rules) -> dict[str, Change]:
    """Return the verdicts on pairs that both records have, configured the same."""
    processes = {nodeid: (_processes(old), _processes(new)) for nodeid, (old, new) in rows.items()}
    timed = {nodeid: (a, b) for nodeid, (a, b) in processes.items() if a is not None and b is not None}
    lost = dict(zip(timed, losses(list(timed.values()), rules.num_looks), strict=True))
    changes: dict[str, Change] = {}
    for nodeid, (old, new) in rows.items():
        limit = threshold(new, rules.percent)
        loss = lost.get(nodeid)
        short = next((row for row in (new, old) if row["status"] == "too_few_rounds"), new)
        changes[nodeid] = Change(
            nodeid,
            new["name"],
            "ambiguous" if loss is None else verdict(loss, limit),
            limit,
            _ratio(old),
            _ratio(new),
            loss,
            None if loss is not None else f"{'base: ' * (short is old)}{short['reason']}",
        )
    return changes


def _processes(row: "RecordedPair") -> list[Process] | None:
    """Return what each process of a pair found, None where one had too few rounds.

    Records that do not say which values came from which process count as one process.
    """
    values = row["log_ratios"]
    numbers = row["process_num_values"] or [len(values)]
    if sum(numbers) != len(values):
        raise RecordError(
            f"{row['nodeid']}: process_num_values add up to {sum(numbers)}, log_ratios holds {len(values)}: "
            "measure again"
        )
    seeds = row["hash_seeds"] or [None] * len(numbers)
    if len(seeds) != len(numbers):
        raise RecordError(f"{row['nodeid']}: {len(seeds)} hash_seeds for {len(numbers)} processes: measure again")
    seconds: Sequence[float | None] = row.get("process_before_s") or [None] * len(numbers)
    if len(seconds) != len(numbers):
        raise RecordError(
            f"{row['nodeid']}: {len(seconds)} process_before_s for {len(numbers)} processes: measure again"
        )
    measured = []
    try:
        for number in numbers:
            one, values = interval(values[:number], CONFIDENCE), values[number:]
            measured.append(one)
        processes = processes_of(measured)
    except ArithmeticError:
        raise RecordError(f"{row['nodeid']}: log_ratios holds values that no speedup has: measure again") from None
    if None in map(standard_error, measured) and len(numbers) < MIN_WITHOUT_INTERVALS:
        return None
    known = zip(processes, seeds, seconds, strict=True)
    return [one._replace(seed=seed, before_s=before_s) for one, seed, before_s in known]


def _ratio(row: "RecordedPair") -> Ratio | None:
    return None if row["speedup"] is None else Ratio(row["speedup"], row["low"], row["high"])


# -- claims and surroundings ---------------------------------------------------------------------------------------


def _claims(
    base: "Sequence[RecordedClaim]", new: "Sequence[RecordedClaim]", reasons: Mapping[str, str] | None
) -> tuple[list[str], list[str]]:
    """Return the claims that were lost, and what else changed about claims, a sentence each.

    Args:
        base: rows of the base's claims.
        new: rows of the new record's claims.
        reasons: of tests that measured nothing, by node id, where claims whose tests did not run are left out.
    """
    lost: list[str] = []
    warnings: list[str] = []
    now = _by_claim(new)
    for key, (old, *_) in _by_claim(row for row in base if row["kind"] == "measured").items():
        rows = _counterpart(key, now)
        name = _name_of(rows[0] if key[1] is None and rows else old)
        was, word = old["overall"], rows[0]["overall"] if rows else "not_measured"
        if (
            reasons is not None
            and word == "not_measured"
            and not any(_was_run(row["pair"] or "", reasons) for row in rows)
        ):
            continue
        if rows and _meaning(rows[0]) != _meaning(old):
            warnings.append(
                f"claim {name} says something else than in the base: its bounds, better side, metric, work or rule for "
                "several pairs changed"
            )
        changed = f"claim {name} was {was} in the base and is {word.replace('_', ' ')} now"
        if was in HOLDING and word == "refuted":
            lost.append(changed + _pairs_of(rows))
        elif was in HOLDING and word in ("ambiguous", "not_measured"):
            why = next((row["reason"] for row in rows if row["verdict"] == word), "nothing judges it")
            warnings.append(f"{changed}{_pairs_of(rows)}: {why}")
        elif word == "exceeded" != was:
            warnings.append(
                f"claim {name} has become too modest: what was measured is better than it says; move its bounds"
            )
    return lost, warnings


_ClaimKey = tuple[str, str | None]
"""A claim's id and its variant."""


def _by_claim(rows: "Iterable[RecordedClaim]") -> "dict[_ClaimKey, list[RecordedClaim]]":
    """Return the rows of each claim on each of its variants, one for each test that judges it."""
    found: dict[_ClaimKey, list[RecordedClaim]] = {}
    for row in rows:
        found.setdefault((row["id"], row["variant"]), []).append(row)
    return found


def _counterpart(key: _ClaimKey, now: "Mapping[_ClaimKey, list[RecordedClaim]]") -> "list[RecordedClaim]":
    """Return the rows of the new record that a claim of the base is compared with; none where it has none.

    Where only the base tells variants apart, each of them is compared with the claim itself. Where only the new record
    does, its first variant counts.
    """
    name, variant = key
    others = (one for one in now if one[0] == name and variant is None)
    return now.get(key) or now.get((name, None)) or now.get(next(others, key), [])


def _name_of(row: "RecordedClaim") -> str:
    return row["id"] if row["variant"] is None else f"{row['id']} as {row['variant']}"


def _pairs_of(rows: "Sequence[RecordedClaim]") -> str:
    """Return the verdict of each pair in parentheses; nothing for a claim that one pair judges."""
    found = [f"{row['pair']} {row['verdict'].replace('_', ' ')}" for row in rows]
    return f" ({rows[0]['over']} of: {', '.join(found)})" if len(found) > 1 else ""


def _meaning(row: "RecordedClaim") -> tuple[object, ...]:
    """Return the fields that decide when a claim holds."""
    return row["low"], row["high"], row["better"], row["over"], row["metric"], row["work"]


def _machine(base: "Environment", new: "Environment") -> Iterator[str]:
    """Yield what differs between the places of two records."""
    hardware = [(env["cpu"].get("model"), env["cpu"].get("num_cores"), _gpu_names(env)) for env in (base, new)]
    if hardware[0] != hardware[1]:
        yield (
            f"another machine: the base was measured on {_place(base)}, this on {_place(new)}; ratios are compared, "
            "absolute times are not"
        )
    threads = _changed(base["threads"], new["threads"])
    if threads:
        yield f"other thread settings than in the base: {threads}"
    # A name that only one record holds was not recorded, or not imported: the other run may have selected other tests.
    shared = base["libraries"].keys() & new["libraries"].keys()
    versions: list[dict[str, Scalar]] = [
        {"python": env["python"], **{name: env["libraries"][name] for name in env["libraries"] if name in shared}}
        for env in (base, new)
    ]
    libraries = _changed(*versions)
    if libraries:
        yield f"other versions than in the base: {libraries}"


def _place(environment: "Environment") -> str:
    gpus = _gpu_names(environment)
    name = str(environment["device_name"])
    return name if gpus == "no GPU" or gpus in name else f"{name} with {gpus}"


def _gpu_names(environment: "Environment") -> str:
    names = [str(gpu.get("name") or "unknown GPU") for gpu in environment["gpus"]]
    return " and ".join(dict.fromkeys(names)) or "no GPU"


def _changed(old: "Mapping[str, Scalar]", new: "Mapping[str, Scalar]") -> str:
    """Return what differs as ``name old → new``, the first ones by name and the number of the others."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    named = ", ".join(f"{name} {shown(old.get(name))} → {shown(new.get(name))}" for name in names[:_MOST_NAMED])
    return named + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")


def _dirty(base: "Environment") -> Iterator[str]:
    if base["commit"]["dirty"]:
        commit = str(base["commit"]["id"] or "an unknown commit")[:7]
        yield f"the base was measured on a tree with changes that are not in {commit}: nobody can measure it again"


def _estimation(name: str, rows: "Mapping[str, RecordedPair]") -> Iterator[str]:
    """Yield a note if pairs of a record have no values by process: their between-process variance is assumed."""
    measured = [row for row in rows.values() if row["speedup"] is not None]
    single = [row for row in measured if len(row["process_num_values"] or [0]) < 2]
    if single:
        yield (
            f"{len(single)} of {len(measured)} pairs of the {name} record have no values by process: their intervals "
            "rest on the errors of the double rounds and on what processes are known to differ by; "
            "--speedup-processes 3 measures it"
        )
