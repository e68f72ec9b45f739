"""Images decoded once: the pixels are those of the files as they are now, whatever happens to the cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.states import same
from trainers.contract import BadInput
from trainers.text_to_image import FAMILY
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data import pixel_cache as cache
from trainers.text_to_image.data.images import decode_image, decode_pixels
from trainers.text_to_image.data.items import load_data
from trainers.text_to_image.data.pixel_cache import CachedItems, open_cache
from trainers.text_to_image.data.synthetic import make_data

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TextToImageConfig.preset("tiny")
ROOT = Path(__file__).parents[3]
ONLY_CACHED = {
    "cached_images": True, "pruned_backward": False, "reused_features": False, "joined_passes": False,
    "matrix_products": False, "fused_optimizer": False, "kept_memory": False, "channels_last": False,
    "bfloat16": False, "unfolded_maps": False, "compiled_losses": False,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set of one's own, and an empty place for caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_data(tmp_path / "data", CONFIG)
    return tmp_path / "data"


def load(folder):
    return load_data(folder, CONFIG)


def cache_files(folder):
    return sorted(path for path in (folder.parent / "cache").rglob("*") if path.is_file())


def opened(folder, size=16):
    return open_cache(load(folder), size).pixels_MHWC


def decoded(folder, size=16):
    data = load(folder)
    return np.stack([decode_pixels(data.path_of(image), size) for image in range(len(data.file_names))])


def replace(folder, colour=(9, 90, 200), number=0):
    path = sorted((folder / "train").iterdir())[number]
    status = path.stat()
    Image.new("RGB", (64, 48), colour).save(path)
    return path, status


def decodings(monkeypatch):
    """Count the files that are decoded from here on."""
    calls = []
    real = cache.decode_pixels
    monkeypatch.setattr(cache, "decode_pixels", lambda path, size: calls.append(path) or real(path, size))
    return calls


def test_pixels_are_those_of_the_files_and_decoded_once(folder, monkeypatch):
    calls = decodings(monkeypatch)
    assert np.array_equal(opened(folder), decoded(folder))
    assert len(calls) == CONFIG.num_images
    assert np.array_equal(opened(folder), decoded(folder))
    assert len(calls) == CONFIG.num_images
    assert len(cache_files(folder)) == 1


def test_normalized_they_are_the_references_to_the_bit(folder):
    """All 256 values of a byte, and every pixel of the data."""
    trainer = build("fastest", preset="tiny", data=folder, log=lambda _: None)
    data = trainer.data
    items = CachedItems(data, "train", trainer._cache)
    for place in range(len(items)):
        path = data.path_of(items[place].image)
        assert torch.equal(trainer._normalized(items[place].image_CHW[None])[0], decode_image(path, 16))
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    expected = np.arange(256, dtype=np.uint8).astype(np.float32) / 127.5 - 1
    assert np.array_equal(trainer._normalized(values)[0, 0].flatten().numpy(), expected)
    reciprocal = values.float() * (1 / 127.5) - 1
    assert not np.array_equal(reciprocal[0, 0].flatten().numpy(), expected), "the control"


@pytest.mark.parametrize("change", ["content", "time alone", "size", "pillow"])
def test_it_is_made_anew_when_anything_changes(folder, monkeypatch, change):
    opened(folder)
    calls, size = decodings(monkeypatch), 16
    if change == "content":
        replace(folder)
    elif change == "time alone":
        path = min((folder / "train").iterdir())
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    elif change == "size":
        size = 8
    else:
        monkeypatch.setattr(cache.PIL, "__version__", "0.0")
    assert np.array_equal(opened(folder, size), decoded(folder, size))
    assert len(calls) == CONFIG.num_images
    assert len(cache_files(folder)) == (2 if change == "size" else 1), "what is no longer true is not left behind"


def test_a_cache_that_does_not_look_at_the_files_is_noticed(folder, monkeypatch):
    """The control of the one above."""
    real = cache._identity
    monkeypatch.setattr(
        cache, "_identity", lambda *rest: {**real(*rest), "files": [name for name, *_ in real(*rest)["files"]]}
    )
    opened(folder)
    replace(folder)
    assert not np.array_equal(opened(folder), decoded(folder))


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "header", "text", "folder"])
def test_a_damaged_cache_is_made_anew(folder, monkeypatch, damage):
    opened(folder)
    (path,) = cache_files(folder)
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    new = {"empty": b"", "cut": content[:-40], "bit": content, "header": content[:20], "text": b"x" * 64}
    if damage == "folder":
        path.unlink()
        path.mkdir()
        (path / "file").touch()
        # Nothing can take its place: the next one does.
        monkeypatch.setattr("tempfile.tempdir", str(folder.parent))
    else:
        path.write_bytes(new[damage])
    assert np.array_equal(opened(folder), decoded(folder))


def test_without_a_place_of_its_own_it_lies_among_temporary_files_or_says_so(folder, monkeypatch):
    blocked = folder.parent / "blocked"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr("tempfile.tempdir", str(folder.parent))
    assert np.array_equal(opened(folder), decoded(folder))
    monkeypatch.setattr("tempfile.tempdir", str(blocked))
    with pytest.raises(BadInput, match=r"no place to keep .*; set XDG_CACHE_HOME"):
        opened(folder)


def test_damaged_images_are_told_and_replaced_as_the_reference_does(folder, caplog, monkeypatch):
    monkeypatch.setattr("trainers.common.reading._MOST_LEFT_OUT", 0.2)
    path = sorted((folder / "train").iterdir())[3]
    path.write_bytes(path.read_bytes()[:700])
    told, ends = [], []
    for tier, switches in (("reference", None), ("fastest", ONLY_CACHED)):
        caplog.clear()
        trainer = build(tier, preset="tiny", data=folder, switches=switches, log=lambda _: None)
        trainer.train_epoch()
        told.append(caplog.messages)
        ends.append((trainer.metrics, trainer.state()))
    assert told[0] == told[1]
    assert len(told[0]) == 1
    assert str(path) in told[0][0]
    assert ends[0][0] == ends[1][0]
    assert same(ends[0][1], ends[1][1])


def test_too_many_damaged_images_end_a_training_as_in_the_reference(folder):
    for path in sorted((folder / "train").iterdir())[3:9]:
        path.write_bytes(path.read_bytes()[:700])
    errors = []
    for tier in ("reference", "fastest"):
        trainer = build(tier, preset="tiny", data=folder, log=lambda _: None)
        with pytest.raises(BadInput) as caught:
            trainer.train_epoch()
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


def test_what_could_not_be_read_for_a_moment_is_tried_again(folder, monkeypatch):
    real, failing = cache.decode_pixels, [True]

    def read(path, size):
        if failing[0] and path.name.endswith("4.jpg"):
            raise OSError(5, "Input/output error")
        return real(path, size)

    monkeypatch.setattr(cache, "decode_pixels", read)
    assert len(open_cache(load(folder), 16).damaged) > 0
    failing[0] = False
    found = open_cache(load(folder), 16)
    assert found.damaged == {}
    assert np.array_equal(found.pixels_MHWC, decoded(folder))


BUILD = """
import sys
from pathlib import Path
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data.pixel_cache import open_cache
from trainers.text_to_image.data.items import load_data
for size in (16, 8, 4):
    print(open_cache(load_data(Path(sys.argv[1]), TextToImageConfig.preset("tiny")), size).pixels_MHWC.sum())
"""


def test_processes_may_make_it_at_the_same_time(folder):
    command = [sys.executable, "-c", BUILD, str(folder)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[0].split() for process in running]
    assert said == [[str(decoded(folder, size).sum()) for size in (16, 8, 4)]] * 3
    assert len(cache_files(folder)) == 3, "no temporary file is left"
