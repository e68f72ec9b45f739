"""Take what the benchmarks measure: both sides of their pairs, in the configuration that they give to `pair`."""

import contextlib
import inspect
import itertools
from typing import NamedTuple

import pytest

from bench.conftest import kind_of_pairs
from trainers import family

_COUNTS = ("num_steps", "num_skipped_steps", "num_generator_updates", "num_discriminator_updates", "epoch", "step")
"""Figures of a call that are the same on both sides, where the family has them."""


class Given(NamedTuple):
    """Hold the arguments that a benchmark gives to `pair`."""

    before: object
    after: object
    options: dict

    @property
    def is_faster_tier_on_the_same_work(self):
        """Whether the pair sets another tier against the reference and says that both do the same work."""
        tiers = self.before.tier, self.after.tier
        return tiers[0] == "reference" != tiers[1] and self.options.get("work", "same") == "same"


class Recorder:
    """Replaces the fixture `pair`, and keeps what it is given."""

    def __init__(self):
        self.given = []

    def __call__(self, before, after, **options):
        self.given.append(Given(before, after, options))


def remembering(build):
    """Return a `build` that makes no trainer twice: a side is given its trainer in the state before the first step."""
    built = {}

    def build_once(tier, switches, **changes):
        key = tier, frozenset((switches or {}).items()), switches is None, frozenset(changes.items())
        if key not in built:
            trainer = build(tier, switches, **changes)
            built[key] = trainer, trainer.state()
        trainer, state = built[key]
        trainer.load_state(state)
        return trainer

    return build_once


def bench_of(name, preset="smoke", **options):
    """Return the pairs of a family as on a CPU a benchmark gets them, measured by a `Recorder`."""
    kind = kind_of_pairs(name, preset)
    bench = kind(family(name), pair=Recorder(), preset=preset, device="cpu", log=lambda _: None, **options)
    bench.build = remembering(bench.build)
    return bench


def cases_of(test):
    """Yield the arguments of each case of a test, by its marks `parametrize`, with a label."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    for case in itertools.product(*(mark.args[1] for mark in marks)):
        values = [getattr(value, "values", (value,))[0] for value in case]
        labels = [str(getattr(value, "label", value)) for value in values]
        yield dict(zip((mark.args[0] for mark in marks), values, strict=True)), "-".join(labels)


def pairs_of(module, bench, **fixtures):
    """Return what the benchmarks of a module give to `pair` on a CPU, by test; those that skip themselves give nothing.

    Args:
        module: the benchmarks.
        bench: as `bench_of` returns it.
        fixtures: the values of fixtures by name. A test that takes others is left out.

    """
    found = {}
    for name, test in vars(module).items():
        if not name.startswith("test_") or not inspect.isfunction(test):
            continue
        if any("on_a_gpu" in mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "usefixtures"):
            continue
        for values, label in cases_of(test):
            given = {**fixtures, **values}
            wanted = inspect.signature(test).parameters
            if not given.keys() >= wanted.keys():
                continue
            bench.pair.given.clear()
            with contextlib.suppress(pytest.skip.Exception):
                test(**{each: given[each] for each in wanted})
            for one in bench.pair.given:
                found[f"{name}[{label}]" if label else name] = one
    return found


def faster_tiers(pairs):
    """Return the pairs that set a faster tier against the reference on the same work."""
    return {name: given for name, given in pairs.items() if given.is_faster_tier_on_the_same_work}


def check_equivalence(given):
    """Run the benchmark's own check, of the sides as they are measured."""
    answer = given.options["equivalent"]()
    assert all(isinstance(line, str) for line in answer)


def check_calls(given, drawing, rtols):
    """Make the measured call on both sides: the same random numbers, draw by draw, as many steps, and figures as good.

    Args:
        given: the pair.
        drawing: returns a context that gives the list of what is drawn inside it.
        rtols: relative tolerances on figures of the call, by name, where the phase has them; of a figure for each step
            on that of the first.

    """
    made = [_call(side, drawing) for side in (given.before, given.after)]
    (before, drawn_before), (after, drawn_after) = made
    assert drawn_before, "nothing random is in the measured call"
    assert len(drawn_before) == len(drawn_after)
    for number, both in enumerate(zip(drawn_before, drawn_after, strict=True)):
        assert _are_equal(*both), f"draw {number} is another"
    for name in _COUNTS:
        assert before.get(name) == after.get(name), name
    assert before["num_steps"] > 0
    assert before.keys() >= rtols.keys() or not before.keys().isdisjoint(rtols)
    for name in rtols.keys() & before.keys():
        assert _first(after[name]) == pytest.approx(_first(before[name]), rel=rtols[name]), name


def _call(side, drawing):
    side.reset()
    with drawing() as drawn:
        side()
    metrics = dict(side.trainer.metrics)
    side.reset()
    return metrics, list(drawn)


def _first(figure):
    return figure[0] if isinstance(figure, list) else figure


def _are_equal(one, other):
    return bool(one.equal(other)) if hasattr(one, "equal") else one == other
