"""Document 004's additions to a training: configuration, files, resuming, interruption, skipping."""

import itertools
import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import trainers
from trainers.__main__ import main
from trainers.common import checkpoint
from trainers.common.interruption import StopSignals
from trainers.contract import BadInput, Interrupted
from trainers.tabular_regressor import (
    TrainingConfig,
    check_existing_model_files,
    load_training_config,
    setup_training,
    train_model,
    training,
)
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.data import load_data, offline_data_path
from trainers.tabular_regressor.document_004 import api as documented
from trainers.tabular_regressor.document_004 import logs
from trainers.tabular_regressor.document_004.loaders import GivenLoaders
from trainers.tabular_regressor.document_004.model_files import load_training, save_training
from trainers.tabular_regressor.document_004.model_names import ModelFiles
from trainers.tabular_regressor.optimized import OptimizedTrainer

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

ROOT = Path(trainers.__file__).parents[1]
TINY = {"hidden_size": 16, "num_layers": 1, "num_epochs": 3, "use_mixed_precision": False}


@pytest.fixture
def tables(private_cache):
    """Scaled X (200, 8) and Y (200, 2)."""
    config = RegressorConfig.preset("tiny")
    data = load_data(offline_data_path(config), config)
    return data.features_NF, data.targets_NK


@pytest.fixture
def name(tmp_path):
    return str(tmp_path / "run" / "m")


def fit(tables, name, *, loaders=None, seed=0, **options):
    """`train_model` with a small configuration."""
    config = TrainingConfig(**{**TINY, **options.pop("config", {})})
    loaders = loaders or setup_training(*tables, batch_size=16)
    return train_model(*loaders, 8, 2, model_name=name, config=config, seed=seed, **options)


def last(name):
    return load_training(ModelFiles(name).checkpoint("last"))


def same_tree(left, right):
    """Whether two states agree key for key and bit for bit."""
    return checkpoint.dumps(left) == checkpoint.dumps(right)


def stopped_at(steps):
    """A `train_batch` that a Ctrl-C meets in the steps with these numbers, counted from 0 over all trainers."""
    real, count = OptimizedTrainer.train_batch, itertools.count()

    def train_batch(self, features, targets):
        if next(count) in steps:
            signal.raise_signal(signal.SIGINT)
        return real(self, features, targets)

    return train_batch


def interrupt(tables, name, step, **arguments):
    """A training that a Ctrl-C ends in that step; returns what it raised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_STEPS_BETWEEN_LOOKS", 1)
        patch.setattr(OptimizedTrainer, "train_batch", stopped_at({step}))
        with pytest.raises(Interrupted) as caught:
            fit(tables, name, **arguments)
    return caught.value


# --- the configuration decides where the caller did not ---


def num_steps(name):
    state = last(name)["state"]
    return int(next(iter(state["optimizer"]["state"].values()))["step"])


def test_the_configuration_decides_about_loaders_that_nobody_else_decided_about(tables, name):
    loaders = setup_training(*tables)
    assert loaders[0].batch_size == 32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(tables, name, loaders=loaders, config={"batch_size": 80, "num_epochs": 1})
    assert num_steps(name) == 2
    assert load_training_config(ModelFiles(name).config).batch_size == 80


def test_a_batch_size_in_the_configuration_that_nobody_chose_leaves_loaders_as_they_are(tables, name):
    fit(tables, name, loaders=setup_training(*tables), config={"num_epochs": 1})
    assert num_steps(name) == 160 // 32
    assert load_training_config(ModelFiles(name).config).batch_size == 32


def test_where_both_decided_the_loaders_count_and_it_warns(tables, name):
    with pytest.warns(UserWarning, match="batch_size is 80 in the configuration, but the loaders' 16 counts"):
        fit(tables, name, config={"batch_size": 80, "num_epochs": 1})
    assert num_steps(name) == 10
    foreign = [DataLoader(TensorDataset(*tables), batch_size=50)] * 3
    with pytest.warns(UserWarning, match="batch_size is 80 in the configuration, but the loaders' 50 counts"):
        fit(tables, f"{name}2", loaders=foreign, config={"batch_size": 80, "num_epochs": 1})
    assert num_steps(f"{name}2") == 4


def test_warnings_point_at_the_line_that_called(tables, name):
    config = TrainingConfig(**TINY, batch_size=80, num_workers=0)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loaders = setup_training(*tables, batch_size=16, config=config)
        train_model(*loaders, 8, 2, 24, 1, 0.3, name, config=config)
    assert {Path(each.filename) for each in warned} == {Path(__file__)}
    assert len(warned) == 3


def test_both_deciding_alike_is_no_matter_for_a_warning(tables, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(tables, name, config={"batch_size": 16, "num_epochs": 1})
        setup_training(*tables, batch_size=16, config=TrainingConfig(batch_size=16, num_workers=0))


def test_setup_training_takes_from_the_configuration_what_the_caller_leaves_open(tables):
    config = TrainingConfig(val_split=0.2, num_workers=0)
    loaders = setup_training(*tables, config=config)
    assert [len(loader.dataset) for loader in loaders] == [140, 40, 20]
    assert loaders[0].batch_size == 64, "the configuration's default, not the function's"
    with pytest.warns(UserWarning, match=r"val_split is 0\.2 in the configuration, but setup_training's argument 0\.1"):
        assert len(setup_training(*tables, val_split=0.1, config=config)[1].dataset) == 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert setup_training(*tables, batch_size=32, config=config)[0].batch_size == 32


def test_a_split_that_was_made_already_is_kept_with_a_warning(tables, name):
    with pytest.warns(UserWarning, match="val_split"):
        fit(tables, name, loaders=setup_training(*tables), config={"val_split": 0.3, "num_epochs": 1})


def test_what_a_configuration_decided_for_setup_training_stays_decided(tables, name):
    loaders = setup_training(*tables, config=TrainingConfig(batch_size=40, num_workers=0))
    with pytest.warns(UserWarning, match="batch_size is 80 in the configuration, but the loaders' 40 counts"):
        fit(tables, name, loaders=loaders, config={"batch_size": 80, "num_epochs": 1})
    assert num_steps(name) == 4


def test_persistence_without_workers_is_no_matter_for_a_warning(tables, name):
    foreign = [DataLoader(TensorDataset(*tables), batch_size=50)] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(tables, name, loaders=foreign, config={"persistent_workers": True, "num_epochs": 1})


def test_epochs_given_twice_count_as_the_argument_with_a_warning(tables, name):
    with pytest.warns(UserWarning, match="num_epochs is 3 in the configuration, but train_model's argument 2 counts"):
        assert len(fit(tables, name, enable_early_stop=False, fixed_epochs=2)[1]) == 2
    assert len(fit(tables, name)[1]) == 3


def test_persistent_workers_without_workers_are_no_error(tables, name):
    loaders = setup_training(*tables, persistent_workers=True)
    assert not loaders[0].persistent_workers
    fit(tables, name, loaders=loaders, config={"num_epochs": 1, "persistent_workers": True, "num_workers": 0})
    assert setup_training(*tables, num_workers=1)[0].persistent_workers
    assert not setup_training(*tables, num_workers=1, persistent_workers=False)[0].persistent_workers


def test_workers_do_not_change_the_losses(tables, name):
    kept = fit(tables, name)
    loaders = setup_training(*tables, batch_size=16, num_workers=2)
    assert fit(tables, f"{name}2", loaders=loaders)[1:] == kept[1:]
    assert (
        fit(tables, f"{name}3", loaders=setup_training(*tables), config={"batch_size": 16, "num_workers": 1})[1:]
        == (kept[1:])
    )


def test_mixed_precision_is_the_configurations(tables, name):
    plain, mixed = fit(tables, name), fit(tables, f"{name}2", config={"use_mixed_precision": True})
    assert plain[1] != mixed[1]
    assert mixed[1] == pytest.approx(plain[1], rel=0.1)


@pytest.mark.parametrize("dims", [(9, 2), (8, 3)])
def test_dimensions_that_are_not_the_datas_are_refused(tables, name, dims):
    with pytest.raises(BadInput, match="8 features and 2 targets"):
        train_model(*setup_training(*tables), *dims, model_name=name)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -3}, "batch_size"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"val_split": 0.0}, "val_split"),
        ({"test_split": 1.0}, "test_split"),
        ({"val_split": 0.001}, "val part"),
        ({"num_workers": -1}, "num_workers"),
        ({"persistent_workers": "yes"}, "persistent_workers"),
    ],
)
def test_sizes_that_are_no_sizes_are_refused_by_name(tables, arguments, named):
    with pytest.raises(BadInput, match=named):
        setup_training(*tables, **arguments)


def test_tables_that_do_not_fit_are_refused(tables):
    X, Y = tables
    with pytest.raises(BadInput, match="200 rows and Y 100"):
        setup_training(X, Y[:100])
    with pytest.raises(BadInput, match="1 dimension"):
        setup_training(X, Y[:, 0])


# --- files ---


def test_a_training_writes_its_files_and_their_content_agrees(tables, name):
    model, train_losses, val_losses, test_loss = fit(tables, name, config={"checkpoint_every": 2})
    assert list(check_existing_model_files(name)) == [
        "best_model", "config", "training_log", "checkpoint_last", "checkpoint_epoch_2",
    ]  # fmt: skip
    history, best = last(name)["history"], load_training(ModelFiles(name).best_model)
    assert (history["train_losses"], history["val_losses"]) == (train_losses, val_losses)
    assert history["best_val_loss"] == min(val_losses)
    assert best["history"]["best_epoch"] == best["state"]["progress"]["epoch"] == history["best_epoch"]
    assert all(torch.equal(value, best["state"]["model"][key]) for key, value in model.state_dict().items())
    assert last(name)["test_loss"] == test_loss
    assert json.loads(ModelFiles(name).config.read_text())["hidden_size"] == 16


def test_the_log_has_a_time_on_every_line_and_can_be_searched(tables, name, capfd):
    _, train_losses, val_losses, test_loss = fit(tables, name)
    lines = ModelFiles(name).training_log.read_text().splitlines()
    pattern = re.compile(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) [a-z_]+( \w+=(\"[^\"]*\"|\S+))*"
    )
    assert all(pattern.fullmatch(line) for line in lines), lines
    epochs = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines if " INFO epoch " in line]
    assert [float(each["train_loss"]) for each in epochs] == pytest.approx(train_losses, rel=1e-5)
    assert [float(each["val_loss"]) for each in epochs] == pytest.approx(val_losses, rel=1e-5)
    assert float(epochs[0]["learning_rate"]) == 1e-3
    (finished,) = [line for line in lines if " INFO finished " in line]
    assert f"test_loss={test_loss:.6g}" in finished
    assert "best_epoch=" in finished
    assert "total_seconds=" in finished
    console = capfd.readouterr().err.splitlines()
    assert console == [line for line in lines if " DEBUG " not in line], "the console has the summary, the file all"


def test_a_second_training_continues_the_log_without_doubling_lines(tables, name):
    fit(tables, name, config={"num_epochs": 1})
    fit(tables, name, config={"num_epochs": 1})
    text = ModelFiles(name).training_log.read_text()
    assert text.count(" INFO started ") == text.count(" INFO epoch ") == 2


def test_a_log_on_a_full_disk_says_so_once_and_training_goes_on(tables, name, caplog, monkeypatch):
    monkeypatch.setattr(logs.ModelFiles, "training_log", property(lambda _: Path("/dev/full")))
    fit(tables, name, config={"num_epochs": 2})
    assert caplog.text.count("cannot be written any more") == 1
    assert last(name)["test_loss"] > 0


def test_a_log_that_cannot_be_opened_is_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match="missing"):
        logs.setup_logging(str(tmp_path / "missing" / "m"))


def test_a_folder_that_cannot_be_made_is_refused_before_training(tables, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="file"):
        fit(tables, str(tmp_path / "file" / "m"))


def test_a_disk_that_fills_up_keeps_the_best_weights_so_far(tables, name, monkeypatch):
    real, count = os.fsync, itertools.count()

    def filling(descriptor):
        if next(count) > 4:  # the probe, the configuration and the first best weights still fit
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(checkpoint.os, "fsync", filling)
    with pytest.raises(BadInput, match=r"m_best_model\.pth.*No space left"):
        fit(tables, name)
    assert load_training(ModelFiles(name).best_model)["history"]["best_epoch"] == 1
    assert not list(Path(name).parent.glob(".*"))


def test_patience_stops_early_and_the_best_weights_are_tested(tables, name, monkeypatch):
    script = iter([0.5, 0.4, 0.6, math.nan, 0.8, 0.9])
    monkeypatch.setattr(OptimizedTrainer, "_mean_loss", lambda *_: next(script))
    _, train_losses, val_losses, test_loss = fit(tables, name, config={"num_epochs": 50, "patience": 3})
    assert len(train_losses) == len(val_losses) == 5
    assert test_loss == 0.9
    assert load_training(ModelFiles(name).best_model)["state"]["progress"]["epoch"] == 2
    assert " INFO stopped_early epoch=5 best_epoch=2" in ModelFiles(name).training_log.read_text()


def test_metrics_know_the_best_epoch_and_the_total_time():
    metrics = logs.TrainingMetrics()
    assert [metrics.record_epoch(1.0, loss, 1e-3, 2.0) for loss in (3.0, math.nan, 2.0, 2.0)] == [
        True,
        False,
        True,
        False,
    ]
    metrics.observe_step(5, 7, 0.25, 1e-4)
    assert metrics.latest == {"epoch": 5, "step": 7, "loss": 0.25, "learning_rate": 1e-4}
    assert metrics.summary() == {
        "num_epochs": 4, "best_epoch": 3, "best_val_loss": 2.0, "total_seconds": 8.0, "mean_epoch_seconds": 2.0,
    }  # fmt: skip
    again = logs.TrainingMetrics.from_dict(metrics.to_dict())
    assert again == metrics
    again.val_losses.append(1.0)
    assert metrics.num_epochs == 4


def test_metrics_are_there_while_the_training_runs(tables, name, monkeypatch):
    seen = []
    real = logs.TrainingMetrics.observe_step
    monkeypatch.setattr(
        logs.TrainingMetrics, "observe_step", lambda self, *given: (seen.append(given[:2]), real(self, *given))
    )
    fit(tables, name, config={"num_epochs": 2})
    assert seen == [(1, 8), (1, 10), (2, 8), (2, 10)]


# --- resuming ---


def test_interrupted_at_20_random_steps_and_resumed_a_training_is_the_uninterrupted_one_to_the_bit(
    tables, name, monkeypatch
):
    moments = random.Random(0)  # noqa: S311 - when to interrupt is no secret
    monkeypatch.setattr(training, "_STEPS_BETWEEN_LOOKS", 1)
    steps = moments.sample(range(30), 20)
    for mixed in (False, True):
        config = {"use_mixed_precision": mixed}
        whole = fit(tables, f"{name}{mixed}", config=config)
        for step in steps:
            part = f"{name}{mixed}{step}"
            interrupted = interrupt(tables, part, step, config=config)
            assert interrupted.saved == ModelFiles(part).checkpoint("interrupted")
            saved = load_training(interrupted.saved)["state"]["progress"]
            assert saved["epoch"] * 10 + saved["step"] == step + 1
            resumed = fit(tables, part, config=config, resume_from=True)
            assert resumed[1:] == whole[1:]
            assert same_tree(last(part)["state"], last(f"{name}{mixed}")["state"])
            best = [load_training(ModelFiles(each).best_model)["state"] for each in (part, f"{name}{mixed}")]
            assert same_tree(*best)


@pytest.mark.parametrize("part", ["model", "optimizer", "scheduler", "scaler", "random", "progress"])
def test_a_part_of_the_state_that_is_not_resumed_would_be_seen(tables, name, monkeypatch, part):
    """The negative control: each part, left as a fresh trainer has it, makes the resumed training another one."""
    config = {"use_mixed_precision": True}
    monkeypatch.setattr(training, "_STEPS_BETWEEN_LOOKS", 1)
    fit(tables, f"{name}whole", config=config)
    interrupt(tables, name, 13, config=config)
    real = OptimizedTrainer.load_state
    fresh = OptimizedTrainer.state

    def forgetful(self, state):
        own = {**fresh(self)[part], "scale": 4.0} if part == "scaler" else fresh(self)[part]
        real(self, {**state, part: own})

    with monkeypatch.context() as patch:
        patch.setattr(OptimizedTrainer, "load_state", forgetful)
        fit(tables, name, config=config, resume_from=True)
    assert not same_tree(last(name)["state"], last(f"{name}whole")["state"])


def test_a_training_with_workers_can_be_resumed_in_the_middle_of_an_epoch(tables, name, monkeypatch):
    monkeypatch.setattr(training, "_STEPS_BETWEEN_LOOKS", 1)
    whole = fit(tables, f"{name}whole")
    interrupt(tables, name, 13, loaders=setup_training(*tables, batch_size=16, num_workers=1))
    resumed = fit(tables, name, loaders=setup_training(*tables, batch_size=16, num_workers=1), resume_from=True)
    assert resumed[1:] == whole[1:]


def test_a_training_can_be_resumed_from_a_periodic_or_the_best_checkpoint(tables, name):
    whole = fit(tables, name, config={"checkpoint_every": 1})
    files = ModelFiles(name)
    for index, path in enumerate((files.checkpoint("epoch_1"), files.checkpoint("epoch_2"))):
        best = load_training(files.best_model)["history"]["best_epoch"]
        resumed = fit(tables, f"{name}{index}", resume_from=path)
        assert resumed[1:3] == whole[1:3]
        assert last(f"{name}{index}")["history"]["best_epoch"] == best
        assert resumed[3] == whole[3]
    more = fit(tables, f"{name}more", resume_from=files.best_model, config={"num_epochs": 4})
    assert more[1][:3] == whole[1]
    assert len(more[1]) == 4


def test_better_weights_of_later_epochs_are_not_overwritten_by_a_resume_from_an_earlier_one(tables, name):
    fit(tables, name, config={"checkpoint_every": 1})
    files = ModelFiles(name)
    before = files.best_model.read_bytes()
    assert load_training(files.best_model)["history"]["best_epoch"] == 3
    fit(tables, name, resume_from=files.checkpoint("epoch_1"), config={"num_epochs": 2})
    assert files.best_model.read_bytes() == before


def test_a_checkpoint_of_version_0_1_is_resumed(tables, name):
    """Its layers have other names: `input.0` for `input_proj` and so on."""
    whole = fit(tables, name, config={"checkpoint_every": 1})
    path = ModelFiles(name).checkpoint("epoch_1")
    content = load_training(path)
    weights = content["state"]["model"]
    names = {"input_proj": "input.0", "input_norm": "input.1", "layers.0": "blocks.0.layers", "output_proj": "output"}
    for ours, theirs in names.items():
        weights = {key.replace(ours, theirs): value for key, value in weights.items()}
    assert not weights.keys() & content["state"]["model"].keys()
    save_training(path, {**content, "state": {**content["state"], "model": weights}})
    assert training.read_training(path)["state"]["model"].keys() == content["state"]["model"].keys()
    assert fit(tables, f"{name}more", resume_from=path)[1:] == whole[1:]


def test_true_resumes_the_newest_checkpoint_or_starts_anew(tables, name):
    kept = fit(tables, name, resume_from=True, config={"num_epochs": 2})
    assert len(kept[1]) == 2
    longer = fit(tables, name, resume_from=True)
    assert longer[1][:2] == kept[1]
    assert len(longer[1]) == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"config": {"hidden_size": 24, "num_epochs": 9}}, "hidden_size is 16, the trainer's is 24"),
        ({"config": {"num_epochs": 3}}, "has trained 3 epochs already"),
        ({"config": {"num_epochs": 9}, "seed": 1}, "has seed 0"),
    ],
)
def test_what_does_not_fit_is_not_resumed(tables, name, arguments, named):
    fit(tables, name)
    before = {path: path.read_bytes() for path in Path(name).parent.iterdir()}
    with pytest.raises(BadInput, match=named) as caught:
        fit(tables, name, resume_from=True, **arguments)
    assert str(ModelFiles(name).checkpoint("last")) in str(caught.value)
    assert {path: path.read_bytes() for path in Path(name).parent.iterdir()} == before


def test_other_rows_are_not_resumed_on(tables, name):
    fit(tables, name)
    other = setup_training(tables[0] + 1, tables[1], batch_size=16)
    with pytest.raises(BadInput, match="other data"):
        fit(tables, name, loaders=other, resume_from=True, config={"num_epochs": 9})


# --- interruption ---


def test_an_interrupt_waits_for_the_end_of_the_step_and_a_second_one_does_not():
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:  # noqa: PT012 - what happens inside is asked
        signal.raise_signal(signal.SIGINT)
        assert stop.received is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_once_interrupted_the_end_of_a_worker_breaks_into_nothing():
    """PyTorch's handler raises wherever the training process is, in the middle of an update of the weights too."""

    def raising(*_):
        raise RuntimeError("a worker was killed")

    before = signal.signal(signal.SIGCHLD, raising)
    try:
        with pytest.raises(RuntimeError):
            signal.raise_signal(signal.SIGCHLD)
        stop = StopSignals()
        stop.__enter__()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGCHLD)
        stop.__exit__(KeyboardInterrupt, None, None)
        assert signal.getsignal(signal.SIGCHLD) is raising
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_workers_are_not_in_the_process_group_that_a_terminal_interrupts(tables):
    data = GivenLoaders(dict.fromkeys(("train", "val", "test"), setup_training(*tables, num_workers=1)[0]), 8, 2)
    batches = iter(data.loader("train"))
    next(batches)
    groups = [os.getpgid(worker.pid) for worker in batches._workers]
    batches._shutdown_workers()
    assert groups
    assert os.getpgrp() not in groups


def test_an_ignored_interrupt_stays_ignored_and_other_threads_are_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.received is None
    finally:
        signal.signal(signal.SIGINT, before)
    failed = []

    def elsewhere():
        try:
            with StopSignals():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert not failed


def test_an_interrupt_says_where_it_saved_and_the_log_too(tables, name, monkeypatch):
    monkeypatch.setattr(OptimizedTrainer, "train_batch", stopped_at({1}))
    with pytest.raises(KeyboardInterrupt, match="checkpoint_interrupted") as caught:
        fit(tables, name)
    assert isinstance(caught.value, Interrupted)
    assert " WARNING interrupted saved=" in ModelFiles(name).training_log.read_text()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_from_within_the_data_is_saved_too(tables, name):
    class Interrupting(TensorDataset):
        def __getitem__(self, row):
            if row == 100:
                raise KeyboardInterrupt
            return super().__getitem__(row)

    train = DataLoader(Interrupting(*tables), batch_size=16)
    rest = DataLoader(TensorDataset(*tables), batch_size=16)
    with pytest.raises(Interrupted):
        fit(tables, name, loaders=(train, rest, rest))
    assert load_training(ModelFiles(name).checkpoint("interrupted"))["state"]["progress"]["step"] == 6


def test_other_errors_are_raised_as_they_are(tables, name, monkeypatch):
    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(OptimizedTrainer, "train_batch", broken)
    with pytest.raises(RuntimeError, match="broken"):
        fit(tables, name)
    assert " ERROR failed error=RuntimeError reason=broken" in ModelFiles(name).training_log.read_text()


def test_workers_that_a_signal_ends_too_do_not_keep_a_training_from_being_saved(tables, name):
    """As when all processes of a job get the same signal."""
    loaders = setup_training(*tables, batch_size=16, num_workers=1)
    real, count = OptimizedTrainer.train_batch, itertools.count()

    def train_batch(self, features, targets):
        if next(count) == 3:
            signal.raise_signal(signal.SIGINT)
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
        return real(self, features, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OptimizedTrainer, "train_batch", train_batch)
        with pytest.raises(Interrupted):
            fit(tables, name, loaders=loaders)
    assert load_training(ModelFiles(name).checkpoint("interrupted"))["state"]["progress"]["step"] >= 4
    assert fit(tables, name, resume_from=True)[1:] == fit(tables, f"{name}whole")[1:]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_command_saves_and_says_in_one_line_how_to_go_on(tmp_path, capsys, number, code):
    """To the whole process group, as a terminal's Ctrl-C goes: to the worker processes too.

    To continue is an ordinary command, which needs no process of its own.
    """
    command = ["tabular_regressor", "train"]
    (tmp_path / "c.json").write_text('{"num_workers": 1, "num_epochs": 5000, "patience": 5000}')
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "trainers", *command, "--preset", "tiny"),
            *("--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "run")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stderr.readline().startswith("epoch 1/5000")
        os.killpg(process.pid, number)
        said, complained = process.communicate(timeout=300)
    saved = tmp_path / "run" / "improved_model_checkpoint_interrupted.pth"
    assert process.returncode == code
    assert said == ""
    lines = [line for line in complained.splitlines() if not line.startswith("epoch ")]
    assert lines == [f"interrupted: the training is saved; continue with --resume {saved}"]
    done = load_training(saved)["history"]["val_losses"]
    assert main([*command, "--resume", str(saved), "--epochs", str(len(done) + 1)]) == 0
    assert "test loss" in capsys.readouterr().out


# --- skipping what is done ---


def test_a_finished_training_is_skipped_only_when_asked(tables, name, monkeypatch):
    whole = fit(tables, name)
    count = itertools.count()
    real = OptimizedTrainer.train_batch
    monkeypatch.setattr(OptimizedTrainer, "train_batch", lambda *given: (next(count), real(*given))[1])
    skipped = fit(tables, name, skip_completed=True)
    assert next(count) == 0
    assert skipped[1:] == whole[1:]
    assert all(torch.equal(a, b) for a, b in zip(skipped[0].parameters(), whole[0].parameters(), strict=True))
    assert " INFO skipped " in ModelFiles(name).training_log.read_text()
    for changed in ({}, {"skip_completed": True, "config": {"num_epochs": 4}}):
        start = next(count)
        fit(tables, name, **changed)
        assert next(count) - start > 10


def test_an_unfinished_training_is_not_skipped(tables, name, monkeypatch):
    interrupt(tables, name, 25)
    assert len(fit(tables, name, skip_completed=True)[1]) == 3


# --- loaders as data ---


def test_tables_and_rows_make_the_fingerprint_and_other_loaders_have_none(tables):
    def fingerprint(loaders):
        return GivenLoaders(dict(zip(("train", "val", "test"), loaders, strict=True)), 8, 2).fingerprint()

    assert fingerprint(setup_training(*tables)) == fingerprint(setup_training(*tables, batch_size=5))
    assert fingerprint(setup_training(*tables)) != fingerprint(setup_training(*tables, val_split=0.2))
    rows = [(features, targets) for features, targets in zip(*tables, strict=True)]
    assert fingerprint([DataLoader(rows, batch_size=9)] * 3) is None


def test_a_loader_without_batches_or_length_is_refused(tables):
    empty = DataLoader(TensorDataset(tables[0][:0], tables[1][:0]))
    with pytest.raises(BadInput, match="has no batch"):
        GivenLoaders({"train": empty}, 8, 2)

    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(BadInput, match="how many batches"):
        GivenLoaders({"train": DataLoader(Endless())}, 8, 2)


def test_the_module_exports_what_it_documents():
    assert set(documented.__all__) == trainers.tabular_regressor._DOCUMENTED
