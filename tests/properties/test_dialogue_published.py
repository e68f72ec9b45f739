"""Properties 38, 44 and 45 of the dialogue GAN's published tier; each with planted faults.

Step by step, without graphs, most of which a test would trace for itself; with graphs, see
`tests/trainers/dialogue_gan/test_published.py`.
"""

import math

import pytest

from tests import strategies
from tests.properties.controls import fails, forgetting, holds
from trainers.common import checkpoint

pytest.importorskip("tensorflow")

from bench.harness.dialogue import poisoned_steps
from speedclaims.recorders.syncs.tensorflow import counting_syncs
from trainers.dialogue_gan import FAMILY
from trainers.dialogue_gan.config import PHASES, PUBLISHED_SWITCHES, SWITCHES
from trainers.dialogue_gan.published import PublishedTrainer

pytestmark = pytest.mark.usefixtures("private_cache")

CLOSE = 1e-5  # in one process TensorFlow does not even repeat itself to the bit
CANCELLED = 1e-5  # likewise, for sums in which rewards meet their mean
DEFECTS = [switch for switch in PUBLISHED_SWITCHES if switch.name not in {each.name for each in SWITCHES}]
OFF = {switch.name: False for switch in DEFECTS}
NUM_STEPS = 3
SMALL = {
    "preset": "tiny",
    "sequence_length": 3,
    "d_train_interval": 2,
    "learning_rate_g": 0.01,
    "learning_rate_d": 0.01,
}
"""At the original's rates the generator's adversarial loss stays too close to nothing for a fault to show."""

documented_settings = strategies.switch_subsets([switch for switch in SWITCHES if switch.name != "graph_steps"])
limits = strategies.st.sampled_from([0.05, math.inf])


def build(kind, settings, **arguments):
    tier = kind if isinstance(kind, str) else "published"
    with pytest.MonkeyPatch.context() as patch:
        if tier == "published":  # before it is built, for the steps bind methods of the class
            patch.setattr("trainers.dialogue_gan.published.PublishedTrainer", kind)
        switches = {**settings, "graph_steps": False}
        return FAMILY.build(tier, switches=switches, log=lambda _: None, **SMALL, **arguments)


def assert_close(ours, theirs):
    """Every loss and reward of a call agrees, and so does the number of updates that were left out."""
    assert ours["num_skipped_steps"] == theirs["num_skipped_steps"]
    for name in ("train_losses", "discriminator_losses", "rewards", "generator_losses"):
        # Adversarial losses of the generator cancel almost to nothing.
        abs_ = CANCELLED if name == "generator_losses" else 0
        wanted = pytest.approx(theirs.get(name, []), rel=CLOSE, abs=abs_, nan_ok=True)
        assert ours.get(name, []) == wanted, name


def steps_of(trainer, phase, value):
    """Train three steps, the second one with a value added to every gradient; figures and fetched numbers."""
    with counting_syncs() as syncs:
        if value:
            poisoned_steps(trainer, phase, value)
        else:
            trainer.train_steps(NUM_STEPS, phase)
        metrics = trainer.metrics
    return metrics, syncs.own.total()


# --- 44 ---


def check_optimized(kind, settings, limit, seed, value, phase):
    """44: without defects it is the optimized tier with any of the documents' switches, within 1e-5.

    Where a gradient is not finite, too; and it fetches as many numbers from the device.
    """
    arguments = {"seed": seed, "gradient_clip": limit}
    ours, theirs = build(kind, {**settings, **OFF}, **arguments), build("optimized", settings, **arguments)
    (our_metrics, ours_fetched), (their_metrics, theirs_fetched) = (
        steps_of(trainer, phase, value) for trainer in (ours, theirs)
    )
    assert_close(our_metrics, their_metrics)
    assert ours_fetched == theirs_fetched


optimized = holds(
    check_optimized,
    documented_settings,
    limits,
    strategies.seeds(),
    strategies.st.sampled_from([0.0, math.nan, math.inf]),
    strategies.st.sampled_from(PHASES),
    max_examples=5,
)


def test_44_with_its_defects_off_it_is_the_optimized_tier():
    optimized(PublishedTrainer)


def lasting(defect):
    """Return a kind of trainer that has a defect whatever its switch says."""

    class Lasting(PublishedTrainer):
        def __init__(self, *given, switches, **others):
            super().__init__(*given, switches={**switches, defect: True}, **others)

    return Lasting


@pytest.mark.parametrize("defect", OFF)
def test_44_notices_a_defect_that_cannot_be_turned_off(defect):
    assert fails(optimized, lasting(defect))


# --- 45 ---


def check_neutral(kind, settings, defects, limit, seed, phase):
    """45: while all gradients are finite no defect changes a figure by more than 1e-5, whatever else is on."""
    arguments = {"seed": seed, "gradient_clip": limit}
    ours = build(kind, {**settings, **defects}, **arguments)
    theirs = build(PublishedTrainer, {**settings, **OFF}, **arguments)
    (our_metrics, _), (their_metrics, _) = (steps_of(trainer, phase, 0.0) for trainer in (ours, theirs))
    assert_close(our_metrics, their_metrics)


def neutral(defects):
    """The property of some defects, drawn with `defects`."""
    phases = strategies.st.sampled_from(PHASES)
    return holds(check_neutral, documented_settings, defects, limits, strategies.seeds(), phases, max_examples=5)


def test_45_no_defect_changes_a_figure_while_gradients_are_finite():
    neutral(strategies.switch_subsets(DEFECTS))(PublishedTrainer)


class Unclipped(PublishedTrainer):
    """Takes gradients as long as they are where it does not guard them."""

    def _apply_always(self, *update):
        limit, self._limit = self._limit, math.inf
        try:
            return super()._apply_always(*update)
        finally:
            self._limit = limit


class ShorterFakes(PublishedTrainer):
    """Asks for the index of the last token instead of the length."""

    def _num_tokens(self):
        return super()._num_tokens() - self._asks_for_length


class Backwards(PublishedTrainer):
    """Fetches the figures one by one from the last to the first."""

    def _fetched_together(self, scalars):
        return super()._fetched_together(scalars)[:: -1 if self._fetches_apart else 1]


@pytest.mark.parametrize(
    ("kind", "defect"),
    [
        (Unclipped, "guards_adversarial_phase_only"),
        (ShorterFakes, "sampler_asks_for_length"),
        (Backwards, "fetches_one_by_one"),
    ],
)
def test_45_notices_a_fault(kind, defect):
    assert fails(neutral(strategies.st.just({**OFF, defect: True})), kind)


# --- 38 ---


def check_resume(kind, settings, seed, phase, num_steps, num_more):
    """38: a trainer that loads a checkpoint continues like the one that was not stopped, within 1e-5."""
    whole, after = build(PublishedTrainer, settings, seed=seed), build(kind, settings, seed=seed + 1)
    whole.train_steps(num_steps, phase)
    after.load_state(checkpoint.loads(checkpoint.dumps(whole.state()), "state"))
    for trainer in (whole, after):
        trainer.train_steps(num_more, phase)
    assert_close(after.metrics, whole.metrics)
    assert whole.position(phase) == after.position(phase)


resumes = holds(
    check_resume,
    strategies.switch_subsets([switch for switch in PUBLISHED_SWITCHES if switch.name != "graph_steps"]),
    strategies.seeds(),
    strategies.st.sampled_from(PHASES),
    strategies.few(6),
    strategies.few(3),
    max_examples=5,
)


def test_38_interrupted_at_any_step_and_resumed_is_uninterrupted():
    resumes(PublishedTrainer)


@pytest.mark.parametrize(
    "parts",
    [("generator",), ("discriminator",), ("generator_optimizer", "discriminator_optimizer"), ("progress",)],
    ids=lambda names: names[-1],
)
def test_38_notices_a_part_that_is_forgotten(parts):
    assert fails(resumes, forgetting(PublishedTrainer, *parts))
