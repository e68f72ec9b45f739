"""Documents 000 to 002: "Algorithmically equivalent: Same GAN training logic", and under which settings that is so.

Of temperature, clipping and interval each: the settings under which the step is the reference's, and settings, the
documents' own among them, under which it is not. What the report says under "equivalence" are the same conditions.
The batch size of document 003 is in `test_text_to_image_batches`.
"""

import collections
import functools
from pathlib import Path

import pytest

import trainers
from bench import audits
from bench.harness.bench import Bench
from speedclaims.claims.ledger import load_ledger
from tests import strategies
from tests.properties.controls import fails, holds

pytest.importorskip("tensorflow")

from trainers.dialogue_gan import FAMILY
from trainers.dialogue_gan.config import SWITCHES, DialogueConfig

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache")

ROOT = Path(trainers.__file__).parents[1]
# At the original's rates, a few steps of Adam, which divides a gradient's scale out, do not show a difference.
RATES = {"learning_rate_g": 0.01, "learning_rate_d": 0.01}
SMALL = {"preset": "tiny", "sequence_length": 3, "log": lambda _: None, **RATES}
PRETRAINING, ADVERSARIAL = "generator_pretraining", "adversarial"
NUM_STEPS = 6
CLOSE = 1e-5  # in one process TensorFlow does not even repeat itself to the bit
DOCUMENTED = DialogueConfig()


@functools.cache
def built(*on):
    """The reference, or a trainer with these switches alone, and its first state."""
    if not on:
        trainer = build("reference", **SMALL)
    else:
        settings = {switch.name: switch.name in {"graph_steps", *on} for switch in SWITCHES}
        trainer = build("optimized", switches=settings, **SMALL)
    return trainer, trainer.state()


def losses(phase, *on, config=None, interval=None, seed=0):
    """Losses of the first steps of a phase; the settings are those that no graph was traced for."""
    trainer, start = built(*on)
    before = trainer.config, getattr(trainer, "_interval", None)
    trainer.config = trainer.config.replace(**(config or {}))
    if interval is not None:
        trainer._interval = interval
    try:
        trainer.load_state({**start, "progress": {**start["progress"], "seed": seed}})
        trainer.train_steps(NUM_STEPS, phase)
        metrics = trainer.metrics
        names = [name for name in ("generator_losses", "discriminator_losses") if name in metrics]
        return [value for name in names for value in metrics[name]]
    finally:
        trainer.config = before[0]
        if interval is not None:
            trainer._interval = before[1]


def check_same(settings, phase, seed):
    """The losses of every step are the reference's."""
    on, options = settings
    ours, theirs = losses(phase, *on, seed=seed, **options), losses(phase, seed=seed)
    # A policy gradient's loss passes through zero: what is close there, the size of the losses says.
    assert ours == pytest.approx(theirs, rel=CLOSE, abs=CLOSE * max(map(abs, theirs)))


def same_in(phase):
    return holds(check_same, strategies.st.just(phase), strategies.seeds(), max_examples=3)


SCHEDULED = ("temperature_schedule", "discriminator_interval")
"""On together, so that their graphs are traced once: each is judged where the other changes nothing."""


def at_temperature(start, end):
    return SCHEDULED, {"config": {"temp_start": start, "temp_end": end}, "interval": 1}


def at_interval(interval):
    return SCHEDULED, {"config": {"temp_start": 1.0, "temp_end": 1.0}, "interval": interval}


same_adversarial = same_in(ADVERSARIAL)


def test_dividing_by_the_temperature_is_equivalent_at_temperature_1():
    same_adversarial(at_temperature(1.0, 1.0))


@pytest.mark.parametrize("temperature", [DOCUMENTED.temp_start, DOCUMENTED.temp_end])
def test_dividing_by_the_documents_temperatures_is_not(temperature):
    assert fails(same_adversarial, at_temperature(temperature, min(temperature, 1.0)))


def test_training_the_discriminator_at_an_interval_is_equivalent_at_interval_1():
    assert DOCUMENTED.d_train_interval == 1, "as the documents have it: there the interval changes nothing"
    same_adversarial(at_interval(1))


@pytest.mark.parametrize("interval", [2, 3])
def test_training_the_discriminator_at_any_other_interval_is_not(interval):
    assert fails(same_adversarial, at_interval(interval))


@functools.cache
def clipping_at(limit):
    """A trainer that clips at a limit, which is part of its graphs, and nothing else; and its first state."""
    settings = {switch.name: switch.name in {"graph_steps", "global_norm_clipping"} for switch in SWITCHES}
    trainer = build("optimized", switches=settings, gradient_clip=limit, **SMALL)
    return trainer, trainer.state()


def check_clipping(limit, seed):
    found = []
    for trainer, start in (clipping_at(limit), built()):
        trainer.load_state({**start, "progress": {**start["progress"], "seed": seed}})
        trainer.train_steps(NUM_STEPS, PRETRAINING)
        found.append(trainer.metrics["generator_losses"])
    ours, theirs = found
    assert ours == pytest.approx(theirs, rel=CLOSE)


clipping = holds(check_clipping, strategies.seeds(), max_examples=3)


def test_clipping_is_equivalent_where_no_norm_reaches_the_limit():
    clipping(1e3)


def test_clipping_is_not_where_norms_do():
    assert fails(clipping, 1e-2)


# --- What the report says ---


@functools.cache
def for_a_side(tier, settings, number):
    """A trainer with these switches, another for every `number`, and its first state."""
    trainer = build(tier, switches=dict(settings), **SMALL)
    return trainer, trainer.state()


def details_of(name):
    """What stands in the report's column of a pair with one switch on; its sides share no trainer."""
    num_built = collections.Counter()

    def make(tier, switches):
        settings = tuple(sorted(switches.items()))
        num_built[settings] += 1
        trainer, start = for_a_side(tier, settings, num_built[settings])
        trainer.load_state(start)
        return trainer

    bench = Bench(
        pair=None, build=make, switches={"optimized": SWITCHES}, device="cpu", phase=PRETRAINING, is_bitwise=False
    )
    on = {"graph_steps": True, name: True}
    return bench.same_losses(bench.restructured(graph_steps=True), bench.restructured(**on))()


def test_the_equivalence_column_says_under_which_settings_it_is_so():
    (said,) = details_of("global_norm_clipping")
    assert said.endswith("with it off they agree; the same only if no step's norm reaches gradient_clip")
    (said,) = details_of("temperature_schedule")
    assert said.endswith("; the same only if temp_start and temp_end are 1")


def test_every_switch_that_the_documents_call_equivalent_and_is_not_says_when_it_is():
    unlike = {switch.name for switch in SWITCHES if switch.parity == "statistical"}
    assert unlike == {switch.name for switch in SWITCHES if switch.neutral_when}
    ledger = load_ledger(ROOT / "bench" / "claims.toml").claims
    for name in ("dialogue-gan.equivalent", "dialogue-gan.same-losses"):
        assert ledger[name].text.startswith("Algorithmically equivalent")
    recomputed = audits.algorithmically_equivalent()
    assert "the temperature is 1 and gradients are not clipped" in recomputed.formula
