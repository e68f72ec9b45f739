"""The readers of data and settings: a file is read, or refused in one line; nothing is lost without a word.

`tox -e fuzz` reads 10,000 files by each of these properties.
"""

import contextlib
import io
import json
import logging
import re
import warnings
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from tests import strategies
from tests.properties.controls import fails, holds
from trainers.contract import BadInput
from trainers.dialogue_gan import data as dialogue
from trainers.dialogue_gan.config import DialogueConfig
from trainers.tabular_regressor import data as regression
from trainers.tabular_regressor.config import RegressorConfig
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data.coco import read_captions
from trainers.text_to_image.data.images import IMAGE_ERRORS, decode_pixels, header_of, reason_of
from trainers.text_to_image.data.text_encoder import TextEncoder, read_vectors

DIALOGUE = DialogueConfig.preset("tiny")
REGRESSOR = RegressorConfig.preset("tiny")
PICTURES = TextToImageConfig.preset("tiny").replace(word_vector_size=3)
WANTED = {"a", "red", "été", "circle"}


@contextlib.contextmanager
def lines_said():
    """Collect what the trainers log."""
    lines, logger = [], logging.getLogger("trainers")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def read_or_refuse(read, path):
    """Return what a reader makes of a file; None where it refuses the file in one line that names it."""
    try:
        return read(path)
    except BadInput as error:
        assert str(path) in str(error)  # noqa: PT017 - an error is one of two good ends
        assert "\n" not in str(error)  # noqa: PT017
        return None
    except Exception as error:
        raise AssertionError(f"a traceback: {error!r}") from error


# --- Damaged files ---


@dataclass(frozen=True)
class Reader:
    """A reader, files that it reads, what such files are made of, what it must give, and an empty one of these."""

    read: Any
    contents: tuple[bytes, ...]
    pieces: tuple[bytes, ...]
    check: Any
    empty: Any


PLAY = "[SCENE: inn]\nAda: the kettle is boiling over\nJosé: then take it off the stove\n小明: 你今天去哪里了\n"
COCO = {
    "images": [{"id": number, "file_name": f"{number}.jpg"} for number in range(3)],
    "annotations": [{"id": number, "image_id": number % 3, "caption": "a red circle"} for number in range(6)],
}
VECTORS = "a 1 0 0\nred 0 1 0\nété 0 0 1\n. . . 1 2 3\n"
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0", b"\r\n", b"\xe2\x80\xa8", b"\xed\xa0\x80")
NUMBERS = (b"9" * 5000, b"-1", b"1e999", b"NaN", b"-Infinity", b"1_0", "\u0663".encode(), b"0.0", b"true", b"null")
BRACKETS = (
    b"[" * 990,
    b"{" * 60,
    b"{}",
    b"[]",
    b'"',
    b",",
    b'"id":',
    b'"images":',
    b"\\u0000",
    b"\\ud83d",
    b"../",
    b"/",
)


def hdf5(*, matlab=False, **tables):
    """Return the bytes of a file with some tables, each a link, an array, or (array, how it is stored)."""
    with h5py.File("a.h5", "w", driver="core", backing_store=False) as file:
        for name, table in tables.items():
            if isinstance(table, h5py.SoftLink | h5py.ExternalLink):
                file[name] = table
                continue
            array, settings = table if isinstance(table, tuple) else (table, {})
            made = file.create_dataset(name, data=array, **settings)
            if matlab:
                made.attrs["MATLAB_class"] = np.bytes_("single")
        file.flush()
        return file.id.get_file_image()


ARRAY = np.random.default_rng(0).standard_normal((14, 2)).astype(np.float32)
HDF5 = (
    hdf5(X=ARRAY, Y=ARRAY),
    hdf5(X=(ARRAY.astype(">f8"), {"chunks": (5, 2), "compression": "gzip", "shuffle": True}), Y=ARRAY),
    hdf5(X=(ARRAY, {"chunks": (7, 2), "fletcher32": True}), Y=(ARRAY, {"compression": "lzf"})),
    hdf5(X=(ARRAY * 1000).astype(np.int64), Y=h5py.SoftLink("/X")),
    hdf5(matlab=True, X=ARRAY.T, Y=ARRAY.T, Z=h5py.ExternalLink("gone.h5", "/X")),
)


def picture(kind, mode="RGB", **settings):
    """Return the bytes of a small picture."""
    file = io.BytesIO()
    random = np.random.default_rng(0)
    if mode == "F":
        made = Image.fromarray(random.random((6, 8), np.float32))
    elif mode == "I;16":
        made = Image.fromarray(random.integers(0, 2**16, (6, 8), np.uint16))
    else:
        made = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).convert(mode)
    made.save(file, kind, **settings)
    return file.getvalue()


def turned():
    """Return EXIF data of a picture that lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


IMAGES = (
    picture("JPEG", exif=turned()), picture("JPEG", "CMYK"), picture("JPEG", "L", progressive=True), picture("BMP"),
    picture("PNG", "P", transparency=0), picture("PNG", "I;16"), picture("PNG", "1"), picture("PNG", exif=turned()),
    picture("GIF", "P"), picture("WEBP", exif=turned()), picture("TIFF", exif=turned()), picture("TIFF", "F"),
    picture("TIFF", compression="tiff_lzw"), picture("PPM"),
    picture("PNG", save_all=True, append_images=[Image.new("RGB", (8, 6))]),
)  # fmt: skip


def read_image(path):
    """Read an image as the data set does: first its header, then its pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header_of(path)
            return decode_pixels(path, 8)
    except IMAGE_ERRORS as error:
        raise BadInput(reason_of(error), str(path), "leave it out") from error


def check_dialogue(data):
    for part in (data.train, data.val):
        assert len(part) > 0
        assert part.tokens_NT.max() < len(data.tokenizer.words)
    assert data.characters


def check_captions(found):
    names, pairs = found
    assert pairs
    assert all(image_id in names and isinstance(caption, str) for image_id, caption in pairs)


def check_vectors(encoder):
    assert encoder.words
    assert set(encoder.words) <= WANTED
    assert encoder.vectors_KV.shape == (len(encoder.words), 3)
    assert np.isfinite(encoder.vectors_KV).all()


def check_tables(found):
    assert len(found[0]) == len(found[1]) >= 10
    assert all(np.isfinite(table.astype(np.float32)).all() for table in found)


def check_image(pixels):
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8


def check_settings(config):
    assert isinstance(config, RegressorConfig)


NOTHING = dialogue.Sequences.none(4)
READERS = {
    "dialogue": Reader(
        lambda path: dialogue.load_dialogue(path, DIALOGUE),
        (PLAY.encode(), PLAY.encode("utf-8-sig"), PLAY.encode("utf-16")),
        (
            *MARKS,
            b":",
            b"[SCENE:",
            b"]",
            b"Bo: well then\n",
            b" " * 3000,
            "\u0301\u200d\ufe0f".encode(),
            "\uff1a".encode(),
        ),
        check_dialogue,
        dialogue.DialogueData(NOTHING, NOTHING, dialogue.Tokenizer(("", "<UNK>")), (), ()),
    ),
    "captions": Reader(
        read_captions,
        tuple(json.dumps(COCO, indent=1).encode(name) for name in ("utf-8", "utf-8-sig", "utf-16")),
        (*MARKS, *NUMBERS, *BRACKETS),
        check_captions,
        ({}, []),
    ),
    "word vectors": Reader(
        lambda path: read_vectors(path, WANTED, PICTURES),
        (VECTORS.encode(), b"4 3\n" + VECTORS.encode("utf-8-sig"), VECTORS.replace("\n", " \r\n").encode()),
        (*MARKS, *NUMBERS, b" ", b"\n", b"5 3\n", b"a 1 2 3\n", b"\xc2\x85"),
        check_vectors,
        TextEncoder((), np.zeros((0, 3), np.float32), 4),
    ),
    "tables": Reader(
        regression.read_arrays,
        HDF5,
        (b"\xff" * 8, b"\0" * 8, b"\x89HDF\r\n\x1a\n"),
        check_tables,
        (ARRAY[:0], ARRAY[:0]),
    ),
    "images": Reader(
        read_image,
        IMAGES,
        (b"\xff" * 4, b"\0" * 4, b"\xff\xd8", b"\xff\xd9"),
        check_image,
        np.zeros((0, 0, 3), np.uint8),
    ),
    "settings": Reader(
        lambda path: RegressorConfig().changed_by(path),
        (
            b'{"hidden_size": 3, "clip_norm": "infinity"}',
            b'\xef\xbb\xbf{"dropout": 0.5}',
            '{"num_epochs": 4}'.encode("utf-16"),
        ),
        (*MARKS, *NUMBERS, *BRACKETS, b'"dropout":', b'"hidden_size":' + b"[" * 950 + b"]" * 950),
        check_settings,
        None,
    ),
}


def damaged(name, folder):
    """Property of a reader: it reads a file or refuses it in one line, and what it gives is not empty."""
    reader, path = READERS[name], folder / "file"

    def check(read, content):
        path.write_bytes(content)
        with lines_said():
            found = read_or_refuse(read, path)
        if found is not None:
            reader.check(found)

    return holds(check, strategies.damaged_files(reader.contents, reader.pieces))


@pytest.mark.parametrize("name", READERS)
def test_a_reader_gives_something_or_refuses_in_one_line(name, tmp_path):
    damaged(name, tmp_path)(READERS[name].read)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_that_breaks_off_is_noticed(name, tmp_path):
    def read(path):
        try:
            return READERS[name].read(path)
        except BadInput as error:
            raise KeyError(path) from error

    assert fails(damaged(name, tmp_path), read)


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.empty is not None])
def test_a_reader_that_gives_nothing_is_noticed(name, tmp_path):
    def read(path):
        try:
            return READERS[name].read(path)
        except BadInput:
            return READERS[name].empty

    assert fails(damaged(name, tmp_path), read)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_reads_the_files_that_the_damaged_ones_are_made_of(name, tmp_path):
    """Else the property would hold for a reader that refuses everything."""
    num_read = 0
    for content in READERS[name].contents:
        (tmp_path / "file").write_bytes(content)
        found = read_or_refuse(READERS[name].read, tmp_path / "file")
        num_read += found is not None
        if found is not None:
            READERS[name].check(found)
    assert num_read >= len(READERS[name].contents) - 1


# --- Nothing is lost without a word ---


def num_left_out(lines):
    """Return the number that a line says; 0 without such a line."""
    found = [int(match[1]) for line in lines if (match := re.search(r"(\d+) of \d+ \w+ are left out", line))]
    assert len(found) <= 1, "one line at the end"
    return sum(found)


def script_property(folder):
    path = folder / "play.txt"

    def check(read, rows):
        path.write_text("\n".join(row for _, row in rows), encoding="utf-8")
        count = {kind: sum(each == kind for each, _ in rows) for kind in ("speech", "other")}
        with lines_said() as said:
            lines = read_or_refuse(read, path)
        assert (lines is None) == (not count["speech"])
        if lines is not None:
            assert len(lines) == count["speech"]
            assert num_left_out(said) == count["other"]

    return holds(check, strategies.script_rows())


def quiet(path):
    """A reader that says nothing of what it leaves out."""
    return dialogue.parse_dialogue(path.read_text(encoding="utf-8-sig")) or dialogue._read_lines(path)


def only_small_names(path):
    """A reader that knows no long names."""
    return tuple(line for line in dialogue._read_lines(path) if len(line.character.split()) <= 3)


def test_every_line_of_a_script_is_dialogue_or_counted(tmp_path):
    script_property(tmp_path)(dialogue._read_lines)


@pytest.mark.parametrize("read", [quiet, only_small_names])
def test_lines_that_are_lost_are_noticed(read, tmp_path):
    assert fails(script_property(tmp_path), read)


def captions_property(folder):
    path = folder / "captions_a.json"

    def check(read, counts):
        num_good, num_bad = counts
        pairs = [{"image_id": 1 if number < num_good else 7, "caption": "a"} for number in range(num_good + num_bad)]
        path.write_text(json.dumps({"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": pairs}))
        with lines_said() as said:
            found = read_or_refuse(read, path)
        refused = not num_good or num_bad > 0.01 * (num_good + num_bad)
        assert (found is None) == refused
        if found is not None:
            assert (len(found[1]), num_left_out(said)) == (num_good, num_bad)

    return holds(check, strategies.missing_counts())


def patient(path):
    """A reader that leaves out any number of annotations."""
    content = json.loads(path.read_text())
    content["annotations"] = [pair for pair in content["annotations"] if pair["image_id"] == 1]
    path.write_text(json.dumps(content))
    return read_captions(path)


def test_every_annotation_is_used_or_counted_and_1_percent_is_the_most(tmp_path):
    captions_property(tmp_path)(read_captions)


def test_annotations_that_are_lost_are_noticed(tmp_path):
    assert fails(captions_property(tmp_path), patient)


# --- Tables ---


def tables_property(folder):
    path = folder / "a.h5"

    def check(read, features, targets):
        with h5py.File(path, "w") as file:
            file["X"], file["Y"] = features, targets
        with lines_said():
            found = read_or_refuse(read, path)
        if found is None:
            return
        check_tables(found)
        upright = features.shape[0] == targets.shape[0]
        for table, written in zip(found, (features, targets), strict=True):
            assert np.array_equal(table, (written if upright else written.T).astype(np.float64))

    return holds(check, strategies.tables(rows=12), strategies.tables(rows=12))


def in_float32(path):
    """A reader that rounds."""
    return tuple(table.astype(np.float32) for table in regression.read_arrays(path))


def test_tables_of_any_type_and_shape_are_read_exactly_or_refused(tmp_path):
    tables_property(tmp_path)(regression.read_arrays)


def test_a_reader_that_rounds_is_noticed(tmp_path):
    assert fails(tables_property(tmp_path), in_float32)


def offset_property(folder):
    random = np.random.default_rng(0)
    tables = {name: random.standard_normal((20, 3)) for name in "XY"}
    path = folder / "a.h5"

    def scaled(read, offset):
        with h5py.File(path, "w") as file:
            for name, table in tables.items():
                file[name] = table + offset
        data = read(path)
        return data.features_NF.numpy(), data.targets_NK.numpy()

    def check(read, offset):
        exact = np.spacing(abs(offset)) / 0.5  # no column spreads less
        for moved, plain in zip(scaled(read, offset), scaled(read, 0), strict=True):
            np.testing.assert_allclose(moved, plain, rtol=1e-5, atol=1e-5 + 10 * exact)

    return holds(check, strategies.offsets())


def centred_too_late(path):
    """A reader that takes the offset off what float32 has left of the numbers."""
    tables = in_float32(path)
    scaling = regression.Scaling.of(*tables)
    data = regression.load_data(path, REGRESSOR)
    for target, table, scale in zip(
        (data.features_NF, data.targets_NK), tables, (scaling.scale_features, scaling.scale_targets), strict=True
    ):
        target.numpy()[:] = scale(table)
    return data


def test_an_offset_makes_no_difference(tmp_path):
    offset_property(tmp_path)(lambda path: regression.load_data(path, REGRESSOR))


def test_centring_after_rounding_is_noticed(tmp_path):
    assert fails(offset_property(tmp_path), centred_too_late)
