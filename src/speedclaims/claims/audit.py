"""Claims that are arithmetic: a document's own figures, calculated again.

A claim of kind ``arithmetic`` names a function, ``audit = "name"``, of the file ``audits.py`` next to its ledger. The
function takes no arguments, holds the document's figures, and returns a ``Recomputed``.

The rule, the same for every claim. What a document claims is a range of values (a single value is a range without
width) and has a number of decimals. What its other figures give is a range too, by interval arithmetic: each
figure may lie anywhere in its own range, independently of the others. The claim is **consistent** when every value it
claims is one that the figures can give, within the rounding of the claim: the claimed range lies inside the recomputed
one, widened on both sides by half a unit of the claim's last decimal. So "3-5x" agrees with 150-200 ms over 30-50 ms,
which is 3.0 to 6.7x, though the figures could give more; and "60-80 min" does not agree with 20 times 50-65 s.

Three forms of the rule cover what is not one range against another. A claim that is open above ("faster", "fewer
than") is consistent when the figures can give its bound: ``at_least``. Two statements about one quantity agree when
each of them allows the other: ``two_statements``. What is not a number is counted (parameters, files, calls, epochs
in which something holds) and the counts are compared: ``counted``.
"""

import contextlib
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from speedclaims.claims.arithmetic import Recomputed
from speedclaims.claims.ledger import Claim, Ledger, LedgerError
from speedclaims.claims.verdict import blank

if TYPE_CHECKING:
    from speedclaims.record.types import RecordedAudit, RecordedClaim

AUDITS = "audits.py"
"""The file next to a ledger that holds the audit functions."""


# -- running a ledger's audit functions ----------------------------------------------------------------------------


def audit_rows(ledger: Ledger) -> "list[RecordedAudit]":
    """Return the record's ``audit`` rows: one for each arithmetic claim, in the ledger's order.

    ``audits.py`` is executed only when there is one; what it prints goes to stderr.

    Raises:
        LedgerError: there is no such file or function, it raised, or it returned something else.
    """
    claims = [claim for claim in ledger.claims.values() if claim.kind == "arithmetic"]
    if not claims:
        return []
    path = ledger.path.with_name(AUDITS)
    with contextlib.redirect_stdout(sys.stderr):
        module = _load(path, ledger, claims[0])
        found = [(claim, _call(module, path, ledger, claim)) for claim in claims]
    return [
        {
            "id": claim.id,
            "source": claim.source,
            "text": claim.text,
            "claimed": result.claimed,
            "recomputed": result.recomputed,
            "formula": result.formula,
            "verdict": "consistent" if result.consistent else "inconsistent",
        }
        for claim, result in found
    ]


def claim_rows(ledger: Ledger, audit: "Sequence[RecordedAudit] | None" = None) -> "list[RecordedClaim]":
    """Return the record's ``claims`` rows of the arithmetic claims.

    Args:
        ledger: the ledger.
        audit: its ``audit_rows``, where they have been made already.

    Raises:
        LedgerError: as ``audit_rows``.
    """
    rows = audit_rows(ledger) if audit is None else audit
    return [
        {
            **blank(ledger.claims[row["id"]]),
            "metric": None,
            "work": None,
            "verdict": row["verdict"],
            "overall": row["verdict"],
        }
        for row in rows
    ]


class _Loader(importlib.machinery.SourceFileLoader):
    """Compile a module from its current source, without reading or writing a bytecode cache next to the ledger."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the loader's interface
        """Return the module's code."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _load(path: Path, ledger: Ledger, first: Claim) -> ModuleType:
    if not path.is_file():
        raise LedgerError(
            f"{path}: no such file, and the claim {first.id!r} of {ledger.path.name} names its function "
            f"{first.audit!r}: write it there"
        )
    name = f"speedclaims_audits_{abs(hash(path.resolve())):x}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    if spec is None or spec.loader is None:  # pragma: no cover - only without a loader
        raise LedgerError(f"{path}: not a Python file: correct it there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses defined in it look themselves up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is a user's file: whatever it raises is reported
        raise LedgerError(f"{_where(path, error)}: cannot be loaded ({_told(error)}): correct it there") from None
    finally:
        sys.modules.pop(name, None)
    return module


def _call(module: ModuleType, path: Path, ledger: Ledger, claim: Claim) -> Recomputed:
    function: Callable[[], object] | None = getattr(module, claim.audit or "", None)
    if not callable(function):
        raise LedgerError(
            f"{path}: no function {claim.audit!r}, which the claim {claim.id!r} of {ledger.path.name} names: "
            "add it, or correct the name"
        )
    try:
        result = function()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - likewise
        raise LedgerError(
            f"{_where(path, error)}: {claim.audit}, named by the claim {claim.id!r}, raised {_told(error)}: mend it"
        ) from None
    if not isinstance(result, Recomputed):
        raise LedgerError(
            f"{path}: {claim.audit}, named by the claim {claim.id!r}, returned {type(result).__name__}: "
            "return a speedclaims.audit.Recomputed"
        )
    return result


def _where(path: Path, error: BaseException) -> str:
    """Return the file and, where the error has one there, the line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    number = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{path}:{number}" if number else str(path)


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
