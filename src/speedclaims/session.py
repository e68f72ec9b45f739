"""One run's pairs, claims and record: what the hooks of the plugin collect and write."""

import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from speedclaims.clock import now
from speedclaims.markers import (
    CLAIM,
    EVIDENCE,
    Wanted,
    gate_percent,
    marked_passes,
    measures,
    named_claims,
    times_longer,
    wanted_rows,
)
from speedclaims.measure import child_process
from speedclaims.record.io import NOT_ASKED
from speedclaims.record.pair_key import test_id
from speedclaims.record.verdicts import counting

if TYPE_CHECKING:
    from speedclaims.claims.ledger import Claim, Ledger
    from speedclaims.measure.processes import Measured
    from speedclaims.record.types import (
        Ceilings,
        NoiseFloor,
        Record,
        RecordedAgainst,
        RecordedAudit,
        RecordedClaim,
        RecordedFigure,
        RecordedGate,
        RecordedPair,
        RecordedShard,
        Row,
        Section,
    )

INI_CLAIMS = "speedup_claims"
INI_TESTS = "speedup_test_folders"
DEFAULT_LEDGER = "claims.toml"

KEY = pytest.StashKey["SpeedSession"]()


class SpeedSession:
    """Collect what one pytest run measures, and the ledgers that judge it."""

    def __init__(self, config: pytest.Config) -> None:
        """Start empty; ledgers are read when tests have been collected."""
        self.config = config
        self.pairs: dict[str, RecordedPair] = {}
        self.figures: dict[str, RecordedFigure] = {}
        self.reasons: dict[str, str] = {}
        self.num_others_passed = 0
        self.wanted: set[str] = set()
        self.times_longer: dict[str, float] = {}
        self._began = self.test_began = now()
        self.loading_s = math.inf
        self._started_s: dict[Path, float] = {}
        self.is_all_collected = True
        self.ceilings: dict[tuple[str | None, str], Ceilings] = {}
        self.measured: dict[str, Measured] = {}
        self.extensible: dict[str, Measured] = {}
        self._gate: RecordedGate | None = None
        self.against: RecordedAgainst | None = None
        self.shard: RecordedShard | None = None
        self.durations: dict[str, float] = {}
        self.budgets: dict[str, float] = {}
        self.spent_s: dict[str, float] = {}
        self.changed: Callable[[], object] = lambda: None
        self._put_off: list[tuple[str, Callable[[Sequence[str]], object]]] = []
        self._ledgers: dict[Path, Ledger] = {}
        self._judges: dict[tuple[Path, str], dict[str | None, list[str]]] = {}
        self._evidence: dict[tuple[Path, str], list[str]] = {}
        self._wanted_rows: dict[tuple[str, str, str | None], list[Wanted]] = {}
        self._rows_of: dict[str, list[str]] = {}
        self._audits: dict[Path, list[RecordedAudit]] = {}
        self._record: Record | None = None
        self._section: Section | None = None
        self.unrecordable: dict[str, str] = {}

    @property
    def passes(self) -> Sequence[str]:
        """The passes that ``--speedup-passes`` asks for."""
        passes: Sequence[str] = self.config.getoption("speedup_passes")
        return passes

    @property
    def is_gated(self) -> bool:
        """Whether ``--speedup-fail`` compares this run with an earlier one."""
        return self.config.getoption("speedup_fail") is not None

    # -- time ----------------------------------------------------------------------------------------------------

    def start_s(self, item: pytest.Item) -> float:
        """Return how many seconds a fresh process would take to come to where the running test is now.

        It is what this process took, without what earlier tests left to it, such as imports and fixtures of a module;
        or what a fresh process of a test in the same file took, where that was longer.
        """
        return max(self.loading_s + now() - self.test_began, self._started_s.get(item.path, 0.0))

    def note_start(self, item: pytest.Item, seconds: float) -> None:
        """Note how long a fresh process took until it measured a test's pair."""
        self._started_s[item.path] = max(seconds, self._started_s.get(item.path, 0.0))

    @property
    def seconds_left(self) -> float:
        """Return the seconds left of ``--speedup-total-time``, infinite without that option."""
        return math.inf if self.total_s is None else self.total_s - (now() - self._began)

    @property
    def total_s(self) -> float | None:
        """``--speedup-total-time``."""
        total: float | None = self.config.getoption("speedup_total_time")
        return total

    @property
    def time_is_up(self) -> str:
        """The reason for what was not measured any more."""
        return f"the run's time was up (--speedup-total-time {self.total_s:g})"

    def share_s(self, nodeid: str) -> float:
        """Return the seconds that a test's pair may take: its budget, else its share of what is left.

        Whoever knows what tests cost and what they are worth gives them budgets. Others get equal shares, those with
        the marker ``speedup_long`` as many times more as it says.
        """
        left = max(0.0, self.seconds_left)
        if nodeid in self.budgets:
            return min(left, self.budgets[nodeid])
        weights = {name: self.times_longer.get(name, 1.0) for name in {*self.open_tests, nodeid}}
        return left * weights[nodeid] / sum(weights.values())

    @property
    def open_tests(self) -> list[str]:
        """The tests with a pair or a figure that have not ended, or never ran."""
        return sorted(self.wanted - self._rows_of.keys() - self.reasons.keys())

    # -- collection ----------------------------------------------------------------------------------------------

    def collect(self, items: Sequence[pytest.Item]) -> None:
        """Find the ledgers of the collected tests, check that markers and claims belong together, and audit them.

        Raises:
            pytest.UsageError: a marker without a claim or with an unknown variant, a claim without a test or with tests
                both of variants and of none, or a ledger that cannot be used.
        """
        known = self._known_passes() if any(measures(item) for item in items) else ()
        for item in items:
            for name, variant in named_claims(item):
                self._note_judge(item, name, variant)
            for (name, variant), rows in wanted_rows(item).items():
                self._wanted_rows[item.nodeid, name, variant] = rows
            for name, _ in named_claims(item, EVIDENCE):
                self._evidence.setdefault((self._ledger_with(item, name).path, name), []).append(item.nodeid)
        for item in items:
            if measures(item):
                self._ledger_of(item)
                gate_percent(item)  # a wrong marker is reported before anything is measured
                marked_passes(item, known)
                self.times_longer[item.nodeid] = times_longer(item)
        option = self.config.getoption
        if self.is_all_collected and not option("ignore") and not option("ignore_glob"):
            self._refuse_orphans()
        reports = not hasattr(self.config, "workerinput") and child_process.job_of(self.config) is None
        if self._ledgers and reports:
            self._audit()

    @staticmethod
    def _known_passes() -> Sequence[str]:
        """Return the names of the passes; a broken recorder of another package is refused before all measuring."""
        from speedclaims.recorders.registry import RecorderError, passes  # noqa: PLC0415

        try:
            return tuple(passes())
        except RecorderError as error:
            raise pytest.UsageError(str(error)) from None

    def _note_judge(self, item: pytest.Item, name: str, variant: str | None) -> None:
        """Note that a test judges a claim, on one of its ledger's variants or for all of them alike.

        Raises:
            pytest.UsageError: as `_ledger_with`, or the ledger lacks the variant, or of the claim's tests some name a
                variant and some name none.
        """
        ledger = self._ledger_with(item, name)
        if variant is not None and variant not in ledger.variants:
            listed = f"its variants are {', '.join(map(repr, ledger.variants))}" if ledger.variants else "it lists none"
            raise pytest.UsageError(
                f"{item.nodeid}: no variant {variant!r} for the claim {name!r} in {ledger.path}: {listed}: correct the "
                "marker, or add the variant there"
            )
        judges = self._judges.setdefault((ledger.path, name), {})
        judges.setdefault(variant, []).append(item.nodeid)
        if None in judges and len(judges) > 1:
            (plain, *_), (varied, *_) = judges[None], next(tests for one, tests in judges.items() if one is not None)
            raise pytest.UsageError(
                f"{item.nodeid}: the claim {name!r} of {ledger.path} is judged on a variant by {varied} and without "
                f"one by {plain}: name a variant in all of its markers or in none"
            )

    def _ledger_with(self, item: pytest.Item, name: str) -> "Ledger":
        """Return a test's ledger, which holds the measured claim that a marker of the test names.

        Raises:
            pytest.UsageError: there is no ledger, no such claim, or the claim is arithmetic.
        """
        ledger = self._ledger_of(item)
        if ledger is None:
            raise pytest.UsageError(
                f"{item.nodeid}: the claim {name!r} has no ledger: put a {DEFAULT_LEDGER} beside the test or name "
                f"one by the ini option {INI_CLAIMS}"
            )
        if name not in ledger.claims:
            raise pytest.UsageError(
                f"{item.nodeid}: no claim {name!r} in {ledger.path}: add it there or correct the marker"
            )
        if ledger.claims[name].kind == "arithmetic":
            raise pytest.UsageError(
                f"{item.nodeid}: the claim {name!r} of {ledger.path} is arithmetic: its audit function judges it, "
                "no test does: remove the marker"
            )
        return ledger

    def _audit(self) -> None:
        """Recompute the arithmetic claims of the ledgers before anything is measured, so that a bad one fails early."""
        from speedclaims.claims.audit import audit_rows  # noqa: PLC0415
        from speedclaims.claims.ledger import LedgerError  # noqa: PLC0415

        for path, ledger in self._ledgers.items():
            try:
                self._audits[path] = audit_rows(ledger)
            except LedgerError as error:
                raise pytest.UsageError(str(error)) from None

    def _refuse_orphans(self) -> None:
        """Refuse a claim that no test judges on what counts, where the run was given all tests that could."""
        named = self._named_ledger
        if named is not None and self._is_whole(named):
            self._load(named)
        for path in filter(self._is_whole, self._ledgers):
            ledger = self._ledgers[path]
            for name, claim in ledger.claims.items():
                judges = self._judges.get((path, name), {})
                if claim.kind == "measured" and not judges:
                    raise pytest.UsageError(
                        f"{path}: no test judges the claim {name!r}: mark one with @pytest.mark.{CLAIM}({name!r})"
                    )
                if judges and judges.keys().isdisjoint({None, *ledger.variants[:1]}):
                    first = ledger.variants[0]
                    raise pytest.UsageError(
                        f"{path}: no test judges the claim {name!r} on the variant {first!r}, whose verdict counts: "
                        f"mark one with @pytest.mark.{CLAIM}({name!r}, variant={first!r})"
                    )

    def _is_whole(self, path: Path) -> bool:
        """Whether the run was given all tests that a ledger may judge: those of its folder, or of the whole suite."""
        config, folder = self.config, path.parent
        given = [config.invocation_params.dir / str(argument).split("::")[0] for argument in config.args]
        suite = [config.rootpath / name for name in config.getini("testpaths")] or [config.rootpath]
        if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
            suite = given
        if path == self._named_ledger:
            return _hold(given, suite)
        return _hold(given, [folder]) or (_hold([folder], suite) and _hold(given, suite))

    def _ledger_of(self, item: pytest.Item) -> "Ledger | None":
        path = self._named_ledger or self._nearest_ledger(item)
        return None if path is None else self._load(path)

    def _load(self, path: Path) -> "Ledger":
        if path not in self._ledgers:
            from speedclaims.claims.ledger import LedgerError, load_ledger  # noqa: PLC0415

            try:
                self._ledgers[path] = load_ledger(path)
            except LedgerError as error:
                raise pytest.UsageError(str(error)) from None
        return self._ledgers[path]

    @property
    def _named_ledger(self) -> Path | None:
        """The ledger that the ini option names."""
        named: str | None = self.config.getini(INI_CLAIMS)
        base = self.config.inipath.parent if self.config.inipath else self.config.rootpath
        return base / named if named else None

    def _nearest_ledger(self, item: pytest.Item) -> Path | None:
        """Return the ledger in a test's folder, else in the nearest folder above it."""
        folder, root = item.path.parent, self.config.rootpath
        while True:
            if (folder / DEFAULT_LEDGER).is_file():
                return folder / DEFAULT_LEDGER
            if folder in (root, folder.parent):
                return None
            folder = folder.parent

    # -- measuring -----------------------------------------------------------------------------------------------

    def claims_of(self, item: pytest.Item, work: str) -> list["Claim"]:
        """Return the claims that a test's markers name.

        Raises:
            ValueError: a claim is about other work than the pair measures; they are never mixed in one figure.
        """
        ledger = self._ledger_of(item)
        claims = [ledger.claims[name] for name, _ in named_claims(item)] if ledger else []
        for claim in claims:
            if claim.work != work:
                raise ValueError(f"the claim {claim.id!r} is about {claim.work} work, the pair measures {work} work")
        return claims

    def add_row(self, item: pytest.Item, row: "Row") -> None:
        """Keep a pair's or figure's row, and leave it on its test, whose report carries it to an xdist controller."""
        self.add_rows(item, [row])

    def add_rows(self, item: pytest.Item, rows: "Sequence[Row]") -> None:
        """Keep the rows of a test, and leave them on it."""
        item.stash[ROWS] = list(rows)
        self._keep(item.nodeid, rows)
        self.changed()

    def _keep(self, test: str, rows: "Sequence[Row]") -> None:
        self._record = self._section = None
        self._rows_of[test] = [row["nodeid"] for row in rows]
        for row in rows:
            if "value" in row:
                self.figures[row["nodeid"]] = row
            else:
                self.pairs[row["nodeid"]] = row

    def take_over(self, rows: "Iterable[Row]") -> None:
        """Keep rows that earlier processes of one run have measured."""
        by_test: dict[str, list[Row]] = {}
        for row in rows:
            by_test.setdefault(test_id(row), []).append(row)
        for test, found in by_test.items():
            self._keep(test, found)

    def note_gate(self, gate: "RecordedGate") -> None:
        """Keep the comparison with a base for the record."""
        self._record = self._section = None
        self._gate = gate

    def put_off(self, names: Sequence[str], add: Callable[[Sequence[str]], object]) -> None:
        """Keep passes of a pair for the time after all pairs; `add` measures some of them and adds them to the row."""
        self._put_off += [(name, add) for name in names]

    def catch_up(self) -> None:
        """Measure the passes that were put off, as long as time is left: the costly ones, `cold` and stages, last."""
        put_off, self._put_off = sorted(self._put_off, key=_lateness), []
        for (_, add), group in groupby(put_off, key=lambda one: (_lateness(one), one[1])):
            is_in_time = self.seconds_left > 0
            add([name for name, _ in group])
            self._record = self._section = None
            if is_in_time:
                self.changed()

    def ceilings_of(self, framework: str | None, device: str, measure: "Callable[[], Ceilings]") -> "Ceilings":
        """Return what the machine does at most, measured once in a run for each framework and device."""
        if (framework, device) not in self.ceilings:
            self.ceilings[framework, device] = measure()
        return self.ceilings[framework, device]

    def judge(self, claim: "Claim", row: "Row") -> "RecordedClaim":
        """Return the verdict row of a claim for a pair."""
        from speedclaims.claims.verdict import judge  # noqa: PLC0415

        return judge(claim, row)

    def take(self, report: pytest.TestReport) -> None:
        """Take a finished test's row and outcome from its report."""
        self._record = self._section = None
        rows: Sequence[Row] | None = getattr(report, ATTRIBUTE, None)
        if rows is not None:
            self._keep(report.nodeid, rows)
        if report.nodeid in self.wanted:
            self.durations[report.nodeid] = self.durations.get(report.nodeid, 0.0) + report.duration
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[report.nodeid] = _without_prefix(str(report.longrepr[2]))
        elif report.failed and report.nodeid not in self._rows_of:
            self.reasons[report.nodeid] = "the test failed before it was measured"
        if report.when == "call" and report.passed and rows is None:
            self.num_others_passed += 1

    # -- the record ----------------------------------------------------------------------------------------------

    @property
    def rows(self) -> "dict[str, Row]":
        """The rows of pairs and figures by node id."""
        return {**self.pairs, **self.figures}

    @property
    def tests_with_rows(self) -> set[str]:
        """The tests that have left rows."""
        return set(self._rows_of)

    @property
    def measured_nothing(self) -> bool:
        """Whether there were pairs to measure, none was, and no other test passed either."""
        speedups = [row["speedup"] for row in self.pairs.values()]
        values = [row["value"] for row in self.figures.values()]
        any_measured = any(number is not None for number in speedups + values)
        return bool(self.wanted or self.rows) and not any_measured and self.num_others_passed == 0

    @property
    def refuted(self) -> bool:
        """Whether a claim is refuted on what counts, or inconsistent with its document's own figures."""
        return any(claim["overall"] in ("refuted", "inconsistent") for claim in counting(self.section()["claims"]))

    def section(self) -> "Section":
        """Return the record's ``speedclaims`` section, of the tests that have ended."""
        if self._section is None:
            self._section = self._make_section()
        return self._section

    def _make_section(self) -> "Section":
        from speedclaims.record import benchmark_rows  # noqa: PLC0415
        from speedclaims.recorders import environment  # noqa: PLC0415

        option, commit = self.config.getoption, benchmark_rows.commit_info(self.config)
        pairs = list(self.pairs.values())
        names = (
            "speedup_max_time",
            "speedup_total_time",
            "speedup_precision",
            "speedup_confidence",
            "speedup_processes",
        )
        options = {name.removeprefix("speedup_"): option(name) for name in names}
        section: Section = {
            "schema_version": 2,
            "environment": environment.environment(
                devices=[row["device"] for row in self.rows.values()],
                commit={"id": commit.get("id"), "dirty": commit.get("dirty")},
                command="pytest " + shlex.join(str(argument) for argument in self.config.invocation_params.args),
                options={**options, "passes": ",".join(self.passes)},
            )
            | {"root": self.config.rootpath.name},
            "noise_floor": noise_floor(pairs),
            "ceilings": list(self.ceilings.values()),
            "pairs": pairs,
            "figures": list(self.figures.values()),
            "not_run": self.open_tests,
            "claims": self.claim_rows(),
            "audit": [row for rows in self._audits.values() for row in rows],
        }
        if self._gate is not None:
            section["gate"] = self._gate
        if self.against is not None:
            section["against"] = self.against
        if self.durations:
            section["durations"] = dict(self.durations)
        if self.shard is not None:
            section["shard"] = self.shard
        return section

    def claim_rows(self) -> "list[RecordedClaim]":
        """Return the rows of the ledgers' claims, in their order: for each variant one for each test that judges it.

        An arithmetic claim needs no test: its row holds the verdict of its audit function.
        """
        if not self._ledgers:
            return []  # without importing what reads one
        from speedclaims.claims import audit  # noqa: PLC0415
        from speedclaims.claims.verdict import not_judged, overall  # noqa: PLC0415

        found: list[RecordedClaim] = []
        for ledger in self._ledgers.values():
            audited = {row["id"]: row for row in audit.claim_rows(ledger, self._audits.get(ledger.path, []))}
            for name, claim in ledger.claims.items():
                if name in audited:
                    found.append(audited[name])
                    continue
                evidence = self._measured_evidence(ledger.path, name)
                for variant, nodeids in self._judges_of(ledger, name):
                    judged = [row for nodeid in nodeids for row in self._judged_by(nodeid, claim, variant)]
                    rows = judged or [not_judged(claim, NOT_ASKED)]
                    word = overall(claim.over, claim.better, rows)
                    for row in rows:
                        row["variant"], row["overall"] = variant, word
                        if evidence:
                            row["evidence"] = evidence
                    found += rows
        return found

    def _judges_of(self, ledger: "Ledger", name: str) -> "Iterator[tuple[str | None, Iterable[str]]]":
        """Yield the tests that judge a claim, for each variant that any of them names, the one that counts first.

        The variant that counts has its place also where none of its tests was collected.
        """
        judges = self._judges.get((ledger.path, name), {})
        if not judges or None in judges:
            yield None, dict.fromkeys(judges.get(None, []))
            return
        for variant in ledger.variants:
            if variant in judges or variant == ledger.variants[0]:
                yield variant, dict.fromkeys(judges.get(variant, []))

    def _judged_by(self, nodeid: str, claim: "Claim", variant: str | None) -> "list[RecordedClaim]":
        """Return the rows of a claim for one of its tests, with the reason where the test measured nothing."""
        from speedclaims.claims.verdict import not_judged  # noqa: PLC0415

        wanted = self._wanted_rows.get((nodeid, claim.id, variant), [])
        rows = [self.rows[name] for name in self._rows_of.get(nodeid, ())]
        found = [row for row in rows if "value" in row or not wanted or any(one.fits(row) for one in wanted)]
        if not found:
            return [not_judged(claim, self.reasons.get(nodeid, NOT_ASKED), nodeid)]
        return [self.judge(claim, row) for row in found]

    def _measured_evidence(self, path: Path, name: str) -> list[str]:
        """Return the tests whose pairs are evidence about a claim and have a speedup with an interval."""
        tests = dict.fromkeys(self._evidence.get((path, name), []))
        nodeids = [nodeid for test in tests for nodeid in self._rows_of.get(test, ())]
        return [nodeid for nodeid in nodeids if nodeid in self.pairs and self.pairs[nodeid]["status"] == "measured"]

    def record(self) -> "Record":
        """Return the whole record: pytest-benchmark's JSON and the section.

        A row that does not fit the schema costs the others nothing: a row that says why takes its place.
        """
        if self._record is None:
            self._record = self._as_json()
            unrecordable = _unrecordable(self._record)
            for nodeid, why in unrecordable.items():
                self._replace(nodeid, why)
            self._record = self._as_json() if unrecordable else self._record
        return self._record

    def _as_json(self) -> "Record":
        from speedclaims.record import benchmark_rows  # noqa: PLC0415

        return cast("Record", benchmark_rows.as_json(self.config))

    def _replace(self, nodeid: str, why: str) -> None:
        """Let a row that says why nothing is recorded take the place of a test's row."""
        from speedclaims.measure.passes import not_run  # noqa: PLC0415
        from speedclaims.record.blank import blank_figure, blank_pair  # noqa: PLC0415

        row = self.rows[nodeid]
        identity = (row["name"], nodeid, row["title"])
        reason = self.unrecordable[nodeid] = f"it cannot be recorded: {why}"
        if "value" in row:
            self.figures[nodeid] = {**blank_figure(*identity), "reason": reason}
        else:
            blank = {**blank_pair(*identity, control=row["control"]), **not_run(), "reason": reason}
            self.pairs[nodeid] = cast("RecordedPair", blank)
        self._record = self._section = None


def _unrecordable(record: "Record") -> dict[str, str]:
    """Return the tests whose rows do not fit the schema, with the reason; none where something else does not fit."""
    from speedclaims.record.io import why_unusable  # noqa: PLC0415

    if why_unusable(record) is None:
        return {}
    section = record["speedclaims"]
    bare: Section = {**section, "pairs": [], "figures": [], "claims": [], "audit": []}
    bare.pop("gate", None)
    if why_unusable({**record, "speedclaims": bare}) is not None:
        return {}
    trials: dict[str, Section] = {}
    for pair in section["pairs"]:
        trials[pair["nodeid"]] = {**bare, "pairs": [pair]}
    for figure in section["figures"]:
        trials[figure["nodeid"]] = {**bare, "figures": [figure]}
    found = {nodeid: why_unusable({**record, "speedclaims": trial}) for nodeid, trial in trials.items()}
    return {nodeid: why for nodeid, why in found.items() if why is not None}


ROWS = pytest.StashKey[list["Row"]]()
ATTRIBUTE = "speedclaims_rows"


def _hold(folders: Sequence[Path], paths: Sequence[Path]) -> bool:
    """Whether each path is one of the folders or lies in one of them."""
    places = [folder.resolve() for folder in folders]
    return all(any(path.resolve().is_relative_to(place) for place in places) for path in paths)


def _lateness(put_off: tuple[str, object]) -> int:
    """Return how late a pass that was put off runs: what costs most and judges nothing comes last."""
    from speedclaims.recorders.registry import recorders  # noqa: PLC0415 - loading the plugin must stay cheap

    return recorders()[put_off[0]].lateness


def noise_floor(pairs: "Sequence[RecordedPair]") -> "NoiseFloor":
    """Return what two instances of the same side differ by: the farthest end of the control pairs' intervals from 1."""
    control = [row for row in pairs if row["control"] and row["status"] == "measured"]
    if not control:
        short = any(row["control"] and row["status"] == "too_few_rounds" for row in pairs)
        reason = "the control pair had too few rounds" if short else "no control pair was measured in this run"
        return {"value": None, "unit": "1", "status": "not_measured", "reason": reason, "num_processes": 0, "pairs": []}
    ends = [end for row in control for end in (row["low"], row["high"]) if end is not None]
    num_processes = min(row["num_processes"] for row in control)
    return {
        "value": max(max(end, 1 / end) for end in ends) - 1,
        "unit": "1",
        "status": "measured",
        "reason": None if num_processes else "one process only: it understates what differs between processes",
        "num_processes": num_processes,
        "pairs": [row["nodeid"] for row in control],
    }


def _without_prefix(reason: str) -> str:
    return reason.removeprefix("Skipped: ").removeprefix("not_measured: ")
