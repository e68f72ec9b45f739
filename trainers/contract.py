"""Define the interface of every trainer, for a command line, a test or a stopwatch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

__all__ = ["BadInput", "Interrupted", "Trainer", "printable"]


def printable(text: str) -> str:
    """Show halves of characters, which names of files may have in them, by their numbers: no stream takes them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class BadInput(Exception):  # noqa: N818 - it is the user's input that is bad; the name is what the message says
    """Signal that something the user gave cannot be used, in one line: where, what, and how to fix it.

    Args:
        what: what is wrong, without a full stop.
        where: the file, option or argument it was found in.
        mend: what the user can do about it, in the imperative.

    """

    def __init__(self, what: str, where: str, mend: str) -> None:
        """Keep the three parts apart, for tests, and joined in one line, for people."""
        self.what, self.where, self.mend = (printable(" ".join(part.split())) for part in (what, where, mend))
        super().__init__(f"{self.where}: {self.what}; {self.mend}")

    def __reduce__(self) -> tuple[type["BadInput"], tuple[str, str, str]]:
        """Let the error cross a process boundary, which rebuilds exceptions from their arguments."""
        return (type(self), (self.what, self.where, self.mend))


class Interrupted(KeyboardInterrupt):
    """Somebody asked a training to stop, and it is saved.

    Args:
        number: of the signal that asked.
        saved: checkpoint to continue from.

    """

    def __init__(self, number: int, saved: Path) -> None:
        """Say in one line where it is saved."""
        self.number, self.saved = number, saved
        super().__init__(f"the training was interrupted and is saved in {saved}")


@runtime_checkable
class Trainer(Protocol):
    """One trainer of one family and tier, built and ready for its first step.

    Two trainers of a family that hold the same `state()` and whose tiers promise bitwise parity do the same
    arithmetic from there on. A trainer carries its random stream with it: what other trainers in the process
    draw in between changes nothing.
    """

    phases: tuple[str, ...]
    """Names of the training phases, in the order in which a full training runs them."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures of the last `train_steps` or `train_epoch` call, as plain Python numbers and lists.

        Every family has at least `train_losses` (the loss of every step of that call, in order), `num_steps` and
        `num_skipped_steps` (steps whose gradients were not finite and were therefore not applied).
        """

    def train_epoch(self, phase: str) -> None:
        """Train one epoch of `phase`: its optimizer steps, then validation, then the schedule.

        An epoch that was begun (by `train_steps`, or before the state was saved) is finished, not begun again.

        Raises:
            ValueError: the trainer has no such phase.

        """

    def train_steps(self, n: int, phase: str) -> None:
        """Take `n` optimizer steps of `phase` and nothing else: no validation, no checkpoint, no schedule.

        Batches continue where the last call stopped and go on into the next epoch's order when one is used up.

        Raises:
            ValueError: the trainer has no such phase, or `n` is negative.

        """

    def synchronize(self) -> None:
        """Wait until the device has done everything it was given; returns at once where there is no queue."""

    def state(self) -> dict[str, Any]:
        """Everything the rest of the training depends on, as a snapshot that later steps do not change.

        Returns:
            Nested dicts, lists and tuples of numbers, strings, booleans, None and tensors: what `checkpoint.save`
            takes. All tiers of a family use the same keys.

        """

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of any tier of this family, copying it: the caller's tensors are never written to.

        Cheap enough to be done before every round of a measurement. What only other tiers need is ignored.

        Raises:
            BadInput: the state belongs to another family or another architecture.

        """

    def close(self) -> None:
        """Give back worker processes and memory. Closing twice is fine; a closed trainer is not used again."""
