"""Properties 36 to 38 of the dialogue GAN: tiers agree, load each other's state, and go on where they were stopped."""

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import trainers
from tests import strategies
from tests.properties.controls import build_faulty, fails, holds
from tests.states import assert_same_tree
from trainers import checkpoint
from trainers.contract import BadInput

pytest.importorskip("tensorflow")

from trainers.dialogue_gan import SWITCHES, TIERS, build
from trainers.dialogue_gan.optimized import OptimizedTrainer

pytestmark = pytest.mark.usefixtures("private_cache")

ROOT = Path(trainers.__file__).parents[1]
PHASES = ("generator_pretraining", "discriminator_pretraining", "adversarial")
PARTS = ("generator", "discriminator")
CANCELLED = 1e-5  # likewise, for sums in which rewards meet their mean
RECOMPILED = 1e-4  # of other graphs of the same mathematics
CLOSE = 1e-5  # in one process TensorFlow does not even repeat itself to the bit
NUM_STEPS = 5  # of each phase; 20 adversarial ones are compared between fresh processes
QUIET = {"preset": "tiny", "log": lambda _: None}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


class SharpenedTrainer(OptimizedTrainer):
    """Divides the logits by a temperature that is off."""

    def _set_temperature(self, epoch):
        super()._set_temperature(epoch)
        self._temperature = self._as_argument(self._temperature_of_epoch(epoch) * 2)


class IdleTrainer(OptimizedTrainer):
    """Evaluates the losses, and never steps."""

    def update(self, optimizer, network, gradients):
        return super().update(optimizer, network, [gradient * 0.0 for gradient in map(_dense, gradients)])


class ReshuffledTrainer(OptimizedTrainer):
    """Takes the batches of another seed."""

    def _take_steps(self, n, phase):
        seed, self.seed = self.seed, self.seed + 1
        super()._take_steps(n, phase)
        self.seed = seed


class ForgetfulTrainer(OptimizedTrainer):
    """Loads everything but the generator's moments."""

    def load_state(self, state):
        fresh = self.state()["generator_optimizer"]
        super().load_state({**state, "generator_optimizer": fresh})


class RenamingTrainer(OptimizedTrainer):
    """Saves the generator under its own name, as a wrapped network does."""

    def state(self):
        state = super().state()
        return {**state, "generator": {f"wrapped/{name}": value for name, value in state["generator"].items()}}

    def load_state(self, state):
        names = {name.removeprefix("wrapped/"): value for name, value in state["generator"].items()}
        super().load_state({**state, "generator": names})


def _dense(gradient):
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


def trained_weights(trainer):
    """Weights that training must change: without conditions, their embeddings get no gradient."""
    state = trainer.state()
    return {
        (part, name): value
        for part in PARTS
        for name, value in state[part].items()
        if trainer.config.conditional or not name.startswith(("character", "scene"))
    }


# --- 36 ---


def check_agreement(make, overrides, settings, seed):
    """36: the losses of every step agree, and training changed the weights."""
    reference = make("reference", seed=seed, **QUIET, **overrides)
    optimized = make("optimized", seed=seed, switches=settings, **QUIET, **overrides)
    start = trained_weights(optimized)
    for phase in PHASES:
        for trainer in (reference, optimized):
            trainer.train_steps(NUM_STEPS, phase)
        ours, theirs = optimized.metrics, reference.metrics
        assert ours["num_skipped_steps"] == 0
        for name in ("train_losses", "discriminator_losses", "rewards"):
            assert ours.get(name, []) == pytest.approx(theirs.get(name, []), rel=CLOSE), (phase, name)
        # Adversarial ones cancel almost to nothing; at first, what is left of them is rounding.
        ours, theirs = ours.get("generator_losses", []), theirs.get("generator_losses", [])
        assert ours == pytest.approx(theirs, rel=CLOSE, abs=CANCELLED), phase
    changed = {key: not np.array_equal(start[key], value) for key, value in trained_weights(optimized).items()}
    assert all(changed.values()), changed


agreement = holds(
    check_agreement,
    strategies.tiny_dialogue_overrides(),
    strategies.switch_subsets(SWITCHES),
    strategies.seeds(),
    max_examples=3,
)


def test_36_any_subset_of_the_switches_agrees_with_the_reference_where_the_documents_promise_it():
    """That is at temperature 1, an infinite limit and interval 1: there even the other switches keep parity."""
    agreement(build)


@pytest.mark.parametrize("kind", [SharpenedTrainer, IdleTrainer, ReshuffledTrainer])
def test_36_notices_a_fault(kind):
    all_on = strategies.st.just({switch.name: switch.default for switch in SWITCHES})
    # At the original's rates the generator's adversarial loss stays too close to nothing for a fault to show.
    promised = {"temp_start": 1.0, "temp_end": 1.0, "gradient_clip": float("inf")}
    fixed = strategies.st.just({"sequence_length": 4, "learning_rate_g": 0.01, "learning_rate_d": 0.01, **promised})
    here = holds(check_agreement, fixed, all_on, strategies.seeds(), max_examples=1)
    here(build)
    assert fails(here, build_faulty(build, kind, lambda trainer: trainer.compile_steps()))


FRESH = """
import hashlib, json, sys
from trainers import checkpoint
from trainers.dialogue_gan import build

trainer = build(sys.argv[1], preset="tiny", log=lambda _: None, seed=5, **json.loads(sys.argv[2]))
losses = []
for phase, num_steps in zip(trainer.phases, (5, 3, 20)):
    trainer.train_steps(num_steps, phase)
    losses += trainer.metrics["train_losses"]
print(json.dumps([[loss.hex() for loss in losses], hashlib.sha256(checkpoint.dumps(trainer.state())).hexdigest()]))
"""


def in_a_fresh_process(tier, **overrides):
    """Losses of 5, 3 and 20 steps of the three phases, to the bit, and the hash of the state after them."""
    settings = {"temp_start": 1.0, "temp_end": 1.0, "gradient_clip": float("inf"), **overrides}
    command = [sys.executable, "-c", FRESH, tier, json.dumps(settings)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


def test_36_in_fresh_processes_the_optimized_tier_is_the_reference_to_the_bit():
    theirs = in_a_fresh_process("reference")
    assert len(theirs[0]) == 28
    assert in_a_fresh_process("optimized") == theirs
    assert in_a_fresh_process("optimized", temp_start=2.0) != theirs, "the control: it is no comparison of nothing"


# --- 37 ---


@functools.cache
def pair_of(make, tier):
    """Two trainers of a tier that share nothing."""
    return tuple(make(tier, seed=seed, sequence_length=3, **QUIET) for seed in (1, 2))


def check_state_travels(make, num_steps, num_more):
    """37: the state of any tier loads into any other, comes out key for key, and both go on alike."""
    for source_tier, target_tier in itertools.product(TIERS, TIERS):
        source, target = pair_of(make, source_tier)[0], pair_of(make, target_tier)[1]
        for phase in PHASES:
            source.train_steps(num_steps, phase)
        state = source.state()
        kept = checkpoint.dumps(state)
        target.load_state(state)
        assert_same_tree(state, target.state())
        if source_tier == target_tier or "optimized" not in {source_tier, target_tier}:  # its temperature sets it apart
            for phase in PHASES:
                for trainer in (source, target):
                    trainer.train_steps(num_more, phase)
                ours, theirs = (trainer.metrics["train_losses"] for trainer in (source, target))
                # Adversarial losses of the generator are nothing beside the discriminator's in their sum.
                assert ours == pytest.approx(theirs, rel=CLOSE if source_tier == target_tier else RECOMPILED)
        assert checkpoint.dumps(state) == kept, "a snapshot that was loaded belongs to whoever took it"


state_travels = holds(check_state_travels, strategies.few(6), strategies.few(6), max_examples=2)


def test_37_the_state_of_any_tier_loads_into_any_other_key_for_key():
    state_travels(build)


@pytest.mark.parametrize("kind", [ForgetfulTrainer, RenamingTrainer])
def test_37_notices_a_fault(kind):
    assert fails(state_travels, build_faulty(build, kind, lambda trainer: trainer.compile_steps()))


def test_37_a_state_of_another_architecture_is_refused_by_name():
    trainer = pair_of(build, "reference")[0]
    state = trainer.state()
    other = {**state, "architecture": {**state["architecture"], "hidden_size": 9}}
    with pytest.raises(BadInput, match="hidden_size is 9"):
        trainer.load_state(other)
    with pytest.raises(BadInput, match="no state of a dialogue_gan"):
        trainer.load_state({**state, "family": "tabular_regressor"})


# --- 38 ---


def check_resume(subject, phase, num_steps, num_more):
    """38: a trainer that loads a checkpoint goes on like the one that was not stopped."""
    tier, forgotten = subject
    whole, after = pair_of(build, tier)
    whole.train_steps(num_steps, phase)
    state = checkpoint.loads(checkpoint.dumps(whole.state()), "state")
    if forgotten is not None:
        part, key = forgotten
        state[part][key] = after.state()[part][key]
    after.load_state(state)
    for trainer in (whole, after):
        trainer.train_steps(num_more, phase)
    # One part that is forgotten is not the other phases': each is told by the phase that it belongs to.
    assert whole.metrics["train_losses"] == pytest.approx(after.metrics["train_losses"], rel=CLOSE)
    assert whole.position(phase) == after.position(phase)


resumes = holds(check_resume, strategies.st.sampled_from(PHASES), strategies.few(20), strategies.few(8), max_examples=8)


@pytest.mark.parametrize("tier", ["optimized", "fastest"])
def test_38_interrupted_at_any_step_and_resumed_is_uninterrupted(tier):
    resumes((tier, None))


@pytest.mark.parametrize(
    "forgotten", [("generator", "logits/kernel"), ("discriminator", "dense_1/kernel"), ("progress", "positions")]
)
@pytest.mark.parametrize("tier", ["optimized", "fastest"])
def test_38_notices_a_part_that_is_forgotten(tier, forgotten):
    pair_of(build, tier)[1].load_state(build(tier, seed=9, sequence_length=3, **QUIET).state())
    assert fails(resumes, (tier, forgotten))


# What a shell starts in the background ignores Ctrl-C, and so would all that these tests start there.
LISTENING = """
import signal, sys
from trainers.__main__ import main

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


def started(*arguments):
    command = [sys.executable, "-c", LISTENING, "dialogue_gan", "train", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, text=True, **pipes)


def what_was_learned(path):
    """The state of a checkpoint and the figures of all epochs, to the bit."""
    content = checkpoint.load(path)
    return checkpoint.dumps([content["state"], content["history"]])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, private_cache):
    """What a training that nobody stops ends with, and how long its epochs take."""
    folder = tmp_path_factory.mktemp("whole")
    begun = time.monotonic()
    training = started("--preset", "tiny", "--out", folder)
    first = next(line for line in training.stderr if line.startswith("epoch 1/"))
    at_first = time.monotonic() - begun
    assert training.wait(timeout=300) == 0, first
    return what_was_learned(folder / "dialogue_gan_last.ckpt"), at_first, time.monotonic() - begun


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, 0.2), (signal.SIGTERM, 0.6)])
def test_38_stopped_by_a_signal_and_resumed_ends_to_the_bit_like_uninterrupted(uninterrupted, tmp_path, number, moment):
    learned, at_first, at_end = uninterrupted
    for divisor in (1, 4, 16):  # on a machine with changing load, a training may be faster than the moment
        folder = tmp_path / str(divisor)
        training = started("--preset", "tiny", "--out", folder)
        next(line for line in training.stderr if line.startswith("epoch 1/"))
        time.sleep(moment / divisor * (at_end - at_first))
        training.send_signal(number)
        _, said = training.communicate(timeout=300)
        saved = folder / "dialogue_gan_interrupted.ckpt"
        if saved.exists():
            break
    assert training.returncode == 128 + number, said
    assert said.splitlines()[-1] == f"interrupted: the training is saved; continue with --resume {saved}"
    resumed = started("--resume", saved)
    _, said = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, said
    assert what_was_learned(folder / "dialogue_gan_last.ckpt") == learned
