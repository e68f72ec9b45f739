"""Document 004's "OOM error recovery": a batch that does not fit is taken in parts, and nothing is lost.

No GPU is needed: the error is raised by a patch, where PyTorch would raise it.
"""

import logging

import pytest
import torch

from tests.properties.controls import memory_runs_out
from trainers.contract import BadInput
from trainers.tabular_regressor import FAMILY, TrainingConfig, optimized, setup_training, train_model
from trainers.tabular_regressor.config import SWITCHES
from trainers.tabular_regressor.document_004 import memory
from trainers.tabular_regressor.document_004.model_files import load_training
from trainers.tabular_regressor.document_004.model_names import ModelFiles
from trainers.tabular_regressor.optimized import NotEnoughMemory, OptimizedTrainer

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

OFF = {switch.name: False for switch in SWITCHES}
POINTS = ("forward", "backward", "unscale", "step")
PLAIN_POINTS = ("forward", "backward", "step")


def make(mixed, **overrides):
    overrides = {"preset": "tiny", "num_workers": 0, "dropout": 0.3, **overrides}
    return build("optimized", switches={**OFF, "mixed_precision": mixed}, **overrides)


def same(left, right):
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


@pytest.mark.parametrize(("times", "first"), [(1, 0), (1, 3), (3, 3)])
@pytest.mark.parametrize(
    ("mixed", "point"), [(False, point) for point in PLAIN_POINTS] + [(True, point) for point in POINTS]
)
def test_after_running_out_of_memory_the_weights_are_those_of_a_run_in_parts_to_the_bit(mixed, point, times, first):
    """With dropout, and at the optimizer's first step, too; the scaler and the schedule agree as well."""
    hit, calm = make(mixed), make(mixed)
    for trainer in (hit, calm):
        trainer.train_steps(first)
    with memory_runs_out(hit, point, times):
        hit.train_steps(1)
    calm.num_parts = 2**times
    calm.train_steps(1)
    assert hit.num_parts == calm.num_parts
    for trainer in (hit, calm):
        trainer.train_steps(4)
        trainer.train_epoch()
    assert hit.metrics == calm.metrics
    assert same(hit.state(), calm.state())


@pytest.mark.parametrize("num_parts", [2, 3, 4, 8, 16, 100])
@pytest.mark.parametrize("batch_size", [16, 13])
def test_the_gradients_of_the_parts_add_up_to_the_mean_of_the_batch(num_parts, batch_size):
    """In float32 without dropout, the rounding of sums apart; parts are of unequal size where it does not come out."""
    arguments = {"preset": "tiny", "num_workers": 0, "dropout": 0.0, "batch_size": batch_size, "clip_norm": 1e9}
    whole, parts = (build("optimized", switches=OFF, **arguments) for _ in range(2))
    parts.num_parts = num_parts
    for trainer in (whole, parts):
        trainer.train_steps(1)
    assert parts.metrics["train_losses"] == pytest.approx(whole.metrics["train_losses"], rel=1e-6)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6)


def test_parts_whose_gradients_were_averaged_alike_would_be_seen():
    """The negative control: 13 rows in 2 parts of 7 and 6, weighted by one half each."""
    torch.manual_seed(0)
    rows = torch.randn(13)
    by_share = sum(part.mean() * len(part) / 13 for part in rows.tensor_split(2))
    alike = sum(part.mean() / 2 for part in rows.tensor_split(2))
    assert torch.allclose(by_share, rows.mean(), rtol=1e-6)
    assert not torch.allclose(alike, rows.mean(), rtol=1e-3)


@pytest.mark.parametrize("mixed", [False, True])
def test_in_one_part_the_sum_over_parts_is_the_plain_step_to_the_bit(mixed):
    plain, parts = make(mixed), make(mixed)
    parts._train_batch = parts._batch_in_parts
    for trainer in (plain, parts):
        trainer.train_epoch()
    assert plain.metrics == parts.metrics
    assert same(plain.state(), parts.state())


@pytest.mark.parametrize("mixed", [False, True])
def test_with_too_little_memory_for_anything_it_ends_with_one_clear_line_and_nothing_is_changed(mixed):
    trainer, calm = make(mixed), make(mixed)
    for each in (trainer, calm):
        each.train_steps(3)
    before = trainer.state()
    with (
        memory_runs_out(trainer, "forward", 4),
        pytest.raises(NotEnoughMemory, match=r"even with 2 row\(s\) at a time"),
    ):
        trainer.train_steps(1)
    assert same(trainer.state(), before)
    trainer.load_state(before)
    trainer.num_parts = 1
    for each in (trainer, calm):
        each.train_epoch()
    assert same(trainer.state(), calm.state())


def test_a_batch_of_one_row_cannot_be_halved():
    trainer = make(mixed=False, batch_size=1)
    with memory_runs_out(trainer, "forward"), pytest.raises(NotEnoughMemory, match=r"1 row\(s\)"):
        trainer.train_steps(1)


@pytest.mark.parametrize("mixed", [False, True])
def test_memory_that_runs_out_while_weights_change_is_an_error_that_says_so(mixed):
    """The update cannot be taken back, so it must not be done twice."""
    trainer = make(mixed)
    trainer.train_steps(2)
    with memory_runs_out(trainer, "step", after=True), pytest.raises(BadInput, match="middle of changing") as caught:
        trainer.train_steps(1)
    assert not isinstance(caught.value, NotEnoughMemory)


def test_an_optimizers_half_made_first_state_is_made_anew():
    trainer, calm = make(mixed=False), make(mixed=False)
    first = next(trainer.model.parameters())
    real = trainer.optimizer.step

    def failing(*_):
        trainer.optimizer.state[first] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(first)}
        trainer.optimizer.step = real
        raise torch.OutOfMemoryError

    trainer.optimizer.step = failing
    trainer.train_steps(1)
    calm.num_parts = 2
    calm.train_steps(1)
    assert same(trainer.state(), calm.state())


def test_a_scaler_left_as_it_was_would_break_the_next_step():
    """The negative control: what an error between unscaling and updating does to a scaler that nobody renews."""
    trainer = make(mixed=True)
    trainer.train_steps(1)
    trainer._renew_scaler = lambda _: None
    with memory_runs_out(trainer, "step"), pytest.raises(RuntimeError, match="unscale_"):
        trainer.train_steps(1)


def test_masks_drawn_on_would_be_seen():
    """The negative control: a retry that draws other dropout masks than a first attempt."""
    hit, calm = make(mixed=False), make(mixed=False)

    def retry(features, targets):
        hit.model(features)  # the attempt that fails after it drew
        hit.num_parts = 2
        return hit._batch_in_parts(features, targets)

    hit.train_batch = retry
    calm.num_parts = 2
    for trainer in (hit, calm):
        trainer.train_steps(1)
    assert not same(hit.state()["model"], calm.state()["model"])


def test_memory_is_cleared_before_the_batch_is_tried_again(monkeypatch, caplog):
    cleared = []
    monkeypatch.setattr(optimized, "clear_gpu_memory", lambda: cleared.append(trainer.optimizer.param_groups[0]))
    trainer = make(mixed=False)
    with caplog.at_level(logging.WARNING), memory_runs_out(trainer, "backward", 2):
        trainer.train_steps(1)
    assert len(cleared) == 2
    assert "taken in 4 parts" in caplog.text


def test_an_error_that_is_no_lack_of_memory_is_not_retried():
    trainer = make(mixed=True)

    def broken(*_):
        raise RuntimeError("broken")

    trainer.model.forward = broken
    with pytest.raises(RuntimeError, match="broken"):
        trainer.train_steps(1)
    assert trainer.num_parts == 1


def test_a_training_without_enough_memory_is_saved_before_it_ends(tmp_path, monkeypatch):
    """As `train_model` and the command line run it: the error is one line, and the checkpoint resumes."""
    X, Y = torch.randn(100, 8), torch.randn(100, 2)
    config = TrainingConfig(hidden_size=8, num_layers=1, num_epochs=2, num_workers=0, use_mixed_precision=True)
    name = str(tmp_path / "m")
    real, count = OptimizedTrainer._attempt, iter([1, 1, *[0] * 4])

    def failing(self, *batch):
        if not next(count, 1):
            raise torch.OutOfMemoryError
        return real(self, *batch)

    monkeypatch.setattr(OptimizedTrainer, "_attempt", failing)
    with pytest.raises(NotEnoughMemory) as caught:
        train_model(*setup_training(X, Y, 16), 8, 2, model_name=name, config=config)
    assert "\n" not in str(caught.value)
    assert str(ModelFiles(name).checkpoint("interrupted")) in str(caught.value)
    assert load_training(ModelFiles(name).checkpoint("interrupted"))["state"]["progress"]["step"] == 2
    monkeypatch.undo()
    assert len(train_model(*setup_training(X, Y, 16), 8, 2, model_name=name, config=config, resume_from=True)[1]) == 2


def test_clearing_and_showing_memory_is_fine_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    memory.clear_gpu_memory()
    assert memory.show_gpu_memory_usage() is None
    assert "not measured" in capsys.readouterr().out


def test_shown_memory_is_what_torch_says(monkeypatch, capsys):
    mib = 2**20
    for name, value in {
        "is_available": True, "memory_allocated": 3 * mib, "memory_reserved": 5 * mib,
        "max_memory_allocated": 4 * mib, "current_device": 0,
        "get_device_properties": type("Properties", (), {"total_memory": 100 * mib}),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    assert memory.show_gpu_memory_usage() == {
        "allocated_bytes": 3 * mib, "reserved_bytes": 5 * mib, "peak_bytes": 4 * mib, "total_bytes": 100 * mib,
    }  # fmt: skip
    assert capsys.readouterr().out == (
        "GPU memory: allocated 3.0 MiB, reserved 5.0 MiB, peak 4.0 MiB, total 100.0 MiB\n"
    )
