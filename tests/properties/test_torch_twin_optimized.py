"""Properties 14 to 25, 36 of the twin's optimized tier: switches, guard, interval, temperature, deferred figures.

`test_torch_twin_agreement` compares it with TensorFlow's; this needs none.
"""

import functools
import math

import pytest

from tests import strategies
from tests.properties.controls import fails, holds
from tests.states import same
from trainers.dialogue_gan.config import TWIN_OPTIMIZED_SWITCHES
from trainers.dialogue_gan.pytorch import FAMILY

torch = pytest.importorskip("torch")

from torch._dynamo.utils import counters  # noqa: E402 - only with PyTorch

from trainers.dialogue_gan.documented_loop import TooManySkips  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.optimized import OptimizedTrainer  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.optimizer import GuardedAdam, KerasAdam  # noqa: E402 - likewise
from trainers.pytorch.devices import compiles_for  # noqa: E402 - likewise

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

PHASES = ("generator_pretraining", "discriminator_pretraining", "adversarial")
PRETRAINING, ADVERSARIAL = PHASES[0], PHASES[2]
NETWORKS = ("generator", "discriminator")
# At the original's rates the generator's adversarial loss stays too close to nothing for a fault to show.
RATES = {"learning_rate_g": 0.01, "learning_rate_d": 0.01}
QUIET = {"preset": "tiny", "num_lines": 12, "sequence_length": 3, "log": lambda _: None, **RATES}
NEUTRAL = {"temp_start": 1.0, "temp_end": 1.0, "gradient_clip": math.inf}
UNCOMPILED = {"compiled_steps": False}
NUM_STEPS = 10


def optimized(kind=OptimizedTrainer, switches=None, **arguments):
    """Build an optimized trainer whose steps run operation by operation, as one of a kind."""
    trainer = build("optimized", switches={**UNCOMPILED, **(switches or {})}, **{**QUIET, **arguments})
    trainer.__class__ = kind
    return trainer


def figures(trainer):
    """Return the metrics that every tier has."""
    return {name: value for name, value in trainer.metrics.items() if name != "temperature"}


# --- 36: with neutral settings, the reference to the bit ---


def check_agreement(kind, overrides, settings, seed):
    """36: figures, weights and moments are the reference's to the bit, whichever switches are on."""
    arguments = {**QUIET, **overrides, **NEUTRAL, "seed": seed}
    reference, ours = build("reference", **arguments), optimized(kind, {**settings, **UNCOMPILED}, **arguments)
    start = ours.state()
    for phase in PHASES:
        for trainer in (reference, ours):
            trainer.train_steps(NUM_STEPS, phase)
        assert same(figures(ours), figures(reference)), phase
    state = ours.state()
    assert same(state, reference.state())
    assert not all(same(start[part], state[part]) for part in NETWORKS), "training changed the weights"


agreement = holds(
    check_agreement,
    strategies.tiny_dialogue_overrides(),
    strategies.switch_subsets(TWIN_OPTIMIZED_SWITCHES),
    strategies.seeds(),
    max_examples=4,
)


class Sharpened(OptimizedTrainer):
    """Divides the logits by a temperature that is off."""

    def _set_temperature(self, epoch):
        self._temperature = self._as_argument(self._temperature_of_epoch(epoch) * 2)


class SwappedMasks(OptimizedTrainer):
    """Gives the real sequences the masks of the fake ones."""

    def judged(self, real_BT, fake_BT, draws):
        return super().judged(real_BT, fake_BT, draws._replace(real=draws.fake, fake=draws.real))


class Clipped(OptimizedTrainer):
    """Clips where no limit is set."""

    def _train_batch(self, phase, batch):
        for network in NETWORKS:
            getattr(self, f"{network}_optimizer")._limit = 1e-3
        super()._train_batch(phase, batch)


class Rounded(OptimizedTrainer):
    """Keeps figures to six digits."""

    def _record(self, name, value):
        super()._record(name, float(f"{value:.6g}"))


def test_36_any_subset_of_the_switches_is_the_reference_to_the_bit_with_neutral_settings():
    agreement(OptimizedTrainer)


@pytest.mark.parametrize("kind", [Sharpened, SwappedMasks, Clipped, Rounded])
def test_36_notices_a_fault(kind):
    assert fails(agreement, kind)


# --- 14, 15, 17, 19: the guard ---


class Poisoned:
    """Adds a value to one gradient of a network, as a bad backward pass does: to the squares of its rows too."""

    poison = (0.0, 0)

    def step(self, closure=None):
        value, place = self.poison
        if value:
            number = place % len(self.weights)
            weight = self.weights[number]
            weight.grad.add_(value)
            if (squares := self._squares_of_embeddings.get(number)) is not None:
                squares.copy_(weight.grad.square())
        super().step(closure)


class Unguarded(GuardedAdam):
    """Applies every update."""

    def step(self, closure=None):
        self._is_guarded = False
        super().step(closure)


class OfNaN(GuardedAdam):
    """The documents' guard: it looks for NaN alone."""

    def step(self, closure=None):
        self._is_guarded = any(weight.grad.isnan().any() for weight in self.weights)
        super().step(closure)


class WithZeros(GuardedAdam):
    """Replaces bad gradients by zeros, and lets Adam move on by its moments."""

    def step(self, closure=None):
        norm = self.clip()
        if not norm.isfinite():
            for weight in self.weights:
                weight.grad.zero_()
            self.zero_squares()
        self.applied.copy_(norm.isfinite())
        KerasAdam.step(self, closure)

    def zero_squares(self):
        for squares in self._squares_of_embeddings.values():
            squares.zero_()


class Counting(GuardedAdam):
    """Counts an update that is left out among Adam's steps."""

    def step(self, closure=None):
        super().step(closure)
        self.iteration += ~self.applied


def guarded_by(kind, **arguments):
    """Build a trainer whose optimizers are of a kind and can be poisoned."""
    trainer = optimized(max_consecutive_skips=5, **arguments)
    for network in NETWORKS:
        getattr(trainer, f"{network}_optimizer").__class__ = type("PoisonedAdam", (Poisoned, kind), {})
    return trainer


def train(trainer, phase, network, value, place):
    """Train a step whose update of one network is poisoned, with 0 for one that is not."""
    optimizer = getattr(trainer, f"{network}_optimizer")
    optimizer.poison = (value, place)
    trainer.train_steps(1, phase)
    optimizer.poison = (0.0, 0)


def learned(trainer, network):
    """Return all that an update of one network may change."""
    state = trainer.state()
    return [state[network], state[f"{network}_optimizer"]]


def check_nothing_changes(kind, network, value, place, num_before, deferred):
    """14: a bad update leaves weights, moments and step count to the bit, and is counted; the other network learns."""
    trainer = guarded_by(kind, switches={"deferred_metrics": deferred})
    trainer.train_steps(num_before, ADVERSARIAL)
    (other,) = set(NETWORKS) - {network}
    before = {each: learned(trainer, each) for each in NETWORKS}
    train(trainer, ADVERSARIAL, network, value, place)
    assert same(learned(trainer, network), before[network])
    assert not same(learned(trainer, other), before[other])
    assert trainer.metrics["num_skipped_steps"] == 1
    assert trainer.state()["progress"]["consecutive_skips"] == {network: 1, other: 0}


nothing_changes = holds(
    check_nothing_changes,
    strategies.st.sampled_from(NETWORKS),
    strategies.spoilt_gradients(),
    strategies.places(),
    strategies.few(3),
    strategies.flags(),
    max_examples=15,
)


def test_14_a_bad_update_changes_nothing_of_its_network_and_is_counted():
    nothing_changes(GuardedAdam)


@pytest.mark.parametrize("kind", [Unguarded, OfNaN, WithZeros, Counting])
def test_14_notices_a_fault(kind):
    assert fails(nothing_changes, kind)


def without_a_step(trainer):
    """Go on to the next batch without a step on this one."""
    state = trainer.state()
    epoch, step = state["progress"]["positions"][PRETRAINING]
    state["progress"]["positions"][PRETRAINING] = [epoch, step + 1]
    trainer.load_state(state)


def check_as_if_they_had_not_been(kind, bad, value, place):
    """15, 17: bad steps among good ones leave what the good ones leave; they are counted, and too many are an error."""
    hit, calm = guarded_by(kind), optimized()
    cap, skipped, in_a_row = hit.config.max_consecutive_skips, 0, 0
    for is_bad in bad:
        train(hit, PRETRAINING, "generator", value if is_bad else 0.0, place)
        in_a_row = in_a_row + 1 if is_bad else 0
        if in_a_row == cap:
            with pytest.raises(TooManySkips, match="generator"):
                hit.metrics["num_steps"]
            break
        skipped += hit.metrics["num_skipped_steps"]
        if is_bad:
            without_a_step(calm)
        else:
            calm.train_steps(1, PRETRAINING)
    else:
        assert skipped == bad.count(True)
    assert same(learned(hit, "generator"), learned(calm, "generator"))


as_if_they_had_not_been = holds(
    check_as_if_they_had_not_been,
    strategies.good_and_bad_steps(),
    strategies.spoilt_gradients(),
    strategies.places(),
    max_examples=10,
)


def test_15_bad_steps_are_as_if_they_had_not_been_and_too_many_are_an_error():
    as_if_they_had_not_been(GuardedAdam)


@pytest.mark.parametrize("kind", [Unguarded, WithZeros, Counting])
def test_15_notices_a_fault(kind):
    assert fails(as_if_they_had_not_been, kind)


def test_19_weights_that_are_nan_end_the_epoch_with_an_error():
    for deferred in (True, False):
        trainer = guarded_by(GuardedAdam, switches={"deferred_metrics": deferred})
        state = trainer.state()
        state["discriminator"]["dense_1/kernel"][...] = math.nan
        trainer.load_state(state)
        with pytest.raises(TooManySkips, match=r"5 updates of the (generator and of the )?discriminator in a row"):
            trainer.train_epoch(ADVERSARIAL)
        assert same(trainer.state()["discriminator_optimizer"], state["discriminator_optimizer"])


# --- 20, 24, 25: the loop ---


def test_20_a_trainer_goes_through_its_schedule():
    trainer = optimized(temp_start=1.5, temp_end=0.9, temp_decay=0.7, num_lines=6)
    seen = []
    for _ in range(3):
        trainer.train_epoch(ADVERSARIAL)
        seen.append(float(trainer._temperature))
    assert seen == pytest.approx([1.5, 1.05, 0.9])
    assert trainer.temperature == 0.9


def check_interval(kind, interval, d_steps, num_steps):
    """24: N batches have D_STEPS * ceil(N / k) updates of the discriminator, whose figures stay until the next."""
    trainer = optimized(kind, d_train_interval=interval, d_steps=d_steps)
    assert num_steps <= trainer.num_batches
    trainer.train_steps(num_steps, ADVERSARIAL)
    metrics, wanted = trainer.metrics, d_steps * math.ceil(num_steps / interval)
    assert metrics["num_discriminator_updates"] == int(trainer.discriminator_optimizer.iteration) == wanted
    assert metrics["num_generator_updates"] == int(trainer.generator_optimizer.iteration) == num_steps
    losses = metrics["discriminator_losses"]
    assert losses == [losses[number - number % interval] for number in range(num_steps)]


intervals = holds(check_interval, strategies.few(5), strategies.few(2), strategies.few(10), max_examples=10)


class OffByOne(OptimizedTrainer):
    """Trains the discriminator at the end of every interval instead of at its beginning."""

    def _is_due(self):
        return (self._positions[ADVERSARIAL][1] + 1) % self._interval == 0


class Miscounting(OptimizedTrainer):
    """Counts an update of the discriminator in every batch."""

    _count_updates = OptimizedTrainer.__mro__[2]._count_updates


def test_24_the_discriminator_is_trained_at_its_interval():
    intervals(OptimizedTrainer)


@pytest.mark.parametrize("kind", [OffByOne, Miscounting])
def test_24_notices_a_fault(kind):
    assert fails(intervals, kind)


def test_24_no_fakes_are_made_for_a_batch_that_does_not_train_the_discriminator(monkeypatch):
    trainer, made = optimized(d_train_interval=3), []
    fakes = trainer.fakes
    monkeypatch.setattr(trainer, "fakes", lambda *arguments: made.append(1) or fakes(*arguments))
    trainer.train_steps(7, ADVERSARIAL)
    assert len(made) == 3


def check_same_history(kind, num_steps, more):
    """25: figures that are fetched at once are those that are fetched batch by batch, in whichever calls."""
    histories = []
    for deferred in (True, False):
        switches = {"deferred_metrics": deferred, "device_accuracy": deferred}
        trainer = optimized(kind if deferred else OptimizedTrainer, switches, d_train_interval=2)
        history = []
        for phase in PHASES:
            trainer.train_steps(num_steps, phase)
            trainer.train_steps(more, phase)
            history.append(trainer.metrics)
        for phase in PHASES:  # once more, with nothing asked for in between
            trainer.train_steps(more, phase)
        histories.append([*history, trainer.state()])
    assert same(*histories)


same_history = holds(check_same_history, strategies.few(11), strategies.few(11), max_examples=2)


class Misfiling(OptimizedTrainer):
    """Files what waits under the call in which it is fetched."""

    def _fetch(self):
        self._pending = [(name, scalar, self._series) for name, scalar, _ in self._pending]
        super()._fetch()


class Losing(OptimizedTrainer):
    """Loses what waits when a new call begins."""

    def _begin_call(self, phase):
        self._pending = []
        super()._begin_call(phase)


class Reversing(OptimizedTrainer):
    """Brings figures back in reverse."""

    def _fetched_together(self, scalars):
        return super()._fetched_together(scalars)[::-1]


def test_25_the_deferred_history_is_the_per_batch_history_to_the_bit():
    same_history(OptimizedTrainer)


@pytest.mark.parametrize("kind", [Misfiling, Losing, Reversing])
def test_25_notices_a_fault(kind):
    assert fails(same_history, kind)


# --- Compiled steps; the only test that compiles, which takes most of its time ---


SLOWER = {"learning_rate_g": 1e-3, "learning_rate_d": 1e-3, "num_lines": 7}


@functools.cache
def compiled_trainer():
    """Build a trainer whose steps are compiled, with batches of one size; return it with a state to start from.

    The discriminator has opinions in that state: at first its rewards, and with them the generator's losses, are alike.
    """
    trainer = build("optimized", **{**QUIET, **SLOWER})
    assert trainer.switches["compiled_steps"]
    assert len(trainer.data.train) % trainer.config.batch_size == 0
    start = trainer.state()
    start["discriminator"] = {name: 4 * value for name, value in start["discriminator"].items()}
    return trainer, start


def check_compiled(kind):
    """36: the losses of compiled steps are those of the same steps operation by operation, to 1e-4 of their size."""
    ours, start = compiled_trainer()
    ours.load_state(start)
    theirs = optimized(kind, **SLOWER)  # the fault is on this side: the type of a trainer is a part of its graphs
    theirs.load_state(start)
    for trainer in (ours, theirs):
        trainer.train_steps(20, ADVERSARIAL)
    found, wanted = ours.metrics, theirs.metrics
    for name in ("generator_losses", "discriminator_losses", "rewards"):
        # In a policy gradient's loss rewards meet their mean; rounding leaves about 1e-6 of it.
        assert max(map(abs, wanted[name])) > 5e-3
        assert found[name] == pytest.approx(wanted[name], rel=1e-4, abs=1e-6), name


class OneSeed(OptimizedTrainer):
    """Draws the same in all steps."""

    def uniforms(self, phase, num_sequences):
        position, self._positions[phase] = self._positions[phase], (0, 0)
        numbers = super().uniforms(phase, num_sequences)
        self._positions[phase] = position
        return numbers


@pytest.mark.skipif(not compiles_for(torch.device("cpu")), reason="torch.compile finds no compiler")
def test_36_compiled_steps_compute_the_same_and_a_tensor_for_a_temperature_compiles_nothing_again():
    check_compiled(OptimizedTrainer)
    trainer, _ = compiled_trainer()
    num_graphs, epoch = counters["stats"]["unique_graphs"], trainer.position(ADVERSARIAL)[0]
    assert num_graphs > 0
    trainer.train_steps(trainer.num_batches, ADVERSARIAL)
    assert trainer.position(ADVERSARIAL)[0] > epoch, "another temperature"
    with pytest.raises(AssertionError):
        check_compiled(OneSeed)
    assert counters["stats"]["unique_graphs"] == num_graphs
    trainer._as_argument = float
    trainer.load_state(trainer.state())
    trainer.train_steps(1, ADVERSARIAL)
    assert counters["stats"]["unique_graphs"] > num_graphs, "the documents' Python number is part of the graph"
