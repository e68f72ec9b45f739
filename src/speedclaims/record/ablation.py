"""A pair as one row of an ablation: it says which switches a side has on, so that reports can order the rows.

The ladder turns switches on one after the other, from none to all; each of its rows is a pair against the same before
side. The effect of a switch added last is measured either directly, as a pair of all but it against all, or
by a pair of all but it against the ladder's before side.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NotRequired, TypedDict

from speedclaims.errors import shown

if TYPE_CHECKING:
    from speedclaims.record.types import AblationKind, RecordedAblation


class Ablation(TypedDict):
    """A pair as one row of an ablation, as a test gives it.

    Attributes:
        of: what has the switches.
        kind: one of `KINDS`.
        switches: all of them in the ladder's order, name to whether it is on: on the after side for ``ladder`` and
            ``leave_one_out``, on the before side for ``added_last``, whose after side has all of them on.
        not_here: those that are off in every row because they do nothing on this machine, name to reason.
    """

    of: str
    kind: "AblationKind"
    switches: Mapping[str, bool]
    not_here: NotRequired[Mapping[str, str]]


KINDS = ("ladder", "leave_one_out", "added_last")
_KEYS = {"of", "kind", "switches", "not_here"}


def check_ablation(ablation: Ablation) -> None:
    """Raise for what is no row of an ablation.

    Raises:
        ValueError: a key is missing or unknown, or the switches that are on make no such row.
    """
    if not isinstance(ablation, Mapping) or not _KEYS - {"not_here"} <= set(ablation) <= _KEYS:
        raise ValueError(f"ablation is {shown(ablation)}: give a mapping with of, kind, switches and, if any, not_here")
    if not isinstance(ablation["of"], str) or not ablation["of"]:
        raise ValueError(f"ablation: of is {shown(ablation['of'])}: name what has the switches")
    if ablation["kind"] not in KINDS:
        raise ValueError(f"ablation: kind is {shown(ablation['kind'])}: it is one of {', '.join(KINDS)}")
    switches = ablation["switches"]
    _check_names("switches", switches, bool)
    if not switches:
        raise ValueError("ablation: there are no switches: give at least one, name to whether it is on")
    _check_names("not_here", ablation.get("not_here", {}), str)
    both = sorted(set(switches) & set(ablation.get("not_here", {})))
    if both:
        raise ValueError(f"ablation: {both[0]} stands among switches and among not_here: keep it in one of them")
    _check_row(ablation["kind"], switches)


def _check_names(key: str, values: object, kind: type) -> None:
    if not isinstance(values, Mapping) or not all(
        isinstance(name, str) and name and isinstance(value, kind) for name, value in values.items()
    ):
        raise ValueError(
            f"ablation: {key} is {shown(values)}: give a mapping from names to values of type {kind.__name__}"
        )


def _check_row(kind: str, switches: Mapping[str, bool]) -> None:
    on = list(switches.values())
    if kind == "ladder" and on != sorted(on, reverse=True):
        raise ValueError(f"ablation: a row of a ladder has the first so many switches on, not {shown(dict(switches))}")
    if kind != "ladder" and on.count(False) != 1:
        raise ValueError(f"ablation: a row of {kind} has all switches on but one, not {shown(dict(switches))}")


def recorded(ablation: Ablation | None) -> "RecordedAblation | None":
    """Return the field of the pair's row, None where the pair is no row of an ablation."""
    if ablation is None:
        return None
    check_ablation(ablation)
    return {
        "of": ablation["of"],
        "kind": ablation["kind"],
        # lists, for the order is the ladder's, and objects of JSON have none
        "switches": [{"name": name, "on": on} for name, on in ablation["switches"].items()],
        "not_here": [{"name": name, "reason": why} for name, why in ablation.get("not_here", {}).items()],
    }
