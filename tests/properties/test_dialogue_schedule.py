"""Properties 20 to 25 of the dialogue GAN: temperature, traces, updates, and figures that stay on the device."""

import functools
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import trainers
from tests import strategies
from tests.properties.controls import fails, holds
from tests.states import put_back

tf = pytest.importorskip("tensorflow")

from trainers.dialogue_gan import FAMILY  # noqa: E402 - only with TensorFlow
from trainers.dialogue_gan.model import policy_loss  # noqa: E402 - likewise
from trainers.dialogue_gan.optimized import OptimizedTrainer  # noqa: E402 - likewise
from trainers.dialogue_gan.reference import ReferenceTrainer  # noqa: E402 - likewise
from trainers.dialogue_gan.schedule import annealed_temperature  # noqa: E402 - likewise

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache")

PHASES = ("generator_pretraining", "discriminator_pretraining", "adversarial")
TRAINERS = Path(trainers.__file__).parent
SMALL = {"preset": "tiny", "sequence_length": 3, "num_lines": 12, "gradient_clip": math.inf, "log": lambda _: None}
NETWORKS = ("generator", "discriminator", "generator_optimizer", "discriminator_optimizer")
FOUR_BATCHES = {"batch_size": 11}
"""An epoch of three and a smaller one."""

OUTSIDE_GRAPHS = {"deferred_metrics", "device_accuracy"}
"""Switches that change no graph."""

# Document 002's "Epoch 1: temp = 2.00 ..." for TEMP_START 2, TEMP_END 0.5, TEMP_DECAY 0.95.
DOCUMENTED_TABLE = {1: 2.00, 5: 1.64, 10: 1.23, 15: 0.92, 20: 0.69}


@functools.cache
def made(tier, switches=()):
    """A trainer that the tests of this file share, its first state, and what it is made of."""
    trainer = build(tier, **SMALL, switches=dict(switches) or None)
    in_graphs = tuple((name, value) for name, value in switches if name not in OUTSIDE_GRAPHS)
    start = trainer.state()
    if in_graphs != switches:
        take_graphs(trainer, made(tier, in_graphs)[0])
    return trainer, start, dict(vars(trainer))


def take_graphs(trainer, lender):
    """Let a trainer go on with the networks of another, and with their graphs, which take their time to be traced."""
    vars(trainer).update({name: getattr(lender, name) for name in NETWORKS})
    graphs = iter((*lender._graphs, lender._logits))
    trainer._compiled = lambda *_: next(graphs)
    trainer.compile_steps()


def fresh(tier, kind=None, switches=(), **settings):
    """The trainer with these switches, in its first state, as one of `kind`; the settings are such as no graph has."""
    trainer, start, parts = made(tier, switches)
    trainer.__class__ = kind or type_of(tier)
    put_back(trainer, {**parts, "config": parts["config"].replace(**settings)}, start)
    return trainer


def type_of(tier):
    return {"reference": ReferenceTrainer, "optimized": OptimizedTrainer}[tier]


# --- 20 ---


def check_schedule(temperature, schedule, epoch):
    """20: T_n = max(end, start * decay^n), as the documents' loop arrives at it, falling, between end and start."""
    start, end, decay = schedule
    looped = start
    for _ in range(epoch):
        looped = max(end, looped * decay)
    assert temperature(start, end, decay, epoch) == pytest.approx(max(end, start * decay**epoch), rel=1e-12)
    assert temperature(start, end, decay, epoch) == pytest.approx(looped, rel=1e-12)
    assert end <= temperature(start, end, decay, epoch + 1) <= temperature(start, end, decay, epoch) <= start


schedule_holds = holds(check_schedule, strategies.temperature_schedules(), strategies.epochs())


def test_20_the_temperature_falls_geometrically_to_its_end():
    schedule_holds(annealed_temperature)


@pytest.mark.parametrize(
    "faulty",
    [
        lambda start, end, decay, epoch: start * decay**epoch,
        lambda start, end, decay, epoch: max(end, start * decay ** (epoch + 1)),
        lambda start, end, decay, epoch: max(end, start - (1 - decay) * start * epoch),
    ],
)
def test_20_notices_another_schedule(faulty):
    assert fails(schedule_holds, faulty)


def test_20_the_documents_own_table_is_not_their_schedule():
    ours = {epoch: annealed_temperature(2.0, 0.5, 0.95, epoch - 1) for epoch in DOCUMENTED_TABLE}
    off = {epoch for epoch, value in DOCUMENTED_TABLE.items() if round(ours[epoch], 2) != value}
    assert off == {5, 10, 15, 20}
    assert [round(ours[epoch], 2) for epoch in DOCUMENTED_TABLE] == [2.0, 1.63, 1.26, 0.98, 0.75]


def test_20_a_trainer_goes_through_its_schedule():
    trainer = fresh("optimized", **FOUR_BATCHES, temp_start=1.5, temp_end=0.9, temp_decay=0.7)
    seen = []
    for _ in range(3):
        seen.append((trainer.temperature, float(trainer._temperature)))
        trainer.train_epoch("adversarial")
    assert [temperature for temperature, _ in seen] == pytest.approx([1.5, 1.05, 0.9], rel=1e-12)
    assert [given for _, given in seen[1:]] == pytest.approx([1.5, 1.05]), "set when an epoch begins"
    assert trainer.temperature == 0.9


# --- 21 ---


def check_neutral(divided, logits_BV, targets):
    """21: at temperature 1 the loss is that without a temperature, bitwise."""
    logits_BTV = tf.constant(logits_BV)[:, tf.newaxis]
    targets_BT = tf.constant([[target % logits_BV.shape[1]] for target in targets[: len(logits_BV)]])
    rewards_B = tf.linspace(0.1, 0.9, len(logits_BV))
    with_it = policy_loss(divided(logits_BTV, tf.constant(1.0)), targets_BT, rewards_B)
    assert with_it.numpy().tobytes() == policy_loss(logits_BTV, targets_BT, rewards_B).numpy().tobytes()


four_places = strategies.st.lists(strategies.places(), min_size=4, max_size=4)
neutral = holds(check_neutral, strategies.logits_of_words(), four_places)


def test_21_temperature_1_changes_no_bit_of_the_loss():
    neutral(OptimizedTrainer._over_temperature)


def test_21_notices_an_epsilon_in_the_division():
    assert fails(neutral, lambda logits, temperature: logits / (temperature + 1e-3))


# --- 22 ---


def check_flattening(divided, logits_BV, low, high):
    """22: the most likely word stays it, and entropy does not fall as the temperature rises."""
    low, high = sorted((low, high))
    cold, warm = (divided(tf.constant(logits_BV), tf.constant(each, tf.float32)).numpy() for each in (low, high))
    entropy = [_entropy(each) for each in (cold, warm)]
    assert (entropy[0] <= entropy[1] + 1e-5).all()
    for scaled in (cold, warm):
        largest = np.take_along_axis(scaled, logits_BV.argmax(1)[:, None], 1)[:, 0]
        assert (largest == scaled.max(1)).all()


def _entropy(logits_BV):
    shifted = logits_BV.astype(np.float64) - logits_BV.max(1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    return -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(1)


flattening = holds(check_flattening, strategies.logits_of_words(), strategies.temperatures(), strategies.temperatures())


def test_22_a_higher_temperature_flattens_and_keeps_the_first():
    flattening(OptimizedTrainer._over_temperature)


@pytest.mark.parametrize("faulty", [lambda logits, t: logits * t, lambda logits, t: (logits - t) ** 2])
def test_22_notices_another_scaling(faulty):
    assert fails(flattening, faulty)


# --- 23 ---


def traces_after(trainer, num_epochs):
    """Traced graphs after each adversarial epoch."""
    counts = []
    for _ in range(num_epochs):
        trainer.train_epoch("adversarial")
        counts.append(trainer.metrics["num_traces"])
    return counts


def test_23_one_trace_of_each_step_over_all_epochs():
    trainer = fresh("optimized", **FOUR_BATCHES)
    assert len(trainer.data.train) % trainer.config.batch_size, "the last batch is smaller than the others"
    for phase in PHASES[:2]:
        trainer.train_epoch(phase)
    assert traces_after(trainer, 2) == [3, 3]


def test_23_notices_the_documents_own_way_that_traces_anew():
    trainer = fresh("optimized", switches=(("python_float_temperature", True),), batch_size=1000)
    assert trainer.num_batches == 1, "it is traced anew for every size of a batch too"
    first, second = traces_after(trainer, 2)
    assert first < second


# --- 24 ---


def check_interval(kind, interval, d_steps, num_steps):
    """24: N batches have D_STEPS * ceil(N / k) updates of the discriminator, and its figures stay until the next."""
    trainer = fresh("optimized", kind, **FOUR_BATCHES)
    num_steps += trainer.num_batches  # a whole epoch, of which an interval may have left a rest, and more
    trainer._interval = interval
    trainer.config = trainer.config.replace(d_steps=d_steps)
    trainer.train_steps(num_steps, "adversarial")
    metrics = trainer.metrics
    wanted = sum(
        d_steps * math.ceil(min(trainer.num_batches, num_steps - start) / interval)
        for start in range(0, num_steps, trainer.num_batches)
    )
    assert metrics["num_discriminator_updates"] == wanted
    assert int(trainer.discriminator_optimizer.iterations.numpy()) == wanted
    assert metrics["num_generator_updates"] == int(trainer.generator_optimizer.iterations.numpy()) == num_steps
    losses = metrics["discriminator_losses"][: trainer.num_batches]
    assert losses == [losses[number - number % interval] for number in range(len(losses))]


intervals = holds(check_interval, strategies.few(4), strategies.few(2), strategies.few(11), max_examples=5)


class OffByOne(OptimizedTrainer):
    """Trains the discriminator at the end of every interval instead of at its beginning."""

    def adversarial_batch(self, batch):
        epoch, step = self._positions["adversarial"]
        self._positions["adversarial"] = (epoch, step + 1)
        super().adversarial_batch(batch)
        self._positions["adversarial"] = (epoch, step)


def test_24_the_discriminator_is_trained_at_its_interval():
    intervals(None)


@pytest.mark.parametrize("interval", [1, 2, 3, 4, 5])
def test_24_an_interval_that_the_epoch_does_not_fill_has_its_update(interval):
    """Four batches: full intervals, a rest, and an interval longer than the epoch."""
    check_interval(None, interval, 1, 1)


def test_24_notices_another_batch_of_the_interval():
    assert fails(intervals, OffByOne)


def test_24_interval_1_is_the_reference():
    """In one process; between fresh ones it is bitwise, see `test_dialogue_processes`."""
    ours, theirs = fresh("optimized", temp_start=1.0, temp_end=1.0), fresh("reference")
    for trainer in (ours, theirs):
        trainer.train_steps(6, "adversarial")
    assert ours.metrics["train_losses"] == pytest.approx(theirs.metrics["train_losses"], rel=1e-5)


# --- 25 ---


def check_same_history(kind, num_steps, more):
    """25: what is fetched once is what was fetched batch by batch, whatever the calls."""
    histories = []
    for deferred, of in ((True, kind), (False, None)):
        settings = (("deferred_metrics", deferred), ("device_accuracy", deferred))
        trainer = fresh("optimized", of, switches=settings)
        calls = []
        for phase in PHASES:
            trainer.train_steps(num_steps, phase)
            trainer.train_steps(more, phase)
            calls.append({name: value for name, value in trainer.metrics.items() if name != "num_traces"})
        progress = [trainer.state()["progress"]]
        for phase in PHASES:  # once more, with nothing asked for in between
            trainer.train_steps(more, phase)
        histories.append((calls, [*progress, trainer.state()["progress"]]))
    (ours, our_progress), (theirs, their_progress) = histories
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            # In one process TensorFlow itself is not bitwise; which number stands where is what is asked.
            assert one[name] == pytest.approx(other[name], rel=1e-5, abs=1e-5), name
    for one, other in zip(our_progress, their_progress, strict=True):
        assert one["positions"] == other["positions"]
        for phase in PHASES:
            for name, values in one["epoch_series"][phase].items():
                assert values == pytest.approx(other["epoch_series"][phase][name], rel=1e-5, abs=1e-5)


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


same_history = holds(check_same_history, strategies.few(7), strategies.few(7), max_examples=2)


def test_25_the_deferred_history_is_the_per_batch_history():
    same_history(None)


@pytest.mark.parametrize("kind", [Misfiling, Losing])
def test_25_notices_a_fault(kind):
    assert fails(same_history, kind)


def test_25_the_very_same_numbers_are_kept_either_way():
    """Bitwise: one run's scalars, fetched one by one and all at once."""
    trainer, seen = fresh("optimized"), []
    names = ("_keep_loss", "_keep_reward", "_keep_accuracy")
    kept = {name: getattr(trainer, name) for name in names}
    for name, keep in kept.items():

        def look(series, scalar, keep=keep):
            seen.append((series, float(scalar.numpy())))
            keep(series, scalar)

        setattr(trainer, name, look)
    try:
        trainer.train_steps(5, "adversarial")
        metrics = trainer.metrics
    finally:
        vars(trainer).update(kept)
    for name in ("generator_losses", "discriminator_losses", "discriminator_accuracies", "rewards"):
        assert metrics[name] == [value for each, value in seen if each == name]
        assert len(metrics[name]) == 5


def count_fetches(monkeypatch, trainer, run):
    """How often the trainers' own code fetches something with `.numpy()` while `run` runs."""
    kind, fetched = type(tf.zeros(())), []
    real = kind.numpy

    def counted(tensor):
        # Keras reads tensors of its own to run an LSTM eagerly; those are the sampler's and the same in all tiers.
        if Path(sys._getframe(1).f_code.co_filename).is_relative_to(TRAINERS):
            fetched.append(tensor.shape)
        return real(tensor)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "numpy", counted, raising=False)
        run()
    return len(fetched)


@pytest.mark.parametrize(
    ("tier", "switches", "in_steps", "at_the_end"),
    [
        ("reference", (), 4 * 10 + 4, 0),  # four scalars a batch, and four for the line after the tenth
        ("optimized", (), 4, 4 + 1),  # the line; then four series and the flags
        ("optimized", (("nan_skip", False),), 4, 4),
        ("optimized", (("device_accuracy", False),), 10 + 4, 3 + 1),
        ("optimized", (("deferred_metrics", False),), 3 * 10 + 2 * 10 + 4, 1),
    ],
)
def test_25_the_number_of_fetches_is_exact(monkeypatch, tier, switches, in_steps, at_the_end):
    trainer = fresh(tier, switches=switches)
    trainer.train_steps(1, "adversarial")
    trainer = fresh(tier, switches=switches)
    assert trainer.num_batches >= 10, "an epoch's end is one more fetch of everything"
    assert count_fetches(monkeypatch, trainer, lambda: trainer.train_steps(10, "adversarial")) == in_steps
    assert count_fetches(monkeypatch, trainer, lambda: trainer.metrics) == at_the_end
    assert count_fetches(monkeypatch, trainer, lambda: trainer.metrics) == 0, "once"
