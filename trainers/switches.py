"""A switch is one optimization behind one boolean; a ladder turns them on one after the other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from trainers.contract import BadInput

__all__ = [
    "KEPT_MEMORY",
    "Parity",
    "Settings",
    "Switch",
    "Work",
    "ladder",
    "leave_one_out",
    "resolve",
    "weakest_parity",
]

Parity = Literal["bitwise", "close", "statistical"]
"""How closely the losses with the switch on agree with those with it off, strongest first."""

Work = Literal["same", "less", "different"]
"""Whether the switch leaves the work as it is, leaves some out (fewer pixels), or makes it other work (batch size)."""

Settings = dict[str, bool]
"""Switches by name: which are on."""


@dataclass(frozen=True)
class Switch:
    """One optimization.

    Attributes:
        name: after its mechanism, a Python identifier: `cached_dataset`, never `fast`.
        description: one line for help texts and tables.
        parity: how closely a trainer agrees with itself without the switch.
        work: whether both do the same work.
        default: whether its tier has it on by default, as its document has.
        neutral_when: settings under which it computes what it would when off, to the bit or, in TensorFlow, to 1e-5,
            though it does not elsewhere; empty where there are none, or where it never computes anything else.
        rtol: what `close` means for it: by how much, relatively, the loss of a step may differ. 1e-4 is what float32
            in another order of operations may do; bfloat16 5e-3.

    """

    name: str
    description: str
    parity: Parity = "bitwise"
    work: Work = "same"
    default: bool = True
    neutral_when: str = ""
    rtol: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse what tables and command lines could not spell.

        Raises:
            ValueError: a name that is no identifier, or a parity or work that docs/vocabulary.md does not list.

        """
        if not self.name.isidentifier():
            raise ValueError(f"a switch's name must be an identifier, not {self.name!r}")
        if self.parity not in get_args(Parity):
            raise ValueError(f"{self.name}: parity {self.parity!r} is none of {get_args(Parity)}")
        if self.work not in get_args(Work):
            raise ValueError(f"{self.name}: work {self.work!r} is none of {get_args(Work)}")


KEPT_MEMORY = Switch(
    "kept_memory",
    "freed memory is used again instead of returned to the system, which clears what it hands out; on without a GPU "
    "where the C library is glibc, nothing elsewhere",
)
"""Of the fastest tiers whose blocks of memory are large."""


def ladder(switches: Sequence[Switch]) -> tuple[tuple[str, Settings], ...]:
    """Rows of a ladder: everything off (`restructured`), then one switch more a row, until all are on.

    Returns:
        k + 1 pairs of (label, complete settings) for k switches; the label names the switch a row adds.

    """
    names = [switch.name for switch in switches]
    rows = [("restructured", dict.fromkeys(names, False))]
    for count, name in enumerate(names, start=1):
        rows.append((f"+{name}", {each: position < count for position, each in enumerate(names)}))
    return tuple(rows)


def leave_one_out(switches: Sequence[Switch]) -> tuple[tuple[str, Settings], ...]:
    """Rows with all switches on but one.

    Returns:
        k pairs of (label, complete settings) for k switches; the label names the switch a row leaves out.

    """
    names = [switch.name for switch in switches]
    return tuple((f"-{name}", {each: each != name for each in names}) for name in names)


def resolve(switches: Sequence[Switch], chosen: Mapping[str, bool] | None) -> Settings:
    """Complete settings: what was chosen, and every other switch at its default.

    Raises:
        BadInput: a chosen name that no switch has, or a value that is no boolean.

    """
    names = [switch.name for switch in switches]
    for name, value in (chosen or {}).items():
        if name not in names:
            mend = f"choose from: {', '.join(names)}" if names else "leave it out: this tier has no switches"
            raise BadInput(f"unknown switch {name!r}", "switches", mend)
        if not isinstance(value, bool):
            raise BadInput(f"{name} is {value!r}", "switches", "set it to True or False")
    return {switch.name: (chosen or {}).get(switch.name, switch.default) for switch in switches}


def weakest_parity(switches: Iterable[Switch]) -> Parity:
    """Weakest parity among the given switches; `bitwise` when there are none."""
    order: tuple[Parity, ...] = get_args(Parity)
    return max((switch.parity for switch in switches), key=order.index, default="bitwise")
