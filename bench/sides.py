"""A trainer as one side of a pair: built when it first runs, put back to the same state before each round."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from trainers.contract import Trainer
    from trainers.switches import Settings, Switch

PARITY_STEPS = 20
CLOSE, FLOAT32 = 1e-5, 1e-4
"""Relative tolerances on the loss of each step; see "parity" in the vocabulary of the design."""
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


class SkippedStepsError(RuntimeError):
    """A timed call left out updates that it should have made."""


@contextmanager
def exact_arithmetic(device: str) -> Iterator[None]:
    """Let a GPU add up in one order and in whole float32 while the block runs: for checks, never for timing.

    Otherwise cuDNN may choose kernels that add up in any order, and convolutions round to TF32, by which two instances
    of one trainer are apart by 1e-4 after three steps.
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
        tier: reference, optimized or fastest; peer for a trainer that is none of ours.
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
        return self.trainer.state()

    @cached_property
    def warm(self) -> Mapping[str, Any]:
        """The state in which timed rounds start: of an epoch's beginning, some steps after the first."""
        if not self.num_warm_steps:
            return self.initial
        self.reset()
        with self.held_batches(self.num_warm_steps):
            self.trainer.train_steps(self.num_warm_steps, self.phase)
            self._refuse_skipped_steps(beyond=self.num_warm_steps - 1)
        position = {name: self.initial[name] for name in ("progress", "random") if name in self.initial}
        return {**self.trainer.state(), **position}

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

    def _refuse_skipped_steps(self, *, beyond: int = 0) -> None:
        metrics = self.trainer.metrics
        if metrics["num_skipped_steps"] > beyond:
            message = (
                f"{self.label}: {metrics['num_skipped_steps']} of {metrics['num_steps']} steps were skipped, their "
                "gradients not finite: a step without its update is not timed"
            )
            raise SkippedStepsError(message)

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
        with self.held_batches(num_steps):
            self.reset()
            losses = self.next_losses(num_steps)
        self.reset()
        return losses

    def next_losses(self, num_steps: int) -> list[tuple[float, ...]]:
        """Take steps from where the trainer stands and return their losses, of each network where there are several."""
        self.trainer.train_steps(num_steps, self.phase)
        metrics = self.trainer.metrics
        losses = [metrics[name] for name in _LOSSES if name in metrics] or [metrics["train_losses"]]
        return list(zip(*losses, strict=True))

    def least_bytes(self) -> float:
        """Return how many bytes a call cannot but read and write, in whichever tier.

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


@dataclass
class Bench:
    """Pairs of one family: the fixture of the family's name.

    Attributes:
        pair: the plugin's fixture.
        build: builds a trainer of this family.
        switches: the family's switches of each tier.
        device: where the trainers run.
        phase: the phase that the sides train.
        kind: what the sides are.
        parity_steps: how many losses the equivalence check compares.
        steps_from_one_state: steps after which the check of the fastest tier puts both sides in the same state again;
            0 for never. Training magnifies any rounding: two networks against each other, 64x64 pixels, are 0.2% apart
            two steps after one other order of additions, and some per cent after ten. So the question is what a tier
            makes of a state in a step and its update, and not what has become of a rounding since. Rounding to
            bfloat16 is asked for single steps: the first updates of Adam are the gradients' signs, however small they
            are, and a network whose loss they first raise twentyfold magnifies one other sign beyond any tolerance.
        is_bitwise: whether this framework repeats itself to the bit within one process, on a CPU.
    """

    pair: Any
    build: Builder
    switches: Mapping[str, "tuple[Switch, ...]"]
    device: str
    phase: str = "train"
    kind: Callable[..., Side] = Side
    parity_steps: int = PARITY_STEPS
    steps_from_one_state: int = 0
    is_bitwise: bool = True
    _made: list[Side] = field(default_factory=list)

    def reference(self) -> Side:
        """Return the trainer before any optimization."""
        return self._side("reference", "reference", None)

    def built_with(self, **overrides: object) -> Self:
        """Return these pairs with other values in the configuration."""
        return replace(self, build=partial(self.build, **overrides))

    def of_phase(self, phase: str) -> Self:
        """Return the pairs of another training phase."""
        return replace(self, phase=phase, parity_steps=PARITY_STEPS)

    def steps(self, before: Side, after: Side, num_steps: int, **options: Any) -> Any:
        """Measure a number of steps of each side, from the same state in every round."""
        before.num_steps = after.num_steps = num_steps
        return self.epochs(before, after, units=num_steps, **options)

    def restructured(self, **on: bool) -> Side:
        """Return the optimized trainer with every switch off but those given."""
        chosen = dict.fromkeys((switch.name for switch in self.switches["optimized"]), False) | on
        names = [name for name, value in chosen.items() if value]
        return self._side(" + ".join(["restructured", *names]), "optimized", chosen)

    def optimized(self) -> Side:
        """Return the optimized trainer as its document has it: every switch at its default."""
        return self._side("optimized", "optimized", None)

    def fastest(self, **chosen: bool) -> Side:
        """Return the fastest trainer: every switch as the device makes it pay, but those given."""
        label = ", ".join(["fastest", *(f"{name} {'on' if value else 'off'}" for name, value in chosen.items())])
        return self._side(label, "fastest", chosen or None)

    def peer(self, label: str, build: Builder) -> Side:
        """Return what a user would pick instead, behind the interface of a trainer of this family."""
        return self._keep(self.kind(label, "peer", None, self.phase, build))

    def left_off(self, tier: str) -> dict[str, str]:
        """Return the switches that a tier leaves off by itself here, as they gain nothing on this device, and why."""
        side = self._side(tier, tier, None)
        chosen = side.trainer.switches
        side.close()
        return {switch.name: switch.description for switch in self.switches[tier] if not chosen[switch.name]}

    def ablated(self, tier: str, row: AblationRow, left_off: Mapping[str, str]) -> dict[str, Any]:
        """Return what a pair is given to measure a row of `ablation` of a tier.

        A row of the ladder is measured against the reference. What leaves one switch out is measured against all on:
        the reference would take most of the time, and two ratios to it with their intervals would hide what one switch
        does.

        Args:
            tier: the tier.
            row: one of its rows.
            left_off: switches that are off whatever the row says.
        """
        used = {name: on for name, on in row.settings.items() if name not in left_off}
        off = dict.fromkeys(left_off, False)
        side = self._side(f"{tier}: {row.label}", tier, used | off)
        if row.kind == "ladder":
            before, after = self.reference(), side
        else:
            before, after = side, self._side(f"{tier}: all on", tier, dict.fromkeys(used, True) | off)
        return {
            "before": before,
            "after": after,
            "ablation": {"of": tier, "kind": row.kind, "switches": used, "not_here": left_off},
        }

    def epochs(self, before: Side, after: Side, **options: Any) -> Any:
        """Measure one epoch of each side, from the same state in every round."""

        def setup(name: str) -> None:
            (before if name == "before" else after).restart()

        return self.pair(
            before=before,
            after=after,
            setup=setup,
            equivalent=self._exactly(options.pop("equivalent", self.same_losses(before, after))),
            least_bytes=before.least_bytes,
            **options,
        )

    def _exactly(self, check: Callable[[], object]) -> Callable[[], object]:
        """Return the check in exact arithmetic; graphs captured meanwhile hold its slow kernels, and are dropped."""

        def checked() -> object:
            with exact_arithmetic(self.device):
                answer = check()
            for side in self._made:
                side.drop_graphs()
            return answer

        return checked

    def same_losses(self, before: Side, after: Side) -> Callable[[], list[str]]:
        """Return the check that both sides compute the same losses, step by step.

        Switches that promise only statistical parity are off in the check. They are named in its answer with what they
        change, and so are those that make it less or other work.
        """
        if self.steps_from_one_state and after.tier == "fastest":
            return lambda: self._check_steps(before, after)

        def check() -> list[str]:
            changed = [switch for switch in self._on(after) if switch not in self._on(before)]
            loose = [switch for switch in changed if switch.parity == "statistical"]
            strict = self._without(after, loose)
            expected, found = before.first_losses(self.parity_steps), strict.first_losses(self.parity_steps)
            assert_close(expected, found, rtol=self._tolerance(strict))
            # Losses of other or less work are other losses; they are named, not compared.
            other = [switch for switch in changed if switch.work != "same"]
            alike = [switch for switch in loose if switch.work == "same"]
            details = [f"{switch.name}: {switch.description}{_condition(switch)}" for switch in other]
            if not alike:
                return details
            drifting_side = self._without(after, [switch for switch in loose if switch.work != "same"])
            drifting = drifting_side.first_losses(self.parity_steps)
            worst = max(map(_relative_difference, chain(*expected), chain(*drifting)))
            return details + [
                f"{switch.name} ({switch.description}): losses of the first {self.parity_steps} steps differ by up to "
                f"{worst:.1%}; with it off they agree{_condition(switch)}"
                for switch in alike
            ]

        return check

    def _check_steps(self, before: Side, after: Side) -> list[str]:
        """Compare steps and their updates in float32, then, where a side rounds to fewer bits, its single steps."""
        exact = [self._without(side, self._rounding(side)) for side in (before, after)]
        self._compare_steps(*exact, self.steps_from_one_state)
        if exact[0] is not before or exact[1] is not after:
            self._compare_steps(before, after, 1)
        return []

    def _compare_steps(self, before: Side, after: Side, num_steps: int) -> None:
        """Compare the losses of a few steps at a time, each time from the state that `before` has come to."""
        rtol = max(self._tolerance(before), self._tolerance(after))
        num_calls = math.ceil(self.parity_steps / num_steps)
        with before.held_batches(num_calls * num_steps), after.held_batches(num_calls * num_steps):
            for side in (before, after):
                side.reset()  # either keeps its own first state before it is given another
            for number in range(num_calls):
                if number:  # the first steps start from either side's own state, whose hyperparameters stay
                    after.trainer.load_state(before.trainer.state())
                expected, found = (side.next_losses(num_steps) for side in (before, after))
                assert_close(expected, found, rtol=rtol)
        before.reset()
        after.reset()

    def _rounding(self, side: Side) -> "list[Switch]":
        """Return the switches that are on and round to fewer bits than float32 has."""
        return [switch for switch in self._on(side) if switch.parity == "close" and switch.rtol > FLOAT32]

    def _tolerance(self, side: Side) -> float:
        close = [switch.rtol for switch in self._on(side) if switch.parity == "close"]
        if close:
            return max(close)
        return 0.0 if self.device == "cpu" and self.is_bitwise else CLOSE

    def _without(self, side: Side, switches: "Sequence[Switch]") -> Side:
        if not switches:
            return side
        settings = dict.fromkeys((switch.name for switch in self.switches[side.tier]), False)
        on = {switch.name: True for switch in self._on(side) if switch not in switches}
        return self._keep(replace(side, label=f"{side.label} for the check", switches=settings | on))

    def _on(self, side: Side) -> "list[Switch]":
        """Return the switches that are on in a side; those not chosen are as its trainer has them here."""
        known = self.switches.get(side.tier, ())
        if not known:
            return []
        chosen = side.switches or {}
        if any(switch.name not in chosen for switch in known):
            chosen = side.trainer.switches
        return [switch for switch in known if chosen[switch.name]]

    def _side(self, label: str, tier: str, switches: Mapping[str, bool] | None) -> Side:
        return self._keep(self.kind(label, tier, switches, self.phase, self.build))

    def _keep(self, side: Side) -> Side:
        side.num_warm_steps = WARM_STEPS if self.device.startswith("cuda") else 0
        self._made.append(side)
        return side

    def close(self) -> None:
        """Close every trainer that was built."""
        for side in self._made:
            side.close()


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


def assert_close(expected: list[tuple[float, ...]], found: list[tuple[float, ...]], *, rtol: float) -> None:
    """Raise an AssertionError that names the first step whose losses differ by more than rounding."""
    # A policy gradient's loss passes through zero: what is close there, the size of the losses says.
    size = max(map(abs, chain(*expected)))
    for step, both in enumerate(zip(expected, found, strict=True), start=1):
        for a, b in zip(*both, strict=True):
            if not math.isclose(a, b, rel_tol=rtol, abs_tol=rtol * size):
                message = f"the loss of step {step} is {a!r} before and {b!r} after (relative tolerance {rtol:g})"
                raise AssertionError(message)
