"""One run's pairs, claims and record: what the hooks of the plugin collect and write."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from speedclaims import processes
from speedclaims.record import NOT_ASKED

if TYPE_CHECKING:
    from speedclaims.claims import Claim, Ledger

INI_CLAIMS = "speedup_claims"
DEFAULT_LEDGER = "claims.toml"
KEY = pytest.StashKey["SpeedSession"]()


class SpeedSession:
    """What one pytest run measured, and the ledgers that judge it."""

    def __init__(self, config: pytest.Config) -> None:
        """Start empty; ledgers are read when tests have been collected."""
        self.config = config
        self.pairs: dict[str, dict[str, Any]] = {}
        self.figures: dict[str, dict[str, Any]] = {}
        self.reasons: dict[str, str] = {}
        self.num_others_passed = 0
        self.wanted: set[str] = set()
        self._began = perf_counter()
        self.ceilings: dict[tuple[str | None, str], dict[str, Any]] = {}
        self._ledgers: dict[Path, Ledger] = {}
        self._judges: dict[tuple[Path, str], list[str]] = {}
        self._audits: dict[Path, list[dict[str, Any]]] = {}
        self._record: dict[str, Any] | None = None
        self._section: dict[str, Any] | None = None

    @property
    def passes(self) -> Sequence[str]:
        """The passes that ``--speedup-passes`` asks for."""
        passes: Sequence[str] = self.config.getoption("speedup_passes")
        return passes

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def seconds_left(self) -> float:
        """What is left of ``--speedup-total-time``, infinite without that option."""
        return math.inf if self.total_s is None else self.total_s - (perf_counter() - self._began)

    @property
    def total_s(self) -> float | None:
        """``--speedup-total-time``."""
        total: float | None = self.config.getoption("speedup_total_time")
        return total

    @property
    def time_is_up(self) -> str:
        """The reason for what was not measured any more."""
        return f"the run's time was up (--speedup-total-time {self.total_s:g})"

    @property
    def share_s(self) -> float:
        """What is left of it for each of the tests that have not ended."""
        return max(0.0, self.seconds_left) / max(1, len(self.open_tests))

    @property
    def open_tests(self) -> list[str]:
        """The tests with a pair or a figure that have not ended, or never ran."""
        return sorted(self.wanted - self.rows.keys() - self.reasons.keys())

    # -- collection ----------------------------------------------------------------------------------------------

    def collect(self, items: Sequence[pytest.Item]) -> None:
        """Find the ledgers of the collected tests, check that markers and claims belong together, and audit them.

        Raises:
            pytest.UsageError: a marker without a claim, a claim without a test, or a ledger that cannot be used.
        """
        marked = [(item, name) for item in items for name in claim_names(item)]
        for item, name in marked:
            ledger = self._ledger_of(item)
            if ledger is None:
                msg = (
                    f"{item.nodeid}: the claim {name!r} has no ledger: put a {DEFAULT_LEDGER} beside the test or name "
                    f"one by the ini option {INI_CLAIMS}"
                )
                raise pytest.UsageError(msg)
            if name not in ledger.claims:
                msg = f"{item.nodeid}: no claim {name!r} in {ledger.path}: add it there or correct the marker"
                raise pytest.UsageError(msg)
            if ledger.claims[name].kind == "arithmetic":
                msg = (
                    f"{item.nodeid}: the claim {name!r} of {ledger.path} is arithmetic: its audit function judges it, "
                    "no test does: remove the marker"
                )
                raise pytest.UsageError(msg)
            self._judges.setdefault((ledger.path, name), []).append(item.nodeid)
        for item in items:
            if measures(item):
                self._ledger_of(item)
                gate_percent(item)  # a wrong marker is told before anything is measured
        for ledger in self._ledgers.values():
            self._refuse_orphans(ledger)
        reports = not hasattr(self.config, "workerinput") and processes.job_of(self.config) is None
        if self._ledgers and reports:
            self._audit()

    def _audit(self) -> None:
        """Recompute the arithmetic claims of the ledgers, before anything is measured: a bad one is told at once."""
        from speedclaims.audit import audit_rows  # noqa: PLC0415
        from speedclaims.claims import LedgerError  # noqa: PLC0415

        for path, ledger in self._ledgers.items():
            try:
                self._audits[path] = audit_rows(ledger)
            except LedgerError as error:
                raise pytest.UsageError(str(error)) from None

    def _refuse_orphans(self, ledger: "Ledger") -> None:
        """Refuse a claim that no test judges, where the run has collected all tests that could."""
        folder = ledger.path.parent
        roots = [Path(str(argument).split("::")[0]) for argument in self.config.args]
        whole = [root if root.is_absolute() else self.config.invocation_params.dir / root for root in roots]
        if not any(folder.resolve().is_relative_to(root.resolve()) for root in whole):
            return
        for name, claim in ledger.claims.items():
            if claim.kind == "measured" and (ledger.path, name) not in self._judges:
                msg = f"{ledger.path}: no test judges the claim {name!r}: mark one with @pytest.mark.claim({name!r})"
                raise pytest.UsageError(msg)

    def _ledger_of(self, item: pytest.Item) -> "Ledger | None":
        path = self._ledger_path(item)
        if path is None:
            return None
        if path not in self._ledgers:
            from speedclaims.claims import LedgerError, load_ledger  # noqa: PLC0415

            try:
                self._ledgers[path] = load_ledger(path)
            except LedgerError as error:
                raise pytest.UsageError(str(error)) from None
        return self._ledgers[path]

    def _ledger_path(self, item: pytest.Item) -> Path | None:
        named: str | None = self.config.getini(INI_CLAIMS)
        if named:
            base = self.config.inipath.parent if self.config.inipath else self.config.rootpath
            return base / named
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
        claims = [ledger.claims[name] for name in claim_names(item)] if ledger else []
        for claim in claims:
            if claim.work != work:
                msg = f"the claim {claim.id!r} is about {claim.work} work, the pair measures {work} work"
                raise ValueError(msg)
        return claims

    def add_row(self, item: pytest.Item, row: dict[str, Any]) -> None:
        """Leave a pair's or figure's row on its test, from where the report carries it to an xdist controller."""
        item.stash[ROW] = row

    def ceilings_of(self, framework: str | None, device: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what the machine does at most, measured once in a run for each framework and device."""
        if (framework, device) not in self.ceilings:
            self.ceilings[framework, device] = measure()
        return self.ceilings[framework, device]

    def judge(self, claim: "Claim", row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the verdict row of a claim for a pair."""
        from speedclaims.claims import judge  # noqa: PLC0415

        return judge(claim, row)

    def take(self, report: pytest.TestReport) -> None:
        """Take a finished test's row and outcome from its report."""
        self._record = self._section = None
        row: dict[str, Any] | None = getattr(report, ATTRIBUTE, None)
        if row is not None:
            (self.figures if "value" in row else self.pairs)[report.nodeid] = row
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[report.nodeid] = _without_prefix(str(report.longrepr[2]))
        elif report.failed and report.nodeid not in self.rows:
            self.reasons[report.nodeid] = "the test failed before it was measured"
        if report.when == "call" and report.passed and row is None:
            self.num_others_passed += 1

    # -- the record ----------------------------------------------------------------------------------------------

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of pairs and figures by node id."""
        return {**self.pairs, **self.figures}

    @property
    def measured_nothing(self) -> bool:
        """Whether there were pairs to measure, none was, and no other test passed either."""
        speedups = [row["speedup"] for row in self.pairs.values()]
        values = [row["value"] for row in self.figures.values()]
        any_measured = any(number is not None for number in speedups + values)
        return bool(self.wanted or self.rows) and not any_measured and self.num_others_passed == 0

    @property
    def refuted(self) -> bool:
        """Whether a claim is refuted: measured below what it says, or inconsistent with its own figures."""
        return any(claim["verdict"] in ("below", "inconsistent") for claim in self.section()["claims"])

    def section(self) -> dict[str, Any]:
        """Return the record's ``speedclaims`` section, of the tests that have ended."""
        if self._section is None:
            self._section = self._make_section()
        return self._section

    def _make_section(self) -> dict[str, Any]:
        from speedclaims import record  # noqa: PLC0415
        from speedclaims.recorders import environment  # noqa: PLC0415

        option = self.config.getoption
        pairs = list(self.pairs.values())
        names = (
            "speedup_max_time",
            "speedup_total_time",
            "speedup_precision",
            "speedup_confidence",
            "speedup_processes",
        )
        options = {name.removeprefix("speedup_"): option(name) for name in names}
        return {
            "schema_version": record.SCHEMA_VERSION,
            "environment": environment.environment(
                devices=[row["device"] for row in self.rows.values()],
                commit=self.config.hook.pytest_benchmark_generate_commit_info(config=self.config),
                command="pytest " + shlex.join(str(argument) for argument in self.config.invocation_params.args),
                options={**options, "passes": ",".join(self.passes)},
            ),
            "noise_floor": noise_floor(pairs),
            **({"ceilings": list(self.ceilings.values())} if self.ceilings else {}),
            "pairs": pairs,
            "figures": list(self.figures.values()),
            "not_run": self.open_tests,
            "claims": self.claim_rows(),
            "audit": [row for rows in self._audits.values() for row in rows],
        }

    def claim_rows(self) -> list[dict[str, Any]]:
        """Return a row for each claim of the ledgers, in their order, and each test that judges it.

        An arithmetic claim needs no test: its row holds the verdict of its audit function.
        """
        if not self._ledgers:
            return []  # without importing what reads one
        from speedclaims import audit  # noqa: PLC0415
        from speedclaims.claims import not_judged  # noqa: PLC0415

        found: list[dict[str, Any]] = []
        measured = self.rows
        for ledger in self._ledgers.values():
            audited = {row["id"]: row for row in audit.claim_rows(ledger, self._audits.get(ledger.path, []))}
            for name, claim in ledger.claims.items():
                if name in audited:
                    found.append(audited[name])
                    continue
                nodeids = self._judges.get((ledger.path, name), [])
                ran = [nodeid for nodeid in nodeids if nodeid in measured or nodeid in self.reasons]
                if not ran:
                    found.append(not_judged(claim, NOT_ASKED, nodeids[0] if nodeids else None))
                for nodeid in ran:
                    row = measured.get(nodeid)
                    found.append(
                        not_judged(claim, self.reasons[nodeid], nodeid) if row is None else self.judge(claim, row)
                    )
        return found

    def record(self) -> dict[str, Any]:
        """Return the whole record: pytest-benchmark's JSON and the section."""
        from speedclaims import rows  # noqa: PLC0415

        if self._record is None:
            self._record = rows.as_json(self.config)
        return self._record


ROW = pytest.StashKey[dict[str, Any]]()
ATTRIBUTE = "speedclaims_row"


def measures(item: pytest.Item) -> bool:
    """Return whether a test uses the ``pair`` or the ``figure`` fixture."""
    return not {"pair", "figure"}.isdisjoint(getattr(item, "fixturenames", ()))


def claim_names(item: pytest.Item) -> list[str]:
    """Return the claims that a test's markers name.

    Raises:
        pytest.UsageError: a marker without a name.
    """
    names: list[str] = []
    for marker in item.iter_markers("claim"):
        if not marker.args or marker.kwargs or not all(isinstance(name, str) for name in marker.args):
            msg = f'{item.nodeid}: the claim marker takes claim ids: @pytest.mark.claim("family.claim")'
            raise pytest.UsageError(msg)
        names.extend(marker.args)
    return names


def gate_percent(item: pytest.Item) -> float | None:
    """Return the loss in per cent at which the gate fails a test's pair, by its marker; None without one.

    Raises:
        pytest.UsageError: the marker has another argument than one positive number.
    """
    marker = item.get_closest_marker("speedup_fail")
    if marker is None:
        return None
    percent: Any = marker.args[0] if len(marker.args) == 1 and not marker.kwargs else None
    is_number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not is_number or not 0 < percent < math.inf:
        msg = f"{item.nodeid}: speedup_fail takes one positive number, the loss in per cent at which the gate fails"
        raise pytest.UsageError(msg)
    return float(percent)


def noise_floor(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what two instances of the same side differ by: the farthest end of the control pairs' intervals from 1."""
    control = [row for row in pairs if row["control"] and row["status"] == "measured"]
    if not control:
        short = any(row["control"] and row["status"] == "too_few_rounds" for row in pairs)
        reason = "the control pair had too few rounds" if short else "no control pair was measured in this run"
        return {"value": None, "unit": "1", "status": "not_measured", "reason": reason, "num_processes": 0, "pairs": []}
    ends = [end for row in control for end in (row["low"], row["high"])]
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
