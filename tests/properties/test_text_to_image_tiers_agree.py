"""Properties 33 and 36 to 38 of the text-to-image GAN's training; each with planted faults."""

import itertools
import math

import pytest
import torch

from tests import strategies
from tests.properties.controls import error_at, fails, forgetting, holds
from tests.states import same
from trainers.common import checkpoint
from trainers.text_to_image import FAMILY
from trainers.text_to_image.config import FASTEST_SWITCHES, SWITCHES
from trainers.text_to_image.optimized import OptimizedTrainer

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

OFF = {switch.name: False for switch in SWITCHES}
NETWORKS = ("discriminator", "generator")
NUM_STEPS = 8
EXAMPLES = 10


def without(*names):
    """Subsets of the other switches, as complete settings."""
    others = [switch for switch in SWITCHES if switch.name not in names]
    return strategies.switch_subsets(others).map(lambda settings: {**OFF, **settings})


def make(tier="optimized", kind=OptimizedTrainer, **arguments):
    trainer = build(tier, **{"preset": "tiny", "log": lambda _: None, **arguments})
    if tier == "optimized":
        trainer.__class__ = kind
    return trainer


def losses(trainer):
    return [trainer.metrics[f"{name}_losses"] for name in NETWORKS]


# --- 33 ---


class BroughtDown(Exception):
    pass


class KeepingScaler(OptimizedTrainer):
    """Goes on with a scaler that an error has left between unscaling and updating."""

    def _renew_scaler(self, state):
        del state


class CountingFailures(OptimizedTrainer):
    """Takes the items of a failed step for done."""

    def _try(self, batches):
        try:
            return super()._try(batches)
        except BroughtDown:
            self.num_items_done += sum(len(batch.texts_BE) for batch in batches)
            raise


class AddingGradients(OptimizedTrainer):
    """Clears gradients after a step, and not before the next one: those of a failed step stay."""

    def _try(self, batches):
        optimizers = self._optimizers().values()
        for optimizer in optimizers:
            optimizer.zero_grad = lambda: None
        losses = super()._try(batches)
        for optimizer in optimizers:
            torch.optim.Optimizer.zero_grad(optimizer)
        return losses


def place_of(trainer, point):
    return {
        "generator": (trainer.generator, "forward"),
        "discriminator": (trainer.discriminator, "forward"),
        "backward": (torch.Tensor, "backward"),
        "unscale": (torch.amp.GradScaler, "unscale_"),
        "discriminator_step": (trainer.discriminator_optimizer, "step"),
        "generator_step": (trainer.generator_optimizer, "step"),
        "update": (torch.amp.GradScaler, "update"),
    }[point]


BEFORE_ANY_UPDATE = {("generator", 0), *(("discriminator", skip) for skip in range(3)), ("backward", 0), ("unscale", 0)}


def check_recovery(kind, place, after, mixed, seed, num_before):
    """33: an error at any point of a step: the next step works, and after loading the state before the step, all is
    that of a training to which nothing happened, bitwise.

    Without loading it, the next step has the losses of one to which nothing happened if no network had moved yet; no
    more, for an error after the discriminator's update leaves one network ahead of the other.
    """
    point, skip = place
    arguments = {"seed": seed, "switches": {**OFF, "mixed_precision": mixed or point == "unscale"}, "image_size": 8}
    hit, calm = make(kind=kind, **arguments), make(**arguments)
    for trainer in (hit, calm):
        trainer.train_steps(num_before)
    before = hit.state()
    try:
        with error_at(*place_of(hit, point), BroughtDown(point), skip=skip, after=after), pytest.raises(BroughtDown):
            hit.train_steps(1)
        hit.train_steps(1)
        undisturbed = losses(hit)
        assert all(map(math.isfinite, hit.metrics["train_losses"]))
        hit.load_state(before)
        hit.train_steps(1)
        calm.train_steps(1)
        assert losses(hit) == losses(calm)
        if place in BEFORE_ANY_UPDATE or (point == "discriminator_step" and not after):
            assert undisturbed == losses(calm)
        for trainer in (hit, calm):
            trainer.train_steps(2)
    except (RuntimeError, StopIteration) as error:
        raise AssertionError("the step after it does not work") from error
    assert hit.metrics == calm.metrics
    assert same(hit.state(), calm.state())


recoveries = holds(
    check_recovery,
    strategies.gan_points(),
    strategies.flags(),
    strategies.flags(),
    strategies.seeds(),
    strategies.few_steps(),
    max_examples=25,
)


@pytest.mark.usefixtures("device")
def test_33_after_an_error_at_any_point_the_next_step_works_and_the_state_before_it_goes_on_undisturbed():
    recoveries(OptimizedTrainer)


@pytest.mark.parametrize(
    "kind",
    [
        KeepingScaler,
        CountingFailures,
        AddingGradients,
        *(
            forgetting(OptimizedTrainer, part)
            for part in ("discriminator", "generator", "discriminator_optimizer", "progress")
        ),
    ],
)
def test_33_notices_a_fault(kind):
    assert fails(recoveries, kind)


# --- 36 ---


class BrightTrainer(OptimizedTrainer):
    """Trains on images that are one per cent too bright."""

    def _try(self, batches):
        return super()._try([batch._replace(images_BCHW=1.01 * batch.images_BCHW) for batch in batches])


class IdleTrainer(OptimizedTrainer):
    """Evaluates the losses, and never steps."""

    def _try(self, batches):
        before = self.state()
        losses = super()._try(batches)
        for name in NETWORKS:
            getattr(self, name).load_state_dict(before[name])
        return losses


class ReshuffledTrainer(OptimizedTrainer):
    """Takes the batches and the noise of another seed."""

    def _take_steps(self, n):
        seed, self.seed = self.seed, self.seed + 1
        super()._take_steps(n)
        self.seed = seed


class FreshNoise(OptimizedTrainer):
    """Draws its noise from the process's random stream."""

    def _noise(self, num_items, *words):
        return torch.randn(num_items, self.config.noise_size)


def check_agreement(kind, overrides, settings, seed):
    """36: the losses of every step are the reference's to the bit, and training changed all weights."""
    arguments = {"seed": seed, **overrides}
    reference, optimized = make("reference", **arguments), make(kind=kind, switches=settings, **arguments)
    try:
        start = optimized.state()
        for trainer in (reference, optimized):
            trainer.train_steps(NUM_STEPS)
        assert losses(optimized) == losses(reference)
        assert len(optimized.metrics["train_losses"]) == NUM_STEPS
        assert all(map(math.isfinite, optimized.metrics["train_losses"]))
        end = optimized.state()
        for name in NETWORKS:
            assert not any(map(torch.equal, start[name].values(), end[name].values()))
            assert all(map(torch.equal, reference.state()[name].values(), end[name].values()))
    finally:
        optimized.close()


agreement = holds(
    check_agreement,
    strategies.tiny_dcgan_overrides(),
    without(*(switch.name for switch in SWITCHES if switch.parity != "bitwise")),
    strategies.seeds(),
    max_examples=EXAMPLES,
)


@pytest.mark.usefixtures("device")
def test_36_any_subset_of_the_parity_keeping_switches_agrees_with_the_reference():
    assert [switch.name for switch in SWITCHES if switch.parity == "bitwise"] == [
        "fewer_epochs", "sparse_logging", "loader_workers", "early_stopping",
    ]  # fmt: skip
    agreement(OptimizedTrainer)


@pytest.mark.parametrize("kind", [BrightTrainer, IdleTrainer, ReshuffledTrainer, FreshNoise])
def test_36_notices_a_fault(kind):
    assert fails(agreement, kind)


# --- 37 ---

PARTS_OF_ALL = ("family", "architecture", *NETWORKS, "progress")
"""Parts of a state that every tier has; a loss scale, a schedule or a patience may be ignored by those without."""


KEEPING_A_STEP = {"fewer_epochs", "sparse_logging", "cosine_schedule", "early_stopping"}
"""Switches under which a step is the reference's and needs no time to speak of to get ready for."""


class RenamingTrainer(OptimizedTrainer):
    """Saves a network under other names, as a compiled or wrapped module does."""

    def state(self):
        state = super().state()
        return {**state, "generator": {f"_orig_mod.{name}": value for name, value in state["generator"].items()}}

    def load_state(self, state):
        names = {name.removeprefix("_orig_mod."): value for name, value in state["generator"].items()}
        super().load_state({**state, "generator": names})


def check_state_travels(kind, overrides, settings, seed, num_steps, num_more):
    """37: the state of any tier loads into any other, comes out key for key, and both go on alike to the bit.

    Of the other tiers, with switches under which a step of theirs is the reference's.
    """
    switches = {
        "reference": None,
        "published": settings | {"autocast_on_cuda_only": True, "fixed_network_depth": True},
        "optimized": settings,
        "fastest": {switch.name: switch.parity == "bitwise" for switch in FASTEST_SWITCHES},
    }
    for source_tier, target_tier in itertools.product(FAMILY.tiers, FAMILY.tiers):
        source, target = (
            make(tier, kind, seed=one, switches=switches[tier], **overrides)
            for tier, one in ((source_tier, seed), (target_tier, seed + 1))
        )
        # A schedule that takes over the state of a later epoch goes on with that epoch's rate, which tiers without
        # one do not have: with it, within the first.
        within = source.num_steps_left if settings["cosine_schedule"] else num_steps
        source.train_steps(min(num_steps, within))
        state = source.state()
        target.load_state(state)
        back = target.state()
        assert list(back) == list(state)
        for part in PARTS_OF_ALL:
            assert same(state[part], back[part]), part
        if source_tier == target_tier:
            assert same(state, back)
        for trainer in (source, target):
            trainer.train_steps(num_more)
        assert losses(source) == losses(target)
        for part in (*PARTS_OF_ALL, *(f"{name}_optimizer" for name in NETWORKS)):
            ours, theirs = source.state()[part], target.state()[part]
            if part.endswith("optimizer"):  # a schedule notes in the groups where it began
                ours, theirs = ours["state"], theirs["state"]
            assert same(ours, theirs), part


state_travels = holds(
    check_state_travels,
    strategies.tiny_dcgan_overrides(),
    without(*(switch.name for switch in SWITCHES if switch.name not in KEEPING_A_STEP)),
    strategies.seeds(),
    strategies.few_steps(),
    strategies.few_steps(),
    max_examples=5,
)


@pytest.mark.usefixtures("device")
def test_37_the_state_of_any_tier_loads_into_any_other_key_for_key():
    state_travels(OptimizedTrainer)


@pytest.mark.parametrize(
    "kind", [RenamingTrainer, *(forgetting(OptimizedTrainer, f"{name}_optimizer") for name in NETWORKS)]
)
def test_37_notices_a_fault(kind):
    assert fails(state_travels, kind)


# --- 38 ---


class FreshScale(OptimizedTrainer):
    """Goes on with a loss scale of its own."""

    def load_state(self, state):
        scaler = state["scaler"] and {**state["scaler"], "scale": 2.0}
        super().load_state({**state, "scaler": scaler})


class NoMarkOfAppliedSteps(OptimizedTrainer):
    """Forgets whether a step of the epoch was applied, which is what the schedule asks at its end."""

    def load_state(self, state):
        super().load_state(state)
        self._applied_in_epoch = False

    def _take_step(self):
        before = self._applied_in_epoch
        super()._take_step()
        self._applied_in_epoch = before


def check_resume(kind, overrides, settings, seed, num_steps, num_more):
    """38: saved to a file at any step and resumed by another process's trainer = never interrupted, bitwise."""
    arguments = {"switches": settings, **overrides}
    whole, before = (make(seed=seed, **arguments) for _ in range(2))
    after = make(kind=kind, seed=seed + 1, **arguments)
    for trainer in (whole, before):
        trainer.train_epoch()
        trainer.train_steps(num_steps)
    after.load_state(checkpoint.loads(checkpoint.dumps(before.state()), "state"))
    for trainer in (whole, after):
        trainer.train_steps(num_more)
        trainer.train_epoch()
    assert whole.metrics == after.metrics
    assert whole.finished == after.finished
    assert same(whole.state(), after.state())


resumes = holds(
    check_resume,
    strategies.tiny_dcgan_overrides(),
    without("compiled_networks", "loader_workers"),
    strategies.seeds(),
    strategies.few_steps(),
    strategies.few_steps(),
    max_examples=EXAMPLES,
)


@pytest.mark.usefixtures("device")
def test_38_interrupted_at_any_step_and_resumed_is_uninterrupted_to_the_bit():
    resumes(OptimizedTrainer)


REMEMBERING = {**OFF, "mixed_precision": True, "cosine_schedule": True, "early_stopping": True}
"""Switches with which a training remembers all there is to forget."""

resumes_all = holds(
    check_resume,
    strategies.tiny_dcgan_overrides(),
    strategies.st.just(REMEMBERING),
    strategies.seeds(),
    strategies.few_steps(),
    strategies.few_steps(),
    max_examples=EXAMPLES,
)


@pytest.mark.parametrize(
    "part",
    [*NETWORKS, *(f"{name}_optimizer" for name in NETWORKS), "schedulers", "stopping", "progress"],
)
def test_38_notices_a_part_that_is_forgotten(part):
    assert fails(resumes_all, forgetting(OptimizedTrainer, part))


@pytest.mark.parametrize("kind", [FreshScale, NoMarkOfAppliedSteps])
def test_38_notices_a_fault(kind):
    assert fails(resumes_all, kind)
