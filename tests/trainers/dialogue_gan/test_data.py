"""The dialogue GAN's data: the text format, tokens, sequences, batches, and bad files; all without a framework."""

import logging
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

import trainers
from trainers.contract import BadInput
from trainers.dialogue_gan.config import PRESETS, DialogueConfig
from trainers.dialogue_gan.data import (
    PADDING,
    UNKNOWN,
    Line,
    Tokenizer,
    load_dialogue,
    make_data,
    offline_data_path,
    parse_dialogue,
    prepare,
)
from trainers.dialogue_gan.synthetic import write_dialogue

ROOT = Path(trainers.__file__).parents[1]
TINY = DialogueConfig.preset("tiny")
LINES = tuple(Line("Mara", "harbour", f"one two three four five{number}") for number in range(6))


def rows(sequences):
    """Unpadded sequences."""
    return {tuple(token for token in row if token) for row in sequences.tokens_NT.tolist()}


# --- the text format ---


def test_a_scene_line_sets_the_scene_of_what_follows():
    lines = parse_dialogue(
        "Mara: before it\n[SCENE:  harbour  at dawn ]\nOld Tom: after it\n[scene: attic]\nMara: up here"
    )
    assert lines == (
        ("Mara", "unknown", "before it"),
        ("Old Tom", "harbour at dawn", "after it"),
        ("Mara", "attic", "up here"),
    )


@pytest.mark.parametrize("name", ["Mara", "Old Tom", "Captain van Brandt", "Éloïse", "Mr. O'Hara", "Anna-Lena", "R2"])
def test_names_have_one_to_three_words_and_begin_with_a_capital(name):
    assert parse_dialogue(f"{name}: well then") == ((name, "unknown", "well then"),)


@pytest.mark.parametrize(
    "row",
    [
        "mara: well then", "The Old Man Tom: well then", ": well then", "Mara well then", "Mara: well", "Mara:     ",
        "Note: well then", "CONTEXT: well then", "Scene: well then", "Time: well then", "Location: well then",
        "(Mara: well then)", "42: well then", "[SCENE harbour]", "",
    ],
)  # fmt: skip
def test_what_is_no_dialogue_is_left_out(row):
    assert parse_dialogue(row) == ()


def test_words_may_hold_colons_and_brackets():
    assert parse_dialogue("Mara: he said: [go] now")[0].words == "he said: [go] now"


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path):
    path = tmp_path / "d.txt"
    path.write_bytes("\ufeff[SCENE: inn]\r\nMara: one two three four\r\nTom: five six seven eight\r\n".encode())
    assert load_dialogue(path, TINY).characters == ("Mara", "Tom")


# --- tokens ---


def test_ids_go_by_frequency_after_padding_and_unknown():
    tokenizer = Tokenizer.of(["b a, b!", "B c... a"], 40)
    assert tokenizer.words == ("", "<UNK>", "b", "a", "c")
    assert tokenizer.encode("A b, nowhere. Don't") == [3, 2, UNKNOWN, UNKNOWN]
    assert tokenizer.decode([PADDING, 3, UNKNOWN, 2, 99]) == "a <UNK> b <UNK>"


def test_words_beyond_the_vocabulary_are_unknown_and_the_log_says_so(caplog):
    tokenizer = Tokenizer.of(["a a a b b c"], 4)
    assert tokenizer.encode("a b c") == [2, 3, UNKNOWN]
    assert "1 of 3 words are not in the vocabulary of 4" in caplog.text


# --- sequences ---


def test_sequences_are_the_prefixes_of_two_lines_and_a_copy_with_holes():
    config = TINY.replace(sequence_length=9, augmentation=0.0)
    data = prepare([Line("Mara", "inn", "a b c"), Line("Tom", "inn", "d e")], config, "here")
    ids = {word: token for token, word in enumerate(data.tokenizer.words)}
    first = [tuple(ids[word] for word in text) for text in ("ab", "abc")]
    second = [tuple(ids[word] for word in text) for text in ("ab", "abc", "abcd", "abcde")]
    assert rows(data.train) | rows(data.val) == {*first, *second}
    assert len(data.train) + len(data.val) == 2 * (len(first) + len(second))
    for part in (data.train, data.val):
        assert (np.diff((part.tokens_NT != PADDING).astype(int), axis=1) >= 0).all(), "padded in front"


def test_about_one_token_in_twenty_of_the_copies_is_lost():
    config = DialogueConfig.preset("smoke").replace(num_lines=200)
    data = prepare(parse_dialogue(write_dialogue(config)), config, "here")
    everything = np.concatenate([data.train.tokens_NT, data.val.tokens_NT])
    holes = sum(int((row[np.argmax(row != PADDING) :] == PADDING).sum()) for row in everything)
    assert holes / (everything != PADDING).sum() == pytest.approx(0.025, rel=0.15)


def test_the_split_is_85_to_15_and_every_sequence_is_in_one_part():
    data = prepare(LINES, TINY, "here")
    total = len(data.train) + len(data.val)
    assert len(data.val) == round(0.15 * total)
    assert total == 2 * (4 + 5 * 5), "five words alone, ten together cut to six: prefixes of two to five, of two to six"


def test_lines_longer_than_a_sequence_are_cut_and_the_log_says_so(caplog):
    with caplog.at_level(logging.INFO, logger="trainers.dialogue_gan"):
        data = prepare(LINES, TINY.replace(sequence_length=4), "here")
    assert data.train.tokens_NT.shape[1] == 4
    assert "5 of 6 lines" not in caplog.text
    assert "6 of 6 lines, with the line before them, are longer than 4 tokens" in caplog.text


def test_each_sequence_knows_who_leads_to_it_and_where():
    lines = [Line("Mara", "inn", "a b"), Line("Tom", "attic", "c d")]
    data = prepare(lines, TINY.replace(augmentation=0.0), "here")
    for part in (data.train, data.val):
        for row, character, scene in zip(part.tokens_NT, part.characters_N, part.scenes_N, strict=True):
            longer = len([token for token in row if token]) > 2
            assert not longer or (data.characters[character], data.scenes[scene]) == ("Tom", "attic")


# --- batches ---


def test_the_order_of_batches_depends_on_seed_and_epoch_alone():
    data = prepare(LINES, TINY, "here")

    def order(seed, epoch, num_done=0):
        return [batch.tokens_BT.tobytes() for batch in data.batches_of_epoch(4, seed, epoch, num_done)]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2)[3:] == order(1, 2, num_done=3)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert len(order(1, 2)) == data.num_batches(4)
    assert sum(len(batch.tokens_BT) for batch in data.batches_of_epoch(4, 1, 2)) == len(data.train)


# --- offline data ---


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_grammar_goes_through_the_real_parser(preset):
    config = DialogueConfig.preset(preset)
    text = write_dialogue(config)
    assert text == write_dialogue(config), "the same for the same seed"
    assert text != write_dialogue(config.replace(data_seed=1))
    lines = parse_dialogue(text)
    assert len(lines) == config.num_lines
    assert len({line.character for line in lines}) == config.num_characters
    if preset == "default":
        assert (len(lines), config.num_characters, len({line.scene for line in lines})) == (2000, 14, 41)


def test_words_depend_on_the_speaker_and_on_the_scene():
    config = DialogueConfig()
    lines = parse_dialogue(write_dialogue(config))

    def overlap(key):
        """Share of words in common between one half of what a key's values have and the other, own over foreign."""
        halves = {}
        for number, line in enumerate(lines):
            halves.setdefault(key(line), ([], []))[number % 2].extend(line.words.lower().split())
        pairs = [(set(one), set(other)) for one, other in halves.values() if len(one) > 100 and len(other) > 100]
        own = np.mean([len(one & other) / len(one) for one, other in pairs])
        foreign = [len(one & pairs[(n + 1) % len(pairs)][1]) / len(one) for n, (one, _) in enumerate(pairs)]
        return own / np.mean(foreign)

    assert overlap(lambda line: line.character) > 1.1
    assert overlap(lambda line: line.scene) > 1.3
    assert overlap(lambda line: crc32(line.words.encode()) % 14) < 1.05, "the control: of no account"


def test_offline_data_is_made_once(private_cache):
    path = offline_data_path(TINY)
    assert path.is_relative_to(private_cache)
    made = path.stat().st_mtime_ns
    assert offline_data_path(TINY).stat().st_mtime_ns == made
    assert offline_data_path(TINY.replace(data_seed=7)) != path


def test_making_data_writes_what_the_grammar_says(tmp_path):
    make_data(tmp_path / "new" / "dialogue.txt", TINY)
    assert (tmp_path / "new" / "dialogue.txt").read_text() == write_dialogue(TINY)


def test_a_fingerprint_tells_data_apart():
    data = prepare(LINES, TINY, "here")
    assert data.fingerprint() == prepare(LINES, TINY, "there").fingerprint()
    assert data.fingerprint() != prepare(LINES[:-1], TINY, "here").fingerprint()
    assert data.fingerprint() != prepare([line._replace(scene="inn") for line in LINES], TINY, "here").fingerprint()


# --- bad files ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"Mara: one\0two three", "zero bytes"),
        (b"\x89PNG\r\n\x1a\n\xff\x80", "no UTF-8 text"),
        ("Mara: größer als".encode("latin-1"), "no UTF-8 text"),
        ("Mara: one two three".encode("utf-16"), "UTF-16"),
        (b"just prose, and nobody speaks\n", "no line of dialogue"),
        (b"Mara: hello\n", "0 sequence(s), too few"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(BadInput) as raised:
        load_dialogue(path, TINY)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "no.txt", tmp_path):
        with pytest.raises(BadInput, match="cannot be read"):
            load_dialogue(path, TINY)


def test_one_speaker_and_one_scene_are_fine_and_the_log_says_so(tmp_path, caplog):
    path = tmp_path / "one.txt"
    path.write_text("Mara: one two three four five\nMara: six seven eight\n")
    data = load_dialogue(path, TINY)
    assert (data.characters, data.scenes) == (("Mara",), ("unknown",))
    assert "only one speaker, Mara" in caplog.text
    assert "only one scene, unknown" in caplog.text


def test_data_handling_imports_no_framework():
    code = (
        "import trainers.dialogue_gan.data, trainers.dialogue_gan.schedule, trainers.dialogue_gan.commands, sys\n"
        "print(sorted({'torch', 'tensorflow', 'keras', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
