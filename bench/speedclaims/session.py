"""One run's pairs, claims and record: what the hooks of the plugin collect and write."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

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
        self.reasons: dict[str, str] = {}
        self.num_others_passed = 0
        self.wanted: set[str] = set()
        self._ledgers: dict[Path, Ledger] = {}
        self._judges: dict[tuple[Path, str], list[str]] = {}
        self._record: dict[str, Any] | None = None
        self._section: dict[str, Any] | None = None

    @property
    def passes(self) -> Sequence[str]:
        """The passes that ``--speedup-passes`` asks for."""
        passes: Sequence[str] = self.config.getoption("speedup_passes")
        return passes

    # -- collection ----------------------------------------------------------------------------------------------

    def collect(self, items: Sequence[pytest.Item]) -> None:
        """Find the ledgers of the collected tests and check that markers and claims belong together.

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
            self._judges.setdefault((ledger.path, name), []).append(item.nodeid)
        for item in items:
            if is_pair(item):
                self._ledger_of(item)
        for ledger in self._ledgers.values():
            self._refuse_orphans(ledger)

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

    def add_pair(self, item: pytest.Item, row: dict[str, Any]) -> None:
        """Take a pair's row and leave it on the test, from where its report carries it to an xdist controller."""
        item.stash[ROW] = row

    def judge(self, claim: "Claim", row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the verdict row of a claim for a pair."""
        from speedclaims.claims import judge  # noqa: PLC0415

        return judge(claim, row)

    def take(self, report: pytest.TestReport) -> None:
        """Take a finished test's row and outcome from its report."""
        row: dict[str, Any] | None = getattr(report, ATTRIBUTE, None)
        if row is not None:
            self.pairs[report.nodeid] = row
        if report.skipped and isinstance(report.longrepr, tuple):
            self.reasons[report.nodeid] = _without_prefix(str(report.longrepr[2]))
        elif report.failed and report.nodeid not in self.pairs:
            self.reasons[report.nodeid] = "the test failed before it was measured"
        if report.when == "call" and report.passed and row is None:
            self.num_others_passed += 1

    # -- the record ----------------------------------------------------------------------------------------------

    @property
    def measured_nothing(self) -> bool:
        """Whether there were pairs to measure, none was, and no other test passed either."""
        any_measured = any(row["speedup"] is not None for row in self.pairs.values())
        return bool(self.wanted or self.pairs) and not any_measured and self.num_others_passed == 0

    @property
    def refuted(self) -> bool:
        """Whether a claim is refuted: measured below what it says, or inconsistent with its own figures."""
        return any(claim["verdict"] in ("below", "inconsistent") for claim in self.section()["claims"])

    def section(self) -> dict[str, Any]:
        """Return the record's ``speedclaims`` section, made once, when all tests have ended."""
        if self._section is None:
            self._section = self._make_section()
        return self._section

    def _make_section(self) -> dict[str, Any]:
        from speedclaims import record  # noqa: PLC0415
        from speedclaims.recorders import environment  # noqa: PLC0415

        option = self.config.getoption
        pairs = list(self.pairs.values())
        names = ("speedup_max_time", "speedup_precision", "speedup_confidence", "speedup_processes")
        options = {name.removeprefix("speedup_"): option(name) for name in names}
        return {
            "schema_version": record.SCHEMA_VERSION,
            "environment": environment.environment(
                devices=[row["device"] for row in pairs],
                commit=self.config.hook.pytest_benchmark_generate_commit_info(config=self.config),
                command="pytest " + shlex.join(str(argument) for argument in self.config.invocation_params.args),
                options={**options, "passes": ",".join(self.passes)},
            ),
            "noise_floor": noise_floor(pairs),
            "pairs": pairs,
            "claims": self.claim_rows(),
            "audit": [],
        }

    def claim_rows(self) -> list[dict[str, Any]]:
        """Return a row for each claim of the ledgers, in their order, and each test that judges it."""
        from speedclaims.claims import not_judged  # noqa: PLC0415

        found: list[dict[str, Any]] = []
        for ledger in self._ledgers.values():
            for name, claim in ledger.claims.items():
                nodeids = self._judges.get((ledger.path, name), [])
                ran = [nodeid for nodeid in nodeids if nodeid in self.pairs or nodeid in self.reasons]
                if not ran:
                    found.append(not_judged(claim, "its test did not run", nodeids[0] if nodeids else None))
                for nodeid in ran:
                    row = self.pairs.get(nodeid)
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


def is_pair(item: pytest.Item) -> bool:
    """Return whether a test uses the ``pair`` fixture."""
    return "pair" in getattr(item, "fixturenames", ())


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
