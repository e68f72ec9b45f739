"""An interrupted text-to-image training is saved, and continues to the same bits."""

import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import trainers
from trainers.__main__ import main
from trainers.common import checkpoint
from trainers.common.boundary import FAULT
from trainers.common.interruption import StopSignals
from trainers.contract import BadInput
from trainers.text_to_image import training
from trainers.text_to_image.optimized import OptimizedTrainer
from trainers.text_to_image.reference import ReferenceTrainer
from trainers.text_to_image.training import TrainingRun, read_training

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread", "no_tensorboard")

ROOT = Path(trainers.__file__).parents[1]
FAMILY = "text_to_image"
SWITCHES = ("early_stopping=on", "cosine_schedule=on", "larger_batches=off")
NUM_EPOCHS, NUM_STEPS, NUM_ITEMS, BATCH = 2, 11, 42, 4
TRAIN = (FAMILY, "train", "--preset", "tiny", "--epochs", NUM_EPOCHS, "--switch", *SWITCHES)


@pytest.fixture(scope="module")
def no_tensorboard():
    """It is slow to import, and the subject of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.importlib.util, "find_spec", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, private_cache, one_thread, no_tensorboard):
    """Folder of a training that nothing broke into."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(*TRAIN, "--out", out) == 0
    assert read_training(out / "dcgan_last.safetensors")["state"]["progress"]["epoch"] == NUM_EPOCHS
    return out


def run(*arguments):
    return main([str(argument) for argument in arguments])


def saved(folder, name="interrupted"):
    return folder / f"dcgan_{name}.safetensors"


def progress(path):
    return read_training(path)["state"]["progress"]


def finish(folder, name="interrupted", *more):
    assert run(FAMILY, "train", "--resume", saved(folder, name), *more) == 0


def same(folder, whole):
    """Whether a training ended as another one: state, figures and sheets, nothing missing and nothing twice."""
    ours, theirs = (read_training(saved(each, "last")) for each in (folder, whole))
    for content in (ours, theirs):
        for epoch in content["history"]:
            assert epoch.pop("seconds") > 0
    assert [len(content["history"]) for content in (ours, theirs)] == [NUM_EPOCHS] * 2
    sheets = [{path.name: path.read_bytes() for path in (each / "samples").iterdir()} for each in (folder, whole)]
    assert sheets[0] == sheets[1]
    assert not list(folder.rglob(".*"))
    return checkpoint.dumps(ours) == checkpoint.dumps(theirs)


def at_call(monkeypatch, owner, name, number, happen, *, after=False):
    """Let something happen at one call of a function, before or after what it does."""
    real, count = getattr(owner, name), itertools.count()

    def watched(*given, **named):
        is_now = next(count) == number
        if is_now and not after:
            happen()
        result = real(*given, **named)
        if is_now and after:
            happen()
        return result

    monkeypatch.setattr(owner, name, watched)


def interrupt():
    signal.raise_signal(signal.SIGINT)


def interrupt_twice():
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


def fail():
    raise RuntimeError("broken")


# --- signals, where they are awkward ---


@pytest.mark.parametrize(
    ("owner", "name", "number", "place"),
    [
        (StopSignals, "__enter__", 0, (0, 0)),  # before the first step
        (ReferenceTrainer, "_note_step", 4, (0, 5)),  # within a step
        (ReferenceTrainer, "_note_step", 2 * NUM_STEPS - 1, (1, NUM_STEPS)),  # within the last of all
        (ReferenceTrainer, "evaluate", 0, (0, NUM_STEPS)),  # in validation, which does not wait
        (training, "draw_grid", 0, (1, 0)),  # while samples are drawn
        (checkpoint, "save", 0, (1, 0)),  # while a checkpoint is written
    ],
)
def test_a_ctrl_c_waits_for_what_changes_the_state_and_the_resumed_training_is_the_same(
    tmp_path, whole, monkeypatch, capsys, owner, name, number, place
):
    with monkeypatch.context() as patch:
        at_call(patch, owner, name, number, interrupt, after=name == "__enter__")
        assert run(*TRAIN, "--out", tmp_path) == 130
    said = capsys.readouterr()
    line = f"interrupted: the training is saved; continue with --resume {saved(tmp_path)}"
    assert said.err.splitlines()[-1] == line
    assert said.out == ""
    found = progress(saved(tmp_path))
    assert (found["epoch"], found["num_items_done"]) == (place[0], min(BATCH * place[1], NUM_ITEMS))
    assert "interrupted; saved in" in (tmp_path / "training.log").read_text()
    finish(tmp_path)
    assert same(tmp_path, whole)


@pytest.mark.parametrize("number", [0, NUM_STEPS + 3])
@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (ReferenceTrainer, "_next_batch", True),
        (OptimizedTrainer, "_generator_loss", False),  # the discriminator has been updated
        (OptimizedTrainer, "_single_update", True),  # both have been
        (ReferenceTrainer, "_note_step", True),
    ],
)
@pytest.mark.parametrize("happen", [interrupt_twice, fail])
def test_a_step_that_is_broken_off_is_taken_again(tmp_path, whole, monkeypatch, owner, name, after, number, happen):
    with monkeypatch.context() as patch:
        at_call(patch, owner, name, number, happen, after=after)
        left = broken_off(tmp_path, happen)
    found = progress(saved(tmp_path, left))
    assert (found["epoch"], found["num_items_done"]) == (number // NUM_STEPS, BATCH * (number % NUM_STEPS))
    finish(tmp_path, left)
    assert same(tmp_path, whole)


def broken_off(folder, happen):
    """Train until that happens; the name of the checkpoint that is left."""
    if happen is interrupt_twice:
        assert run(*TRAIN, "--out", folder) == 130
        return "interrupted"
    assert run(*TRAIN, "--out", folder) == FAULT
    return "error"


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (ReferenceTrainer, "evaluate", False),
        (ReferenceTrainer, "_begin_epoch", False),  # the schedules have gone on
        (TrainingRun, "_end_epoch", False),
        (checkpoint, "save", True),
        (training, "draw_grid", False),
        (TrainingRun, "_end_epoch", True),
    ],
)
@pytest.mark.parametrize("number", [0, NUM_EPOCHS - 1])
@pytest.mark.parametrize("happen", [interrupt_twice, fail])
def test_the_end_of_an_epoch_that_is_broken_off_is_done_again(
    tmp_path, whole, monkeypatch, owner, name, number, happen, after
):
    """That of the last epoch too, which would else be a finished training without its last files."""
    with monkeypatch.context() as patch:
        at_call(patch, owner, name, number, happen, after=after)
        left = broken_off(tmp_path, happen)
    found = progress(saved(tmp_path, left))
    assert (found["epoch"], found["num_items_done"]) == (number, NUM_ITEMS)
    finish(tmp_path, left)
    assert same(tmp_path, whole)


def test_a_signal_after_the_last_step_of_all_is_no_interruption(tmp_path, whole, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        at_call(patch, training, "draw_grid", NUM_EPOCHS - 1, interrupt)
        assert run(*TRAIN, "--out", tmp_path) == 0
    assert capsys.readouterr().out.startswith(f"{NUM_EPOCHS} epochs: ")
    assert not saved(tmp_path).exists()
    assert same(tmp_path, whole)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_while_the_interrupted_training_is_saved_no_further_signal_is_heard(tmp_path, whole, monkeypatch):
    """A third one as little as a second; in the middle of the file, not only before it."""

    def impatient():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        at_call(patch, ReferenceTrainer, "_note_step", 5, interrupt)
        for each in (2, 3):  # of the file and of its folder, after those of the probes of two folders
            at_call(patch, checkpoint.os, "fsync", each, impatient)
        assert run(*TRAIN, "--out", tmp_path) == 130
    assert progress(saved(tmp_path))["num_items_done"] == 24
    finish(tmp_path)
    assert same(tmp_path, whole)


def test_an_interrupted_training_is_interrupted_again_and_again(tmp_path, whole, monkeypatch):
    """Every four steps, into the same file."""
    arguments = (*TRAIN, "--out", tmp_path)
    places = []
    while True:
        with monkeypatch.context() as patch:
            at_call(patch, ReferenceTrainer, "_note_step", 3, interrupt)
            code = run(*arguments)
        if code == 0:
            break
        assert code == 130
        places.append((progress(saved(tmp_path))["epoch"], progress(saved(tmp_path))["num_items_done"]))
        arguments = (FAMILY, "train", "--resume", saved(tmp_path))
    assert len(places) == NUM_EPOCHS * NUM_STEPS // 4
    assert places == sorted(set(places))
    assert same(tmp_path, whole)


def test_a_checkpoint_without_the_copy_of_before_the_step_would_be_seen(tmp_path, whole, monkeypatch):
    """The negative control: what is saved is what a broken step left."""
    with monkeypatch.context() as patch:
        at_call(patch, OptimizedTrainer, "_generator_loss", 7, fail)
        patch.setattr(TrainingRun, "_kept", property(lambda _: None, lambda *_: None), raising=False)
        assert run(*TRAIN, "--out", tmp_path) == FAULT
    finish(tmp_path, "error")
    assert not same_state(tmp_path, whole)


def same_state(folder, whole):
    ours, theirs = (read_training(saved(each, "last"))["state"] for each in (folder, whole))
    return checkpoint.dumps(ours) == checkpoint.dumps(theirs)


# --- signals, from outside ---


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def start(folder, *more):
    """Start a training in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "trainers", *map(str, (*TRAIN, "--out", folder, *more))],
        cwd=ROOT,
        env={**ENVIRONMENT, "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("switches", [(), ("--switch", "loader_workers=on")], ids=["", "workers"])
def test_stopped_at_random_moments_a_training_is_the_same_in_the_end(tmp_path, whole, number, code, switches):
    """By signals to the whole process group, as a terminal's Ctrl-C goes: to the worker processes too."""
    delay = random.Random(f"{number}{switches}").uniform(0, 0.4)  # noqa: S311 - when to interrupt is no secret
    process = start(tmp_path / "run", *switches)
    with process:
        wait_for(tmp_path / "run" / "training.log", process)
        time.sleep(delay)
        os.killpg(process.pid, number)
        said, complained = process.communicate(timeout=300)
    assert process.returncode in {0, code}
    if process.returncode:
        lines = [line for line in complained.splitlines() if not line.startswith("epoch ")]
        assert lines == [f"interrupted: the training is saved; continue with --resume {saved(tmp_path / 'run')}"]
        assert said == ""
        finish(tmp_path / "run")
    assert read_training(saved(tmp_path / "run", "last"))["switches"]["loader_workers"] is bool(switches)
    assert same_state(tmp_path / "run", whole)


def wait_for(path, process):
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


# --- errors ---


def test_an_error_keeps_its_traceback_and_says_where_the_training_is(tmp_path, monkeypatch, caplog, capsys):
    def broken(*_):
        raise ValueError("odd")

    with monkeypatch.context() as patch:
        patch.setattr(OptimizedTrainer, "evaluate", broken)
        assert run(*TRAIN, "--out", tmp_path) == FAULT
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: unexpected ValueError: odd; its traceback is in ")
    assert "in broken" in Path(line.partition("traceback is in ")[2].partition(": please")[0]).read_text()
    assert f"continue with --resume {saved(tmp_path, 'error')}" in caplog.text
    assert "failed: ValueError: odd" in (tmp_path / "training.log").read_text()


def test_bad_input_in_the_middle_of_a_training_is_one_line_that_says_how_to_go_on(tmp_path, whole, monkeypatch, capsys):
    def damaged():
        raise BadInput("is damaged", "some.jpg", "copy it again")

    with monkeypatch.context() as patch:
        at_call(patch, ReferenceTrainer, "_next_batch", 5, damaged)
        assert run(*TRAIN, "--out", tmp_path) == 2
    line = f"error: some.jpg: is damaged; copy it again, then continue with --resume {saved(tmp_path, 'error')}\n"
    assert capsys.readouterr().err == line
    finish(tmp_path, "error")
    assert same(tmp_path, whole)


def test_workers_that_die_leave_a_training_that_goes_on(tmp_path, whole, monkeypatch):
    def kill():
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()

    with monkeypatch.context() as patch:
        at_call(patch, OptimizedTrainer, "_generator_loss", 4, kill)
        assert run(*TRAIN, "--out", tmp_path, "--switch", "loader_workers=on") == FAULT
    finish(tmp_path, "error")
    assert same_state(tmp_path, whole)


def test_workers_that_a_signal_ends_too_do_not_keep_a_training_from_being_saved(tmp_path, whole, monkeypatch):
    def end():
        interrupt()
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()

    with monkeypatch.context() as patch:
        at_call(patch, OptimizedTrainer, "_generator_loss", 4, end)
        assert run(*TRAIN, "--out", tmp_path, "--switch", "loader_workers=on") == 130
    finish(tmp_path)
    assert same_state(tmp_path, whole)


@pytest.mark.parametrize("first", [1, 3, 6])
def test_a_full_disk_is_one_line_and_leaves_older_checkpoints_whole(tmp_path, whole, monkeypatch, capsys, first):
    """From the fsync of that number on: after the probe, an epoch takes two of its checkpoint and two of its sheet."""
    real, count = os.fsync, itertools.count()

    def filling(descriptor):
        if next(count) >= first:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", filling)
        assert run(*TRAIN, "--out", tmp_path) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("epoch ")]
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert "--resume" not in said[0], "the file could not be written either"
    assert not list(tmp_path.rglob(".*"))
    assert not saved(tmp_path, "error").exists()
    if saved(tmp_path, "last").exists():
        assert progress(saved(tmp_path, "last"))["epoch"] >= 1
        if progress(saved(tmp_path, "last"))["epoch"] < NUM_EPOCHS:
            finish(tmp_path, "last")
            assert same_state(tmp_path, whole)


def test_a_full_disk_does_not_hide_the_error_that_a_training_fails_with(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    def broken(*_):
        monkeypatch.setattr(checkpoint.os, "fsync", full)
        raise ValueError("odd")

    monkeypatch.setattr(OptimizedTrainer, "evaluate", broken)
    assert run(*TRAIN, "--out", tmp_path) == FAULT
    assert "could not be saved" in caplog.text


def test_a_state_that_cannot_be_had_does_not_hide_the_error_either(tmp_path, monkeypatch, caplog):
    """As after an assertion on a GPU, where every further call fails."""

    def broken(*_):
        monkeypatch.setattr(checkpoint, "save", lambda *_: fail())
        raise ValueError("odd")

    monkeypatch.setattr(OptimizedTrainer, "evaluate", broken)
    assert run(*TRAIN, "--out", tmp_path) == FAULT
    assert "could not be saved: broken" in caplog.text


def test_a_log_that_can_no_longer_be_written_ends_the_training_in_one_line(tmp_path, whole, monkeypatch, capsys):
    def remove():
        (tmp_path / "training.log").unlink()
        (tmp_path / "training.log").mkdir()

    with monkeypatch.context() as patch:
        at_call(patch, ReferenceTrainer, "_note_step", 6, remove)
        assert run(*TRAIN, "--out", tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "training.log") in line
    assert "--resume" in line
    (tmp_path / "training.log").rmdir()
    finish(tmp_path, "error")
    assert same(tmp_path, whole)
