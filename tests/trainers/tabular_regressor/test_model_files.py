"""The `.pth` files: read by `torch.load` as before, checked, read as data only, and found by their names."""

import io
import os
import random
import zipfile
from pathlib import Path

import pytest
import torch

from trainers.common import checkpoint
from trainers.contract import BadInput
from trainers.tabular_regressor.document_004.model_files import (
    load_best_weights,
    load_state_dict_safely,
    load_training,
    save_training,
)
from trainers.tabular_regressor.document_004.model_names import (
    ModelFiles,
    check_existing_model_files,
    check_existing_plots,
)
from trainers.tabular_regressor.model import TabularRegressor


def weights(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.LayerNorm(4)).state_dict()


def same(left, right):
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def ours(tmp_path):
    path = tmp_path / "ours.pth"
    save_training(path, {"state": {"model": dict(weights())}, "history": {"losses": [0.1, 0.2]}})
    return path


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old.pth"
    torch.save(weights(), path)
    return path


def flipped(content, bit):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_what_is_saved_is_what_is_loaded_and_torch_reads_the_weights(ours):
    content = load_training(ours)
    assert content["history"] == {"losses": [0.1, 0.2]}
    assert same(content["state"]["model"], weights())
    assert same(load_state_dict_safely(ours, "cpu"), weights())
    assert same(torch.load(ours, weights_only=True), weights())
    assert same(torch.load(ours, weights_only=True, mmap=True), weights())


def test_a_file_with_a_training_in_the_format_before_safetensors_is_read(tmp_path, monkeypatch):
    old = Path(__file__).parents[1] / "common" / "before_safetensors.ckpt"
    monkeypatch.setattr(checkpoint, "dumps", lambda _: old.read_bytes())
    save_training(tmp_path / "old.pth", {"state": {"model": dict(weights())}})
    assert load_training(tmp_path / "old.pth")["family"] == "dialogue_gan"
    assert same(load_state_dict_safely(tmp_path / "old.pth", "cpu"), weights())


def test_200_flipped_bits_are_200_refusals(ours):
    content = ours.read_bytes()
    bits = random.Random(0)  # noqa: S311 - which bits to flip is no secret
    ends = [byte * 8 + bits.randrange(8) for byte in [*range(20), *range(len(content) - 60, len(content))]]
    anywhere = bits.sample(range(len(content) * 8), 120)
    refused = 0
    for bit in ends + anywhere:
        ours.write_bytes(flipped(content, bit))
        for read in (load_training, lambda path: load_state_dict_safely(path, "cpu")):
            with pytest.raises(BadInput, match=r"ours\.pth"):
                read(ours)
        refused += 1
    assert refused == 200
    ours.write_bytes(content)
    load_training(ours)


def test_any_truncation_or_addition_is_refused(ours):
    content = ours.read_bytes()
    for length in [*range(0, len(content), 97), *range(len(content) - 70, len(content))]:
        ours.write_bytes(content[:length])
        with pytest.raises(BadInput, match=r"ours\.pth"):
            load_state_dict_safely(ours, "cpu")
    ours.write_bytes(content + b"\0")
    with pytest.raises(BadInput):
        load_training(ours)


def test_weights_of_the_old_program_are_read(old, tmp_path):
    assert same(load_state_dict_safely(old, "cpu"), weights())
    assert same(load_state_dict_safely(str(old), torch.device("cpu")), weights())
    torch.save(weights(), tmp_path / "older.pth", _use_new_zipfile_serialization=False)
    assert same(load_state_dict_safely(tmp_path / "older.pth", "cpu"), weights())


def test_damaged_weights_of_the_old_program_are_refused_by_their_own_sums(old):
    content = old.read_bytes()
    with zipfile.ZipFile(old) as records:
        places = [info.header_offset + 200 for info in records.infolist() if "/data/" in info.filename]
    assert places
    data = content.index(next(iter(weights().values())).numpy().tobytes())
    for bit in range(data * 8, data * 8 + 80):
        old.write_bytes(flipped(content, bit))
        with pytest.raises(BadInput, match=r"old\.pth.*damaged"):
            load_state_dict_safely(old, "cpu")
    old.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"old\.pth"):
        load_state_dict_safely(old, "cpu")


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict"])
def test_weights_among_other_things_are_found(tmp_path, key):
    torch.save({"epoch": 3, key: weights(), "optimizer_state_dict": {}}, tmp_path / "a.pth")
    assert same(load_state_dict_safely(tmp_path / "a.pth", "cpu"), weights())


def test_a_prefix_of_all_names_is_taken_off_and_one_of_some_is_not(tmp_path):
    torch.save({f"module.{name}": value for name, value in weights().items()}, tmp_path / "all.pth")
    assert same(load_state_dict_safely(tmp_path / "all.pth", "cpu"), weights())
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(mixed, tmp_path / "some.pth")
    assert same(load_state_dict_safely(tmp_path / "some.pth", "cpu"), mixed)


def network(seed=0):
    torch.manual_seed(seed)
    return TabularRegressor(3, 2, 4, 12, 0.1)


def old_name(name):
    """Name that version 0.1 gave a weight: `blocks.10.layers.4.bias` for `layers.10.4.bias`."""
    first, _, rest = name.partition(".")
    place, _, last = rest.partition(".")
    return {
        "input_proj": f"input.0.{rest}",
        "input_norm": f"input.1.{rest}",
        "layers": f"blocks.{place}.layers.{last}",
        "output_proj": f"output.{rest}",
    }[first]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_version_0_1_have_the_names_of_today(tmp_path, prefix):
    kept = network().state_dict()
    assert old_name("layers.10.4.bias") == "blocks.10.layers.4.bias"
    torch.save({f"{prefix}{old_name(name)}": value for name, value in kept.items()}, tmp_path / "old.pth")
    assert same(load_state_dict_safely(tmp_path / "old.pth", "cpu"), kept)


def test_names_that_only_contain_an_old_one_are_kept(tmp_path):
    other = {name: torch.ones(1) for name in ("my_output.bias", "layers.0.input.0.bias", "a.blocks.1.layers.0.bias")}
    torch.save(other, tmp_path / "other.pth")
    assert same(load_state_dict_safely(tmp_path / "other.pth", "cpu"), other)


def test_a_network_begins_with_the_best_weights_or_is_left_as_it_is(tmp_path):
    path, model = tmp_path / "m_best_model.pth", network(1)
    load_best_weights(model, path)
    assert same(model.state_dict(), network(1).state_dict())
    torch.save({old_name(name): value for name, value in network().state_dict().items()}, path)
    load_best_weights(model, path)
    assert same(model.state_dict(), network().state_dict())


@pytest.mark.parametrize("sizes", [(3, 2, 5, 12), (3, 2, 4, 11), (3, 2, 4, 13), (3, 1, 4, 12)])
def test_best_weights_of_a_network_of_another_size_change_nothing(tmp_path, sizes):
    path, model = tmp_path / "m_best_model.pth", network(1)
    torch.save(TabularRegressor(*sizes, 0.1).state_dict(), path)
    with pytest.raises(BadInput, match=r"m_best_model\.pth: holds the weights of a network of another size"):
        load_best_weights(model, path)
    assert same(model.state_dict(), network(1).state_dict())


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    for index, zipped in enumerate((True, False)):
        path = tmp_path / f"{index}.pth"
        torch.save({"w": Trap(tmp_path / "trapped")}, path, _use_new_zipfile_serialization=zipped)
        for read in (load_training, lambda each: load_state_dict_safely(each, "cpu")):
            with pytest.raises(BadInput, match=rf"{index}\.pth"):
                read(path)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    "thing", [{}, [1], {"a": 1}, {"a": "text"}, {1: torch.ones(1)}, {"model_state_dict": {"a": None}}, 3]
)
def test_what_holds_no_weights_is_refused_by_name(tmp_path, thing):
    torch.save(thing, tmp_path / "thing.pth")
    with pytest.raises(BadInput, match=r"thing\.pth.*holds no weights"):
        load_state_dict_safely(tmp_path / "thing.pth", "cpu")


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "folder", "picture", "zip", "own tree"])
def test_foreign_files_are_refused_by_name(tmp_path, kind):
    path = tmp_path / "some.pth"
    match kind:
        case "empty":
            path.touch()
        case "text":
            path.write_text("weights")
        case "folder":
            path.mkdir()
        case "picture":
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
        case "zip":
            with zipfile.ZipFile(path, "w") as records:
                records.writestr("a/b", "text")
        case "own tree":
            checkpoint.save(path, {"weights": torch.ones(3)})
    for read in (load_training, lambda each: load_state_dict_safely(each, "cpu")):
        with pytest.raises(BadInput, match=r"some\.pth") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_file_of_the_old_program_is_no_checkpoint(old):
    with pytest.raises(BadInput, match=r"old\.pth: is no checkpoint"):
        load_training(old)


def test_a_full_disk_keeps_the_old_file(ours, monkeypatch):
    before = ours.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        save_training(ours, {"state": {"model": dict(weights(1))}})
    assert ours.read_bytes() == before
    assert list(ours.parent.iterdir()) == [ours]


def test_the_weights_are_a_record_that_other_programs_understand(ours):
    with zipfile.ZipFile(io.BytesIO(ours.read_bytes())) as records:
        assert records.testzip() is None
        assert any(name.endswith("/training") for name in records.namelist())


# --- names ---


def test_names_are_the_documents():
    files = ModelFiles()
    names = (files.best_model, files.config, files.training_log, files.loss_analysis, files.predictions)
    assert [str(each).removeprefix("improved_model_") for each in names] == [
        "best_model.pth", "config.json", "training.log", "loss_analysis.png", "predictions.png",
    ]  # fmt: skip
    assert str(files.checkpoint("epoch_50")) == "improved_model_checkpoint_epoch_50.pth"


@pytest.mark.parametrize("name", ["improved_model", "a.b", "my_checkpoint_model", "50%_[x]*"])
def test_the_name_of_a_model_is_found_in_its_files(tmp_path, name):
    files = ModelFiles(str(tmp_path / name))
    for path in (files.best_model, files.checkpoint("interrupted"), files.checkpoint("epoch_50")):
        assert ModelFiles.of(path).best_model == files.best_model
    assert ModelFiles.of(tmp_path / "foreign.pth") == ModelFiles()


def test_existing_files_are_found_by_kind_the_newest_checkpoint_first(tmp_path):
    name = str(tmp_path / "50%_[x]*")
    files = ModelFiles(name)
    assert check_existing_model_files(name) == check_existing_plots(name) == {}
    paths = (files.checkpoint("epoch_50"), files.checkpoint("last"), files.checkpoint("interrupted"))
    for age, path in enumerate(paths):
        path.touch()
        os.utime(path, ns=(10**18 - age, 10**18 - age))
    files.best_model.touch()
    files.predictions.touch()
    (tmp_path / "other_checkpoint_last.pth").touch()
    found = check_existing_model_files(name)
    assert list(found) == ["best_model", "checkpoint_epoch_50", "checkpoint_last", "checkpoint_interrupted"]
    assert found["checkpoint_last"] == files.checkpoint("last")
    assert check_existing_plots(name) == {"predictions": files.predictions}
    assert check_existing_model_files(str(tmp_path / "missing" / "name")) == {}
