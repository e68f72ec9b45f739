"""The text-to-image family's command line: what it does, and one line for bad input."""

import fcntl
import importlib.util
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import torch
from PIL import Image

import trainers
from trainers.__main__ import main
from trainers.common import checkpoint
from trainers.common.boundary import FAULT
from trainers.contract import BadInput
from trainers.text_to_image import commands, training
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.reference import ReferenceTrainer
from trainers.text_to_image.samples import Row, draw_grid
from trainers.text_to_image.training import read_training

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

ROOT = Path(trainers.__file__).parents[1]
FAMILY = "text_to_image"
TRAIN = (FAMILY, "train", "--preset", "tiny")
LAST = "dcgan_last.safetensors"
LOSSES = ["discriminator_loss", "generator_loss", "val_loss"]


def run(*arguments):
    return main([str(argument) for argument in arguments])


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def state(folder, name="last"):
    return checkpoint.dumps(read_training(folder / f"dcgan_{name}.safetensors")["state"])


def losses(folder):
    return [[epoch[name] for name in LOSSES] for epoch in read_training(folder / LAST)["history"]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, private_cache):
    """Folder of a finished training of two epochs."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert private_cache.is_dir()
    assert run(*TRAIN, "--out", out, "--epochs", 2) == 0
    return out


@pytest.fixture
def no_tensorboard(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        training.importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else real(name, *rest)
    )


# --- what it does ---


def test_the_whole_way_from_data_to_samples_in_processes_of_their_own(tmp_path):
    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "trainers", FAMILY, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )

    data, out = tmp_path / "data", tmp_path / "run"
    assert command("make-data", "--out", data, "--preset", "tiny", "--seed", 3).stdout == f"wrote {data}\n"
    done = command("train", "--preset", "tiny", "--data", data, "--out", out, "--epochs", 2)
    assert str(out / LAST) in done.stdout
    assert str(out / "samples" / "epoch_0002.png") in done.stdout
    assert len(done.stdout.splitlines()) == 1
    lines = done.stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"], "one line an epoch, and no bar"
    for line in lines:
        assert re.search(r"D \d+\.\d+  G \d+\.\d+  \d+ images/s  \d+ ms/batch$", line)
    data.rename(tmp_path / "elsewhere")  # samples need no data
    target = tmp_path / "s.png"
    sampled = command("sample", "--checkpoint", out / LAST, "--caption", "a red circle", "--num", 2, "--out", target)
    assert sampled.stdout == f"wrote {target}\n"
    assert Image.open(target).format == "PNG"


def test_a_training_leaves_a_sheet_an_epoch_a_log_and_the_last_checkpoint(trained):
    names = {str(path.relative_to(trained)) for path in contents(trained)}
    assert {name for name in names if not name.startswith("tensorboard")} == {
        LAST, "training.log", "samples/epoch_0001.png", "samples/epoch_0002.png",
    }  # fmt: skip
    assert "finished after 2 epochs" in (trained / "training.log").read_text()
    assert len(read_training(trained / LAST)["history"]) == 2


def test_periodic_checkpoints_are_kept(tmp_path):
    (tmp_path / "c.json").write_text('{"checkpoint_every": 2}')
    assert run(*TRAIN, "--config", tmp_path / "c.json", "--epochs", 5, "--out", tmp_path / "run") == 0
    kept = {path.name for path in (tmp_path / "run").glob("*.safetensors")}
    assert kept == {"dcgan_epoch_2.safetensors", "dcgan_epoch_4.safetensors", LAST}
    epochs = [
        read_training(tmp_path / "run" / f"dcgan_epoch_{n}.safetensors")["state"]["progress"]["epoch"] for n in (2, 4)
    ]
    assert epochs == [2, 4]


@pytest.mark.parametrize("tier", ["reference", "optimized"])
def test_a_resumed_training_ends_like_an_uninterrupted_one(tmp_path, tier):
    train = (*TRAIN, "--tier", tier)
    assert run(*train, "--out", tmp_path / "whole", "--epochs", 3) == 0
    assert run(*train, "--out", tmp_path / "parts", "--epochs", 1) == 0
    assert run(FAMILY, "train", "--resume", tmp_path / "parts" / LAST, "--epochs", 3) == 0
    assert state(tmp_path / "parts") == state(tmp_path / "whole")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    sheets = [sorted(path.name for path in (tmp_path / name / "samples").iterdir()) for name in ("parts", "whole")]
    assert sheets[0] == sheets[1]
    assert len(sheets[0]) == 3


def test_a_training_is_resumed_into_another_folder_from_a_periodic_checkpoint(tmp_path):
    (tmp_path / "c.json").write_text('{"checkpoint_every": 1}')
    assert run(*TRAIN, "--config", tmp_path / "c.json", "--epochs", 2, "--out", tmp_path / "run") == 0
    before = contents(tmp_path / "run")
    assert (
        run(FAMILY, "train", "--resume", tmp_path / "run" / "dcgan_epoch_1.safetensors", "--out", tmp_path / "new") == 0
    )
    assert contents(tmp_path / "run") == before
    assert state(tmp_path / "new") == state(tmp_path / "run")


def test_a_training_goes_on_with_another_tier_and_batch_size(tmp_path):
    (tmp_path / "c.json").write_text('{"batch_size": 6}')
    off = ("--switch", "smaller_images=off", "larger_batches=off", "mixed_precision=off")
    assert run(*TRAIN, *off, "--out", tmp_path / "run", "--epochs", 1) == 0
    resume = ("--resume", tmp_path / "run" / LAST, "--config", tmp_path / "c.json", "--epochs", 2)
    assert run(FAMILY, "train", *resume, "--tier", "reference", "--out", tmp_path / "new") == 0
    content = read_training(tmp_path / "new" / LAST)
    assert (content["tier"], content["config"]["batch_size"], len(content["history"])) == ("reference", 6, 2)


def test_a_resumed_training_keeps_its_switches_unless_told_otherwise(tmp_path):
    assert run(*TRAIN, "--out", tmp_path, "--epochs", 1, "--switch", "mixed_precision=off", "cosine_schedule=on") == 0
    before = read_training(tmp_path / LAST)["switches"]
    assert (before["mixed_precision"], before["cosine_schedule"]) == (False, True)
    assert run(FAMILY, "train", "--resume", tmp_path / LAST, "--epochs", 2) == 0
    assert read_training(tmp_path / LAST)["switches"] == before
    assert run(FAMILY, "train", "--resume", tmp_path / LAST, "--epochs", 3, "--switch", "mixed_precision=on") == 0
    assert read_training(tmp_path / LAST)["switches"] == {**before, "mixed_precision": True}


def test_options_go_over_a_configuration_file_and_the_file_over_the_preset(tmp_path):
    (tmp_path / "c.json").write_text('{"noise_size": 5, "num_epochs": 7, "few_epochs": 7}')
    assert run(*TRAIN, "--config", tmp_path / "c.json", "--epochs", 1, "--out", tmp_path / "run") == 0
    config = read_training(tmp_path / "run" / LAST)["config"]
    assert (config["noise_size"], config["num_epochs"], config["few_epochs"]) == (5, 1, 1)
    assert config["text_size"] == TextToImageConfig.preset("tiny").text_size


def test_early_stopping_ends_the_training_and_more_epochs_do_not_help(tmp_path, monkeypatch, capsys):
    script = iter([0.5, 0.4, 0.6, 0.7, 0.8])
    monkeypatch.setattr(ReferenceTrainer, "evaluate", lambda _: next(script))
    assert run(*TRAIN, "--out", tmp_path, "--epochs", 50, "--switch", "early_stopping=on") == 0
    assert capsys.readouterr().out.startswith("4 epochs: ")
    assert [epoch["val_loss"] for epoch in read_training(tmp_path / LAST)["history"]] == [0.5, 0.4, 0.6, 0.7]
    assert "validation loss no longer fell" in (tmp_path / "training.log").read_text()
    assert "ended early" in refused(capsys, FAMILY, "train", "--resume", tmp_path / LAST, "--epochs", 60)
    more = ("--epochs", 5, "--switch", "early_stopping=off")
    assert run(FAMILY, "train", "--resume", tmp_path / LAST, *more) == 0


def test_the_speed_of_a_resumed_epoch_is_that_of_all_its_steps(tmp_path, monkeypatch):
    """By a clock that every step moves on by a second, and the pause between both parts by a hundred."""
    now, fail_at = [0.0], [2.0]
    real = ReferenceTrainer.train_steps

    def slow(self, n):
        if now == fail_at:
            raise RuntimeError("broken")
        now[0] += n
        real(self, n)

    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(ReferenceTrainer, "train_steps", slow)
    assert run(*TRAIN, "--tier", "reference", "--epochs", 1, "--out", tmp_path) == FAULT
    saved = tmp_path / "dcgan_error.safetensors"
    assert read_training(saved)["unfinished_seconds"] == 2
    now[0] += 100
    assert run(FAMILY, "train", "--resume", saved) == 0
    (epoch,) = read_training(tmp_path / LAST)["history"]
    assert epoch["seconds"] == now[0] - 100 == 11
    assert "3.8 images/s  1000 ms/batch" in (tmp_path / "training.log").read_text()


# --- samples ---


def sample(trained, target, *more):
    return (FAMILY, "sample", "--checkpoint", trained / LAST, "--out", target, *more)


def test_samples_depend_on_the_seed_alone(tmp_path, trained):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(*sample(trained, tmp_path / name, "--caption", "a red circle", "--seed", seed)) == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_samples_follow_their_caption_and_each_is_another(tmp_path, trained):
    captions = ("--caption", "a red circle", "--caption", "a large blue square")
    assert run(*sample(trained, tmp_path / "s.png", *captions, "--num", 10)) == 0
    width, height = Image.open(tmp_path / "s.png").size
    assert width < 8 * 100 + 250, "eight in a line"
    assert height > 4 * 96, "two captions of two lines"


def test_samples_lie_beside_the_checkpoint_and_do_not_replace_older_ones(tmp_path, trained, capsys):
    copy = tmp_path / "some.pth"
    copy.write_bytes((trained / LAST).read_bytes())
    draw = (FAMILY, "sample", "--checkpoint", copy, "--caption", "a circle")
    assert run(*draw) == 0
    before = contents(tmp_path)
    assert before.keys() == {copy, tmp_path / "samples.png"}
    assert str(tmp_path / "samples.png") in refused(capsys, *draw)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--caption", "zzz qqq"), "no word of it is known: 'zzz qqq'"),
        (("--caption", "a red circle", "zzz"), "'zzz'"),
        (("--caption", ""), "no word of it is known: ''"),
        ((), "no caption is given"),
        (("--caption", "circle", "--num", 0), "0 is below 1"),
        (("--caption", "circle", "--num", -3), "-3 is below 1"),
        (("--caption", "circle", "--num", 10**9), "too many"),
        (("--caption", "circle", "--num", "many"), "many"),
        (("--caption", "circle", "--seed", -1), "-1"),
        (("--caption", "circle", "--out", "n" * 300), "name too long"),
        (("--caption", "circle", "--out", "no/such/s.png"), "No such file"),
    ],
)
def test_what_cannot_be_sampled_is_refused_by_name(capsys, tmp_path, trained, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, *sample(trained, tmp_path / "s.png", *arguments))
    assert not contents(tmp_path)


def test_a_refused_caption_names_words_that_are_known(capsys, tmp_path, trained):
    known = read_training(trained / LAST)["text_encoder"]["words"]
    line = refused(capsys, *sample(trained, tmp_path / "s.png", "--caption", "zzz"))
    assert set(line.rpartition(": ")[2].strip().split(", ")) <= set(known)


# --- the sheets ---


def test_a_sheet_shows_every_image_as_it_is_beside_its_caption():
    red, blue = (torch.tensor(colour).float()[:, None, None].expand(3, 8, 8) for colour in ((1, -1, -1), (-1, -1, 1)))
    rows = [Row("first", [blue] * 9, red), Row("second", [red], blue)]
    sheet = Image.open(io_of(draw_grid(rows, "drawn")))
    pixels = dict.fromkeys(((255, 0, 0), (0, 0, 255)), 0)
    for count, colour in sheet.getcolors(2**24):
        if colour in pixels:
            pixels[colour] = count
    assert pixels == {(255, 0, 0): 2 * 96**2, (0, 0, 255): 10 * 96**2}


def test_a_long_caption_stays_in_its_row():
    image = torch.zeros(3, 32, 32)
    short, long = (
        Image.open(io_of(draw_grid([Row(text, [image])], "drawn"))) for text in ("red", "W" * 90 + " x" * 900)
    )
    assert short.size == long.size
    box = (200, 0, *short.size)
    assert short.crop(box).tobytes() == long.crop(box).tobytes()


@pytest.mark.parametrize(("image_size", "tile"), [(8, 96), (32, 96), (64, 128), (128, 128), (256, 256)])
def test_pixels_are_enlarged_by_a_whole_number(image_size, tile):
    sheet = Image.open(io_of(draw_grid([Row("a", [torch.full((3, image_size, image_size), -1.0)])], "drawn")))
    assert (tile**2, (0, 0, 0)) in sheet.getcolors(2**24)


def io_of(content):
    import io

    return io.BytesIO(content)


# --- TensorBoard and the progress bar ---


def test_scalars_are_written_without_loading_tensorflow(tmp_path):
    pytest.importorskip("tensorboard")
    code = (
        "import sys; from trainers.__main__ import main; code = main(sys.argv[1:]); "
        "assert not any(name.split('.')[0] == 'tensorflow' for name in sys.modules); sys.exit(code)"
    )
    arguments = [*TRAIN, "--out", str(tmp_path), "--switch", "early_stopping=on"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, check=True, timeout=300)
    loaded = scalars(tmp_path)
    num_batches = len(loaded["discriminator_loss"])
    assert [step for step, _ in loaded["generator_loss"]] == list(range(num_batches))
    history = read_training(tmp_path / LAST)["history"]
    assert loaded["val_loss"] == [
        (num_batches * epoch // len(history), pytest.approx(figures["val_loss"]))
        for epoch, figures in enumerate(history, start=1)
    ]


def test_a_rewound_training_has_every_scalar_once(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "c.json").write_text('{"checkpoint_every": 1}')
    assert run(*TRAIN, "--config", tmp_path / "c.json", "--epochs", 2, "--out", tmp_path / "run") == 0
    once = scalars(tmp_path / "run")
    assert run(FAMILY, "train", "--resume", tmp_path / "run" / "dcgan_epoch_1.safetensors") == 0
    assert scalars(tmp_path / "run") == once


def scalars(folder):
    """Read what TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.usefixtures("no_tensorboard")
def test_without_tensorboard_there_are_no_scalars_and_the_training_is_the_same(tmp_path, trained):
    assert run(*TRAIN, "--out", tmp_path, "--epochs", 2) == 0
    assert not (tmp_path / "tensorboard").exists()
    assert state(tmp_path) == state(trained)


def test_scalars_that_cannot_be_written_end_no_training(tmp_path, caplog):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("mine")
    assert run(*TRAIN, "--out", tmp_path, "--epochs", 1) == 0
    assert "no more scalars for TensorBoard" in caplog.text
    assert (tmp_path / "tensorboard").read_text() == "mine"


def test_a_terminal_shows_losses_and_speed_in_one_line_that_stays_where_it_is(tmp_path):
    parent, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers", *TRAIN, "--out", str(tmp_path), "--epochs", "2"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    seen = b""
    while chunk := read_terminal(parent):
        seen += chunk
    assert process.wait(timeout=300) == 0
    os.close(parent)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert text.count("\n") == 1, "when it is done"
    frames = [frame for frame in text.split("\r") if "images/s" in frame]
    assert len(frames) >= 2
    for frame in frames:
        assert re.match(r"D \d+\.\d+  G \d+\.\d+  \d+ images/s  \d+ ms/batch .* \d/2", frame)
        assert len(frame.rstrip("\n")) <= 80


def read_terminal(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's way of saying that nobody has it open any more
        return b""


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
        (("train", "--tier", "swift"), "swift"),
        (("train", "--preset", "huge"), "huge"),
        (("train", "--epochs", "0"), "0"),
        (("train", "--switch", "mixed_precision"), "mixed_precision"),
        (("train", "--preset", "tiny", "--switch", "fast=on"), "'fast'"),
        (("train", "--preset", "tiny", "--tier", "reference", "--switch", "mixed_precision=on"), "no switches"),
        (("train", "--data", "nowhere"), "nowhere"),
        (("train", "--config", "nowhere.json"), "nowhere.json"),
        (("train", "--resume", "nowhere.pth"), "nowhere.pth"),
        (("predict",), "predict"),
        (("sample",), "--checkpoint"),
        (("make-data",), "--out"),
    ],
)
def test_bad_usage_is_refused_by_name_and_nothing_is_written(capsys, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, FAMILY, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"noise_sise": 3}', "unknown key 'noise_sise'"),
        ('{"noise_size": "3"}', "noise_size is '3'"),
        ('{"image_size": 24}', "image_size is 24"),
        ("[1]", "no JSON object"),
        ("{", "is no JSON"),
    ],
)
def test_a_bad_configuration_file_is_refused_by_name(capsys, tmp_path, text, named):
    path = tmp_path / "some.json"
    path.write_text(text)
    line = refused(capsys, *TRAIN, "--config", path, "--out", tmp_path / "out")
    assert named in line
    assert str(path) in line
    assert contents(tmp_path).keys() == {path}


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "flipped", "other", "folder"])
@pytest.mark.parametrize("action", ["sample", "resume"])
def test_files_that_are_no_checkpoint_are_refused_by_name(capsys, tmp_path, trained, kind, action):
    path = tmp_path / "some.pth"
    whole = (trained / LAST).read_bytes()
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
            content = read_training(trained / LAST)
            checkpoint.save(path, {**content, "family": "tabular_regressor"})
        case "folder":
            path.mkdir()
    arguments = {
        "sample": ("sample", "--checkpoint", path, "--caption", "circle"),
        "resume": ("train", "--resume", path),
    }
    assert str(path) in refused(capsys, FAMILY, *arguments[action])
    assert contents(tmp_path).keys() <= {path}


def test_what_does_not_fit_is_not_resumed(capsys, tmp_path, trained):
    before = contents(trained)
    resume = (FAMILY, "train", "--resume", trained / LAST, "--out", tmp_path / "out", "--epochs", 3)
    (tmp_path / "c.json").write_text('{"text_hidden_size": 5}')
    line = refused(capsys, *resume, "--config", tmp_path / "c.json")
    assert "text_hidden_size is 4, the trainer's is 5" in line
    assert str(trained / LAST) in line
    assert "image_size is 8, the trainer's is 16" in refused(capsys, *resume, "--switch", "smaller_images=off")
    assert "has seed 0" in refused(capsys, *resume, "--seed", 1)
    assert run(FAMILY, "make-data", "--out", tmp_path / "data", "--preset", "tiny", "--seed", 5) == 0
    assert "other data" in refused(capsys, *resume, "--data", tmp_path / "data")
    assert contents(trained) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("epochs", [(), ("--epochs", 2), ("--epochs", 1)])
def test_resuming_a_finished_training_asks_for_more_epochs(capsys, trained, epochs):
    before = contents(trained)
    assert "above 2" in refused(capsys, FAMILY, "train", "--resume", trained / LAST, *epochs)
    assert contents(trained) == before


def test_the_checkpoints_of_another_training_are_not_overwritten(capsys, trained, tmp_path):
    before = contents(trained)
    assert "--resume" in refused(capsys, *TRAIN, "--out", trained)
    assert run(*TRAIN, "--out", tmp_path / "other", "--epochs", 1, "--seed", 1) == 0
    resume = (FAMILY, "train", "--epochs", 5, "--resume")
    line = refused(capsys, *resume, tmp_path / "other" / LAST, "--out", trained)
    assert "holds a checkpoint already" in line
    assert contents(trained) == before
    foreign = tmp_path / "other" / "foreign.pth"
    foreign.write_bytes((trained / LAST).read_bytes())
    before = contents(tmp_path)
    assert "of another training" in refused(capsys, *resume, foreign)
    assert contents(tmp_path) == before


def test_checkpoints_under_the_names_of_earlier_versions_are_found_and_continued(capsys, tmp_path, trained):
    old = tmp_path / "dcgan_last.pth"
    old.write_bytes((trained / LAST).read_bytes())
    assert f"{old}: holds a checkpoint already" in refused(capsys, *TRAIN, "--out", tmp_path)
    assert contents(tmp_path).keys() == {old}
    assert run(FAMILY, "train", "--resume", old, "--epochs", 3) == 0
    assert len(read_training(tmp_path / LAST)["history"]) == 3


def test_a_damaged_checkpoint_keeps_nobody_from_resuming_the_one_beside_it(tmp_path, trained):
    (tmp_path / "dcgan_interrupted.safetensors").write_bytes((trained / LAST).read_bytes())
    (tmp_path / LAST).write_bytes(b"half")
    assert run(FAMILY, "train", "--resume", tmp_path / "dcgan_interrupted.safetensors", "--epochs", 3) == 0
    assert len(read_training(tmp_path / LAST)["history"]) == 3


def test_places_that_cannot_be_written_are_refused_by_name(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        assert str(out) in refused(capsys, *TRAIN, "--out", out)
    assert str(tmp_path / "file") in refused(capsys, FAMILY, "make-data", "--out", tmp_path / "file")
    for name in ("training.log", "samples"):
        out = tmp_path / name.partition(".")[0]
        (out / "training.log").mkdir(parents=True) if name == "training.log" else out.mkdir()
        if name == "samples":
            (out / "samples").write_text("mine")
        assert str(out / name) in refused(capsys, *TRAIN, "--out", out)
        assert not list(out.glob("*.safetensors"))
    assert (tmp_path / "file").read_text() == (tmp_path / "samples" / "samples").read_text() == "mine"


def test_bad_input_in_a_process_of_its_own_exits_2_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "trainers", FAMILY, "train", "--data", str(tmp_path / "no"), "--out", str(tmp_path)],
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
    assert not list(tmp_path.iterdir())


def test_made_data_is_read_back_and_a_folder_with_data_is_left_alone(capsys, tmp_path):
    data = tmp_path / "data"
    assert run(FAMILY, "make-data", "--out", data, "--preset", "tiny") == 0
    before = contents(data)
    assert any(json.loads(content)["annotations"] for path, content in before.items() if path.suffix == ".json")
    assert str(data) in refused(capsys, FAMILY, "make-data", "--out", data, "--preset", "tiny", "--seed", 1)
    assert contents(data) == before
    assert commands.find_data(TextToImageConfig.preset("tiny"), data).num_items("train") > 10
    with pytest.raises(BadInput):
        commands.find_data(TextToImageConfig.preset("tiny"), tmp_path)
