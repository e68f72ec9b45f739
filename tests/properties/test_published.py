"""Properties 38, 44 and 45 of the published tiers that run on PyTorch; each with planted faults.

Those of the dialogue GAN are in `test_dialogue_published`.
"""

import contextlib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests import strategies
from tests.properties.controls import fails, forgetting, holds, memory_runs_out
from tests.states import same
from trainers import family
from trainers.common import checkpoint
from trainers.tabular_regressor import published as tabular
from trainers.tabular_regressor.config import PUBLISHED_SWITCHES as REGRESSORS
from trainers.text_to_image import published as image
from trainers.text_to_image.config import PUBLISHED_SWITCHES as PAINTERS
from trainers.text_to_image.config import SWITCHES as DOCUMENTED
from trainers.text_to_image.model import entropy_of_logits

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

BASES = {"tabular_regressor": tabular.PublishedTrainer, "text_to_image": image.PublishedTrainer}
OVERRIDES = {
    "tabular_regressor": strategies.tiny_regressor_overrides().flatmap(
        lambda sizes: strategies.flags().map(lambda mixed: {**sizes, "use_mixed_precision": mixed, "num_epochs": 2})
    ),
    "text_to_image": strategies.tiny_dcgan_overrides().map(lambda sizes: {**sizes, "num_epochs": 2}),
}
DEFECTS = {
    "tabular_regressor": [switch.name for switch in REGRESSORS],
    "text_to_image": [switch.name for switch in PAINTERS if switch not in DOCUMENTED],
}
OFF = {name: dict.fromkeys(defects, False) for name, defects in DEFECTS.items()}
NETWORKS = ("model", "generator", "discriminator")
OPTIMIZERS = ("optimizer", "generator_optimizer", "discriminator_optimizer")
SLOW = "compiled_networks"

both_families = pytest.mark.parametrize("name", BASES)


def name_of(kind):
    """Name of the family of a kind of trainer."""
    return next(name for name, base in BASES.items() if issubclass(kind, base))


@contextlib.contextmanager
def built(*wanted):
    """Build trainers, each of a pair (kind or tier, arguments), and close them at the end."""
    made = []
    try:
        for kind, arguments in wanted:
            made.append(build(kind, **arguments))
        yield made
    finally:
        for trainer in made:
            trainer.close()


def build(kind, *, name=None, **arguments):
    name = name or name_of(kind)
    tier = kind if isinstance(kind, str) else "published"
    with pytest.MonkeyPatch.context() as patch:
        if tier == "published":  # before it is built, for the switches bind methods of the class
            patch.setattr(f"trainers.{name}.published.PublishedTrainer", kind)
        return family(name).build(tier, **{"preset": "tiny", "log": lambda _: None, **arguments})


def settings_of(name, *, but=()):
    """Subsets of a published tier's switches with which it can train, as complete settings."""
    left_out = dict.fromkeys((*but, *([SLOW] if name == "text_to_image" else [])), False)
    chosen = [switch for switch in family(name).switches["published"] if switch.name not in left_out]
    return strategies.switch_subsets(chosen).map(lambda settings: trainable({**settings, **left_out}))


def trainable(settings):
    """Settings without the two switches that fail together."""
    if settings.get("smaller_images"):
        settings = {**settings, "fixed_network_depth": False}
    return settings


def workers_of(trainer):
    """Number of workers of each loader, and whether they persist."""
    loaders = [trainer.make_loader(part) for part in ("train", "val")]
    return [(loader.num_workers, loader.persistent_workers) for loader in loaders]


def training_of(trainer):
    """Figures of every epoch of a training, and where it ends."""
    figures = []
    for _ in range(trainer.config.num_epochs):
        trainer.train_epoch()
        figures.append(trainer.metrics)
    return figures, trainer.state()


# --- 44 ---


def check_regressor_is_optimized(kind, overrides, mixed, workers, seed, point):
    """44: without defects it is the optimized tier with these switches, bitwise, and when memory runs out too."""
    arguments = {"name": "tabular_regressor", "seed": seed, **overrides}
    chosen = {"mixed_precision_by_default": mixed, "workers_by_default": workers}
    documented = {
        "mixed_precision": mixed and overrides["use_mixed_precision"],
        "loader_workers": workers,
        "persistent_workers": workers,
    }
    with built(
        (kind, {"switches": {**OFF["tabular_regressor"], **chosen}, **arguments}),
        ("optimized", {"switches": documented, **arguments}),
    ) as (ours, theirs):
        assert workers_of(ours) == workers_of(theirs)
        for trainer in (ours, theirs):
            trainer.train_epoch()
            with memory_runs_out(trainer, point):
                trainer.train_steps(1)
        assert ours.metrics == theirs.metrics
        for trainer in (ours, theirs):
            trainer.train_epoch()
        assert ours.metrics == theirs.metrics
        assert same(ours.state(), theirs.state())


def check_painter_is_optimized(kind, overrides, settings, seed):
    """44: without defects it is the optimized tier with any of the document's switches, bitwise."""
    arguments = {"name": "text_to_image", "seed": seed, **overrides}
    with built(
        (kind, {"switches": {**settings, **OFF["text_to_image"]}, **arguments}),
        ("optimized", {"switches": settings, **arguments}),
    ) as (ours, theirs):
        assert ours.config == theirs.config
        assert ours.architecture == theirs.architecture
        for trainer in (ours, theirs):
            trainer.train_epoch()
        assert ours.metrics == theirs.metrics
        for trainer in (ours, theirs):
            trainer.train_steps(2)
        assert ours.metrics == theirs.metrics
        assert same(ours.state(), theirs.state())


documented_settings = strategies.switch_subsets([switch for switch in DOCUMENTED if switch.name != SLOW]).map(
    lambda settings: {**settings, SLOW: False}
)
OPTIMIZED = {
    "tabular_regressor": holds(
        check_regressor_is_optimized,
        OVERRIDES["tabular_regressor"],
        strategies.flags(),
        strategies.flags(),
        strategies.seeds(),
        strategies.memory_points().filter(lambda point: point != "unscale"),  # only a scaler comes there
        max_examples=8,
    ),
    "text_to_image": holds(
        check_painter_is_optimized,
        OVERRIDES["text_to_image"],
        documented_settings,
        strategies.seeds(),
        max_examples=8,
    ),
}


@both_families
def test_44_with_its_defects_off_it_is_the_optimized_tier_to_the_bit(name):
    OPTIMIZED[name](BASES[name])


def lasting(name, defect):
    """Return a kind of trainer that has a defect whatever its switch says."""

    class Lasting(BASES[name]):
        def __init__(self, *given, switches, **others):
            super().__init__(*given, switches={**switches, defect: True}, **others)

    return Lasting


@pytest.mark.parametrize(("name", "defect"), [(name, defect) for name in BASES for defect in DEFECTS[name]])
def test_44_notices_a_defect_that_cannot_be_turned_off(name, defect):
    assert fails(OPTIMIZED[name], lasting(name, defect))


# --- 45 ---


class Neutral(NamedTuple):
    """Settings under which a defect changes nothing.

    Attributes:
        defect: name of its switch.
        settings: of other switches.
        overrides: of the configuration.
        but: figures that it changes all the same.

    """

    defect: str
    settings: Mapping = MappingProxyType({})
    overrides: Mapping = MappingProxyType({})
    but: tuple = ()


NEUTRAL = {
    "tabular_regressor": [
        Neutral("mixed_precision_by_default", {"autocast_on_cuda_only": True}),
        Neutral("workers_by_default", {"workers_change_order": False}),
        Neutral("workers_change_order", {"workers_by_default": False}),
        Neutral("workers_change_order", overrides={"num_workers": 0}),
        Neutral("workers_change_order", overrides={"num_epochs": 1}),
        Neutral("autocast_on_cuda_only", {"mixed_precision_by_default": False}),
        Neutral("autocast_on_cuda_only", overrides={"use_mixed_precision": False}),
        Neutral("skips_batch_on_oom"),
        Neutral("validates_in_mixed_precision", but=("val_loss",)),
        Neutral("validates_in_mixed_precision", {"mixed_precision_by_default": False}),
        Neutral("validates_in_mixed_precision", {"autocast_on_cuda_only": True}),
    ],
    "text_to_image": [
        Neutral("autocast_on_cuda_only", {"mixed_precision": False}),
        Neutral("fixed_network_depth", {"smaller_images": False}),
        Neutral("fixed_network_depth", {"smaller_images": True}, {"image_size": 8, "small_image_size": 8}),
    ],
}
"""All on a CPU."""


def check_neutral(kind, condition, overrides, settings, seed):
    """45: under its condition a training with a defect is that without it, bitwise, whatever else is on."""
    arguments = {"seed": seed, **overrides, **condition.overrides}
    chosen = {**settings, **condition.settings}
    both = [(kind, {"switches": trainable({**chosen, condition.defect: on}), **arguments}) for on in (True, False)]
    with built(*both) as (ours, theirs):
        assert ours.architecture == theirs.architecture
        (our_figures, our_state), (their_figures, their_state) = training_of(ours), training_of(theirs)
        for one, other in zip(our_figures, their_figures, strict=True):
            assert one.keys() == other.keys()
            assert [name for name in one.keys() - set(condition.but) if one[name] != other[name]] == []
        assert same(our_state, their_state)


def neutral(name, *defects):
    """The property of some defects."""
    conditions = [condition for condition in NEUTRAL[name] if condition.defect in defects]
    return holds(
        check_neutral,
        strategies.st.sampled_from(conditions),
        OVERRIDES[name],
        settings_of(name, but=() if name == "tabular_regressor" else ("loader_workers",)),
        strategies.seeds(),
        max_examples=3 * len(conditions),
    )


@both_families
def test_45_a_defect_changes_nothing_under_its_condition(name):
    assert {condition.defect for condition in NEUTRAL[name]} == set(DEFECTS[name])
    neutral(name, *DEFECTS[name])(BASES[name])


class MixedOnAnyDevice(tabular.PublishedTrainer):
    """Trains in mixed precision wherever that is the default, with a GPU or without."""

    def __init__(self, *given, switches, **others):
        only = switches["autocast_on_cuda_only"] and not switches["mixed_precision_by_default"]
        super().__init__(*given, switches={**switches, "autocast_on_cuda_only": only}, **others)


class OtherOrderOfWorkers(tabular.PublishedTrainer):
    """Gives workers the rows in an order of their own from the first epoch on."""

    def _order_seed(self):
        return super()._order_seed() + self.switches["workers_by_default"]


class OtherOrderWithoutWorkers(tabular.PublishedTrainer):
    """Changes the order whether or not there are workers, and in the first epoch too."""

    def _order_seed(self):
        return self.seed + self._changes_order


class UnclippedWithoutAutocast(tabular.PublishedTrainer):
    """Takes clipping for a part of mixed precision."""

    def __init__(self, config, *given, switches, **others):
        super().__init__(config, *given, switches=switches, **others)
        if switches["autocast_on_cuda_only"]:
            self.config = config.replace(clip_norm=math.inf)


class SkippingWithMemoryLeft(tabular.PublishedTrainer):
    """Leaves out a batch for which memory suffices."""

    def train_batch(self, features_BF, targets_BK):
        if self._skips_batch and self.step == 1:
            return tabular._LEFT_OUT
        return super().train_batch(features_BF, targets_BK)


class ValidatingInMixedPrecision(tabular.PublishedTrainer):
    """Validates in mixed precision where the training is in float32."""

    def __init__(self, *given, switches, **others):
        super().__init__(*given, switches=switches, **others)
        self._validates_mixed = switches["validates_in_mixed_precision"]


class LogitsWithoutAutocast(image.PublishedTrainer):
    """Has the cross-entropy of mixed precision in float32."""

    def __init__(self, *given, switches, **others):
        super().__init__(*given, switches=switches, **others)
        if switches["autocast_on_cuda_only"]:
            self._entropy = entropy_of_logits


class FixedAtAnotherSize(image.PublishedTrainer):
    """Makes networks of a fixed depth for images of twice the size."""

    def _network_size(self, config):
        return super()._network_size(config) * (1 if self._fixed_size is None else 2)


@pytest.mark.parametrize(
    ("kind", "defect"),
    [
        (MixedOnAnyDevice, "mixed_precision_by_default"),
        (OtherOrderOfWorkers, "workers_by_default"),
        (OtherOrderWithoutWorkers, "workers_change_order"),
        (UnclippedWithoutAutocast, "autocast_on_cuda_only"),
        (SkippingWithMemoryLeft, "skips_batch_on_oom"),
        (ValidatingInMixedPrecision, "validates_in_mixed_precision"),
        (LogitsWithoutAutocast, "autocast_on_cuda_only"),
        (FixedAtAnotherSize, "fixed_network_depth"),
    ],
)
def test_45_notices_a_fault(kind, defect):
    assert fails(neutral(name_of(kind), defect), kind)


# --- 38 ---


def check_resume(kind, overrides, settings, seed, num_steps, num_more):
    """38: saved to a file at any step and resumed by another process's trainer = never interrupted, bitwise.

    Where memory runs out before the interruption and the batch is left out, too.
    """
    base, arguments = BASES[name_of(kind)], {"switches": settings, **overrides}
    with built(
        (base, {"seed": seed, **arguments}),
        (base, {"seed": seed, **arguments}),
        (kind, {"seed": seed + 1, **arguments}),
    ) as (whole, before, after):
        for trainer in (whole, before):
            trainer.train_epoch()
            trainer.train_steps(num_steps)
            if settings.get("skips_batch_on_oom"):
                with memory_runs_out(trainer, "forward"):
                    trainer.train_steps(1)
        after.load_state(checkpoint.loads(checkpoint.dumps(before.state()), "state"))
        for train in (lambda trainer: trainer.train_epoch(), lambda trainer: trainer.train_steps(num_more)):
            for trainer in (whole, after):
                train(trainer)
            assert whole.metrics == after.metrics
        assert same(whole.state(), after.state())


RESUMES = {
    name: holds(
        check_resume,
        OVERRIDES[name],
        settings_of(name, but=() if name == "tabular_regressor" else ("loader_workers",)),
        strategies.seeds(),
        strategies.few_steps(),
        strategies.few_steps(),
        max_examples=6,
    )
    for name in BASES
}


@both_families
def test_38_interrupted_at_any_step_and_resumed_is_uninterrupted_to_the_bit(name):
    RESUMES[name](BASES[name])


@both_families
@pytest.mark.parametrize("parts", [NETWORKS, OPTIMIZERS, ("progress",)], ids=lambda names: names[-1])
def test_38_notices_a_part_that_is_forgotten(name, parts):
    assert fails(RESUMES[name], forgetting(BASES[name], *parts))


class ForgettingWhatWasLeftOut(tabular.PublishedTrainer):
    """Counts the batches that were left out before the interruption as trained."""

    def load_state(self, state):
        super().load_state({**state, "progress": {**state["progress"], "num_left_out": 0}})


class OrderOfTheFirstEpoch(tabular.PublishedTrainer):
    """Takes the epoch in which it resumes for the first."""

    def load_state(self, state):
        super().load_state(state)
        self._resumed_in = self.epoch

    def _order_seed(self):
        return self.seed if self.epoch == self._resumed_in else super()._order_seed()


@pytest.mark.parametrize("kind", [ForgettingWhatWasLeftOut, OrderOfTheFirstEpoch])
def test_38_notices_a_fault(kind):
    assert fails(RESUMES[name_of(kind)], kind)
