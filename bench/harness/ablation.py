"""List the rows of an ablation over a tier's switches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.switches import Settings, Switch


@dataclass(frozen=True)
class AblationRow:
    """One row of an ablation over a tier's switches.

    Attributes:
        label: `restructured` (all off), `+name` (and those before it), or `-name` (all others).
        kind: ladder, a row against the reference; or added_last, all on against the row.
        switch: the one that the row adds or leaves out; None for `restructured`.
        settings: complete.
    """

    label: str
    kind: str
    switch: str | None
    settings: "Settings"


def ablation(switches: "Sequence[Switch]") -> list[AblationRow]:
    """Rows of an ablation: all off, one more on from row to row until all are; then all on but one."""
    from trainers.switches import ladder, leave_one_out  # noqa: PLC0415 - as everything of the trainers here

    return [
        AblationRow(label, kind, label[1:] if label[0] in "+-" else None, settings)
        for kind, rows in (("ladder", ladder(switches)), ("added_last", leave_one_out(switches)))
        for label, settings in rows
    ]
