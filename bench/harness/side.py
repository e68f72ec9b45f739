"""A trainer as one side of a pair: built when it first runs, put back to the same state before each round."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from trainers.contract import Trainer
    from trainers.switches import Switch

PARITY_STEPS = 20
CLOSE, FLOAT32 = 1e-5, 1e-4
"""Relative tolerances on the loss of each step; see "parity" in docs/vocabulary.md."""
FIRST_UPDATE = 1e-3
"""The tolerance of float32 right after Adam's first update, which is the gradients' signs: rounding changes those of
gradients that are almost 0, and the losses of networks for 64x64 pixels by 2e-4."""
_LOSSES = ("discriminator_losses", "generator_losses")
WARM_STEPS = 8
"""Steps before a timed round's first one on a GPU: in float16 the first few only lower the loss scale and skip their
updates, and the first update makes the optimizer's moments."""


class Builder(Protocol):
    """Builds a trainer of a family with the preset and device of this run."""

    def __call__(
        self, tier: str, switches: Mapping[str, bool] | None, *, seed: int = 0, **overrides: object
    ) -> "Trainer":
        """Return a trainer; None for the switches is the tier's own setting."""


_MOST_WARMINGS, _HELD_WHILE_WARMING = 5, 2
"""How often the warm steps may be taken until none of them is skipped, and on how many batches."""


def on_host(state: Any) -> Any:
    """Return a state whose tensors lie in host memory, where they count for no peak of a GPU's."""
    if isinstance(state, Mapping):
        return {name: on_host(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(on_host(value) for value in state)
    return state.cpu() if hasattr(state, "cpu") else state


class SkippedStepsError(RuntimeError):
    """A timed call left out updates that it should have made."""


@contextmanager
def exact_arithmetic(device: str) -> Iterator[None]:
    """Let a GPU add up in one order and in whole float32 while the block runs: for checks, never for timing.

    Otherwise cuDNN may choose kernels that add up in any order, and convolutions round to TF32, by which two instances
    of one trainer are apart by 1e-4 after three steps. Additions by index, as of an embedding's gradients, stay free.
    """
    if not device.startswith("cuda"):
        yield
        return
    import torch  # noqa: PLC0415 - a machine without it must still collect the benchmarks

    cudnn: Any = torch.backends.cudnn
    with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


@dataclass
class Side:
    """One side of a pair; calling it trains one epoch, or a number of steps.

    Attributes:
        label: what the report calls it.
        tier: reference, published, optimized or fastest; peer for a trainer that is none of ours.
        switches: settings of the tier's switches; those not named are as the tier has them, as all are for None.
        phase: the training phase.
        build: builds the trainer.
        num_steps: steps of one call; None for an epoch.
        num_warm_steps: steps that lie before the state in which timed rounds start.
    """

    label: str
    tier: str
    switches: Mapping[str, bool] | None
    phase: str
    build: Builder = field(repr=False)
    num_steps: int | None = None
    num_warm_steps: int = 0

    @cached_property
    def trainer(self) -> "Trainer":
        """The trainer, built when first asked for."""
        return self.build(self.tier, self.switches)

    @cached_property
    def initial(self) -> Mapping[str, Any]:
        """The state before the first step."""
        return on_host(self.trainer.state())

    @cached_property
    def warm(self) -> Mapping[str, Any]:
        """The state in which timed rounds start: of an epoch's beginning, some steps after the first."""
        if not self.num_warm_steps:
            return self.initial
        self.reset()
        with self.held_batches(_HELD_WHILE_WARMING):
            for _ in range(_MOST_WARMINGS):
                self.trainer.train_steps(self.num_warm_steps, self.phase)
                if not self.trainer.metrics["num_skipped_steps"]:
                    break
            self._refuse_skipped_steps()
        position = {name: self.initial[name] for name in ("progress", "random") if name in self.initial}
        return on_host({**self.trainer.state(), **position})

    def reset(self) -> None:
        """Put the trainer back to its state before the first step."""
        self.trainer.load_state(self.initial)

    def restart(self) -> None:
        """Put the trainer in the state in which timed rounds start.

        Raises:
            SkippedStepsError: the round before left updates out, so that what was timed is less than a step.

        """
        if "warm" in self.__dict__:  # else no round came before, and what the trainer did last was no timed call
            self._refuse_skipped_steps()
        self.trainer.load_state(self.warm)

    def _refuse_skipped_steps(self) -> None:
        metrics = self.trainer.metrics
        if metrics["num_skipped_steps"]:
            raise SkippedStepsError(
                f"{self.label}: {metrics['num_skipped_steps']} of {metrics['num_steps']} steps were skipped, their "
                "gradients not finite: a step without its update is not timed"
            )

    def held_batches(self, num_batches: int) -> AbstractContextManager[object]:
        """Take the first batches from memory while the block runs, where a loader would take most of the time."""
        del num_batches
        return nullcontext()

    def __call__(self) -> None:
        """Train one epoch, or as many steps as one call has."""
        if self.num_steps is None:
            self.trainer.train_epoch(self.phase)
        else:
            self.trainer.train_steps(self.num_steps, self.phase)

    def first_losses(self, num_steps: int) -> list[tuple[float, ...]]:
        """Return the losses of the first steps, of each network where there are several, and go back to the start."""
        return self.first_steps(num_steps)[0]

    def first_steps(self, num_steps: int) -> tuple[list[tuple[float, ...]], Any]:
        """Return the losses of the first steps and the random stream after them, and go back to the start."""
        with self.held_batches(num_steps):
            self.reset()
            losses = self.next_losses(num_steps)
        stream = self.random_stream()
        self.reset()
        return losses, stream

    def first_losses_of_call(self, num_steps: int) -> list[tuple[float, ...]]:
        """Return the losses of the first steps of a whole call, as it is timed, and go back to the start."""
        self.reset()
        self()
        losses = self._losses()[:num_steps]
        self.reset()
        return losses

    def random_stream(self) -> Any:
        """Return the state of the trainer's random stream; None for a peer, and where a seed is made for every draw."""
        return None if self.tier == "peer" else on_host(self.trainer.state().get("random"))

    def next_losses(self, num_steps: int) -> list[tuple[float, ...]]:
        """Take steps from the trainer's position and return their losses, of each network where there are several."""
        return self.next_losses_of(self.phase, num_steps)

    def next_losses_of(self, phase: str, num_steps: int) -> list[tuple[float, ...]]:
        """Return the losses of steps of a phase, as `next_losses` does."""
        self.trainer.train_steps(num_steps, phase)
        return self._losses()

    def _losses(self) -> list[tuple[float, ...]]:
        metrics = self.trainer.metrics
        losses = [metrics[name] for name in _LOSSES if name in metrics] or [metrics["train_losses"]]
        return list(zip(*losses, strict=True))

    def min_bytes(self) -> float:
        """Return how many bytes a call must read and write, in any tier.

        A step makes new weights, moments and running statistics out of the old ones: what a call changes of the state
        is read and written once a step, 2 x bytes x steps. Activations, gradients and batches are not in it.
        """
        self.reset()
        old = dict(_floats(self.trainer.state()))
        self()
        new, num_steps = dict(_floats(self.trainer.state())), self.trainer.metrics["num_steps"]
        self.reset()
        # What only now is there, an optimizer's moments after its first step, is changed by every further one.
        changed = [array for path, array in new.items() if path not in old or bool((array != old[path]).any())]
        return 2.0 * num_steps * sum(int(array.nbytes) for array in changed)

    def drop_graphs(self) -> None:
        """Let the trainer forget the graphs that it captured, if it was built and captures any."""
        if "trainer" in self.__dict__ and hasattr(self.trainer, "drop_graphs"):
            self.trainer.drop_graphs()

    def close(self) -> None:
        """Close the trainer if it was built."""
        if "trainer" in self.__dict__:
            self.trainer.close()


def _floats(state: Any, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Yield the arrays and tensors of floating point numbers in a state, each under where it lies."""
    if hasattr(state, "nbytes") and "float" in str(state.dtype):
        yield path, state
    elif isinstance(state, Mapping):
        for name, value in state.items():
            yield from _floats(value, (*path, name))
    elif isinstance(state, list | tuple):
        for number, value in enumerate(state):
            yield from _floats(value, (*path, number))


def _relative_difference(before: float, after: float) -> float:
    """Return by what fraction of the first number the second one differs from it."""
    if before == 0:
        return 0.0 if after == 0 else math.inf
    return abs(after / before - 1)


def _condition(switch: "Switch") -> str:
    """Say under which settings a switch that computes something else would not."""
    return f"; the same only if {switch.neutral_when}" if switch.neutral_when else ""


def assert_same_stream(expected: Any, found: Any) -> None:
    """Raise an AssertionError unless as much was drawn on both sides: a side without dropout draws less.

    What a CPU draws for a mask does not depend on the dtype; how far a GPU's stream moves may.
    """
    if expected is None or found is None:
        return
    if not bool((expected["cpu"] == found["cpu"]).all()):
        raise AssertionError("the sides draw other random numbers: their random streams differ after the same steps")


_KERNELS = frozenset({"capturable", "foreach", "fused"})
"""Keys of PyTorch's hyperparameters that say how an optimizer computes, and not what."""


def assert_same_hyperparameters(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise an AssertionError unless the optimizers in two states have the same hyperparameters.

    A trainer that loads another's state takes its hyperparameters too, which hides the trainer's own.
    """
    if (ours := _hyperparameters(expected)) != (theirs := _hyperparameters(found)):
        raise AssertionError(f"the optimizers' hyperparameters are {ours!r} before and {theirs!r} after")


def _hyperparameters(state: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{key: value for key, value in group.items() if key not in _KERNELS} for group in part["param_groups"]]
        for name, part in state.items()
        if isinstance(part, Mapping) and "param_groups" in part
    }


def assert_close(
    expected: list[tuple[float, ...]], found: list[tuple[float, ...]], *, rtol: float, later: float | None = None
) -> None:
    """Raise an AssertionError that names the first step whose losses differ by more than rounding.

    Args:
        expected: losses of each step.
        found: the other side's.
        rtol: the relative tolerance.
        later: that from the second step on, if it is another.
    """
    # A policy gradient's loss passes through zero: what is close there, the size of the losses says.
    size = max(map(abs, chain(*expected)))
    for step, both in enumerate(zip(expected, found, strict=True), start=1):
        most = rtol if later is None or step == 1 else later
        for a, b in zip(*both, strict=True):
            if not math.isclose(a, b, rel_tol=most, abs_tol=most * size):
                raise AssertionError(
                    f"the loss of step {step} is {a!r} before and {b!r} after (relative tolerance {most:g})"
                )
