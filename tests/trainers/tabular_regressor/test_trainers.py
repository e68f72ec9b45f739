"""The tabular regressor's tiers agree, and a continued training equals an uninterrupted one."""

import copy
import itertools
import math
import multiprocessing

import numpy as np
import pytest
import torch

from tests.states import differences, leaves
from trainers.common import checkpoint
from trainers.contract import BadInput
from trainers.tabular_regressor import FAMILY
from trainers.tabular_regressor.config import SWITCHES

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

OFF = {switch.name: False for switch in SWITCHES}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def make():
    """`build` with the preset tiny and two workers, whose trainers are closed after the test."""
    made = []

    def build_tiny(tier, **arguments):
        made.append(build(tier, **{"preset": "tiny", "num_workers": 2, **arguments}))
        return made[-1]

    yield build_tiny
    for trainer in made:
        trainer.close()


def train(trainer, epochs):
    losses = []
    for _ in range(epochs):
        trainer.train_epoch("train")
        losses += trainer.metrics["train_losses"]
    return losses


def comparable(state):
    """Without the loss scale, which not every tier has."""
    return {**state, "scaler": {}}


# --- tiers agree ---


@pytest.mark.parametrize("preset", ["tiny", "smoke"])
@pytest.mark.parametrize(("workers", "persistent"), list(itertools.product([False, True], [False, True])))
def test_without_mixed_precision_every_loss_and_weight_is_bitwise_the_references_for_three_epochs(
    make, preset, workers, persistent
):
    switches = {"mixed_precision": False, "loader_workers": workers, "persistent_workers": persistent}
    reference, optimized = make("reference", preset=preset), make("optimized", preset=preset, switches=switches)
    start = optimized.state()
    assert train(reference, 3) == train(optimized, 3)
    assert differences(reference.state(), optimized.state()) == []
    for name in ("train_loss", "val_loss", "learning_rate", "epoch"):
        assert reference.metrics[name] == optimized.metrics[name]
    assert len(differences(start["model"], optimized.state()["model"])) == len(start["model"])


def test_another_seed_gives_other_losses(make):
    """The negative control of every bitwise comparison here."""
    assert train(make("reference", seed=0), 1) != train(make("reference", seed=1), 1)


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_steps_are_in_train_mode_and_validation_is_not_in_every_epoch(make, tier):
    trainer, modes = make(tier), []
    trainer.model.register_forward_pre_hook(lambda model, _: modes.append(model.training))
    for _ in range(2):
        trainer.train_epoch()
    of_epoch, rest = modes[: len(modes) // 2], modes[len(modes) // 2 :]
    assert rest == of_epoch
    assert of_epoch == sorted(of_epoch, reverse=True), "training comes before validation"
    assert of_epoch.count(True) == trainer.num_batches
    assert of_epoch.count(False) > 0


def test_dropout_is_on_and_the_same_in_both_tiers(make):
    with_dropout, without = make("reference", dropout=0.5), make("reference", dropout=0.0)
    optimized = make("optimized", dropout=0.5, switches=OFF)
    assert train(with_dropout, 1) == train(optimized, 1) != train(without, 1)


@pytest.mark.parametrize("clip_norm", [0.05, float("inf")])
def test_clipping_has_the_configured_limit_in_both_tiers(make, clip_norm):
    reference = make("reference", clip_norm=clip_norm)
    assert train(reference, 1) == train(make("optimized", clip_norm=clip_norm, switches=OFF), 1)
    assert train(make("reference", clip_norm=1.0), 1) != train(make("reference", clip_norm=clip_norm), 1)


def test_no_workers_with_persistence_is_fine(make):
    trainer = make("optimized", num_workers=0)
    assert trainer.switches["persistent_workers"]
    trainer.train_epoch("train")


def test_switches_not_chosen_are_on_unless_the_configuration_says_otherwise(make):
    assert make("optimized").switches == {
        **OFF,
        "mixed_precision": True,
        "loader_workers": True,
        "persistent_workers": True,
    }
    quiet = make("optimized", use_mixed_precision=False, persistent_workers=False)
    assert quiet.switches == {"mixed_precision": False, "loader_workers": True, "persistent_workers": False}
    chosen = make("optimized", use_mixed_precision=False, switches={"mixed_precision": True})
    assert chosen.switches["mixed_precision"]


def test_training_lowers_the_validation_loss(make):
    trainer = make("reference", preset="smoke")
    before = trainer.evaluate("val")
    train(trainer, 4)
    assert trainer.metrics["val_loss"] < 0.6 * before


# --- mixed precision ---


def mixed(make, **arguments):
    return make("optimized", switches={**OFF, "mixed_precision": True}, **arguments)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_loss_in_bfloat16_is_the_references_within_half_a_per_cent(make, seed):
    arguments = {"preset": "smoke", "dropout": 0.0, "seed": seed}
    reference, optimized = make("reference", **arguments), mixed(make, **arguments)
    for trainer in (reference, optimized):
        trainer.train_steps(1, "train")
    ours, theirs = optimized.metrics["train_losses"], reference.metrics["train_losses"]
    assert ours != theirs, "mixed precision is off"
    assert ours == pytest.approx(theirs, rel=5e-3)


def test_validation_losses_in_mixed_precision_are_statistically_the_references(make):
    """The parity that the switch promises: over paired seeds, within one standard deviation of the reference's."""
    losses = []
    for seed in range(10):
        pair = make("reference", seed=seed), mixed(make, seed=seed)
        for trainer in pair:
            train(trainer, 3)
        losses.append([trainer.metrics["val_loss"] for trainer in pair])
    reference, optimized = np.transpose(losses)
    difference = optimized - reference
    half_width = 2.26 * difference.std(ddof=1) / len(losses) ** 0.5  # Student's t of 9 degrees of freedom, 95%
    assert abs(difference.mean()) + half_width < reference.std(ddof=1)


def with_scale(trainer, scale):
    state = trainer.state()
    trainer.load_state({**state, "scaler": {**state["scaler"], "scale": scale}})
    return trainer


@pytest.mark.parametrize("clip_norm", [0.05, 1.0])
def test_a_power_of_two_as_loss_scale_changes_nothing_because_clipping_comes_after_unscaling(make, clip_norm):
    plain, scaled = (with_scale(mixed(make, clip_norm=clip_norm), scale) for scale in (1.0, 2.0**16))
    assert train(plain, 1) == train(scaled, 1)
    assert differences(plain.state()["model"], scaled.state()["model"]) == []


def spoil(trainer, when):
    """Make one gradient infinite in the steps whose numbers are in `when`."""
    count = itertools.count()
    parameter = next(trainer.model.parameters())
    parameter.register_hook(lambda gradient: gradient * math.inf if next(count) in when else gradient)


def test_a_step_with_an_infinite_gradient_is_skipped_and_halves_the_scale(make):
    trainer = mixed(make)
    trainer.train_steps(2, "train")
    before = trainer.state()
    spoil(trainer, {0})
    trainer.train_steps(1, "train")
    after = trainer.state()
    assert trainer.metrics["num_skipped_steps"] == 1
    assert differences(before["model"], after["model"]) == []
    assert differences(before["optimizer"], after["optimizer"]) == []
    assert after["scaler"]["scale"] == before["scaler"]["scale"] / 2
    trainer.train_steps(1, "train")
    assert trainer.metrics["num_skipped_steps"] == 0
    assert differences(after["model"], trainer.state()["model"])


def test_an_epoch_in_which_every_step_was_skipped_leaves_the_schedule_alone(make):
    trainer, some = mixed(make), mixed(make)
    spoil(trainer, set(range(1000)))
    spoil(some, {0})
    for each in (trainer, some):
        each.train_epoch("train")
    assert trainer.metrics["num_skipped_steps"] == trainer.metrics["num_steps"]
    assert trainer.metrics["learning_rate"] == trainer.config.learning_rate
    assert some.metrics["learning_rate"] < some.config.learning_rate


# --- the schedule ---


def test_the_learning_rate_follows_the_cosine_with_restarts_epoch_by_epoch(make):
    trainer = make("reference", restart_epochs=3, restart_factor=2)
    start, end = trainer.config.learning_rate, trainer.config.min_learning_rate
    seen = []
    for _ in range(10):
        trainer.train_epoch("train")
        seen.append(trainer.metrics["learning_rate"])
    positions = [1 / 3, 2 / 3, 0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 0, 1 / 12]
    assert seen == pytest.approx([end + (start - end) * (1 + math.cos(math.pi * x)) / 2 for x in positions], rel=1e-9)


def test_steps_alone_leave_schedule_and_validation_alone(make):
    trainer = make("reference")
    trainer.train_steps(35, "train")
    assert trainer.metrics["learning_rate"] == trainer.config.learning_rate
    assert "val_loss" not in trainer.metrics
    assert (trainer.metrics["epoch"], trainer.metrics["step"]) == (3, 5)


# --- a state and its continuation ---

KINDS = {
    "reference": ("reference", None),
    "restructured": ("optimized", OFF),
    "workers": ("optimized", {**OFF, "loader_workers": True, "persistent_workers": True}),
    "mixed": ("optimized", {**OFF, "mixed_precision": True}),
    "documented": ("optimized", None),
}


def make_kind(make, kind, **arguments):
    tier, switches = KINDS[kind]
    return make(tier, switches=switches, **arguments)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(KINDS, KINDS)))
def test_the_state_of_any_trainer_loads_into_any_other_and_comes_out_key_for_key(make, source, target):
    giver, taker = make_kind(make, source, seed=1), make_kind(make, target, seed=2)
    giver.train_steps(13, "train")
    state = giver.state()
    taker.load_state(state)
    assert list(taker.state()) == list(state)
    assert differences(comparable(state), comparable(taker.state())) == []
    if KINDS[source] == KINDS[target]:
        assert differences(state, taker.state()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_steps", [0, 1, 4, 10, 14])
def test_a_training_stopped_at_any_step_and_resumed_is_bitwise_the_uninterrupted_one(make, tmp_path, kind, num_steps):
    whole, first, second = (make_kind(make, kind, seed=seed) for seed in (5, 5, 6))
    first.train_steps(num_steps, "train")
    checkpoint.save(tmp_path / "state", first.state())
    first.train_steps(3, "train")  # what comes after the snapshot is lost
    second.train_steps(2, "train")
    second.load_state(checkpoint.load(tmp_path / "state"))
    second.train_steps(25 - num_steps, "train")
    second.train_epoch("train")
    whole.train_steps(25, "train")
    whole.train_epoch("train")
    assert differences(whole.state(), second.state()) == []
    assert whole.metrics == second.metrics


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_steps", [0, 3, 10])
def test_steps_and_then_the_rest_of_the_epoch_are_the_epoch(make, kind, num_steps):
    parts, whole = make_kind(make, kind), make_kind(make, kind)
    parts.train_steps(num_steps, "train")
    parts.train_epoch("train")
    whole.train_epoch("train")
    assert parts.metrics["num_steps"] == 10 - num_steps
    assert parts.metrics["train_loss"] == whole.metrics["train_loss"]
    assert differences(parts.state(), whole.state()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_in_the_middle_of_an_epoch_leaves_a_trainer_that_can_continue(make, kind):
    broken, whole = make_kind(make, kind), make_kind(make, kind)
    real, count = broken.train_batch, itertools.count()

    def train_batch(features, targets):
        if next(count) == 4:
            raise KeyboardInterrupt
        return real(features, targets)

    broken.train_batch = train_batch
    with pytest.raises(KeyboardInterrupt):
        broken.train_epoch("train")
    broken.load_state(broken.state())
    broken.train_epoch("train")
    whole.train_epoch("train")
    assert differences(broken.state(), whole.state()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_a_snapshot_and_loading_it_copies_it(make, kind):
    trainer = make_kind(make, kind)
    trainer.train_steps(3, "train")
    state = trainer.state()
    kept = copy.deepcopy(state)
    trainer.train_steps(3, "train")
    assert differences(state, kept) == []
    trainer.load_state(state)
    trainer.train_epoch("train")
    assert differences(state, kept) == []
    trainer.load_state(state)
    for _, leaf in leaves(state):
        if isinstance(leaf, torch.Tensor):
            leaf.zero_()
    assert differences(trainer.state(), kept) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_state_gives_the_same_round_again(make, kind):
    trainer = make_kind(make, kind)
    trainer.train_steps(3, "train")
    state = trainer.state()
    rounds = []
    for _ in range(3):
        trainer.load_state(state)
        trainer.train_steps(9, "train")
        rounds.append(trainer.metrics["train_losses"])
    assert rounds[0] == rounds[1] == rounds[2]


def test_a_state_without_a_loss_scale_starts_with_a_fresh_one(make):
    trainer, reference = mixed(make), make("reference")
    fresh = trainer.state()["scaler"]
    with_scale(trainer, 4.0)
    assert trainer.state()["scaler"] != fresh
    trainer.load_state(reference.state())
    assert trainer.state()["scaler"] == fresh


def test_a_state_of_something_else_is_refused_and_changes_nothing(make):
    trainer = make("reference")
    before = trainer.state()
    wider = make("reference", hidden_size=24).state()
    for state, named in (
        (wider, "hidden_size is 24, the trainer's is 16"),
        ({**before, "family": "text_to_image"}, "no state"),
        ({"family": "tabular_regressor"}, "no state"),
        ({}, "no state"),
    ):
        with pytest.raises(BadInput, match=named):
            trainer.load_state(state)
    assert differences(before, trainer.state()) == []


def test_metrics_are_a_copy_of_plain_data(make):
    trainer = make("optimized")
    trainer.train_epoch("train")
    trainer.metrics["train_losses"].clear()
    assert len(trainer.metrics["train_losses"]) == trainer.metrics["num_steps"] == 10
    assert all(type(value) in {int, float, list} for value in trainer.metrics.values())


# --- trainers beside each other ---


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_training_leaves_the_processs_random_stream_alone(make, tier):
    trainer = make(tier)
    before = torch.get_rng_state()
    trainer.train_steps(3, "train")
    trainer.train_epoch("train")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_trainers_that_take_turns_do_not_change_each_other(make, tier):
    alone = train(make(tier, seed=3), 2)
    one, other = make(tier, seed=3), make(tier, seed=4)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses += train(one, 1)
        train(other, 1)
    assert losses == alone


def test_closing_stops_every_worker(make):
    already = set(multiprocessing.active_children())
    trainer = make("optimized")
    trainer.train_epoch("train")
    assert len(set(multiprocessing.active_children()) - already) == 4, "two for training, two for validation"
    trainer.close()
    assert set(multiprocessing.active_children()) <= already


# --- on a GPU ---


@pytest.mark.gpu
@needs_gpu
def test_on_a_gpu_workers_do_not_change_the_losses(make):
    switches = {**OFF, "loader_workers": True, "persistent_workers": True}
    reference, optimized = make("reference", device="cuda"), make("optimized", device="cuda", switches=switches)
    for trainer in (reference, optimized):
        trainer.train_steps(20, "train")
        trainer.synchronize()
    assert optimized.metrics["train_losses"] == pytest.approx(reference.metrics["train_losses"], rel=1e-5)


@pytest.mark.gpu
@needs_gpu
def test_on_a_gpu_the_first_loss_in_float16_is_the_references_within_a_thousandth(make):
    arguments = {"preset": "smoke", "dropout": 0.0, "device": "cuda"}
    reference, optimized = make("reference", **arguments), mixed(make, **arguments)
    for trainer in (reference, optimized):
        trainer.train_steps(1, "train")
    assert optimized.metrics["train_losses"] == pytest.approx(reference.metrics["train_losses"], rel=1e-3)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", KINDS)
def test_states_travel_between_cpu_and_gpu(make, tmp_path, kind):
    there, here = make_kind(make, kind, device="cuda"), make_kind(make, kind, seed=1)
    there.train_steps(13, "train")
    checkpoint.save(tmp_path / "state", there.state())
    here.load_state(checkpoint.load(tmp_path / "state"))
    here.train_steps(1, "train")
    there.load_state(here.state())
    there.train_epoch("train")
    assert (
        differences(
            there.state()["progress"], {**here.state()["progress"], "epoch": 2, "step": 0, "epoch_loss_sum": 0.0}
        )
        == []
    )


def test_after_an_error_in_a_step_training_goes_on_with_the_batch_it_was_at(make, monkeypatch):
    disturbed, calm = make("reference"), make("reference")
    for trainer in (disturbed, calm):
        trainer.train_steps(2, "train")
    with monkeypatch.context() as patch:
        patch.setattr(disturbed.model, "forward", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            disturbed.train_steps(1, "train")
    assert train(disturbed, 2) == train(calm, 2)
