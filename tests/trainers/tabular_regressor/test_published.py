"""The published program of document 004: what each defect does, and that without it it is the optimized tier."""

import itertools
import math

import pytest
import torch

from tests.properties.controls import memory_runs_out
from tests.states import assert_same_tree
from trainers.tabular_regressor import FAMILY
from trainers.tabular_regressor.config import PUBLISHED_SWITCHES, SWITCHES, RegressorConfig
from trainers.tabular_regressor.data import offline_data_path
from trainers.tabular_regressor.document_004 import api, original, published

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

OFF = {switch.name: False for switch in PUBLISHED_SWITCHES}
PLAIN = {switch.name: False for switch in SWITCHES}
MIXED = {"mixed_precision_by_default": True, "validates_in_mixed_precision": True}


@pytest.fixture
def make():
    """Build small trainers, and close them at the end."""
    made = []

    def build(tier, switches, **overrides):
        arguments = {"preset": "tiny", "num_workers": 1, "dropout": 0.2, **overrides}
        made.append(FAMILY.build(tier, switches=switches, **arguments))
        return made[-1]

    yield build
    for trainer in made:
        trainer.close()


def after(trainer, num_epochs):
    """Train epochs, and return all losses of each."""
    found = []
    for _ in range(num_epochs):
        trainer.train_epoch()
        found.append((trainer.metrics["train_losses"], trainer.metrics["val_loss"]))
    return found


@pytest.mark.parametrize(
    ("on", "optimized"),
    [
        ({}, {}),
        ({"mixed_precision_by_default": True}, {"mixed_precision": True}),
        ({"workers_by_default": True}, {"loader_workers": True, "persistent_workers": True}),
        ({"skips_batch_on_oom": True}, {}),
        ({"autocast_on_cuda_only": True}, {}),
        ({"workers_change_order": True}, {}),
        ({"validates_in_mixed_precision": True}, {}),
    ],
)
def test_with_a_switch_off_it_is_the_optimized_tier_to_the_bit(make, on, optimized):
    one, other = make("published", OFF | on), make("optimized", PLAIN | optimized)
    assert after(one, 2) == after(other, 2)
    assert one.make_loader("val").num_workers == other.make_loader("val").num_workers


def test_on_a_cpu_its_mixed_precision_does_nothing_unless_that_defect_is_off(make):
    plain = after(make("reference", None), 1)
    assert after(make("published", OFF | MIXED | {"autocast_on_cuda_only": True}), 1) == plain
    assert after(make("published", OFF | MIXED), 1) != plain


def test_it_uses_no_mixed_precision_where_the_configuration_says_so(make):
    quiet = make("published", OFF | MIXED, use_mixed_precision=False)
    assert after(quiet, 1) == after(make("reference", None), 1)


def test_it_validates_in_mixed_precision(make):
    kept, ours = (make("published", OFF | MIXED | {"validates_in_mixed_precision": on}) for on in (False, True))
    (kept_losses, kept_val), (our_losses, our_val) = after(kept, 1)[0], after(ours, 1)[0]
    assert kept_losses == our_losses
    assert kept_val != our_val
    assert kept_val == pytest.approx(our_val, rel=0.05)


def test_persistent_workers_change_the_order_from_the_second_epoch_on(make):
    on = {"workers_by_default": True, "workers_change_order": True}
    plain, changed = make("reference", None, num_epochs=9), make("published", OFF | on, num_epochs=9)
    first, *rest = zip(after(plain, 3), after(changed, 3), strict=True)
    assert first[0] == first[1]
    assert all(one[0] != other[0] for one, other in rest)


def test_a_state_of_the_second_epoch_continues_in_the_changed_order(make):
    on = OFF | {"workers_by_default": True, "workers_change_order": True}
    whole, first, second = (make("published", on) for _ in range(3))
    first.train_epoch()
    first.train_steps(3)
    second.load_state(first.state())
    after(whole, 2)
    second.train_epoch()
    assert_same_tree(second.state(), whole.state())


@pytest.mark.parametrize("point", ["forward", "backward", "step"])
def test_a_batch_for_which_memory_runs_out_is_left_out(make, point):
    """In float32; its neighbours are trained, and the epoch's loss is their mean."""
    trainer = make("published", OFF | {"skips_batch_on_oom": True})
    trainer.train_steps(2)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    with memory_runs_out(trainer, point, 1):
        trainer.train_steps(1)
    assert math.isnan(trainer.metrics["train_losses"][0])
    assert trainer.metrics["num_skipped_steps"] == 1
    assert all(torch.equal(one, other) for one, other in zip(before, trainer.model.parameters(), strict=True))
    trainer.load_state(trainer.state())
    trainer.train_epoch()
    taken = trainer.metrics["train_losses"]
    assert all(map(math.isfinite, taken))
    assert len(taken) == trainer.num_batches - 3
    assert trainer.metrics["num_skipped_steps"] == 0
    assert math.isfinite(trainer.metrics["train_loss"])


def test_the_loss_of_an_epoch_is_the_mean_over_the_batches_that_were_taken(make):
    trainer = make("published", OFF | {"skips_batch_on_oom": True})
    with memory_runs_out(trainer, "forward", 1):
        trainer.train_epoch()
    losses = trainer.metrics["train_losses"]
    taken = [loss for loss in losses if not math.isnan(loss)]
    assert len(taken) == len(losses) - 1
    assert trainer.metrics["train_loss"] == pytest.approx(sum(taken) / len(taken), rel=1e-12)


def test_a_loss_that_is_not_a_number_is_no_batch_that_was_left_out(make):
    trainer = make("published", OFF | {"skips_batch_on_oom": True})
    trained, losses = trainer._train_batch, itertools.chain([float("nan")], itertools.repeat(None))
    trainer._train_batch = lambda *batch: next(losses) or trained(*batch)
    trainer.train_epoch()
    assert math.isfinite(sum(trainer.metrics["train_losses"][1:]))
    assert math.isnan(trainer.metrics["train_loss"])


@pytest.mark.parametrize("point", ["unscale", "step"])
def test_memory_that_runs_out_while_gradients_are_applied_ends_the_training(make, point):
    """With a loss scale: the mark that the interrupted step left in the scaler makes the next one fail."""
    trainer = make("published", OFF | MIXED | {"skips_batch_on_oom": True})
    trainer.train_steps(1)
    with memory_runs_out(trainer, point, 1):
        trainer.train_steps(1)
    if point == "step":
        with pytest.raises(RuntimeError, match="has already been called"):
            trainer.train_steps(1)
    else:
        trainer.train_steps(1)


def test_with_that_defect_off_the_batch_is_taken_in_parts(make):
    trainer = make("published", OFF)
    with memory_runs_out(trainer, "forward", 1):
        trainer.train_steps(1)
    assert trainer.num_parts == 2
    assert trainer.metrics["num_skipped_steps"] == 0


# --- The functions that a user calls ---


def losses_of(module, folder, **options):
    """Train as code written before document 004 does, from one seed."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    X, Y = module.load_and_preprocess_data(offline_data_path(RegressorConfig.preset("tiny")))
    loaders = module.setup_training(X, Y)
    few = {"enable_early_stop": False, "fixed_epochs": 2, "model_name": str(folder / "model")}
    return module.train_model(*loaders, 8, 2, 16, 1, **few, **options)[1:]


def test_an_old_program_computes_something_else_on_the_published_functions(tmp_path):
    """From the second epoch on; on those done right it computes the same."""
    before = losses_of(original, tmp_path / "before")
    assert losses_of(api, tmp_path / "right") == before
    train, val, test = losses_of(published, tmp_path / "published")
    assert (train[0], val[0]) == (before[0][0], before[1][0])
    assert train[1] != before[0][1]
    assert val[1] != before[1][1]
    assert test != before[2]


def test_a_configuration_overrules_the_arguments_without_a_word(tmp_path, recwarn):
    config = api.TrainingConfig(hidden_size=12, num_layers=0, max_epochs=3)
    train, *_ = losses_of(published, tmp_path / "one", config=config)
    assert len(train) == 3
    assert not [each for each in recwarn if "configuration" in str(each.message)]


def test_its_loaders_have_four_workers_that_persist():
    loaders = published.setup_training(torch.randn(50, 3), torch.randn(50, 2))
    assert [(loader.num_workers, loader.persistent_workers) for loader in loaders] == [(4, True)] * 3


def test_it_begins_with_the_best_weights_that_are_there(tmp_path):
    first = losses_of(published, tmp_path / "one")
    again, *_ = losses_of(published, tmp_path / "one")
    assert again[0] < first[0][0]
    assert losses_of(published, tmp_path / "other") == first
