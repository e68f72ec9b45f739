"""The tabular regressor's command line: what it does, and one line for bad input."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import trainers
from trainers.__main__ import main
from trainers.common import checkpoint
from trainers.tabular_regressor import commands, load_training_config
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.document_004 import api as documented
from trainers.tabular_regressor.document_004.model_files import load_training

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

ROOT = Path(trainers.__file__).parents[1]
FAMILY = "tabular_regressor"
TRAIN = (FAMILY, "train", "--preset", "tiny", "--tier", "reference")
BEST, LAST = "improved_model_best_model.pth", "improved_model_checkpoint_last.pth"
GOOD = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, private_cache):
    """Folder of a finished training."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert private_cache.is_dir()
    assert run(*TRAIN, "--out", out, "--epochs", 2) == 0
    return out


# --- what it does ---


def test_the_whole_way_from_data_to_predictions_in_processes_of_their_own(tmp_path):
    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "trainers", FAMILY, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )

    made = command("make-data", "--out", tmp_path / "data", "--preset", "tiny", "--seed", 3)
    assert made.stdout.count("wrote") == 2
    data = tmp_path / "data" / "training_data.h5"
    done = command("train", "--preset", "tiny", "--data", data, "--out", tmp_path / "run", "--epochs", 2)
    assert "test loss" in done.stdout
    assert str(tmp_path / "run" / BEST) in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["1/2", "2/2"], "one line an epoch, and no bar"
    out = tmp_path / "predictions.h5"
    told = command("predict", "--checkpoint", tmp_path / "run" / BEST, "--data", data, "--out", out)
    assert "test error" in told.stdout
    assert "on 20 test rows" in told.stdout
    with h5py.File(out) as file, h5py.File(data) as truth:
        assert file["predictions"].shape == truth["Y"].shape
        assert np.isfinite(file["predictions"][()]).all()


def test_predictions_are_on_the_original_scale(tmp_path):
    targets = (GOOD[:, :2] + 1000).astype(np.float32)
    data = write(tmp_path / "a.h5", X=GOOD, Y=targets)
    assert run(*TRAIN, "--data", data, "--out", tmp_path / "run", "--epochs", 1) == 0
    assert run(FAMILY, "predict", "--checkpoint", tmp_path / "run" / BEST, "--data", data) == 0
    with h5py.File(tmp_path / "run" / "predictions.h5") as file:
        assert np.abs(file["predictions"][()] - 1000).max() < 20


def test_the_printed_error_is_that_of_the_written_predictions(tmp_path, trained, capsys):
    rng = np.random.default_rng(1)
    features, targets = rng.normal(size=(30, 8)).astype("f4"), rng.normal(size=(30, 2)).astype("f4")
    data = write(tmp_path / "new.h5", X=features, Y=targets)
    arguments = ("--checkpoint", trained / BEST, "--data", data, "--out", tmp_path / "p.h5")
    assert run(FAMILY, "predict", *arguments) == 0
    said = capsys.readouterr().out
    with h5py.File(tmp_path / "p.h5") as file:
        errors = np.sqrt(((file["predictions"][()].astype("f8") - targets) ** 2).mean(axis=0))
    assert "on 30 rows" in said
    printed = [float(part) for part in said.split("(RMSE) ")[1].split(" on ")[0].split(", ")]
    assert printed == pytest.approx(errors, rel=1e-4)


def test_a_transposed_file_gives_the_same_training(tmp_path, capfd):
    assert run(FAMILY, "make-data", "--out", tmp_path, "--preset", "tiny") == 0
    lines = []
    for name in ("training_data", "training_data_transposed"):
        assert run(*TRAIN, "--data", tmp_path / f"{name}.h5", "--out", tmp_path / name, "--epochs", 1) == 0
        lines.append(capfd.readouterr().out.splitlines()[-1].partition("; weights")[0])
    assert lines[0] == lines[1]


def test_a_resumed_training_ends_like_an_uninterrupted_one(tmp_path, capsys):
    assert run(*TRAIN, "--out", tmp_path / "whole", "--epochs", 4) == 0
    whole = capsys.readouterr().out
    assert run(*TRAIN, "--out", tmp_path / "parts", "--epochs", 2) == 0
    capsys.readouterr()
    assert run(FAMILY, "train", "--resume", tmp_path / "parts" / LAST, "--epochs", 4) == 0
    assert capsys.readouterr().out == whole.replace("whole", "parts")
    ours, theirs = (load_training(tmp_path / name / LAST) for name in ("whole", "parts"))
    for content in (ours, theirs):
        assert len(content["history"].pop("epoch_seconds")) == 4
    assert checkpoint.dumps(ours) == checkpoint.dumps(theirs)


def test_a_training_can_be_resumed_into_another_folder_with_another_tier(tmp_path, trained):
    before = contents(trained)
    resume = ("--resume", trained / LAST, "--out", tmp_path / "new", "--epochs", 3)
    switch = ("--switch", "loader_workers=off", "mixed_precision=off")
    assert run(FAMILY, "train", *resume, "--tier", "optimized", *switch) == 0
    assert contents(trained) == before
    assert load_training(tmp_path / "new" / LAST)["tier"] == "optimized"


def test_the_best_epoch_is_kept_and_patience_ends_the_training(tmp_path, monkeypatch, capsys):
    """Validation losses that rise from the second epoch on, over the real loop."""
    script = iter([0.5, 0.4, 0.6, 0.7, 0.8, 0.9])
    monkeypatch.setattr(commands.ReferenceTrainer, "_mean_loss", lambda *_: next(script))
    patient = RegressorConfig.preset("tiny").replace(patience=2)
    monkeypatch.setattr(commands.RegressorConfig, "preset", lambda _: patient)
    assert run(*TRAIN, "--out", tmp_path, "--epochs", 50) == 0
    assert "best epoch 2 of 4: validation loss 0.400000, test loss 0.8" in capsys.readouterr().out
    best, last = (load_training(tmp_path / name) for name in (BEST, LAST))
    assert best["state"]["progress"]["epoch"] == 2
    assert last["state"]["progress"]["epoch"] == 4
    assert last["history"]["val_losses"] == [0.5, 0.4, 0.6, 0.7]


def test_periodic_checkpoints_are_written_on_the_way(tmp_path, monkeypatch):
    often = RegressorConfig.preset("tiny").replace(checkpoint_every=2)
    monkeypatch.setattr(commands.RegressorConfig, "preset", lambda _: often)
    assert run(*TRAIN, "--out", tmp_path, "--epochs", 5) == 0
    periodic = [tmp_path / f"improved_model_checkpoint_epoch_{epoch}.pth" for epoch in (2, 4)]
    assert set(tmp_path.glob("*_checkpoint_*")) == {*periodic, tmp_path / LAST}
    assert [load_training(path)["state"]["progress"]["epoch"] for path in periodic] == [2, 4]


def test_a_training_leaves_the_files_that_the_document_lists(trained):
    assert {path.name for path in contents(trained)} - {"predictions.h5"} == {
        f"improved_model_{name}"
        for name in (
            "best_model.pth", "checkpoint_last.pth", "config.json", "loss_analysis.png", "predictions.png",
            "training.log",
        )
    }  # fmt: skip
    assert " INFO finished " in (trained / "improved_model_training.log").read_text()
    assert load_training_config(trained / "improved_model_config.json").hidden_size == 16


def test_a_configuration_file_goes_over_the_preset_and_options_over_the_file(tmp_path):
    path = tmp_path / "some.json"
    path.write_text('{"hidden_size": 12, "num_epochs": 7, "clip_norm": "infinity"}')
    assert run(*TRAIN, "--config", path, "--epochs", 1, "--out", tmp_path / "run") == 0
    config = load_training(tmp_path / "run" / LAST)["config"]
    assert (config["hidden_size"], config["num_epochs"], config["clip_norm"]) == (12, 1, float("inf"))
    assert config["batch_size"] == 16, "the preset's"
    path.write_text('{"patience": 2}')
    resume = ("--resume", tmp_path / "run" / LAST, "--config", path, "--epochs", 2)
    assert run(FAMILY, "train", *resume) == 0
    config = load_training(tmp_path / "run" / LAST)["config"]
    assert (config["hidden_size"], config["patience"]) == (12, 2)


def test_a_resumed_training_keeps_its_switches_unless_told_otherwise(tmp_path):
    train = (FAMILY, "train", "--preset", "tiny", "--out", tmp_path, "--epochs", 1, "--switch")
    assert run(*train, "mixed_precision=off", "loader_workers=off") == 0
    off = {"mixed_precision": False, "loader_workers": False, "persistent_workers": True}
    assert load_training(tmp_path / LAST)["switches"] == off
    assert run(FAMILY, "train", "--resume", tmp_path / LAST, "--epochs", 2) == 0
    assert load_training(tmp_path / LAST)["switches"] == off
    assert run(FAMILY, "train", "--resume", tmp_path / LAST, "--epochs", 3, "--switch", "mixed_precision=on") == 0
    assert load_training(tmp_path / LAST)["switches"] == {**off, "mixed_precision": True}


def test_without_matplotlib_there_are_no_plots_and_it_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda _: None)
    assert run(*TRAIN, "--out", tmp_path, "--epochs", 1) == 0
    assert "no plots were drawn" in caplog.text
    assert not list(tmp_path.glob("*.png"))


def test_help_names_every_switch(capsys):
    with pytest.raises(SystemExit) as ended:
        run(FAMILY, "train", "--help")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("mixed_precision", "loader_workers", "persistent_workers"))


def test_an_interrupt_is_no_traceback(monkeypatch, capsys, tmp_path):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "train", interrupted)
    assert run(*TRAIN, "--out", tmp_path) == 130
    assert capsys.readouterr().err == "interrupted\n"


# --- what it refuses ---


def refused(capsys, *arguments):
    """The one line that a command says to bad input."""
    capsys.readouterr()
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "FAMILY"),
        (("no_family",), "no_family"),
        ((FAMILY,), "ACTION"),
        ((FAMILY, "sample"), "sample"),
        ((FAMILY, "train", "--tier", "swift"), "swift"),
        ((FAMILY, "train", "--tier", "warp"), "warp"),
        ((FAMILY, "train", "--preset", "huge"), "huge"),
        ((FAMILY, "train", "--epochs", "-1"), "-1"),
        ((FAMILY, "train", "--epochs", "0"), "0"),
        ((FAMILY, "train", "--epochs", "many"), "many"),
        ((FAMILY, "train", "--seed", "-1"), "-1"),
        ((FAMILY, "train", "--switch", "mixed_precision"), "mixed_precision"),
        ((FAMILY, "train", "--switch", "mixed_precision=maybe"), "maybe"),
        ((FAMILY, "train", "--preset", "tiny", "--switch", "fast=on"), "'fast'"),
        ((*TRAIN, "--switch", "mixed_precision=on"), "no switches"),
        ((FAMILY, "train", "--colour", "red"), "--colour"),
        ((FAMILY, "make-data"), "--out"),
        ((FAMILY, "make-data", "--out", "x", "--preset", "huge"), "huge"),
        ((FAMILY, "predict"), "--checkpoint"),
    ],
)
def test_bad_usage_is_refused_by_name(capsys, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, *arguments)


NAN, INFINITE = (np.where(GOOD[3, 1] == GOOD, bad, GOOD) for bad in (np.nan, np.inf))
BAD_TABLES = {
    "no X": ({"Y": GOOD}, "no data set X"),
    "no Y": ({"X": GOOD}, "no data set Y"),
    "nan": ({"X": NAN, "Y": GOOD}, "[3, 1]"),
    "infinite": ({"X": GOOD, "Y": INFINITE}, "[3, 1]"),
    "one row": ({"X": GOOD[:1], "Y": GOOD[:1]}, "only 1 row"),
    "one dimension": ({"X": GOOD[:, 0], "Y": GOOD}, "1 dimension"),
    "text": ({"X": np.array([["a"]] * 40, dtype=h5py.string_dtype()), "Y": GOOD}, "not numbers"),
    "fits neither way": ({"X": GOOD, "Y": GOOD[:30, :3]}, "neither dimension"),
}


@pytest.mark.parametrize(("arrays", "named"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
@pytest.mark.parametrize("action", ["train", "predict"])
def test_bad_tables_are_refused_by_name_and_nothing_is_written(capsys, tmp_path, trained, action, arrays, named):
    path = write(tmp_path / "bad.h5", **arrays)
    what = {
        "train": (*TRAIN, "--data", path, "--out", tmp_path / "out"),
        "predict": (
            FAMILY,
            "predict",
            "--checkpoint",
            trained / BEST,
            "--data",
            path,
            "--out",
            tmp_path / "p",
        ),
    }
    line = refused(capsys, *what[action])
    assert named in line
    assert str(path) in line
    assert contents(tmp_path).keys() == {path}


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "folder"])
def test_files_that_are_no_data_are_refused_by_name(capsys, tmp_path, kind):
    path = tmp_path / f"{kind}.h5"
    whole = write(tmp_path / "whole", X=GOOD, Y=GOOD).read_bytes()
    match kind:
        case "empty":
            path.touch()
        case "text":
            path.write_text("a,b\n1,2\n")
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "folder":
            path.mkdir()
    assert str(path) in refused(capsys, *TRAIN, "--data", path, "--out", tmp_path / "out")


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "flipped", "other"])
@pytest.mark.parametrize("action", ["predict", "resume"])
def test_files_that_are_no_checkpoint_are_refused_by_name(capsys, tmp_path, trained, kind, action):
    path = tmp_path / "some.checkpoint"
    whole = (trained / BEST).read_bytes()
    match kind:
        case "empty":
            path.touch()
        case "text":
            path.write_text("weights")
        case "truncated":
            path.write_bytes(whole[:-1])
        case "flipped":
            path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
        case "other":
            checkpoint.save(path, {"family": "dialogue_gan"})
    arguments = {"predict": ("predict", "--checkpoint", path), "resume": ("train", "--resume", path)}[action]
    assert str(path) in refused(capsys, FAMILY, *arguments)
    assert contents(tmp_path).keys() <= {path}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"hiden_size": 3}', "unknown key 'hiden_size'"),
        ('{"hidden_size": "3"}', "hidden_size is '3'"),
        ('{"hidden_size": -3}', "hidden_size is -3"),
        ('{"num_workers": -1}', "num_workers is -1"),
        ("{", "is no JSON"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_configuration_file_is_refused_by_name(capsys, tmp_path, text, named):
    path = tmp_path / "some.json"
    if text is not None:
        path.write_text(text)
    line = refused(capsys, *TRAIN, "--config", path, "--out", tmp_path / "out")
    assert named in line
    assert str(path) in line
    assert not (tmp_path / "out").exists()


def test_a_configuration_of_another_architecture_is_not_resumed_with(capsys, tmp_path, trained):
    path = tmp_path / "some.json"
    path.write_text('{"hidden_size": 12}')
    arguments = ("--resume", trained / LAST, "--config", path, "--epochs", 5, "--out", tmp_path / "out")
    assert "hidden_size is 16, the trainer's is 12" in refused(capsys, FAMILY, "train", *arguments)


def test_weights_without_their_scaling_do_not_predict(capsys, tmp_path):
    X, Y = torch.from_numpy(GOOD), torch.from_numpy(GOOD[:, :2].copy())
    name = str(tmp_path / "m")
    documented.train_model(
        *documented.setup_training(X, Y), 8, 2, 16, 1, 0.1, name, enable_early_stop=False, fixed_epochs=1
    )
    line = refused(capsys, FAMILY, "predict", "--checkpoint", f"{name}_best_model.pth")
    assert "how its data was scaled" in line


def test_a_checkpoint_of_another_architecture_is_refused(capsys, tmp_path, trained):
    path = trained / LAST
    line = refused(capsys, FAMILY, "train", "--preset", "smoke", "--resume", path, "--out", tmp_path / "out")
    assert "num_features is 8, the trainer's is 32" in line
    assert str(path) in line
    other = write(tmp_path / "other.h5", X=GOOD[:, :5], Y=GOOD[:, :2])
    assert "num_features" in refused(
        capsys, FAMILY, "train", "--resume", path, "--data", other, "--out", tmp_path / "out"
    )
    assert "8 and 2" in refused(capsys, FAMILY, "predict", "--checkpoint", path, "--data", other)
    assert not (tmp_path / "out").exists()


def test_resuming_with_other_data_or_another_seed_is_refused(capsys, tmp_path, trained):
    resume = (FAMILY, "train", "--resume", trained / LAST, "--out", tmp_path / "out", "--epochs", 3)
    other = write(tmp_path / "other.h5", X=GOOD, Y=GOOD[:, :2])
    assert "other data" in refused(capsys, *resume, "--data", other)
    assert "has seed 0" in refused(capsys, *resume, "--seed", 1)


def test_resuming_a_finished_training_asks_for_more_epochs(capsys, trained):
    before = contents(trained)
    assert "give a number of epochs above 2" in refused(capsys, FAMILY, "train", "--resume", trained / LAST)
    assert contents(trained) == before


def test_a_folder_that_holds_a_checkpoint_is_not_trained_into(capsys, trained, tmp_path):
    before = contents(trained)
    assert "--resume" in refused(capsys, *TRAIN, "--out", trained)
    assert run(*TRAIN, "--out", tmp_path / "other", "--epochs", 1) == 0
    foreign = ("--resume", tmp_path / "other" / LAST, "--epochs", 5)
    assert "holds a checkpoint already" in refused(capsys, FAMILY, "train", *foreign, "--out", trained)
    assert contents(trained) == before


def test_existing_data_and_predictions_are_not_overwritten(capsys, tmp_path, trained):
    mine = tmp_path / "training_data_transposed.h5"
    mine.write_text("mine")
    assert str(mine) in refused(capsys, FAMILY, "make-data", "--out", tmp_path, "--preset", "tiny")
    assert str(mine) in refused(capsys, FAMILY, "predict", "--checkpoint", trained / BEST, "--out", mine)
    assert contents(tmp_path) == {mine: b"mine"}


@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
@pytest.mark.parametrize(
    ("option", "written"),
    [
        ("--config", "improved_model_config.json"),
        ("--data", "improved_model_training.log"),
        ("--data", "improved_model_loss_analysis.png"),
        ("--data", "improved_model_predictions.png"),
    ],
)
def test_a_file_that_a_training_reads_is_not_replaced_by_one_that_it_writes(capsys, tmp_path, option, written, how):
    out = tmp_path / "run"
    out.mkdir()
    read = out / written
    if option == "--config":
        read.write_text('{"patience": 7}')
    else:
        write(read, X=GOOD, Y=GOOD[:, :2])
    if how != "itself":
        read = tmp_path / f"read{read.suffix}"
        (out / written).rename(read)
        (out / written).symlink_to(read) if how == "link" else (out / written).hardlink_to(read)
    before = contents(tmp_path)
    assert run(*TRAIN, "--epochs", 1, option, read, "--out", out) == 2
    assert f"error: {option} {read}: would be replaced by a file of the training, {written}" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_training_that_continues_may_read_the_configuration_that_it_wrote(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    config = tmp_path / "run" / "improved_model_config.json"
    assert run(*TRAIN, "--resume", tmp_path / "run" / LAST, "--config", config, "--epochs", 3) == 0


def test_a_folder_that_cannot_be_made_is_refused_by_name(capsys, tmp_path, trained):
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "out"
    assert str(out) in refused(capsys, *TRAIN, "--out", out)
    assert str(out) in refused(capsys, FAMILY, "make-data", "--out", out)
    assert str(out) in refused(capsys, FAMILY, "predict", "--checkpoint", trained / BEST, "--out", out / "p")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused_by_name(capsys, tmp_path):
    out = tmp_path / "locked"
    out.mkdir(mode=0o500)
    assert str(out) in refused(capsys, *TRAIN, "--out", out)


def test_a_disk_that_fills_up_during_training_is_one_line(capsys, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    real = checkpoint.make_folder
    monkeypatch.setattr(
        checkpoint,
        "make_folder",
        lambda folder: (real(folder), monkeypatch.setattr(checkpoint.os, "fsync", full)),
    )
    assert run(*TRAIN, "--out", tmp_path / "out", "--epochs", 1) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert {path.name for path in contents(tmp_path)} <= {"improved_model_training.log"}


def test_a_training_that_only_diverges_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(commands.ReferenceTrainer, "_mean_loss", lambda *_: float("nan"))
    assert run(*TRAIN, "--out", tmp_path / "out", "--epochs", 1) == 2
    assert "finite validation loss" in capsys.readouterr().err.splitlines()[-1]


def test_bad_input_in_a_process_of_its_own_exits_2_without_a_traceback(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "trainers",
            FAMILY,
            "train",
            "--data",
            str(tmp_path / "no.h5"),
            "--out",
            str(tmp_path / "o"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_two_trainings_at_once_into_one_folder_are_kept_apart(tmp_path):
    command = [sys.executable, "-m", "trainers", FAMILY, *TRAIN[1:], "--out", str(tmp_path / "out"), "--epochs", "3"]
    started = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert sorted(code for _, code in ended) == [0, 2], ended
    (line,) = next(said for said, code in ended if code == 2).splitlines()
    assert "another training writes here" in line or "holds a checkpoint already" in line


def test_a_folder_in_which_another_training_writes_is_refused(capsys, tmp_path):
    with checkpoint.occupied(tmp_path / "out"):
        assert "another training writes here" in refused(capsys, *TRAIN, "--out", tmp_path / "out")
    assert contents(tmp_path) == {}
    assert run(*TRAIN, "--out", tmp_path / "out", "--epochs", 1) == 0
