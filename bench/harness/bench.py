"""Build the pairs of one family: its sides, and the check that both compute the same."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from trainers.contract import Trainer
    from trainers.family import Family
    from trainers.switches import Switch
from bench.harness.ablation import AblationRow
from bench.harness.side import (
    CLOSE,
    FIRST_UPDATE,
    FLOAT32,
    PARITY_STEPS,
    WARM_STEPS,
    Builder,
    Side,
    _condition,
    _relative_difference,
    assert_close,
    assert_same_hyperparameters,
    assert_same_stream,
    exact_arithmetic,
)


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
        resync_every: steps after which the check of the fastest tier puts both sides in the same state again;
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
    resync_every: int = 0
    is_bitwise: bool = True
    _made: list[Side] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        family: "Family",
        *,
        pair: Any,
        preset: str,
        device: str,
        log: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Self:
        """Return the pairs of a family.

        Args:
            family: the family.
            pair: the plugin's fixture.
            preset: sizes of the trainers.
            device: where they run.
            log: takes the lines that they print.
            options: other values of attributes.
        """

        def build(tier: str, switches: Mapping[str, bool] | None, **changes: Any) -> "Trainer":
            settings: dict[str, Any] = {"preset": preset, "device": device, "log": log} | changes
            return family.build(tier, switches=switches, **settings)

        defaults: dict[str, Any] = {"phase": family.phases[-1], "is_bitwise": family.framework != "tensorflow"}
        return cls(pair=pair, build=build, switches=family.switches, device=device, **(defaults | options))

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

    def published(self, **chosen: bool) -> Side:
        """Return the trainer as the document's authors published it, defects included, but for the switches given."""
        label = ", ".join(["published", *(f"{name} {'on' if value else 'off'}" for name, value in chosen.items())])
        return self._side(label, "published", chosen or None)

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
            min_bytes=before.min_bytes,
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
        change, and so are those that make it less or other work. On a CPU both sides draw the same random numbers too,
        with the former on.
        """
        if self.resync_every and after.tier == "fastest":
            return lambda: self._check_steps(before, after)

        def check() -> list[str]:
            changed = [switch for switch in self._on(after) if switch not in self._on(before)]
            loose = [switch for switch in changed if switch.parity == "statistical"]
            strict = self._without(after, loose)
            expected, stream = before.first_steps(self.parity_steps)
            found = self._first_losses(strict, stream)
            assert_close(expected, found, rtol=self._tolerance(strict))
            # Losses of other or less work are other losses; they are named, not compared.
            other = [switch for switch in changed if switch.work != "same"]
            alike = [switch for switch in loose if switch.work == "same"]
            details = [f"{switch.name}: {switch.description}{_condition(switch)}" for switch in other]
            if not alike:
                return details
            drifting_side = self._without(after, [switch for switch in loose if switch.work != "same"])
            drifting = self._first_losses(drifting_side, stream)
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
        self._compare_steps(*exact, self.resync_every)
        if exact[0] is not before or exact[1] is not after:
            self._compare_steps(before, after, 1)
        if getattr(after.trainer, "captures_epochs", False) and after.num_steps is None:
            # The steps above were taken one by one; what is timed replays all of them at once.
            num_steps = min(self.parity_steps, after.trainer.num_batches)
            rtol = self._tolerance(after)
            assert_close(after.first_losses(num_steps), after.first_losses_of_call(num_steps), rtol=rtol)
        return []

    def _compare_steps(self, before: Side, after: Side, num_steps: int) -> None:
        """Compare the losses of a few steps at a time, each time from the state that `before` has come to."""
        rtol = max(self._tolerance(before), self._tolerance(after))
        num_calls = math.ceil(self.parity_steps / num_steps)
        with before.held_batches(num_calls * num_steps), after.held_batches(num_calls * num_steps):
            for side in (before, after):
                side.reset()  # either keeps its own first state before it is given another
            if before.tier != "peer":
                assert_same_hyperparameters(before.initial, after.initial)
            for number in range(num_calls):
                if number:  # the first steps start from either side's own state, whose hyperparameters stay
                    after.trainer.load_state(before.trainer.state())
                expected, found = (side.next_losses(num_steps) for side in (before, after))
                later = max(rtol, FIRST_UPDATE) if rtol and not number else rtol
                assert_close(expected, found, rtol=rtol, later=later)
                if self.device == "cpu":
                    assert_same_stream(before.random_stream(), after.random_stream())
        before.reset()
        after.reset()

    def _first_losses(self, side: Side, stream: Any) -> list[tuple[float, ...]]:
        """Return the losses of a side's first steps, after which its random stream is to be the one given."""
        losses, found = side.first_steps(self.parity_steps)
        if self.device == "cpu":
            assert_same_stream(stream, found)
        return losses

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
