"""Provide what the benchmarks of several ranks measure: a family's steps on one rank, on all, and without messages."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers import family

if TYPE_CHECKING:
    from trainers.pytorch.ranks import Ranks

__all__ = ["Scaling", "has_torch", "numbers_of_ranks", "silent"]

PARITY_STEPS = 5
RTOL = 1e-4
MOST_RANKS = 8


def numbers_of_ranks() -> list[int]:
    """Return the numbers of ranks to measure: 2, 4 and 8, as far as there are GPUs, or without any, processors."""
    num_gpus = sum(path.name[6:].isdecimal() for path in Path("/dev").glob("nvidia*"))
    here = num_gpus or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    return [number for number in (2, 4, MOST_RANKS) if number <= max(2, here)]


@dataclass(frozen=True)
class Scaling:
    """Build a family's trainers for one rank and for all of them; each rank builds them alike.

    Attributes:
        name: the family.
        preset: sizes.
        device: where each rank trains; where there are GPUs, each has another.
    """

    name: str
    preset: str
    device: str

    @property
    def phase(self) -> str:
        """The phase that is measured, the last one."""
        return family(self.name).phases[-1]

    def labels(self, before: str, after: str) -> tuple[str, str]:
        """Return what reports call the sides; the twin's name it, as all of its pairs do."""
        start = "PyTorch twin: " if self.name == "dialogue_twin" else ""
        return start + before, start + after

    def trainer(self, ranks: "Ranks | None", **overrides: Any) -> Any:
        """Return a reference trainer of some ranks, or of this process alone."""
        return family(self.name).build(
            "reference", preset=self.preset, device=self.device, ranks=ranks, log=_say_nothing, **overrides
        )

    def batch_size(self, times: int = 1) -> int:
        """Return the preset's batch size, multiplied."""
        return int(family(self.name).config.preset(self.preset).batch_size) * times

    def step_of(self, trainer: Any, *, is_taken: bool = True) -> Callable[[], None]:
        """Return a call that takes one step of a trainer, or none: the rank waits for the others."""
        return (lambda: trainer.train_steps(1, self.phase)) if is_taken else _wait

    def check(self, ranks: "Ranks", **overrides: Any) -> Callable[[], bool | str]:
        """Return a check that the steps of all ranks have the losses of one rank's."""

        def losses(of: "Ranks | None") -> list[float]:
            trainer = self.trainer(of, **overrides)
            trainer.train_steps(PARITY_STEPS, self.phase)
            found: list[float] = trainer.metrics["train_losses"]
            trainer.close()
            return found

        def agree() -> bool | str:
            together = losses(ranks)
            if not ranks.is_first:
                return True
            alone = losses(None)
            return all(abs(a - b) <= RTOL * abs(a) for a, b in zip(alone, together, strict=True))

        return agree


def silent(ranks: "Ranks") -> "Ranks":
    """Return ranks that send each other nothing: each takes its rows alone, so that the messages' share shows."""
    from trainers.pytorch.ranks import Ranks  # noqa: PLC0415 - the bench is collected without PyTorch too

    class Silent(Ranks):
        """Ranks without messages."""

        def mean(self, of_rows: Any) -> Any:
            return of_rows

        mean_with_gradient = mean

        def sum_over_ranks(self, values: Any) -> None:
            del values

        def parallel(self, network: Any) -> Any:
            return network.module if hasattr(network := super().parallel(network), "module") else network

    return Silent(ranks.rank, ranks.number, is_parallel=True)


def has_torch() -> bool:
    """Return whether PyTorch is installed."""
    return find_spec("torch") is not None


def _wait() -> None:
    pass


def _say_nothing(_: str) -> None:
    pass
