"""Text to image's trainers: the tiers agree, every switch has its effect, and a continued training is the same.

Shape suffixes: B items of a batch.
"""

import contextlib
import copy
import itertools
import math
import multiprocessing
import types

import pytest
import torch

from tests.states import differences, leaves
from trainers.common import checkpoint
from trainers.contract import BadInput, Trainer
from trainers.text_to_image import FAMILY, reference
from trainers.text_to_image.config import SWITCHES
from trainers.text_to_image.model import (
    discriminator_loss,
    entropy_of_logits,
    entropy_of_probabilities,
    generator_loss,
)

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

OFF = {switch.name: False for switch in SWITCHES}
NETWORKS = ("discriminator", "generator")
LOSSES = ("discriminator_losses", "generator_losses")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def make():
    """`build` with the preset tiny and no log, whose trainers are closed after the test."""
    made = []

    def build_tiny(tier, *on, **arguments):
        if tier in {"published", "optimized"} and "switches" not in arguments:
            arguments["switches"] = {**OFF, **dict.fromkeys(on, True)}
        made.append(build(tier, **{"preset": "tiny", "log": lambda _: None, **arguments}))
        return made[-1]

    yield build_tiny
    for trainer in made:
        trainer.close()


def losses_of(trainer):
    return {name: trainer.metrics[name] for name in LOSSES}


def train(trainer, epochs):
    losses = []
    for _ in range(epochs):
        trainer.train_epoch()
        losses.append(losses_of(trainer))
    return losses


def items_seen(trainer):
    """The list of each batch's items, filled while it trains."""
    seen, real = [], trainer._next_batch

    def next_batch():
        batch = real()
        seen.append(batch.items_B.tolist())
        return batch

    trainer._next_batch = next_batch
    return seen


def applied_gradients(trainer):
    """Gradients with which each network's optimizer steps, filled while it trains."""
    kept = {name: [] for name in NETWORKS}
    for name in NETWORKS:
        network, optimizer = getattr(trainer, name), getattr(trainer, f"{name}_optimizer")

        def keep(*_, name=name, network=network):
            kept[name].append([parameter.grad.clone() for parameter in network.parameters()])

        optimizer.register_step_pre_hook(keep)
    return kept


# --- the tiers agree ---


@pytest.mark.parametrize("preset", ["tiny", "smoke"])
def test_with_all_switches_off_every_loss_and_weight_of_20_steps_is_bitwise_the_references(make, preset):
    plain, restructured = make("reference", preset=preset), make("optimized", preset=preset)
    start = restructured.state()
    for trainer in (plain, restructured):
        trainer.train_steps(20)
    assert len(plain.metrics["train_losses"]) == 20
    assert plain.metrics == restructured.metrics
    assert differences(plain.state(), restructured.state()) == []
    for name in NETWORKS:
        assert len(differences(start[name], plain.state()[name])) == len(start[name]), "all of it was trained"


def test_with_all_switches_off_two_epochs_are_bitwise_the_references(make):
    lines, other_lines = [], []
    plain, restructured = make("reference", log=lines.append), make("optimized", log=other_lines.append)
    assert train(plain, 2) == train(restructured, 2)
    assert differences(plain.state(), restructured.state()) == []
    assert plain.metrics == restructured.metrics
    assert [line.rpartition("  ")[0] for line in lines] == [line.rpartition("  ")[0] for line in other_lines]
    assert plain.evaluate() == restructured.evaluate()


@pytest.mark.parametrize(("procedure", "num_forwards"), [("two_forwards", 2), ("one_forward", 1)])
@pytest.mark.parametrize("tier", ["reference", "optimized", "fastest"])
def test_the_generator_runs_as_often_a_batch_as_the_procedure_says_in_every_tier(make, tier, procedure, num_forwards):
    trainer = make(tier, procedure=procedure)
    inputs = []
    trainer.generator.image[1].register_forward_hook(lambda _, given, __: inputs.append(given[0].detach().clone()))
    trainer.train_steps(3)
    assert len(inputs) == 3 * num_forwards
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(inputs, 2))


def test_with_one_forward_the_losses_have_no_term_of_mismatched_images_pixels_and_features(make):
    """By hand, for the first batch."""
    trainer, twin = make("reference", procedure="one_forward"), make("reference")
    batch = twin._next_batch()
    fakes_BCHW = twin.generator(twin._noise(len(batch.texts_BE), reference.NOISE, 0, 0), batch.texts_BE)
    loss_d = sum(
        entropy_of_probabilities(twin.discriminator(images_BCHW, batch.texts_BE)[0], target)
        for images_BCHW, target in ((batch.images_BCHW, 1.0), (fakes_BCHW.detach(), 0.0))
    )
    loss_d.backward()
    twin.discriminator_optimizer.step()
    loss_g = entropy_of_probabilities(twin.discriminator(fakes_BCHW, batch.texts_BE)[0], 1.0)
    trainer.train_steps(1)
    assert trainer.metrics["discriminator_losses"] == pytest.approx([loss_d.item()], rel=1e-6)
    assert trainer.metrics["generator_losses"] == pytest.approx([loss_g.item()], rel=1e-6)


@pytest.mark.parametrize("tier", ["optimized", "fastest"])
def test_every_tier_has_the_references_losses_under_either_procedure(make, tier):
    for procedure in ("two_forwards", "one_forward"):
        exact = {"switches": {"bfloat16": False}} if tier == "fastest" else {}
        plain, other = make("reference", procedure=procedure), make(tier, procedure=procedure, **exact)
        for trainer in (plain, other):
            trainer.train_steps(4)
        for name in LOSSES:
            assert other.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-3)


def test_another_seed_gives_other_losses(make):
    """The negative control of every bitwise comparison here."""
    assert train(make("reference", seed=0), 1) != train(make("reference", seed=1), 1)


def test_training_lowers_both_losses(make):
    """Where the pixels' distance outweighs the contest, in which one network's gain is the other's loss."""
    trainer = make("reference", image_size=8, width=8, batch_size=14, learning_rate=2e-3, l1_weight=1000.0)
    trainer.train_epoch()
    first = trainer.metrics
    train(trainer, 14)
    for name in ("discriminator_loss", "generator_loss"):
        assert trainer.metrics[name] < 0.95 * first[name]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("preset", ["tiny", "smoke"])
def test_on_a_gpu_all_switches_off_is_the_reference_with_deterministic_kernels(make, preset):
    arguments = {"preset": preset, "device": "cuda"}
    plain, restructured = make("reference", **arguments), make("optimized", **arguments)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        for trainer in (plain, restructured):
            trainer.train_steps(20)
            trainer.synchronize()
    assert losses_of(plain) == losses_of(restructured)
    assert differences(plain.state(), restructured.state()) == []


@pytest.mark.gpu
@needs_gpu
def test_on_a_gpu_the_first_losses_in_float16_are_the_references_within_a_thousandth(make):
    arguments = {"preset": "smoke", "device": "cuda", "batch_size": 16}
    plain, mixed = make("reference", **arguments), make("optimized", "mixed_precision", **arguments)
    # At the scale a scaler starts with, the first gradients are beyond float16 and the step is skipped.
    state = mixed.state()
    mixed.load_state({**state, "scaler": {**state["scaler"], "scale": 2.0**10}})
    for trainer in (plain, mixed):
        trainer.train_steps(1)
    for name in LOSSES:
        assert mixed.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-3)


@pytest.mark.gpu
@needs_gpu
def test_states_travel_between_cpu_and_gpu(make):
    there, here = make("optimized", "mixed_precision", device="cuda"), make("optimized", "mixed_precision", seed=1)
    there.train_steps(5)
    here.load_state(checkpoint.loads(checkpoint.dumps(there.state()), "state"))
    here.train_steps(1)
    there.load_state(here.state())
    there.train_epoch()
    assert (there.metrics["epoch"], there.metrics["num_steps"]) == (1, there.num_batches - 6)


# --- the switches ---


def test_switches_not_named_are_as_the_document_has_them(make):
    on = {"fewer_epochs", "larger_batches", "smaller_images", "sparse_logging", "mixed_precision"}
    assert make("optimized", switches=None).switches == {name: name in on for name in OFF}
    chosen = make("optimized", switches={"smaller_images": False, "cosine_schedule": True}).switches
    assert {name for name, is_on in chosen.items() if is_on} == (on | {"cosine_schedule"}) - {"smaller_images"}


@pytest.mark.parametrize(
    ("switch", "changed"),
    [
        ("fewer_epochs", {"num_epochs": 2}),
        ("larger_batches", {"batch_size": 8}),
        ("smaller_images", {"image_size": 8}),
        ("sparse_logging", {"log_interval": 5}),
        *((switch.name, {}) for switch in SWITCHES[4:]),
    ],
)
def test_a_switch_changes_its_own_value_of_the_configuration_and_no_other(make, switch, changed):
    before, after = make("optimized").config.to_dict(), make("optimized", switch).config.to_dict()
    assert {name: value for name, value in after.items() if value != before[name]} == changed


def test_values_of_the_switches_are_those_of_the_document_at_the_default_preset():
    config = build("reference", preset="tiny").config
    default = type(config)()
    assert (default.num_epochs, default.few_epochs) == (250, 100)
    assert (default.batch_size, default.large_batch_size) == (256, 512)
    assert (default.image_size, default.small_image_size) == (64, 32)
    assert (default.log_interval, default.sparse_log_interval) == (18, 50)


def num_epochs_until_finished(trainer):
    while not trainer.finished:
        trainer.train_epoch()
    return trainer.epoch


def test_fewer_epochs_finishes_sooner_and_trains_those_epochs_alike(make):
    plain, fewer = make("reference"), make("optimized", "fewer_epochs")
    assert num_epochs_until_finished(fewer) == 2
    train(plain, 2)
    assert not plain.finished
    assert differences(plain.state(), fewer.state()) == []
    assert num_epochs_until_finished(plain) == 5


def test_larger_batches_halve_the_updates(make):
    plain, larger = make("reference"), make("optimized", "larger_batches")
    for trainer, num_steps in ((plain, 11), (larger, 6)):
        seen = items_seen(trainer)
        trainer.train_epoch()
        assert trainer.metrics["num_steps"] == num_steps
        assert sum(map(len, seen)) == 42
        assert {len(items) for items in seen[:-1]} == {trainer.config.batch_size}


def test_smaller_images_shrink_the_batches_and_the_networks(make):
    plain, smaller = make("reference"), make("optimized", "smaller_images")
    sizes = [next(iter(trainer.make_loader("train"))).images_BCHW.shape[2:] for trainer in (plain, smaller)]
    assert sizes == [(16, 16), (8, 8)]
    smaller.train_steps(3)
    with pytest.raises(BadInput, match="its image_size is 16, the trainer's is 8"):
        smaller.load_state(plain.state())


@pytest.fixture
def clock(monkeypatch):
    """Let every look at the clock find it a millisecond later."""
    ticks = itertools.count()
    fake = types.SimpleNamespace(perf_counter=lambda: next(ticks) / 1000)
    monkeypatch.setattr(reference, "time", fake)


def lines_at(trainer, *batches, epoch=1, ms="1.0"):
    """What a trainer's log should have of the epoch it has just trained; a step of its is what is counted."""
    loss_d, loss_g = (trainer.metrics[name] for name in LOSSES)
    a_step = math.ceil(11 / len(loss_d))
    return [
        f"epoch {epoch}/5  batch {batch}/11  loss D {loss_d[-(-batch // a_step) - 1]:.4f}  "
        f"loss G {loss_g[-(-batch // a_step) - 1]:.4f}  {ms} ms/batch"
        for batch in batches
    ]


@pytest.mark.usefixtures("clock")
def test_a_line_stands_in_the_log_every_2_batches_and_with_sparse_logging_every_5(make):
    for tier, on, batches in (
        ("reference", (), (2, 4, 6, 8, 10)),
        ("optimized", (), (2, 4, 6, 8, 10)),
        ("optimized", ("sparse_logging",), (5, 10)),
    ):
        lines = []
        trainer = make(tier, *on, log=lines.append)
        for epoch in (1, 2):
            lines.clear()
            trainer.train_epoch()
            assert lines == lines_at(trainer, *batches, epoch=epoch)


@pytest.mark.usefixtures("clock")
def test_a_step_of_several_batches_that_passes_a_line_writes_it(make):
    """With 2 batches a step and a line every 5, the fifth is in the middle of a step."""
    lines = []
    trainer = make("optimized", "sparse_logging", "gradient_accumulation", log=lines.append)
    trainer.train_epoch()
    assert lines == lines_at(trainer, 6, 10, ms="0.5")


def test_lines_go_on_after_a_state_in_the_middle_of_an_epoch(make):
    lines = []
    source, target = make("reference"), make("reference", log=lines.append)
    source.train_steps(3)
    target.load_state(source.state())
    target.train_epoch()
    assert [line.split("  ")[1] for line in lines] == [f"batch {batch}/11" for batch in (4, 6, 8, 10)]


def test_without_a_log_the_lines_are_printed(capsys):
    build("reference", preset="tiny").train_steps(2)
    assert capsys.readouterr().out.startswith("epoch 1/5  batch 2/11  loss D ")


def test_loader_workers_are_processes_that_decode_the_same_batches_and_end(make):
    already = set(multiprocessing.active_children())

    def new_workers():
        return set(multiprocessing.active_children()) - already

    plain, trainer = make("reference"), make("optimized", "loader_workers", num_workers=3)
    assert not new_workers()
    for each in (plain, trainer):
        each.train_steps(2)
    assert len(new_workers()) == 3
    assert losses_of(plain) == losses_of(trainer)
    for each in (plain, trainer):
        each.train_epoch()
    assert differences(plain.state(), trainer.state()) == []
    assert not new_workers(), "the epoch is over"
    assert plain.evaluate() == trainer.evaluate()
    assert not new_workers(), "so is the validation"
    trainer.train_steps(1)
    assert len(new_workers()) == 3
    trainer.close()
    assert not new_workers()
    trainer.close()


@pytest.mark.parametrize("on", [(), ("fewer_epochs",)])
def test_the_learning_rates_fall_to_zero_along_a_cosine_epoch_by_epoch(make, on):
    trainer = make("optimized", "cosine_schedule", *on, learning_rate=3e-4)
    num_epochs = 2 if on else 5
    seen = []
    while not trainer.finished:
        seen.append([getattr(trainer, f"{name}_optimizer").param_groups[0]["lr"] for name in NETWORKS])
        trainer.train_steps(2)
        assert trainer.metrics["learning_rate"] == seen[-1][1], "steps leave the schedule alone"
        trainer.train_epoch()
    rates = [3e-4 * (1 + math.cos(math.pi * epoch / num_epochs)) / 2 for epoch in range(num_epochs)]
    assert seen == [pytest.approx([rate, rate], rel=1e-9) for rate in rates]
    assert trainer.metrics["learning_rate"] == pytest.approx(0, abs=1e-18)


def test_without_a_schedule_the_learning_rate_stays(make):
    trainer = make("optimized")
    train(trainer, 3)
    assert trainer.metrics["learning_rate"] == trainer.config.learning_rate


def test_a_schedule_goes_on_from_the_epoch_of_a_trainer_that_had_none(make):
    plain, (scheduled, whole) = make("reference"), (make("optimized", "cosine_schedule") for _ in range(2))
    train(plain, 3)
    scheduled.load_state(plain.state())
    train(whole, 3)
    assert scheduled.metrics["learning_rate"] == pytest.approx(whole.metrics["learning_rate"], rel=1e-9)
    train(scheduled, 1)
    train(whole, 1)
    assert scheduled.metrics["learning_rate"] == pytest.approx(whole.metrics["learning_rate"], rel=1e-9)


def test_a_training_resumed_with_more_epochs_goes_on_along_the_longer_cosine(make):
    """And not along the shorter one, on which the rates would rise again after its end."""
    short, longer = (make("optimized", "cosine_schedule", num_epochs=num_epochs) for num_epochs in (2, 4))
    train(short, 2)
    longer.load_state(short.state())
    seen = []
    while not longer.finished:
        seen.append(longer.metrics["learning_rate"])
        longer.train_epoch()
    rate = longer.config.learning_rate
    assert seen == pytest.approx([rate * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in (2, 3)])


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("val_loss", [1.0, math.inf, math.nan])
def test_early_stopping_ends_after_patience_epochs_in_which_the_validation_loss_does_not_fall(make, patience, val_loss):
    """A loss that is no number counts as none; a first finite one is better than having none."""
    trainer = make("optimized", "early_stopping", patience=patience)
    trainer.evaluate = lambda: val_loss
    assert num_epochs_until_finished(trainer) == patience + (val_loss == 1.0)


def test_early_stopping_goes_on_while_the_validation_loss_falls_now_and_then(make):
    trainer = make("optimized", "early_stopping", patience=2, num_epochs=50)
    losses = [3.0, 4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.0]
    trainer.evaluate = iter(losses).__next__
    seen = []
    while not trainer.finished:
        trainer.train_epoch()
        seen.append(trainer.metrics["val_loss"])
    assert seen == losses[:7]


def test_early_stopping_looks_at_held_out_images_and_changes_no_step(make):
    plain, stopping = make("reference"), make("optimized", "early_stopping")
    assert train(plain, 2) == train(stopping, 2)
    assert stopping.metrics["val_loss"] == plain.evaluate()
    assert "val_loss" not in plain.metrics
    assert stopping.state()["stopping"]["best_val_loss"] <= plain.evaluate()


@pytest.mark.parametrize("accumulation_steps", [1, 3, 11, 50])
def test_gradients_of_several_batches_make_one_update(make, accumulation_steps):
    """The last update of an epoch takes the batches that are left."""
    trainer = make("optimized", "gradient_accumulation", accumulation_steps=accumulation_steps)
    seen, applied = items_seen(trainer), applied_gradients(trainer)
    expected = [min(accumulation_steps, 11 - first) for first in range(0, 11, accumulation_steps)]
    for num_batches in expected:
        assert trainer.num_steps_left == len(expected) - len(applied["generator"])
        seen.clear()
        trainer.train_steps(1)
        assert len(seen) == num_batches
    assert (trainer.num_steps_left, trainer.metrics["step"]) == (0, 11)
    assert [len(applied[name]) for name in NETWORKS] == [len(expected)] * 2
    trainer.train_epoch()
    assert (trainer.metrics["epoch"], trainer.metrics["num_steps"]) == (1, 0)


@pytest.mark.parametrize("mixed", [False, True])
def test_accumulated_gradients_are_the_sum_of_the_batches_weighted_by_their_items(make, mixed):
    """By hand for the last update of an epoch, of a batch of 4 items and one of 2, against weights that stand still.

    With `mixed_precision` it is done in float32, where the loss scale must cancel.
    """
    trainer = make("optimized", "gradient_accumulation", *(["mixed_precision"] if mixed else []), accumulation_steps=3)
    trainer._precision = contextlib.nullcontext
    trainer.train_steps(3)
    twin = make("reference")
    twin.load_state({**trainer.state(), "scaler": {}})
    entropy = entropy_of_logits if mixed else entropy_of_probabilities
    losses = dict.fromkeys(NETWORKS, 0.0)
    gradients = {name: itertools.repeat(0.0) for name in NETWORKS}
    for share in (4 / 6, 2 / 6):
        batch = twin._next_batch()
        assert len(batch.texts_BE) == 6 * share
        place = twin.epoch, twin.num_items_done
        noises = [twin._noise(len(batch.texts_BE), use, *place) for use in (reference.NOISE, reference.SECOND_NOISE)]
        twin.num_items_done += len(batch.texts_BE)
        fakes_BCHW, again_BCHW = (twin.generator(noise_BZ, batch.texts_BE) for noise_BZ in noises)
        images = (batch.images_BCHW, batch.wrong_B, fakes_BCHW)
        loss_d = discriminator_loss(twin.discriminator, *images, batch.texts_BE, entropy=entropy)
        weights = {"l1_weight": 50.0, "feature_weight": 100.0}
        images = (batch.images_BCHW, again_BCHW)
        loss_g = generator_loss(twin.discriminator, *images, batch.texts_BE, entropy=entropy, **weights)
        for name, loss in (("discriminator", loss_d), ("generator", loss_g)):
            losses[name] += share * loss.item()
            own = torch.autograd.grad(loss, list(getattr(twin, name).parameters()), retain_graph=True)
            gradients[name] = [old + share * new for old, new in zip(gradients[name], own, strict=False)]
    applied = applied_gradients(trainer)
    trainer.train_steps(1)
    for name in NETWORKS:
        assert trainer.metrics[f"{name}_losses"] == pytest.approx([losses[name]], rel=1e-6)
        largest = max(gradient.abs().max() for gradient in gradients[name])
        for one, other in zip(applied[name][0], gradients[name], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * largest)


def test_one_accumulated_batch_differs_from_the_plain_step_only_in_the_discriminator_that_judges(make):
    """Accumulated, the generator learns from the discriminator as it was before the step."""
    plain, accumulated = make("reference"), make("optimized", "gradient_accumulation", accumulation_steps=1)
    ours, theirs = applied_gradients(accumulated), applied_gradients(plain)
    for trainer in (plain, accumulated):
        trainer.train_steps(1)
    assert differences(ours["discriminator"], theirs["discriminator"]) == []
    assert differences(ours["generator"], theirs["generator"]) != []
    assert differences(plain.state()["discriminator"], accumulated.state()["discriminator"]) != [], "BatchNorm's"


def test_compiled_networks_keep_every_loss_of_20_steps_within_a_ten_thousandth(make):
    arguments = {"batch_size": 6, "image_size": 8}  # 42 items: every batch has the same shape
    plain, compiled = make("optimized", **arguments), make("optimized", "compiled_networks", **arguments)
    for trainer in (plain, compiled):
        trainer.train_steps(20)
    assert losses_of(plain) != losses_of(compiled), "other kernels round otherwise"
    for name in LOSSES:
        assert compiled.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-4)
    assert list(compiled.state()["generator"]) == list(plain.state()["generator"])
    plain.load_state(compiled.state())
    assert differences(plain.state(), compiled.state()) == []


def test_compiled_networks_need_a_compiler(make, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(BadInput, match=r"compiled_networks: needs a C\+\+ compiler, and none of .*; install g\+\+"):
        make("optimized", "compiled_networks")
    make("optimized")


# --- mixed precision ---


def spoil(trainer, name, when):
    """Make one gradient of a network infinite in the updates whose numbers are in `when`."""
    count = itertools.count()
    parameter = next(getattr(trainer, name).parameters())
    # The discriminator's weights get a gradient of the generator's loss too, which nobody uses.
    a_step = 2 if name == "discriminator" else 1

    def hook(gradient):
        return gradient * math.inf if next(count) // a_step in when else gradient

    parameter.register_hook(hook)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_infinite_gradient_is_counted_as_a_skipped_step(make, name):
    trainer = make("optimized", "mixed_precision")
    spoil(trainer, name, {1, 2, 5})
    before = trainer.state()
    trainer.train_steps(4)
    assert (trainer.metrics["num_steps"], trainer.metrics["num_skipped_steps"]) == (4, 2)
    trainer.train_steps(3)
    assert trainer.metrics["num_skipped_steps"] == 1
    assert trainer.state()["scaler"]["scale"] == before["scaler"]["scale"] / 8


def test_without_mixed_precision_no_step_is_skipped(make):
    for tier in FAMILY.tiers:
        trainer = make(tier)
        trainer.train_steps(3)
        assert trainer.metrics["num_skipped_steps"] == 0


def test_an_epoch_in_which_every_step_was_skipped_leaves_the_schedule_alone(make):
    trainer, some = (make("optimized", "mixed_precision", "cosine_schedule") for _ in range(2))
    for name in NETWORKS:
        spoil(trainer, name, range(1000))
        spoil(some, name, range(5))
    for each in (trainer, some):
        each.train_epoch()
    assert trainer.metrics["num_skipped_steps"] == trainer.metrics["num_steps"] == 11
    assert trainer.metrics["learning_rate"] == trainer.config.learning_rate
    assert some.metrics["learning_rate"] < some.config.learning_rate
    trainer.train_steps(1)
    assert trainer.metrics["epoch"] == 1


def test_a_state_without_a_loss_scale_starts_with_a_fresh_one(make):
    trainer = make("optimized", "mixed_precision")
    fresh = trainer.state()["scaler"]
    trainer.load_state({**trainer.state(), "scaler": {**fresh, "scale": 4.0}})
    assert trainer.state()["scaler"]["scale"] == 4.0
    trainer.load_state(make("reference").state())
    assert trainer.state()["scaler"] == fresh


# --- the contract ---


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_it_is_a_trainer_of_one_phase(make, tier):
    trainer = make(tier)
    assert isinstance(trainer, Trainer)
    assert trainer.phases == ("train",)
    trainer.train_steps(1, "train")
    trainer.synchronize()
    with pytest.raises(ValueError, match="no phase 'adversarial'"):
        trainer.train_steps(1, "adversarial")
    with pytest.raises(ValueError, match="no phase 'adversarial'"):
        trainer.train_epoch("adversarial")
    with pytest.raises(ValueError, match="must not be negative, but it is -1"):
        trainer.train_steps(-1)
    trainer.train_steps(0)
    assert (trainer.metrics["num_steps"], trainer.metrics["step"]) == (0, 1)


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_metrics_are_a_copy_of_plain_data(make, tier):
    trainer = make(tier)
    trainer.train_steps(3)
    trainer.train_epoch()
    metrics = trainer.metrics
    assert set(metrics) == {
        "train_losses", *LOSSES, "num_steps", "num_skipped_steps", "epoch", "step", "learning_rate",
        "discriminator_loss", "generator_loss",
    }  # fmt: skip
    assert metrics["train_losses"] == [sum(pair) for pair in zip(*(metrics[name] for name in LOSSES), strict=True)]
    assert all(type(value) in {int, float, list} for value in metrics.values())
    metrics["generator_losses"].clear()
    assert len(trainer.metrics["generator_losses"]) == trainer.metrics["num_steps"] == 8


def test_an_epochs_losses_are_means_over_its_items(make):
    trainer = make("reference")
    trainer.train_epoch()
    for name in NETWORKS:
        total = sum(loss * (4 if step < 10 else 2) for step, loss in enumerate(trainer.metrics[f"{name}_losses"]))
        assert trainer.metrics[f"{name}_loss"] == pytest.approx(total / 42, rel=1e-12)


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_steps_go_on_into_the_next_epochs_order(make, tier):
    steps, epochs = make(tier), make(tier)
    seen, other_seen = items_seen(steps), items_seen(epochs)
    steps.train_steps(25)
    train(epochs, 3)
    assert seen == other_seen[:25]
    assert (steps.metrics["epoch"], steps.metrics["step"]) == (2, 3)
    orders = [list(itertools.chain(*other_seen[first : first + 11])) for first in (0, 11, 22)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    steps.train_epoch()
    assert differences(steps.state(), epochs.state()) == []


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_a_last_batch_of_one_item_is_left_out_and_another_item_every_epoch(make, tier):
    """BatchNorm has no variance of one value."""
    trainer = make(tier, batch_size=41)
    seen, left_out = items_seen(trainer), set()
    everything = set(trainer.data.parts["train"].tolist())
    for epoch in range(3):
        assert trainer.num_batches == 1
        trainer.train_epoch()
        assert len(seen) == epoch + 1
        left_out |= everything - set(seen[-1])
    assert len(left_out) > 1


@pytest.mark.parametrize(
    ("batch_size", "num_steps", "sizes"), [(4, 5, [8, 8, 6]), (3, 11, [8]), (5, 8, [2]), (8, 1, [8, 8, 8, 8, 2])]
)
def test_a_state_of_another_batch_size_goes_on_with_the_items_that_are_left(make, batch_size, num_steps, sizes):
    """Also where a single item is left for a last batch, which sits out."""
    source, target = make("reference", batch_size=batch_size), make("optimized", "larger_batches", seed=9)
    seen, other_seen = items_seen(source), items_seen(target)
    source.train_steps(num_steps)
    target.load_state(source.state())
    assert target.num_steps_left == len(sizes)
    target.train_epoch()
    assert [len(items) for items in other_seen] == sizes
    order = list(itertools.chain(*seen, *other_seen))
    assert len(set(order)) == len(order) >= 41
    assert target.metrics["epoch"] == 1
    target.train_epoch()
    assert target.metrics["num_steps"] == 6


def test_a_state_further_in_its_epoch_than_this_one_is_long_goes_on_with_the_next(make):
    """As when a training is resumed with a larger validation part."""
    source, target = make("reference"), make("reference", val_split=0.5)
    source.train_steps(9)
    target.load_state(source.state())
    assert target.num_steps_left == 0
    target.train_steps(1)
    assert (target.metrics["epoch"], target.metrics["step"]) == (1, 1)


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_evaluating_changes_nothing(make, tier):
    trainer, calm = make(tier), make(tier)
    for each in (trainer, calm):
        each.train_steps(3)
    before, metrics, random = trainer.state(), trainer.metrics, torch.get_rng_state()
    assert trainer.evaluate() == trainer.evaluate()
    assert differences(before, trainer.state()) == []
    assert trainer.metrics == metrics
    assert torch.equal(random, torch.get_rng_state())
    for each in (trainer, calm):
        each.train_epoch()
    assert differences(trainer.state(), calm.state()) == []


def test_the_validation_loss_is_the_mean_distance_of_pixels(make):
    trainer = make("reference")
    trainer.train_steps(5)
    total = count = 0
    trainer.generator.eval()
    for number, batch in enumerate(trainer.make_loader("val")):
        noise_BZ = trainer._noise(len(batch.texts_BE), 2, number)
        with torch.no_grad():
            distances = (trainer.generator(noise_BZ, batch.texts_BE) - batch.images_BCHW).abs().double()
        total, count = total + distances.sum().item(), count + distances.numel()
    assert trainer.evaluate() == pytest.approx(total / count, rel=1e-6)
    assert count == 6 * 3 * 16 * 16


# --- a state and its continuation ---

KINDS = {
    "reference": ("reference", None),
    "accumulated": ("optimized", {**OFF, "mixed_precision": True, "gradient_accumulation": True}),
    "scheduled": ("optimized", {**OFF, "cosine_schedule": True, "early_stopping": True}),
    "documented": ("optimized", {}),
}


def make_kind(make, kind, **arguments):
    tier, switches = KINDS[kind]
    return make(tier, switches=switches, **{"image_size": 8, **arguments})


@pytest.mark.parametrize(("source", "target"), list(itertools.product(KINDS, KINDS)))
def test_the_state_of_any_trainer_loads_into_any_other_and_comes_out_key_for_key(make, source, target):
    giver, taker = make_kind(make, source, seed=1), make_kind(make, target, seed=2)
    giver.train_steps(7)
    state = giver.state()
    taker.load_state(state)
    back = taker.state()
    assert list(back) == list(state)
    if KINDS[source] == KINDS[target]:
        assert differences(state, back) == []
    for name in ("family", "architecture", *NETWORKS, "progress"):
        assert differences(state[name], back[name]) == []
    for name in NETWORKS:
        assert differences(state[f"{name}_optimizer"]["state"], back[f"{name}_optimizer"]["state"]) == []
    taker.train_epoch()
    assert taker.metrics["epoch"] == giver.metrics["epoch"] + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_steps", [0, 4, 11])
def test_a_training_stopped_at_any_step_and_resumed_is_bitwise_the_uninterrupted_one(make, tmp_path, kind, num_steps):
    whole, first, second = (make_kind(make, kind, seed=seed) for seed in (5, 5, 6))
    first.train_steps(num_steps)
    checkpoint.save(tmp_path / "state", first.state())
    first.train_steps(3)  # what comes after the snapshot is lost
    second.train_steps(2)
    second.load_state(checkpoint.load(tmp_path / "state"))
    second.train_steps(13 - num_steps)
    second.train_epoch()
    whole.train_steps(13)
    whole.train_epoch()
    assert differences(whole.state(), second.state()) == []
    assert whole.metrics == second.metrics


@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_then_the_rest_of_the_epoch_are_the_epoch(make, kind):
    parts, whole = make_kind(make, kind), make_kind(make, kind)
    parts.train_steps(3)
    parts.train_epoch()
    whole.train_epoch()
    assert parts.metrics["num_steps"] == whole.metrics["num_steps"] - 3
    for name in NETWORKS:
        assert parts.metrics[f"{name}_loss"] == whole.metrics[f"{name}_loss"]
    assert differences(parts.state(), whole.state()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reloaded", [False, True])
def test_an_error_between_the_batches_leaves_a_trainer_that_goes_on_where_it_was(make, kind, reloaded):
    broken, whole = make_kind(make, kind), make_kind(make, kind)
    name = "train_batch" if kind == "reference" else "_update"
    real, count = getattr(broken, name), itertools.count()

    def failing(*arguments):
        if next(count) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    setattr(broken, name, failing)
    with pytest.raises(KeyboardInterrupt):
        broken.train_epoch()
    if reloaded:
        broken.load_state(broken.state())
    broken.train_epoch()
    whole.train_epoch()
    assert differences(broken.state(), whole.state()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_a_snapshot_and_loading_it_copies_it(make, kind):
    trainer = make_kind(make, kind)
    trainer.train_steps(3)
    state = trainer.state()
    kept = copy.deepcopy(state)
    trainer.train_steps(3)
    assert differences(state, kept) == []
    trainer.load_state(state)
    trainer.train_epoch()
    assert differences(state, kept) == []
    trainer.load_state(state)
    for _, leaf in leaves(state):
        if isinstance(leaf, torch.Tensor):
            leaf.zero_()
    assert differences(trainer.state(), kept) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_state_gives_the_same_round_again(make, kind):
    trainer = make_kind(make, kind)
    trainer.train_steps(3)
    state = trainer.state()
    rounds = []
    for _ in range(3):
        trainer.load_state(state)
        trainer.train_steps(4)
        rounds.append(losses_of(trainer))
    assert rounds[0] == rounds[1] == rounds[2]


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_a_state_of_something_else_is_refused_and_changes_nothing(make, tier):
    trainer = make(tier)
    before = trainer.state()
    for state, named in (
        (make(tier, width=3).state(), "its width is 3, the trainer's is 2"),
        (make(tier, image_size=32).state(), "its image_size is 32, the trainer's is 16"),
        (make(tier, text_size=8).state(), "its text_size is 8, the trainer's is 16"),
        (make(tier, noise_size=9).state(), "its noise_size is 9, the trainer's is 8"),
        ({**before, "family": "tabular_regressor"}, "no state"),
        ({"family": "text_to_image"}, "no state"),
        ({}, "no state"),
    ):
        with pytest.raises(BadInput, match=named):
            trainer.load_state(state)
    assert differences(before, trainer.state()) == []


# --- building ---


@pytest.mark.parametrize(
    ("tier", "arguments", "named"),
    [
        ("swift", {}, "tier: unknown tier 'swift'; choose one of: reference, published, optimized, fastest"),
        ("reference", {"preset": "huge"}, "preset: unknown preset 'huge'; choose one of: tiny, smoke, default"),
        ("reference", {"image_size": 48}, "configuration: image_size is 48; make it a power of two"),
        ("reference", {"small_image_size": 24}, "configuration: small_image_size is 24; make it a power of two"),
        ("reference", {"image_size": 4}, "configuration: image_size is 4; make it at least 8"),
        ("reference", {"batch_size": 1}, "configuration: batch_size is 1; make it at least 2"),
        ("reference", {"beta1": 1.0}, "configuration: beta1 is 1.0; make it less than 1"),
        ("reference", {"learning_rate": 0.0}, "configuration: learning_rate is 0.0; make it greater than 0"),
        ("reference", {"width": 2.5}, "configuration: width is 2.5; give it a number of type int"),
        ("reference", {"widht": 2}, "configuration: unknown key 'widht'; choose from: accumulation_steps, "),
        (
            "optimized",
            {"mixed_precision_dtype": "float8"},
            "configuration: mixed_precision_dtype is 'float8'; choose one of: auto, float16, bfloat16",
        ),
        ("optimized", {"switches": {"fast": True}}, "switches: unknown switch 'fast'; choose from: fewer_epochs, "),
        ("optimized", {"switches": {"fewer_epochs": 1}}, "switches: fewer_epochs is 1; set it to True or False"),
        (
            "reference",
            {"switches": {"fewer_epochs": True}},
            "switches: unknown switch 'fewer_epochs'; leave it out: this tier has no switches",
        ),
        ("reference", {"device": "tpu"}, "device: unknown device 'tpu'; choose cpu or cuda"),
        ("reference", {"device": "cuda:99"}, "device: there is no device 'cuda:99' here; "),
        ("reference", {"device": "meta"}, "device: device 'meta' is not supported; choose cpu or cuda"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(make, tier, arguments, named):
    with pytest.raises(BadInput) as caught:
        make(tier, **arguments)
    assert str(caught.value).startswith(named)


# --- trainers beside each other ---


@pytest.mark.parametrize("kind", KINDS)
def test_building_and_training_leave_the_processs_random_stream_alone(make, kind):
    before = torch.get_rng_state()
    trainer = make_kind(make, kind)
    trainer.train_steps(3)
    trainer.train_epoch()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
def test_trainers_that_take_turns_do_not_change_each_other(make, kind):
    alone = make_kind(make, kind, seed=3)
    one, other = make_kind(make, kind, seed=3), make_kind(make, kind, seed=4)
    alone.train_steps(8)
    for _ in range(4):
        torch.manual_seed(0)
        one.train_steps(2)
        other.train_steps(1)
    assert differences(alone.state(), one.state()) == []
