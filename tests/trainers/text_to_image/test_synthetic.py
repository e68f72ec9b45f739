"""Text to image's synthetic data: scenes, captions, files, and the offline cache."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from trainers.contract import BadInput
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data import synthetic as renderer
from trainers.text_to_image.data.items import load_data
from trainers.text_to_image.data.synthetic import Scene, draw_scene, make_data, offline_data
from trainers.text_to_image.data.text_encoder import words_of

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

TINY = TextToImageConfig.preset("tiny")
PHOTOGRAPHS = TextToImageConfig().replace(num_images=40)


def content_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def as_array(picture, size):
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.float32)


def test_pictures_weigh_what_photographs_weigh(tmp_path):
    make_data(tmp_path / "data", PHOTOGRAPHS)
    files = sorted((tmp_path / "data" / "train").iterdir())
    assert [file.name for file in files] == [f"{number:012d}.jpg" for number in range(1, 41)]
    assert all(40_000 < file.stat().st_size < 150_000 for file in files)
    with Image.open(files[0]) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (640, 480))


def test_the_captions_file_is_cocos(tmp_path):
    make_data(tmp_path / "data", TINY)
    content = json.loads((tmp_path / "data" / "annotations" / "captions_train.json").read_text())
    assert set(content) == {"info", "licenses", "images", "annotations"}
    assert set(content["images"][0]) >= {"id", "file_name", "width", "height"}
    assert [annotation["id"] for annotation in content["annotations"]] == list(range(1, 49))
    assert {annotation["image_id"] for annotation in content["annotations"]} == set(range(1, 25))
    for image in content["images"]:
        with Image.open(tmp_path / "data" / "train" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (64, 48)


def test_the_data_is_read_back_by_the_reader_without_a_complaint(tmp_path, caplog):
    make_data(tmp_path / "data", TINY)
    data = load_data(tmp_path / "data", TINY)
    assert not caplog.records
    assert data.num_items("train") + data.num_items("val") == 48
    assert data.encoder.vectors_KV.shape[1] == 16


def test_every_word_of_every_caption_has_a_vector(tmp_path):
    make_data(tmp_path / "data", TINY.replace(captions_per_image=len(renderer._TEMPLATES)))
    lines = [line.split() for line in (tmp_path / "data" / "word_vectors.txt").read_text().splitlines()]
    assert {len(line) for line in lines} == {17}
    known = [line[0] for line in lines]
    assert known == sorted(set(known))
    content = json.loads((tmp_path / "data" / "annotations" / "captions_train.json").read_text())
    used = {word for annotation in content["annotations"] for word in words_of(annotation["caption"])}
    assert used <= set(known)


def test_the_data_depends_on_the_seed_and_the_sizes_alone(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_data(tmp_path / name, TINY.replace(data_seed=seed))
    one, same, other = (content_of(tmp_path / name) for name in "abc")
    assert one == same
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)


def test_more_pictures_begin_with_the_same_ones(tmp_path):
    make_data(tmp_path / "few", TINY)
    make_data(tmp_path / "more", TINY.replace(num_images=30))
    few, more = content_of(tmp_path / "few"), content_of(tmp_path / "more")
    del few["annotations/captions_train.json"]
    assert {name: more[name] for name in few} == few


def test_captions_say_it_in_different_ways_and_never_wrongly():
    random = np.random.default_rng(0)
    scene = Scene("red", "circle", "small", "at the top left", "sand")
    captions = scene.captions(random, len(renderer._TEMPLATES))
    assert len(set(captions)) == len(captions)
    assert "a small red circle at the top left on sand" in captions
    others = {
        word for table in (renderer._COLOURS, renderer._SHAPES, renderer._RADII, renderer._GROUNDS) for word in table
    }
    others -= set(vars(scene).values())
    assert not any(others & set(words_of(caption)) for caption in captions)
    assert len(scene.captions(random, 20)) == 20


@pytest.mark.parametrize("shape", renderer._SHAPES)
@pytest.mark.parametrize("place", renderer._PLACES)
def test_every_shape_is_seen_whole_where_its_caption_says(shape, place):
    scene = Scene("red", shape, "large", place, "stone")
    outline = np.asarray(renderer._outline(scene, np.random.default_rng(0), 640, 480), np.float32)
    rows, columns = np.nonzero(outline)
    x, y = renderer._PLACES[place]
    assert (rows.min() + rows.max()) / 2 / 480 == pytest.approx(y, abs=0.03)
    assert (columns.min() + columns.max()) / 2 / 640 == pytest.approx(x, abs=0.03)
    assert (rows.max() - rows.min()) == pytest.approx(0.56 * 480, abs=4)
    assert (columns.max() - columns.min()) == pytest.approx(0.56 * 480, abs=4)


@pytest.mark.parametrize("size", renderer._RADII)
@pytest.mark.parametrize("colour", renderer._COLOURS)
def test_colours_are_recognizable_at_32_pixels_on_every_ground(colour, size):
    """The nearest of the six colours and six grounds to the circle's centre is the right one."""
    palette = {**renderer._COLOURS, **{name: values for name, (values, _) in renderer._GROUNDS.items()}}
    for ground in renderer._GROUNDS:
        scene = Scene(colour, "circle", size, "in the middle", ground)
        pixels = as_array(draw_scene(scene, np.random.default_rng(1), 640, 480), 32)
        centre, corner = pixels[15:17, 15:17].mean((0, 1)), pixels[-4:, -4:].mean((0, 1))
        for pixel, expected in ((centre, colour), (corner, ground)):
            distances = {name: np.abs(np.array(values) - pixel).sum() for name, values in palette.items()}
            assert min(distances, key=distances.get) == expected


def test_scenes_are_of_every_kind():
    random = np.random.default_rng(0)
    scenes = [Scene.drawn_from(random) for _ in range(400)]
    for name, values in (("colour", renderer._COLOURS), ("shape", renderer._SHAPES), ("place", renderer._PLACES)):
        counts = [sum(getattr(scene, name) == value for scene in scenes) for value in values]
        assert min(counts) > 0.4 * len(scenes) / len(values)


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(BadInput, match="exists already"):
        make_data(tmp_path / "mine", TINY)
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written"):
        make_data(tmp_path / "file" / "data", TINY)


def test_nothing_is_left_of_an_interrupted_attempt(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(renderer, "_write_vectors", fail)
    with pytest.raises(KeyboardInterrupt):
        make_data(tmp_path / "data", TINY)
    assert list(tmp_path.iterdir()) == []


def test_the_offline_data_is_made_once(private_cache):
    shutil.rmtree(private_cache / "trainers" / "text_to_image", ignore_errors=True)
    folder = offline_data(TINY)
    assert folder.is_relative_to(private_cache)
    written = folder.stat().st_mtime_ns
    assert offline_data(TINY.replace(batch_size=3)) == folder
    assert folder.stat().st_mtime_ns == written
    changes = {"data_seed": 1, "num_images": 5, "captions_per_image": 1, "source_width": 60, "word_vector_size": 3}
    assert len({offline_data(TINY.replace(**{key: value})) for key, value in changes.items()} | {folder}) == 6
    assert [each.name for each in folder.parent.iterdir() if each.name.startswith(".")] == []


def test_another_process_may_have_been_faster(private_cache, monkeypatch):
    config = TINY.replace(data_seed=77)
    real = renderer._write_vectors

    def be_overtaken(path, config):
        real(path, config)
        monkeypatch.setattr(renderer, "_write_vectors", real)
        make_data(private_cache / "trainers" / "text_to_image" / path.parent.name, config)

    monkeypatch.setattr(renderer, "_write_vectors", be_overtaken)
    folder = offline_data(config)
    assert folder.is_relative_to(private_cache)
    assert load_data(folder, config).num_items("train") > 0
    assert [each.name for each in folder.parent.iterdir() if each.name.startswith(".")] == []
