"""Text to image's data: items, captions, word vectors, damaged images, and the order of batches.

Shape suffixes: B items of a batch, C channels, H rows, W columns, V numbers of a word vector, E of a text.
"""

import io
import json
import logging
import os
import pickle
import struct
import unicodedata
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.common import checkpoint
from trainers.contract import BadInput
from trainers.pytorch.loading import stop_workers
from trainers.text_to_image.config import TextToImageConfig
from trainers.text_to_image.data.images import IMAGE_ERRORS, decode_image, decode_pixels
from trainers.text_to_image.data.items import Batch, Item, join_items, load_data, split_images
from trainers.text_to_image.data.synthetic import offline_data
from trainers.text_to_image.data.text_encoder import TextEncoder, words_of

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

TINY = TextToImageConfig.preset("tiny").replace(word_vector_size=3, text_size=5)
WORDS = {"a": (1, 0, 0), "red": (0, 1, 0), "circle": (0, 0, 1), "blue": (3, -1, 0.5)}


def jpeg(number=0, size=(20, 14), mode="RGB", **options):
    """Bytes of a real JPEG, every number another one."""
    random = np.random.default_rng(number)
    channels = {"RGB": (3,), "L": (), "CMYK": (4,)}[mode]
    picture = Image.fromarray(random.integers(0, 256, (size[1], size[0], *channels), np.uint8), mode)
    return saved(picture, "JPEG", **options)


def saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def write_vectors(path, vectors=WORDS):
    path.write_text("".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in vectors.items()))


def write_coco(folder, pictures, captions=None, name="train"):
    """Write a folder in COCO's format: pictures as {file name: bytes}, captions as [(image id, text)]."""
    pictures = dict(enumerate(pictures, 1)) if isinstance(pictures, list) else pictures
    named = {(f"{key}.jpg" if isinstance(key, int) else key): content for key, content in pictures.items()}
    (folder / name).mkdir(parents=True)
    for file_name, content in named.items():
        if content is not None:
            (folder / name / file_name).write_bytes(content)
    images = [{"id": 10 * number, "file_name": file_name} for number, file_name in enumerate(named, 1)]
    if captions is None:
        captions = [(image["id"], f"a red circle {turn}") for image in images for turn in range(2)]
    annotations = [{"id": number, "image_id": key, "caption": text} for number, (key, text) in enumerate(captions)]
    write_captions(folder / "annotations" / f"captions_{name}.json", images, annotations)
    write_vectors(folder / "word_vectors.txt")
    return folder


def write_captions(path, images, annotations):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {}, "licenses": [], "images": images, "annotations": annotations}))


def good(count):
    return [jpeg(number) for number in range(count)]


def cut(content, fraction=0.9):
    """Damage the body of a file and leave its header whole."""
    return content[: int(fraction * len(content))]


def batches(data, part="train", batch_size=4, image_size=8, num_workers=0):
    return list(data.loader(part, batch_size=batch_size, image_size=image_size, num_workers=num_workers))


def equal_batches(left, right):
    return len(left) == len(right) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture
def one_hundred(tmp_path):
    """A hundred small images with two captions each, the least of which one may be bad."""
    return write_coco(tmp_path, good(100))


# Items and batches


def test_an_item_is_the_documented_formula(tmp_path):
    captions = [(10, "A RED  circle"), (20, "a"), (30, "blue, blue blue a"), (40, "")]
    folder = write_coco(tmp_path, good(4), captions)
    data = load_data(folder, TINY.replace(val_split=0.01))
    batch = next(iter(data.loader("train", batch_size=4, image_size=8)))
    assert isinstance(batch, Batch)
    means = {
        "A RED  circle": np.mean([WORDS["a"], WORDS["red"], WORDS["circle"]], axis=0),
        "a": WORDS["a"],
        "blue, blue blue a": (2 * np.array(WORDS["blue"]) + WORDS["a"]) / 3,
        "": np.zeros(3),
    }
    for place, item in enumerate(batch.items_B.tolist()):
        with Image.open(folder / "train" / f"{item + 1}.jpg") as picture:
            pixels_HWC = np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR), np.float64)
        expected = torch.from_numpy(pixels_HWC / 127.5 - 1).permute(2, 0, 1)
        torch.testing.assert_close(batch.images_BCHW[place].double(), expected, rtol=0, atol=1e-6)
        weights_VE, bias_E = data.encoder.projection
        expected_E = np.asarray(means[data.captions_N[item]]) @ weights_VE + bias_E
        np.testing.assert_allclose(batch.texts_BE[place].numpy(), expected_E, rtol=1e-5, atol=1e-6)
    assert (batch.images_BCHW.dtype, batch.texts_BE.dtype) == (torch.float32, torch.float32)
    assert (batch.wrong_B.dtype, batch.items_B.dtype) == (torch.int64, torch.int64)
    assert batch.images_BCHW.is_contiguous()
    assert -1 <= batch.images_BCHW.min() < -0.3
    assert 0.3 < batch.images_BCHW.max() <= 1
    assert batch.damaged == ()


def test_an_image_is_decoded_at_any_size(one_hundred):
    data = load_data(one_hundred, TINY)
    for size in (8, 16, 64):
        assert batches(data, image_size=size)[0].images_BCHW.shape == (4, 3, size, size)


def test_the_projection_starts_as_a_linear_layer_and_is_always_the_same():
    encoder, again = (TextEncoder(("a",), np.ones((1, 300), np.float32), 1024) for _ in range(2))
    for one, other in zip(encoder.projection, again.projection, strict=True):
        assert np.array_equal(one, other)
        assert one.dtype == np.float32
        assert one.std() == pytest.approx(0.0333, rel=0.05)
        assert abs(one).max() <= 300**-0.5
        assert abs(one.mean()) < 3e-3
    assert torch.equal(encoder.encode("unknown"), torch.from_numpy(encoder.projection[1]))


def test_a_texts_bits_do_not_depend_on_the_number_of_threads():
    random = np.random.default_rng(0)
    encoder = TextEncoder(("a", "b"), random.standard_normal((2, 300), np.float32), 1024)
    before = encoder.encode("a b")
    torch.set_num_threads(2)
    try:
        assert torch.equal(encoder.encode("a b"), before)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(torch.stack([encoder.encode(text) for text in ("b", "a b", "a")])[1], before)


def test_words_are_what_lies_between_spaces_in_lower_case():
    assert words_of("A man's T-shirt, No. 42:  ÉTÉ") == ["a", "man's", "t-shirt,", "no.", "42:", "été"]
    assert words_of("  ") == []


def item_of(image, number=0, damaged=()):
    return Item(torch.zeros(3, 2, 2), torch.zeros(4), number, image, damaged)


@pytest.mark.parametrize(
    ("images", "wrong"),
    [
        ([1, 2, 3], [1, 2, 0]),
        ([1, 1, 2], [2, 2, 0]),
        ([1, 2, 1, 1], [1, 2, 1, 1]),
        ([5, 5, 5], [1, 2, 0]),
        ([5], [0]),
    ],
)
def test_wrong_images_are_the_first_following_ones_of_other_captions(images, wrong):
    assert join_items([item_of(image) for image in images]).wrong_B.tolist() == wrong


def test_wrong_images_are_of_other_captions_in_real_batches(one_hundred):
    data = load_data(one_hundred, TINY)
    for batch in batches(data, batch_size=7):
        images = data.image_of_N[batch.items_B.numpy()]
        assert (images[batch.wrong_B.numpy()] != images).all()


def test_a_damaged_file_is_named_once_a_batch():
    joined = join_items([item_of(1, damaged=("a: cut",)), item_of(2, damaged=("b: cut", "a: cut"))])
    assert joined.damaged == ("a: cut", "b: cut")


def test_batches_cross_process_boundaries(one_hundred):
    batch = batches(load_data(one_hundred, TINY))[0]
    again = pickle.loads(pickle.dumps(batch))  # noqa: S301 - our own bytes
    assert isinstance(again, Batch)
    assert equal_batches([batch], [again])


def test_a_checkpoint_can_embed_captions_without_the_data(tmp_path, one_hundred):
    data = load_data(one_hundred, TINY)
    checkpoint.save(tmp_path / "encoder", data.encoder.to_dict())
    encoder = TextEncoder.from_dict(checkpoint.load(tmp_path / "encoder"))
    for text in ("a red circle", "A blue thing", ""):
        assert torch.equal(encoder.encode(text), data.encoder.encode(text))
    assert encoder.knows("RED")
    assert not encoder.knows("blue"), "no caption has it"
    assert torch.equal(encoder.encode("blue"), encoder.encode("")), "the layer's bias"


# Orders


def test_the_split_is_a_partition_of_the_images_that_depends_on_the_split_seed_alone(one_hundred):
    data = load_data(one_hundred, TINY)
    train, val = (set(data.image_of_N[data.parts[part]].tolist()) for part in ("train", "val"))
    assert not train & val
    assert (len(train), len(val)) == (85, 15)
    assert (data.num_items("train"), data.num_items("val")) == (170, 30)
    same, other = (split_images(100, TINY.replace(**{key: 5})) for key in ("data_seed", "split_seed"))
    assert set(same[1].tolist()) == val
    assert set(other[1].tolist()) != val


@pytest.mark.parametrize(
    ("num_images", "val_split", "num_val"), [(2, 0.01, 1), (2, 0.99, 1), (10, 0.25, 2), (3, 1 - 2**-53, 2)]
)
def test_both_parts_have_an_image(num_images, val_split, num_val):
    train, val = split_images(num_images, TINY.replace(val_split=val_split))
    assert len(val) == num_val
    assert sorted([*train, *val]) == list(range(num_images))


def test_the_validation_part_comes_in_order_and_the_training_part_shuffled(one_hundred):
    data = load_data(one_hundred, TINY)
    val = torch.cat([batch.items_B for batch in batches(data, "val")])
    assert val.tolist() == data.parts["val"].tolist() == sorted(val.tolist())
    loader = data.loader("train", batch_size=4, image_size=8)
    orders = []
    for epoch in range(3):
        loader.sampler.seek(seed=1, epoch=epoch, num_done=0)
        orders.append(torch.cat([batch.items_B for batch in loader]).tolist())
    assert len({tuple(order) for order in orders}) == 3
    assert [sorted(order) for order in orders] == 3 * [data.parts["train"].tolist()]


@pytest.mark.parametrize("part", ["train", "val"])
def test_workers_change_neither_order_nor_content(one_hundred, part):
    (one_hundred / "train" / "17.jpg").write_bytes(cut(jpeg(16)))
    data = load_data(one_hundred, TINY)
    alone = batches(data, part, batch_size=9)
    for num_workers in (1, 2):
        assert equal_batches(alone, batches(data, part, batch_size=9, num_workers=num_workers))


def test_persistent_workers_change_no_later_epoch_either(one_hundred):
    data = load_data(one_hundred, TINY)

    def epochs(**settings):
        loader, found = data.loader("train", batch_size=40, image_size=8, **settings), []
        for epoch in range(3):
            loader.sampler.seek(seed=2, epoch=epoch, num_done=0)
            found += list(loader)
        stop_workers(loader)
        return found

    assert equal_batches(epochs(), epochs(num_workers=2, persistent_workers=True))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_can_be_continued_in_the_middle(one_hundred, num_workers):
    data = load_data(one_hundred, TINY)
    loader = data.loader("train", batch_size=16, image_size=8, num_workers=num_workers)
    loader.sampler.seek(seed=3, epoch=2, num_done=0)
    whole = list(loader)
    loader.sampler.seek(seed=3, epoch=2, num_done=5 * 16)
    assert equal_batches(list(loader), whole[5:])


@pytest.mark.parametrize("batch_size", [13, 169])  # of 170 items
def test_a_single_item_at_the_end_sits_the_epoch_out(one_hundred, batch_size):
    data = load_data(one_hundred, TINY)
    loader = data.loader("train", batch_size=batch_size, image_size=8)
    left_out = set()
    for epoch in range(3):
        loader.sampler.seek(seed=0, epoch=epoch, num_done=0)
        found = list(loader)
        assert len(found) == len(loader) == 169 // batch_size
        assert all(len(batch.items_B) == batch_size for batch in found)
        left_out |= set(data.parts["train"].tolist()) - set(torch.cat([batch.items_B for batch in found]).tolist())
    assert len(left_out) == 3, "another order leaves out another one"


def test_no_single_item_is_left_after_batches_of_another_size(one_hundred):
    loader = load_data(one_hundred, TINY).loader("train", batch_size=16, image_size=8)
    loader.sampler.seek(seed=0, epoch=0, num_done=170 - 33)
    assert [len(batch.items_B) for batch in loader] == [16, 16]
    loader.sampler.seek(seed=0, epoch=0, num_done=170 - 34)
    assert [len(batch.items_B) for batch in loader] == [16, 16, 2]
    loader.sampler.seek(seed=0, epoch=0, num_done=169)
    assert list(loader) == []


def test_the_fingerprint_tells_data_apart_and_not_places(tmp_path):
    for name in "abcdef":
        write_coco(tmp_path / name, good(4))
    captions = (tmp_path / "b" / "annotations" / "captions_train.json").read_text()
    (tmp_path / "b" / "annotations" / "captions_train.json").write_text(captions.replace("circle 1", "circle 2"))
    (tmp_path / "c" / "train" / "1.jpg").write_bytes(jpeg(99, size=(40, 40)))
    write_vectors(tmp_path / "d" / "word_vectors.txt", {**WORDS, "red": (0, 1, 0.5)})
    (tmp_path / "e" / "train" / "1.jpg").rename(tmp_path / "e" / "train" / "x.jpg")
    text = (tmp_path / "e" / "annotations" / "captions_train.json").read_text().replace('"1.jpg"', '"x.jpg"')
    (tmp_path / "e" / "annotations" / "captions_train.json").write_text(text)
    prints = {name: load_data(tmp_path / name, TINY).fingerprint() for name in "abcdef"}
    assert prints["a"] == prints["f"]
    assert len(set(prints.values())) == 5


def test_captions_are_given_by_part_and_by_item(tmp_path):
    data = load_data(write_coco(tmp_path, good(3), [(30, "one"), (10, "a two"), (10, "three"), (20, "four")]), TINY)
    assert data.captions([3, 0]) == ["four", "one"]
    assert sorted(data.captions("train") + data.captions("val")) == ["a two", "four", "one", "three"]
    assert data.image_of_N.tolist() == [2, 0, 0, 1]


# Where things are


def test_a_download_of_coco_just_works(tmp_path):
    write_coco(tmp_path, good(4), name="train2014")
    (tmp_path / "annotations" / "captions_val2014.json").write_text("not looked at: its images were not downloaded")
    (tmp_path / "word_vectors.txt").rename(tmp_path / "glove.6B.3d.txt")
    (tmp_path / "glove.6B.50d.txt").write_text("vectors of another length")
    from_folder = load_data(tmp_path, TINY)
    from_file = load_data(tmp_path / "annotations" / "captions_train2014.json", TINY)
    assert from_folder.folder == from_file.folder == tmp_path / "train2014"
    assert from_folder.fingerprint() == from_file.fingerprint()


@pytest.mark.parametrize(
    ("captions", "images"),
    [
        ("captions_x.json", "x"),
        ("annotations/captions_x.json", "images"),
        ("captions_x.json", "images"),
        ("annotations/captions_x.json", "."),
        ("captions_x.json", "."),
    ],
)
@pytest.mark.parametrize("given", ["folder", "file"])
def test_images_are_found_beside_their_captions(tmp_path, captions, images, given, monkeypatch):
    write_coco(tmp_path / "made", good(3))
    (tmp_path / "data" / images).mkdir(parents=True)
    (tmp_path / "data" / captions).parent.mkdir(exist_ok=True)
    (tmp_path / "made" / "annotations" / "captions_train.json").rename(tmp_path / "data" / captions)
    (tmp_path / "made" / "word_vectors.txt").rename(tmp_path / "data" / "word_vectors.txt")
    for picture in (tmp_path / "made" / "train").iterdir():
        picture.rename(tmp_path / "data" / images / picture.name)
    path = tmp_path / "data" if given == "folder" else tmp_path / "data" / captions
    assert load_data(path, TINY).folder == tmp_path / "data" / images
    monkeypatch.chdir(path if given == "folder" else path.parent)
    data = load_data(path.relative_to(path if given == "folder" else path.parent), TINY)
    assert data.num_items("train") == 4


def test_of_several_captions_files_one_must_be_chosen(tmp_path):
    write_coco(tmp_path, good(3))
    (tmp_path / "annotations" / "captions_other.json").write_text("{}")
    assert load_data(tmp_path, TINY).folder.name == "train", "the one with images of its own"
    (tmp_path / "other").mkdir()
    with pytest.raises(BadInput, match=r"captions_other\.json, .*captions_train\.json; give one of them as --data"):
        load_data(tmp_path, TINY)
    for name in ("train", "other"):
        (tmp_path / name).rename(tmp_path / f"images_of_{name}")
    with pytest.raises(BadInput, match="several captions files"):
        load_data(tmp_path, TINY)


def test_word_vectors_may_lie_one_folder_up(tmp_path):
    write_coco(tmp_path / "coco", good(3))
    (tmp_path / "coco" / "word_vectors.txt").rename(tmp_path / "word_vectors.txt")
    assert load_data(tmp_path / "coco", TINY).encoder.words == ("a", "red", "circle")


def test_of_several_vector_files_one_must_be_chosen(tmp_path):
    write_coco(tmp_path, good(3))
    (tmp_path / "word_vectors.txt").unlink()
    with pytest.raises(BadInput, match=r"no word vectors, neither word_vectors\.txt nor a \*\.3d\.txt"):
        load_data(tmp_path, TINY)
    for name in ("glove.6B.3d.txt", "glove.42B.3d.txt"):
        write_vectors(tmp_path / name)
    with pytest.raises(BadInput, match="several files"):
        load_data(tmp_path, TINY)


# Captions that cannot be used

IMAGES = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}]
PAIRS = [{"image_id": number, "caption": text} for number in (1, 2) for text in ("a", "red")]


def changed(entries, **changes):
    return [{**entries[0], **changes}, *entries[1:]]


def without(entries, key):
    return [{name: value for name, value in entries[0].items() if name != key}, *entries[1:]]


BAD_CAPTIONS = {
    "empty": (b"", "not JSON"),
    "text": (b"captions", "not JSON"),
    "binary": (b"\x80\x81\xff", "not JSON"),
    "deep": (b"[" * 200_000, "not JSON"),
    "list": ([], "no JSON object"),
    "no images": ({"annotations": PAIRS}, "no list 'images'"),
    "no annotations": ({"images": IMAGES}, "no list 'annotations'"),
    "images no list": ({"images": {}, "annotations": PAIRS}, "'images' is no list"),
    "annotations no list": ({"images": IMAGES, "annotations": "a"}, "'annotations' is no list"),
    "nothing": ({"images": [], "annotations": []}, "none of its 0 annotations"),
    "no annotation": ({"images": IMAGES, "annotations": []}, "none of its 0 annotations"),
    "no image": ({"images": [], "annotations": PAIRS}, "none of its 4 annotations"),
    "image no object": ({"images": [3], "annotations": PAIRS}, r"images\[0\].*id is null"),
    "id a text": ({"images": changed(IMAGES, id="1"), "annotations": PAIRS}, r"images\[0\].*id is \"1\".*whole number"),
    "id a boolean": ({"images": changed(IMAGES, id=True), "annotations": PAIRS}, "id is true"),
    "id a fraction": ({"images": changed(IMAGES, id=1.0), "annotations": PAIRS}, r"id is 1\.0"),
    "no id": ({"images": without(IMAGES, "id"), "annotations": PAIRS}, "id is null"),
    "id twice": ({"images": [*IMAGES, {"id": 1, "file_name": "3.jpg"}], "annotations": PAIRS}, "id 1 stands for"),
    "no file_name": ({"images": without(IMAGES, "file_name"), "annotations": PAIRS}, "file_name is null"),
    "file_name a number": ({"images": changed(IMAGES, file_name=1), "annotations": PAIRS}, "file_name is 1"),
    "file_name empty": ({"images": changed(IMAGES, file_name=""), "annotations": PAIRS}, "file_name ''"),
    "escapes": ({"images": changed(IMAGES, file_name="../1.jpg"), "annotations": PAIRS}, r"\.\./1\.jpg.*no place"),
    "escapes later": ({"images": changed(IMAGES, file_name="a/../../1.jpg"), "annotations": PAIRS}, "no place"),
    "absolute": ({"images": changed(IMAGES, file_name="/etc/passwd"), "annotations": PAIRS}, "no place"),
    "no image_id": (
        {"images": IMAGES, "annotations": without(PAIRS, "image_id")},
        r"annotations\[0\].*image_id is null",
    ),
    "image_id a list": ({"images": IMAGES, "annotations": changed(PAIRS, image_id=[1])}, r"image_id is \[1\]"),
    "no caption": ({"images": IMAGES, "annotations": without(PAIRS, "caption")}, "caption is null.*make it a text"),
    "caption a number": ({"images": IMAGES, "annotations": changed(PAIRS, caption=7)}, "caption is 7"),
    "one image": ({"images": IMAGES, "annotations": PAIRS[:2]}, r"captions of 1 image\(s\) are left.*at least 2"),
    "one caption each": ({"images": IMAGES, "annotations": PAIRS[1:3]}, "only 1 caption is left to train on"),
}


@pytest.mark.parametrize(("content", "named"), BAD_CAPTIONS.values(), ids=BAD_CAPTIONS.keys())
def test_bad_captions_are_refused_by_name_and_place(tmp_path, content, named):
    write_coco(tmp_path, good(2))
    path = tmp_path / "annotations" / "captions_train.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(BadInput, match=named) as caught:
        load_data(path, TINY)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_captions_are_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere.*no such file or folder"):
        load_data(tmp_path / "nowhere", TINY)
    with pytest.raises(BadInput, match=r"no captions_\*\.json"):
        load_data(tmp_path, TINY)


def test_truncated_captions_are_refused_wherever_they_were_cut(tmp_path):
    write_coco(tmp_path, good(2))
    path = tmp_path / "annotations" / "captions_train.json"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"captions_train\.json.*not JSON"):
            load_data(tmp_path, TINY)


def test_annotations_of_no_image_are_left_out_named_and_counted_up_to_1_percent(tmp_path, caplog):
    captions = [*[(10, "a"), (20, "red")] * 99, (77, "a"), (78, "a")]
    data = load_data(write_coco(tmp_path / "few", good(2), captions), TINY)
    assert len(data.captions_N) == 198
    (said,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert said.endswith(
        "captions_train.json: 2 of 200 annotations are left out: 2 belong to no image "
        "(annotations[198] of image 77, annotations[199] of image 78)"
    )
    many = write_coco(tmp_path / "many", good(2), [*captions, (79, "a")])
    with pytest.raises(
        BadInput, match=r"3 of 201 annotations are left out: .* of image 77, .*more than 1%; list their"
    ):
        load_data(many, TINY)


def test_images_without_a_caption_are_named_and_counted(tmp_path, caplog):
    load_data(write_coco(tmp_path, good(4), [(10, "a"), (20, "red"), (30, "a")]), TINY)
    assert "1 of 4 images are left out, they have no caption: 4.jpg" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_captions_are_read_in_any_encoding_of_unicode(tmp_path, encoding):
    path = write_coco(tmp_path, good(2), 2 * [(10, "a größe"), (20, "red")]) / "annotations" / "captions_train.json"
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False), encoding=encoding)
    assert load_data(tmp_path, TINY).captions_N == 2 * ["a größe", "red"]


def test_a_list_that_is_given_twice_hides_no_other(tmp_path):
    path = write_coco(tmp_path, good(2)) / "annotations" / "captions_train.json"
    path.write_text(path.read_text().removesuffix("}") + ', "annotations": []}')
    with pytest.raises(BadInput, match="'annotations' is given twice"):
        load_data(tmp_path, TINY)


def test_a_value_that_is_nested_deeply_is_refused_by_its_place(tmp_path):
    write_coco(tmp_path, good(2))
    path = tmp_path / "annotations" / "captions_train.json"
    for depth in range(700, 1000, 3):
        path.write_text('{"images": [{"id": ' + "[" * depth + "]" * depth + '}], "annotations": []}')
        with pytest.raises(BadInput, match=r"nested too deeply|images\[0\].*id is \[\[\["):
            load_data(tmp_path, TINY)


def test_captions_without_a_known_word_are_counted_and_get_the_mean_zero(tmp_path, caplog):
    captions = [(10, ""), (10, "?!"), (10, "zzz"), (20, "a"), (20, "a zzz"), (30, "red")]
    data = load_data(write_coco(tmp_path, good(3), captions), TINY)
    assert "3 of 6 captions have no word with a vector; their mean vector is zero: '', '?!', 'zzz'" in caplog.text
    assert torch.equal(data.encoder.encode("zzz"), torch.from_numpy(data.encoder.projection[1]))
    assert torch.equal(data.encoder.encode("a zzz"), data.encoder.encode("a"))
    assert data.encoder.encode("a").any()


# Word vectors that cannot be used

LINES = "a 1 0 0\nred 0 1 0\n"
BAD_VECTORS = {
    "empty": ("", "is empty"),
    "blank": ("\n \n", "is empty"),
    "binary": (b"a 1 2 \xff\xfe\n", "is no text"),
    "too short": (f"{LINES}circle 1 2\n", r"\.txt:3: has 2 numbers, not 3.*word_vector_size"),
    "too long": (f"{LINES}circle 1 2 3 4\n", r"\.txt:3: has 4 numbers, not 3"),
    "short and unused": (f"unused 1 2\n{LINES}", r"\.txt:1: has 2 numbers"),
    "word alone": (f"{LINES}circle\n", r"\.txt:3: has 0 numbers"),
    "utf-16": (LINES.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    "cut off": (f"3 3\n{LINES}", "has 2 of the 3 vectors that its first line announces"),
    "endless header": (f"2 {'9' * 5000}\n{LINES}", r"\.txt:1: has 1 numbers, not 3"),
    "other header": (f"2 4\n{LINES}", r"\.txt:1: its vectors have 4 numbers, not 3"),
    "no number": (f"{LINES}circle 1 x 3\n", r"\.txt:3: 'x' is no number"),
    "nan": (f"{LINES}circle 1 nan 3\n", r"\.txt:3: .*NaN"),
    "infinite": (f"{LINES}circle 1 -inf 3\n", r"\.txt:3: .*infinite"),
    "beyond float32": (f"{LINES}circle 1 1e39 3\n", r"\.txt:3: .*beyond float32"),
    "another language": ("rouge 1 2 3\n", "no vector of any word"),
}


@pytest.mark.parametrize(("content", "named"), BAD_VECTORS.values(), ids=BAD_VECTORS.keys())
def test_bad_word_vectors_are_refused_by_name_and_place(tmp_path, content, named):
    write_coco(tmp_path, good(2))
    path = tmp_path / "word_vectors.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=named) as caught:
        load_data(tmp_path, TINY)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        f"2 3\n{LINES}",
        "\ufeff" + LINES,
        LINES.replace("\n", " \n"),
        LINES.replace("\n", "\r\n"),
        f"{LINES}\n",
        f"{LINES}. . . 1 2 3\n",
        f"{LINES}a 9 9 9\n",
        f"{LINES}\x85 9 9 9\n",
        LINES.removesuffix("\n"),
    ],
    ids=["plain", "header", "mark", "trailing space", "windows", "blank", "spaces in a word", "twice", "odd", "no end"],
)
def test_word_vectors_are_read_as_various_programs_write_them(tmp_path, content):
    write_coco(tmp_path, good(2))
    (tmp_path / "word_vectors.txt").write_bytes(content.encode())
    encoder = load_data(tmp_path, TINY).encoder
    assert encoder.words == ("a", "red")
    assert encoder.vectors_KV.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_second_vector_of_a_word_is_named(tmp_path, caplog):
    write_coco(tmp_path, good(2))
    (tmp_path / "word_vectors.txt").write_text(f"{LINES}unused 1 1 1\nunused 2 2 2\na 9 9 9\n")
    load_data(tmp_path, TINY)
    assert "1 vectors of words of the captions are left out, the words have one already: 'a' in line 5" in caplog.text


def test_vectors_that_lack_less_than_1_percent_are_counted(tmp_path, caplog):
    write_coco(tmp_path, good(2))
    lines = "".join(f"word{number} 1 2 3\n" for number in range(198))
    (tmp_path / "word_vectors.txt").write_text(f"202 3\n{lines}{LINES}")
    load_data(tmp_path, TINY)
    assert "has 200 of the 202 vectors that its first line announces" in caplog.text


@pytest.mark.parametrize("of_caption", ["NFC", "NFD"])
@pytest.mark.parametrize("of_vectors", ["NFC", "NFD"])
def test_letters_with_accents_are_the_same_in_any_normalization_form(tmp_path, of_caption, of_vectors):
    captions = [(number, unicodedata.normalize(of_caption, "Été à la plage")) for number in (10, 20, 10, 20)]
    write_coco(tmp_path, good(2), captions)
    text = unicodedata.normalize(of_vectors, "été 1 0 0\nà 0 1 0\n")
    (tmp_path / "word_vectors.txt").write_text(text, encoding="utf-8")
    assert load_data(tmp_path, TINY).encoder.words == ("été", "à")


def test_only_vectors_of_words_that_occur_are_kept(tmp_path):
    assert load_data(write_coco(tmp_path, good(2)), TINY).encoder.words == ("a", "red", "circle")


# Images that cannot be used


def test_images_that_are_none_are_left_out_named_and_counted(tmp_path, caplog):
    pictures = dict(enumerate(good(500), 1))
    pictures |= {2: None, 3: b"", 4: b"no image", 5: cut(pictures[5], 0.02), 6: b"%!PS-Adobe-3.0 EPSF-3.0\n"}
    data = load_data(write_coco(tmp_path, pictures), TINY)
    assert "5 of 500 images are left out" in caplog.text
    assert "2.jpg: No such file or directory" in caplog.text
    assert "3.jpg: empty" in caplog.text
    assert "4.jpg: no image in a known format and 2 more" in caplog.text
    assert len(data.file_names) == 495
    assert len(data.captions_N) == 990
    assert len(data.bad) == 5
    assert data.num_images == 500
    items = torch.cat([batch.items_B for part in ("train", "val") for batch in batches(data, part)])
    assert sorted(items.tolist()) == list(range(990))


def test_more_than_one_in_a_hundred_is_too_many(tmp_path, one_hundred):
    (one_hundred / "train" / "7.jpg").unlink()
    assert load_data(one_hundred, TINY).num_items("train") > 0
    (one_hundred / "train" / "8.jpg").write_bytes(b"")
    with pytest.raises(BadInput, match=r"2 of 100 images are missing or damaged, the first: .*7\.jpg: No such file"):
        load_data(one_hundred, TINY)


@pytest.mark.parametrize("kind", ["folder", "pipe", "long name", "surrogate", "zero byte"])
def test_what_is_no_file_is_a_bad_image_and_waits_for_nobody(one_hundred, kind, caplog):
    path, name = one_hundred / "train" / "9.jpg", "9.jpg"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        name = {"long name": 300 * "9", "surrogate": "9\ud83d.jpg", "zero byte": "9\0.jpg"}[kind]
        captions = one_hundred / "annotations" / "captions_train.json"
        captions.write_text(captions.read_text().replace('"9.jpg"', json.dumps(name)))
    assert len(load_data(one_hundred, TINY).file_names) == 99
    assert "1 of 100 images are left out" in caplog.text
    assert caplog.text.encode("utf-8"), "any stream takes it"


def test_one_file_under_several_ids_is_one_image_on_one_side_of_the_split(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = write_coco(tmp_path, good(8))
    os.link(folder / "train" / "2.jpg", folder / "train" / "hard.jpg")
    (folder / "train" / "soft.jpg").symlink_to("2.jpg")
    path = folder / "annotations" / "captions_train.json"
    content = json.loads(path.read_text())
    for number, name in enumerate(("2.jpg", "./2.jpg", "hard.jpg", "soft.jpg"), start=100):
        content["images"].append({"id": number, "file_name": name})
        content["annotations"].append({"image_id": number, "caption": f"a blue circle {number}"})
    write_captions(path, content["images"], content["annotations"])
    for seed in range(8):
        data = load_data(folder, TINY.replace(split_seed=seed, val_split=0.5))
        assert len(data.file_names) == data.num_images == 8
        assert len(data.captions_N) == 20
        assert (data.image_of_N == 1).sum() == 6
        sides = [set(data.image_of_N[data.parts[part]].tolist()) for part in ("train", "val")]
        assert not sides[0] & sides[1]
    assert "4 image ids name the file of another id and count as that image" in caplog.text


@pytest.mark.parametrize(("on_disk", "in_captions"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_file_is_found_whatever_normalization_form_its_name_has(tmp_path, on_disk, in_captions):
    folder = write_coco(tmp_path, {unicodedata.normalize(on_disk, "café.jpg"): jpeg(0), "2.jpg": jpeg(1)})
    path = folder / "annotations" / "captions_train.json"
    written, wanted = (json.dumps(unicodedata.normalize(form, "café.jpg")) for form in (on_disk, in_captions))
    assert written in path.read_text()
    path.write_text(path.read_text().replace(written, wanted))
    data = load_data(folder, TINY)
    assert all(data.path_of(image).is_file() for image in range(2))


def test_an_image_that_nothing_is_said_about_may_be_missing(tmp_path):
    data = load_data(write_coco(tmp_path, [*good(3), None], [(10, "a"), (20, "red"), (30, "a")]), TINY)
    assert data.num_images == 3


def test_a_decompression_bomb_is_damaged(one_hundred, monkeypatch, caplog):
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99)))
    framed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    (one_hundred / "train" / "5.jpg").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    data = load_data(one_hundred, TINY)
    assert "decompression bomb" in caplog.text
    assert len(data.file_names) == 99
    (one_hundred / "train" / "5.jpg").write_bytes(jpeg(0, size=(30, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 800)  # 900 is beyond it, and below twice as many
    assert len(load_data(one_hundred, TINY).file_names) == 99


@pytest.mark.parametrize("damage", ["jpeg", "png", "png checksum", "vanished", "replaced"])
def test_the_next_whole_image_takes_a_damaged_ones_place(one_hundred, damage, caplog):
    path = one_hundred / "train" / "40.jpg"
    png = saved(Image.open(io.BytesIO(jpeg(39))), "PNG")
    flipped = png[:-30] + bytes([png[-30] ^ 255]) + png[-29:]
    whole = load_data(one_hundred, TINY)
    expected = {part: batches(whole, part, batch_size=10) for part in ("train", "val")}
    path.write_bytes({"jpeg": cut(jpeg(39)), "png": cut(png), "png checksum": flipped}.get(damage, jpeg(39)))
    data = load_data(one_hundred, TINY)
    if damage == "vanished":
        path.unlink()
    elif damage == "replaced":
        path.write_bytes(b"")
    part = "train" if 39 in data.image_of_N[data.parts["train"]] else "val"
    order = data.parts[part].tolist()
    found = batches(data, part, batch_size=10)
    assert equal_batches(found, batches(data, part, batch_size=10, num_workers=2))
    num_replaced = 0
    for before, after in zip(expected[part], found, strict=True):
        replaced = [place for place, item in enumerate(before.items_B.tolist()) if item in (78, 79)]
        for place, (old, new) in enumerate(zip(before.items_B.tolist(), after.items_B.tolist(), strict=True)):
            assert new == (order[(order.index(79) + 1) % len(order)] if place in replaced else old)
        assert bool(after.damaged) == bool(replaced)
        assert all(entry.startswith(f"{path}: ") for entry in after.damaged)
        num_replaced += len(replaced)
        images = data.image_of_N[after.items_B.numpy()]
        assert (images[after.wrong_B.numpy()] != images).all(), "told by the images that are really there"
        data.note_damaged(after)
    assert num_replaced == 2
    assert caplog.text.count("takes its place") == 1


def test_the_last_items_replacement_is_the_first(tmp_path):
    data = load_data(write_coco(tmp_path, good(20)), TINY)
    last, first = data.parts["val"][-1], data.parts["val"][0]
    (data.folder / data.file_names[data.image_of_N[last]]).write_bytes(cut(jpeg(0)))
    assert batches(data, "val", batch_size=100)[0].items_B.tolist()[-1] == first


def test_too_many_damaged_images_end_the_training(one_hundred, caplog):
    for number in (11, 57):
        path = one_hundred / "train" / f"{number}.jpg"
        path.write_bytes(cut(path.read_bytes()))
    data = load_data(one_hundred, TINY)
    damaged = [batch for part in ("train", "val") for batch in batches(data, part, batch_size=1) if batch.damaged]
    first = damaged[0]
    data.note_damaged(first)
    data.note_damaged(first)
    (second, *_) = [batch for batch in damaged if batch.damaged != first.damaged]
    with pytest.raises(BadInput, match=r"2 of 100 images are missing or damaged, the first: .*11\.jpg: image file"):
        data.note_damaged(second)
    assert caplog.text.count("takes its place") == 2


def test_damage_found_at_load_counts_as_well(one_hundred):
    (one_hundred / "train" / "3.jpg").unlink()
    path = one_hundred / "train" / "57.jpg"
    path.write_bytes(cut(path.read_bytes()))
    data = load_data(one_hundred, TINY)
    (batch, *_) = [each for part in ("train", "val") for each in batches(data, part) if each.damaged]
    with pytest.raises(BadInput, match="2 of 100"):
        data.note_damaged(batch)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_part_without_a_whole_image_is_refused(tmp_path, num_workers):
    data = load_data(write_coco(tmp_path, good(101)), TINY.replace(val_split=0.005))
    (image,) = set(data.image_of_N[data.parts["val"]].tolist())
    (data.folder / data.file_names[image]).write_bytes(cut(jpeg(0)))
    (batch,) = batches(data, "val", num_workers=num_workers)
    assert batch.items_B.tolist() == [-1, -1]
    with pytest.raises(BadInput, match="none of the images can be decoded"):
        data.note_damaged(batch)


# Images of other kinds


def grey_ramp(bits):
    """A picture that is dark on the left and bright on the right."""
    ramp = np.tile(np.linspace(0, 2**bits - 1, 16), (12, 1))
    return Image.fromarray(ramp.astype(np.uint8 if bits == 8 else np.uint16))


def coloured(mode):
    return Image.new("RGB", (16, 12), (250, 10, 20)).convert(mode)


def palette_with_transparency():
    picture = Image.new("P", (16, 12))
    picture.putpalette([250, 10, 20, 0, 255, 0])
    return saved(picture, "PNG", transparency=b"\x80\x40")


RED = (250, 10, 20)
KINDS = {
    "rgb": (saved(coloured("RGB"), "PNG"), "RGB", RED),
    "cmyk": (saved(coloured("CMYK"), "JPEG"), "CMYK", RED),
    "alpha": (saved(coloured("RGBA"), "PNG"), "RGBA", RED),
    "palette": (saved(coloured("RGB").quantize(2), "PNG"), "P", RED),
    "palette and transparency": (palette_with_transparency(), "P", RED),
    "grey": (saved(Image.new("L", (16, 12), 200), "JPEG"), "L", (200, 200, 200)),
    "grey and alpha": (saved(Image.new("LA", (16, 12), (200, 9)), "PNG"), "LA", (200, 200, 200)),
    "two values": (saved(Image.new("1", (16, 12), 1), "PNG"), "1", (255, 255, 255)),
    "16 bits": (saved(Image.new("I;16", (16, 12), 200 * 256), "PNG"), "I;16", (200, 200, 200)),
    "one pixel": (saved(Image.new("RGB", (1, 1), RED), "PNG"), "RGB", RED),
    "one row": (saved(Image.new("RGB", (500, 1), RED), "PNG"), "RGB", RED),
    "progressive": (saved(coloured("RGB"), "JPEG", progressive=True, quality=95), "RGB", RED),
    "webp": (saved(coloured("RGB"), "WEBP", lossless=True), "RGB", RED),
}


@pytest.mark.parametrize(("content", "mode", "colour"), KINDS.values(), ids=KINDS.keys())
def test_images_of_every_kind_are_converted(tmp_path, content, mode, colour, caplog):
    caplog.set_level(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_data(write_coco(tmp_path, 3 * [content]), TINY)
        batch = batches(data)[0]
    assert batch.damaged == ()
    found = (batch.images_BCHW + 1) * 127.5
    expected = torch.tensor(colour, dtype=torch.float32)[None, :, None, None].expand_as(found)
    assert (found - expected).abs().max() < 4
    message = f"3 images are not RGB and are converted: {mode} 3"
    assert (message in caplog.text) == (mode != "RGB")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, kind):
    for bits in (8, 16):
        (tmp_path / f"{bits}").write_bytes(saved(grey_ramp(bits), kind))
    deep, plain = decode_image(tmp_path / "16", 12), decode_image(tmp_path / "8", 12)
    torch.testing.assert_close(deep, plain, rtol=0, atol=0.01)
    assert plain[0, 0].diff().min() > 0.05


CORNERS = np.kron(
    np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]], np.uint8), np.ones((8, 8, 1), np.uint8)
)
"""Red and green above blue and white."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (4, CORNERS[::-1]),
        (5, CORNERS.transpose(1, 0, 2)),
        (6, np.rot90(CORNERS)),
        (7, np.rot90(CORNERS, 2).transpose(1, 0, 2)),
        (8, np.rot90(CORNERS, -1)),
    ],
)
def test_images_are_turned_upright_as_their_exif_data_says(tmp_path, kind, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(stored))
    quality = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    (tmp_path / "a").write_bytes(saved(picture, kind, exif=exif, **quality))
    pixels = decode_pixels(tmp_path / "a", 16).astype(int)
    assert np.abs(pixels - CORNERS).max() < 30


def test_damaged_exif_data_leaves_the_image_as_it_is(tmp_path):
    for number, exif in enumerate(
        (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x09\0")
    ):
        (tmp_path / f"{number}").write_bytes(
            saved(Image.fromarray(CORNERS), "JPEG", exif=exif, quality=95, subsampling=0)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of some of them
            pixels = decode_pixels(tmp_path / f"{number}", 16).astype(int)
        assert np.abs(pixels - CORNERS).max() < 60


def test_floating_point_images_are_from_0_to_1_or_damaged(tmp_path):
    ramp = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (12, 1))
    (tmp_path / "float").write_bytes(saved(Image.fromarray(ramp), "TIFF"))
    (tmp_path / "bytes").write_bytes(saved(grey_ramp(8), "TIFF"))
    torch.testing.assert_close(
        decode_image(tmp_path / "float", 12), decode_image(tmp_path / "bytes", 12), rtol=0, atol=0.01
    )
    for number, beyond in enumerate((ramp * 255, ramp - 0.1, np.where(ramp > 0.5, np.float32("nan"), ramp))):
        (tmp_path / f"{number}").write_bytes(saved(Image.fromarray(beyond.astype(np.float32)), "TIFF"))
        with pytest.raises(IMAGE_ERRORS, match="floating-point numbers beyond 0 to 1"):
            decode_pixels(tmp_path / f"{number}", 12)
    (tmp_path / "long").write_bytes(saved(Image.fromarray((ramp * 255).astype(np.int32)), "TIFF"))
    with pytest.raises(IMAGE_ERRORS, match="32-bit"):
        decode_pixels(tmp_path / "long", 12)


def test_a_data_set_of_images_without_a_known_range_ends_the_training_with_the_reason(tmp_path):
    content = saved(Image.fromarray(np.full((12, 12), 200, np.float32)), "TIFF")
    data = load_data(write_coco(tmp_path, 3 * [content]), TINY)
    (batch, *_) = batches(data)
    with pytest.raises(BadInput, match=r"missing or damaged.*floating-point numbers beyond 0 to 1"):
        data.note_damaged(batch)


def test_images_of_several_frames_are_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    frames = [Image.new("RGB", (16, 12), colour) for colour in ((250, 10, 20), (0, 0, 0))]
    film = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    load_data(write_coco(tmp_path, [*good(2), film]), TINY)
    assert "1 images have several frames, of which the first is used" in caplog.text


def test_modes_are_counted_in_one_line(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    pictures = [*good(2), jpeg(3, mode="L"), jpeg(4, mode="CMYK"), jpeg(5, mode="L")]
    load_data(write_coco(tmp_path, pictures), TINY)
    assert "3 images are not RGB and are converted: L 2, CMYK 1" in caplog.text
    assert len(caplog.records) == 1


def test_the_familys_own_data_is_read_through_the_same_reader():
    config = TextToImageConfig.preset("tiny")
    data = load_data(offline_data(config), config)
    found = batches(data, batch_size=config.batch_size, image_size=config.image_size)
    assert sum(len(batch.items_B) for batch in found) == data.num_items("train")
    assert all(batch.texts_BE.abs().sum(1).min() > 0 for batch in found)
