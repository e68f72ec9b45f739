"""The dialogue GAN's command line: what it does, and one line for bad input."""

import signal
import unicodedata

import pytest

from tests.states import put_back
from trainers.__main__ import main
from trainers.common import checkpoint
from trainers.common.boundary import FAULT

pytest.importorskip("tensorflow")

from trainers.dialogue_gan import commands, training
from trainers.dialogue_gan.fastest import FastestTrainer
from trainers.dialogue_gan.optimized import OptimizedTrainer
from trainers.family import Family
from trainers.switches import resolve

pytestmark = pytest.mark.usefixtures("private_cache")

FAMILY = "dialogue_gan"
SETTINGS = '{"sequence_length": 3, "pretraining_epochs_g": 1, "adversarial_epochs": 1, "num_lines": 6}'
LAST, INTERRUPTED, ERROR = (f"dialogue_gan_{kind}.ckpt" for kind in ("last", "interrupted", "error"))


def run(*arguments):
    return main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    """The one line that a command says to bad input."""
    capsys.readouterr()
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "small.json"
    path.write_text(SETTINGS)
    return path


def assembling_once():
    """An `assemble` that hands out the same trainer, in its first state, wherever its graphs are the same."""
    made, assemble = {}, Family.assemble

    def assemble_again(family, tier, config, *, data, switches=None, seed=0, log, **options):
        sizes = config.replace(adversarial_epochs=1), len(data.characters), len(data.scenes)
        key = (tier, *sizes, seed, *resolve(family.switches[tier], switches).items())
        if key not in made:
            trainer = assemble(family, tier, config, data=data, switches=switches, seed=seed, log=log, **options)
            made[key] = trainer, trainer.state(), dict(vars(trainer))
        trainer, start, parts = made[key]
        put_back(trainer, {**parts, "config": config, "data": data, "log": log, "batch_seconds": []}, start)
        return trainer

    return assemble_again


@pytest.fixture(scope="module")
def assembled_once():
    return assembling_once()


@pytest.fixture
def shared(monkeypatch, assembled_once):
    """Let the commands share their trainers: graphs take their time to be traced."""
    monkeypatch.setattr(Family, "assemble", assembled_once)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, private_cache, settings, assembled_once):
    """Folder of a finished training."""
    assert private_cache.is_dir()
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Family, "assemble", assembled_once)
        assert run(FAMILY, "train", "--preset", "tiny", "--config", settings, "--out", out) == 0
    return out


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_character_is_found_whatever_normalization_form_its_name_is_typed_in(form):
    known = ["Ada", unicodedata.normalize("NFC", "José")]
    assert commands._find("character", unicodedata.normalize(form, "JOSÉ"), known) == 1


def test_from_data_through_training_to_samples(tmp_path, capsys):
    assert run(FAMILY, "make-data", "--out", tmp_path, "--preset", "tiny", "--seed", 3) == 0
    data = tmp_path / "dialogue.txt"
    assert str(data) in capsys.readouterr().out
    short = tmp_path / "short.json"
    short.write_text('{"sequence_length": 3, "pretraining_epochs_g": 1, "adversarial_epochs": 0}')
    train = (FAMILY, "train", "--preset", "tiny", "--config", short, "--data", data, "--tier", "reference")
    assert run(*train, "--out", tmp_path / "run") == 0
    said = capsys.readouterr()
    assert "validation loss 3." in said.out
    assert str(tmp_path / "run" / LAST) in said.out
    assert [line.split()[1] for line in said.err.splitlines() if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {LAST}
    content = training.read_training(tmp_path / "run" / LAST)
    assert content["tier"] == "reference"
    who, where = content["characters"][1], content["scenes"][1]
    sample = (FAMILY, "sample", "--checkpoint", tmp_path / "run" / LAST, "--num", 3, "--seed", 1)
    assert run(*sample, "--character", who.upper(), "--scene", where, "--temperature", "1.5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{who}: ") for line in lines)


@pytest.mark.usefixtures("shared")
def test_samples_depend_on_their_seed(trained, capsys):
    said = []
    for seed in (1, 1, 2):
        assert run(FAMILY, "sample", "--checkpoint", trained / LAST, "--num", 5, "--seed", seed) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_a_training_prints_and_keeps_the_figures_of_its_epochs(trained):
    history = training.read_training(trained / LAST)["history"]
    assert {phase: len(epochs) for phase, epochs in history.items()} == {
        "generator_pretraining": 1, "discriminator_pretraining": 1, "adversarial": 1,
    }  # fmt: skip
    assert history["adversarial"][0].keys() == {"train_loss", "val_loss", "val_perplexity"}


@pytest.mark.usefixtures("shared")
def test_a_finished_training_goes_on_for_more_epochs(trained, tmp_path, capsys):
    before = (trained / LAST).read_bytes()
    assert run(FAMILY, "train", "--resume", trained / LAST, "--epochs", 2, "--out", tmp_path) == 0
    assert "Epoch 2/2 | Temperature: 1.900" in capsys.readouterr().out
    assert (trained / LAST).read_bytes() == before
    assert len(training.read_training(tmp_path / LAST)["batch_seconds"]) > len(
        training.read_training(trained / LAST)["batch_seconds"]
    )


@pytest.mark.usefixtures("shared")
def test_any_other_error_is_saved_and_its_traceback_kept(tmp_path, settings, monkeypatch, capsys):
    def failing(*_):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(OptimizedTrainer, "adversarial_batch", failing)
    assert run(FAMILY, "train", "--preset", "tiny", "--config", settings, "--out", tmp_path) == FAULT
    assert "error: unexpected RuntimeError: the device is gone; its traceback is in" in capsys.readouterr().err
    content = training.read_training(tmp_path / ERROR)
    assert content["state"]["progress"]["positions"]["adversarial"] == [0, 0]
    assert content["state"]["progress"]["positions"]["discriminator_pretraining"] == [1, 0]


def test_updates_that_are_all_skipped_end_the_training_in_one_line(tmp_path, settings, monkeypatch, capsys):
    poisoned = OptimizedTrainer.update

    def spoilt(self, optimizer, network, gradients):
        return poisoned(self, optimizer, network, [*gradients[:-1], gradients[-1] * float("nan")])

    monkeypatch.setattr(OptimizedTrainer, "update", spoilt)
    (tmp_path / "c.json").write_text(SETTINGS.replace("{", '{"max_consecutive_skips": 3, '))
    assert run(FAMILY, "train", "--preset", "tiny", "--config", tmp_path / "c.json", "--out", tmp_path / "run") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: training: 3 updates of the generator in a row had gradients that are not finite")
    assert (tmp_path / "run" / ERROR).is_file()


@pytest.mark.usefixtures("shared")
def test_a_second_interrupt_does_not_wait_and_saves_no_half_step(tmp_path, settings, monkeypatch, capsys):
    def impatient(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(OptimizedTrainer, "pretrain_discriminator_batch", impatient)
    assert run(FAMILY, "train", "--preset", "tiny", "--config", settings, "--out", tmp_path) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"
    assert not (tmp_path / INTERRUPTED).exists()
    assert (tmp_path / LAST).is_file(), "the last whole epoch"


def test_the_fastest_tier_stops_after_a_call_and_goes_on_from_there(tmp_path, monkeypatch):
    settings = tmp_path / "calls_of_two.json"
    settings.write_text(SETTINGS.replace("{", '{"steps_per_call": 2, '))
    chosen = ("--preset", "tiny", "--config", settings, "--tier", "fastest", "--switch", "joined_discriminator=off")
    monkeypatch.setattr(Family, "assemble", assembling_once())
    assert run(FAMILY, "train", *chosen, "--out", tmp_path / "whole") == 0
    train_call = FastestTrainer._train_call

    def interrupted(self, phase, most):
        if phase == "adversarial":
            signal.raise_signal(signal.SIGINT)
        return train_call(self, phase, most)

    with monkeypatch.context() as patch:
        patch.setattr(FastestTrainer, "_train_call", interrupted)
        assert run(FAMILY, "train", *chosen, "--out", tmp_path / "parts") == 130
    content = training.read_training(tmp_path / "parts" / INTERRUPTED)
    assert content["tier"] == "fastest"
    assert not content["switches"]["joined_discriminator"]
    assert content["switches"]["batched_calls"]
    assert content["state"]["progress"]["positions"]["adversarial"] == [0, 2], "the call was finished"
    monkeypatch.undo()  # another trainer goes on
    assert run(FAMILY, "train", "--resume", tmp_path / "parts" / INTERRUPTED) == 0
    parts, whole = (training.read_training(tmp_path / name / LAST) for name in ("parts", "whole"))
    assert parts["state"]["progress"]["positions"] == whole["state"]["progress"]["positions"]
    for ours, theirs in zip(parts["history"]["adversarial"], whole["history"]["adversarial"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


# --- what it refuses ---


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("train", "--tier", "warp"), "warp"),
        (("train", "--tier", "fastest", "--switch", "nan_skip=on"), "nan_skip"),
        (("train", "--tier", "optimized", "--switch", "compiled_step=off"), "compiled_step"),
        (("train", "--epochs", "0"), "0"),
        (("train", "--switch", "warp=on"), "warp"),
        (("train", "--tier", "reference", "--switch", "nan_skip=on"), "nan_skip"),
        (("train", "--data", "no.txt"), "no.txt"),
        (("train", "--config", "no.json"), "no.json"),
        (("train", "--resume", "no.ckpt"), "no.ckpt"),
        (("sample",), "--checkpoint"),
        (("sample", "--checkpoint", "no.ckpt"), "no.ckpt"),
        (("sample", "--checkpoint", "x", "--temperature", "0"), "--temperature"),
        (("sample", "--checkpoint", "x", "--temperature", "nan"), "--temperature"),
        (("sample", "--checkpoint", "x", "--num", "0"), "--num"),
    ],
)
def test_bad_usage_is_one_line(capsys, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    assert named in refused(capsys, FAMILY, *arguments)
    assert not list(tmp_path.iterdir())


def test_an_unknown_character_or_scene_lists_the_known(capsys, trained):
    content = training.read_training(trained / LAST)
    sample = (FAMILY, "sample", "--checkpoint", trained / LAST)
    said = refused(capsys, *sample, "--character", "Nobody")
    assert "'Nobody'" in said
    assert all(name in said for name in content["characters"])
    said = refused(capsys, *sample, "--scene", "nowhere")
    assert all(name in said for name in content["scenes"])


@pytest.mark.usefixtures("shared")
def test_a_checkpoint_of_another_vocabulary_data_or_seed_is_refused(capsys, trained, tmp_path):
    resume = (FAMILY, "train", "--resume", trained / LAST, "--epochs", 5)
    other = tmp_path / "other.txt"
    other.write_text("Mara: quite other words here\nTom: and some more of them\nMara: to make enough of it\n")
    assert "another vocabulary" in refused(capsys, *resume, "--data", other)
    assert "seed 0" in refused(capsys, *resume, "--seed", 3)
    assert "has trained 1 adversarial epochs" in refused(capsys, FAMILY, "train", "--resume", trained / LAST)
    wide = tmp_path / "wide.json"
    wide.write_text('{"hidden_size": 12}')
    assert "its hidden_size is 8, the trainer's is 12" in refused(capsys, *resume, "--config", wide)
    (tmp_path / "moved.json").write_text('{"split_seed": 1}')
    assert "other data" in refused(capsys, *resume, "--config", tmp_path / "moved.json")


def test_a_checkpoint_of_another_family_or_a_damaged_one_is_refused(capsys, trained, tmp_path):
    other = tmp_path / "other.ckpt"
    checkpoint.save(other, {"family": "tabular_regressor"})
    assert "no checkpoint of dialogue_gan" in refused(capsys, FAMILY, "sample", "--checkpoint", other)
    damaged = bytearray((trained / LAST).read_bytes())
    damaged[-10] ^= 1
    other.write_bytes(damaged)
    assert "damaged" in refused(capsys, FAMILY, "sample", "--checkpoint", other)


def test_files_are_not_overwritten(capsys, trained, tmp_path):
    before = (trained / LAST).read_bytes()
    assert "holds a checkpoint already" in refused(capsys, FAMILY, "train", "--preset", "tiny", "--out", trained)
    assert (trained / LAST).read_bytes() == before
    (tmp_path / "dialogue.txt").write_text("mine")
    assert "exists already" in refused(capsys, FAMILY, "make-data", "--out", tmp_path)
    assert (tmp_path / "dialogue.txt").read_text() == "mine"


def test_a_tensorflow_that_is_missing_is_one_line(capsys, monkeypatch, tmp_path, trained):
    from trainers.contract import BadInput

    def missing():
        raise BadInput("tensorflow is not installed", "environment", "pip install tensorflow-cpu")

    monkeypatch.setattr(commands, "require_tensorflow", missing)
    for arguments in (("train", "--out", tmp_path), ("sample", "--checkpoint", trained / LAST)):
        assert refused(capsys, FAMILY, *arguments).endswith("is not installed; pip install tensorflow-cpu\n")
