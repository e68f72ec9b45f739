"""Checkpoint files: round trips, damage, foreign files and failing disks."""

import errno
import hashlib
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from trainers.common import checkpoint
from trainers.contract import BadInput

TREE = {
    "numbers": [0, -1, 2**70, 0.1, -0.0, 1e-310, math.inf, -math.inf, math.nan],
    "plain": (None, True, False, "ünï", ""),
    7: {"nested": {"deeper": [(1,), [], {}]}},
    "arrays": {
        "float64": np.linspace(0, 1, 7),
        "strided": np.arange(24, dtype=np.int16).reshape(4, 6)[::2, ::-3],
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 3), np.uint8),
        "bool": np.array([True, False]),
        "complex": np.array([1 + 2j]),
        "big_endian": np.array([1, 2], ">i4"),
    },
}
TENSORS = {
    "bfloat16": torch.tensor([1.5, -2.25, math.inf], dtype=torch.bfloat16),
    "float16": torch.tensor([[0.5]], dtype=torch.float16),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "scalar": torch.tensor(3, dtype=torch.int64),
    "empty": torch.empty(0, 2),
    "bytes": torch.get_rng_state(),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}


def same(left, right):
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype is right.dtype and torch.equal(left, right)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return isinstance(right, float) and left.hex() == right.hex()
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(
    "tree", [TREE, TENSORS, [TREE, TENSORS], None, 3], ids=["plain", "tensors", "both", "none", "int"]
)
def test_what_is_saved_is_what_is_loaded(tmp_path, tree):
    checkpoint.save(tmp_path / "file", tree)
    assert same(tree, checkpoint.load(tmp_path / "file"))


def test_the_same_tree_gives_the_same_bytes():
    assert checkpoint.dumps([TREE, TENSORS]) == checkpoint.dumps([TREE, TENSORS])


def test_loaded_arrays_can_be_written_to(tmp_path):
    checkpoint.save(tmp_path / "file", {"array": np.ones(3), "tensor": torch.ones(3)})
    loaded = checkpoint.load(tmp_path / "file")
    loaded["array"] += 1
    loaded["tensor"].add_(1)
    assert loaded["array"][0] == loaded["tensor"][0] == 2


@pytest.mark.parametrize(
    ("tree", "where"),
    [
        ({"a": [object()]}, r"checkpoint\['a'\]\[0\]"),
        ({"a": {1, 2}}, "set"),
        ({"a": b"bytes"}, "bytes"),
        ({"a": np.array(["text"])}, "checkpoint"),
        ({"a": np.array([object()])}, "object"),
        ({"a": np.float32(1)}, "NumPy scalar"),
        ({(1, 2): 3}, "key"),
        ({True: 3}, "key"),
        ({"a": torch.eye(2).to_sparse()}, "sparse"),
        ({"a": print}, "builtin"),
    ],
)
def test_what_is_no_data_is_refused_with_its_place(tmp_path, tree, where):
    with pytest.raises(TypeError, match=where):
        checkpoint.save(tmp_path / "file", tree)
    assert not list(tmp_path.iterdir())


def test_any_flipped_bit_is_noticed():
    content = checkpoint.dumps({"a": np.arange(4.0), "b": "text, ünï", "t": torch.ones(3), "e": np.zeros((0, 2))})
    for bit in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadInput, match="some/file"):
            checkpoint.loads(bytes(damaged), "some/file")


def test_any_truncation_or_addition_is_noticed():
    content = checkpoint.dumps({"a": np.arange(40.0)})
    for length in [*range(60), *range(60, len(content), 7), len(content) - 1]:
        with pytest.raises(BadInput):
            checkpoint.loads(content[:length], "file")
    with pytest.raises(BadInput):
        checkpoint.loads(content + b"\0", "file")


def test_a_file_of_another_program_is_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    path = tmp_path / "foreign.pth"
    torch.save({"weights": Trap()}, path)
    with pytest.raises(BadInput, match=r"foreign\.pth.*no checkpoint"):
        checkpoint.load(path)
    assert not (tmp_path / "trapped").exists()


def signed(text, **tensors):
    """A safetensors file with a right checksum and any text in the tree's place."""
    stored = {name: checkpoint._Stored("U8", list(each.shape), each.tobytes()) for name, each in tensors.items()}
    entry = f'{{"sha256":"{checkpoint._digest(text, stored)}","tree":{text}}}'
    return safetensors.numpy.save(tensors, {"trainers": entry})


def test_a_well_summed_file_with_our_content_is_read():
    bytes_U8 = np.array([0, 0, 128, 63], np.uint8)
    assert checkpoint.loads(signed('{"array":["<f4",[1],"a"]}', a=bytes_U8), "file") == [1.0]


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"call":["os.system","true"]}',
        '{"tensor":["load",[1],"a"]}',
        '{"array":["O",[1],"a"]}',
        '{"array":["<f4",[1000],"a"]}',
        '{"array":["<f4",[3],"a"]}',
        '{"array":["<f4",[1],"b"]}',
        '{"list":[{"array":["<f4",[1],"a"]},{"array":["<f4",[1],"a"]}]}',
        '{"a":1,"b":2}',
        "[1]",
        "{}",
        "[" * 100_000,
    ],
)
def test_a_well_summed_file_with_another_content_is_refused(text):
    with pytest.raises(BadInput, match="malformed"):
        checkpoint.loads(signed(text, a=np.zeros(4, np.uint8)), "file")


# --- any tool for safetensors reads the weights ---


def test_other_programs_list_and_read_the_weights_under_dotted_names(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).bfloat16()
    state = {"generator": network.state_dict(), "optimizer": [np.ones(2, np.float16)]}
    checkpoint.save(tmp_path / "file", {"state": state, "epoch": 3})
    with safetensors.safe_open(tmp_path / "file", "pt") as file:
        weights = {name.removeprefix("state.generator."): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert torch.equal(weights.pop("state.optimizer.0"), torch.ones(2, dtype=torch.float16))
    assert same(dict(sorted(weights.items())), dict(sorted(network.state_dict().items())))
    network.load_state_dict(weights)


def test_each_dtype_is_stored_as_itself_where_safetensors_knows_it(tmp_path):
    checkpoint.save(tmp_path / "file", [TREE["arrays"], TENSORS])
    with safetensors.safe_open(tmp_path / "file", "np") as file:
        kinds = {name: (file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert kinds["1.bfloat16"] == ("BF16", [3])
    assert kinds["1.transposed"] == ("F32", [3, 2])
    assert kinds["1.empty"] == ("F32", [0, 2])
    assert kinds["0.scalar"] == ("F32", [])
    assert kinds["0.bool"] == ("BOOL", [2])
    assert kinds["0.big_endian"] == ("U8", [8]), "bytes of a kind that it does not know"
    assert kinds["0.complex"] == ("U8", [16])


@pytest.mark.parametrize(
    "tree",
    [
        np.ones(2),
        {"a.b": np.ones(1), "a": {"b": np.zeros(1)}, "a.b_": np.full(1, 2.0)},
        {1: np.ones(1), "1": np.zeros(1)},
        {"": np.ones(1), "__metadata__": np.zeros(1)},
        {f'a\n\0"\\{chr(0xD800)}': np.ones(1), f'a\n\0"\\{chr(0xDFFF)}': np.zeros(1), "ü": np.ones(3)},
    ],
    ids=["root", "dots", "numbers", "reserved", "unprintable"],
)
def test_names_that_collide_or_that_the_format_lacks_are_kept_apart(tree):
    assert same(tree, checkpoint.loads(checkpoint.dumps(tree), "file"))


def test_a_tensor_that_is_there_twice_is_two_afterwards():
    tensor = torch.ones(4)
    first, second, part = checkpoint.loads(checkpoint.dumps([tensor, tensor, tensor[1:3]]), "file")
    first.zero_()
    assert second.tolist() == [1, 1, 1, 1]
    assert part.tolist() == [1, 1]


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    for number, metadata in enumerate((None, {"format": "pt"}, {"trainers": "{}"}, {"trainers": "text"})):
        path = tmp_path / f"{number}.safetensors"
        safetensors.torch.save_file({"weights": torch.ones(3)}, path, metadata)
        with pytest.raises(BadInput, match=rf"{number}\.safetensors: is no checkpoint of these trainers"):
            checkpoint.load(path)


def test_a_tree_that_readers_of_the_format_would_refuse_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_LONGEST_HEADER", 1000)
    checkpoint.save(tmp_path / "file", list(range(100)))
    with pytest.raises(TypeError, match="put long lists of numbers into arrays"):
        checkpoint.save(tmp_path / "file", list(range(1000)))
    assert checkpoint.load(tmp_path / "file") == list(range(100))


# --- files of the format before safetensors ---


OLD_FILE = Path(__file__).with_name("before_safetensors.ckpt")
OLD_TREE = {
    "family": "dialogue_gan",
    "epoch": 3,
    7: ["ünï", None, True, 0.1, -0.0, math.inf, math.nan, 2**70],
    "nested": ({"deeper": [(1,), [], {}]},),
    "arrays": {
        "floats": np.linspace(0, 1, 5),
        "empty": np.zeros((0, 3), np.uint8),
        "big_endian": np.array([1, 2], ">i4"),
        "scalar": np.array(3.5, np.float32),
    },
    "tensors": {
        "bfloat16": torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
        "matrix": torch.arange(6.0).reshape(2, 3),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 2),
    },
}


def old_file(text):
    """A file of the old format with a right checksum and any text in the tree's place."""
    body = struct.pack("<Q", len(text)) + text + bytes(8)
    start = b"trainer1" + struct.pack("<Q", len(body))
    return start + hashlib.sha256(start + body).digest() + body


def test_an_old_file_is_read_and_can_be_written_to():
    loaded = checkpoint.load(OLD_FILE)
    assert same(OLD_TREE, loaded)
    loaded["arrays"]["floats"] += 1
    loaded["tensors"]["matrix"].add_(1)
    assert same(OLD_TREE, checkpoint.load(OLD_FILE))


def test_a_damaged_old_file_is_refused():
    content = OLD_FILE.read_bytes()
    for byte in range(len(content)):
        damaged = bytearray(content)
        damaged[byte] ^= 1 << byte % 8
        with pytest.raises(BadInput, match="some/file"):
            checkpoint.loads(bytes(damaged), "some/file")
        with pytest.raises(BadInput, match="some/file"):
            checkpoint.loads(content[:byte], "some/file")
    with pytest.raises(BadInput, match="cut short"):
        checkpoint.loads(content + b"\0", "file")


@pytest.mark.parametrize(
    "text",
    [b"not json", b'{"call":["os.system","true"]}', b'{"tensor":["load",[1],4]}', b'{"array":["O",[1],8]}',
     b'{"array":["<f4",[1],4000]}', b'{"array":["<f4",[3],4]}', b'{"array":["<f4",[1],-1]}', b"[1]", b"\xff"],
)  # fmt: skip
def test_a_well_summed_old_file_with_another_content_is_refused(text):
    with pytest.raises(BadInput, match="malformed"):
        checkpoint.loads(old_file(text), "file")


# --- writing ---


@pytest.mark.parametrize("path", ["missing", "folder", "folder/missing"])
def test_a_path_that_is_no_file_is_refused_by_name(tmp_path, path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=path):
        checkpoint.load(tmp_path / path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput):
        checkpoint.load(tmp_path / "file")


@pytest.mark.parametrize("path", ["missing/file", "file/file", "folder"])
def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path, path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=path):
        checkpoint.save(tmp_path / path, {})
    assert (tmp_path / "file").read_text() == "mine"
    assert {each.name for each in tmp_path.iterdir()} == {"file", "folder"}


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.save(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        checkpoint.save(path, "new")
    assert checkpoint.load(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_without_room_is_one_line(tmp_path, monkeypatch):
    real_open = os.open
    monkeypatch.setattr(checkpoint.os, "open", lambda path, flags, mode=0o777: real_open("/dev/full", os.O_WRONLY))
    with pytest.raises(BadInput, match="No space left"):
        checkpoint.save(tmp_path / "file", np.ones(100_000))


def test_an_interrupt_while_writing_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.save(path, "old")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, "new")
    assert checkpoint.load(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_keeps_pointing_to_the_saved_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    checkpoint.save(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert checkpoint.load(tmp_path / "file") == "new"


def test_saving_obeys_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        checkpoint.save(tmp_path / "file", 1)
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_of_a_gpu_come_back_on_the_cpu(tmp_path):
    checkpoint.save(tmp_path / "file", torch.ones(3, device="cuda"))
    loaded = checkpoint.load(tmp_path / "file")
    assert loaded.device.type == "cpu"
    assert torch.equal(loaded, torch.ones(3))
