import errno
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
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
    content = checkpoint.dumps({"a": np.arange(40.0), "b": "text", "t": torch.ones(3)})
    bits = random.Random(0)  # noqa: S311 - which bits to flip is no secret
    header = [byte * 8 + bits.randrange(8) for byte in range(48)]
    anywhere = [bits.randrange(len(content) * 8) for _ in range(152)]
    for bit in header + anywhere:
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


@pytest.mark.parametrize(
    "manifest",
    [
        b"not json",
        b'{"call":["os.system","true"]}',
        b'{"tensor":["load",[1],4]}',
        b'{"array":["O",[1],8]}',
        b'{"array":["<f4",[1],4000]}',
        b'{"array":["<f4",[3],4]}',
        b'{"a":1,"b":2}',
        b"[1]",
        b"{}",
    ],
)
def test_a_well_summed_file_with_another_content_is_refused(manifest):
    length = checkpoint._LENGTH.pack
    body = length(len(manifest)) + manifest + bytes(8)
    start = checkpoint._MARK + length(len(body))
    with pytest.raises(BadInput, match="malformed"):
        checkpoint.loads(start + checkpoint._digest(start, memoryview(body)) + body, "file")


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
