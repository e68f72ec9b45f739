"""The dialogue GAN's data: the text format, tokens, sequences, batches, and bad files; all without a framework."""

import logging
import subprocess
import sys
import time
import unicodedata
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


@pytest.mark.parametrize(
    "name",
    [
        "Mara", "Old Tom", "Captain van Brandt", "Éloïse", "Mr. O'Hara", "Anna-Lena", "R2", "The Old Man Tom",
        "The Ghost of Christmas Past", "The Ghost of Christmas Yet To Come",
        "سارة", "عبد الله بن محمد", "小明", "哈利·波特", "ハリー・ポッター", "सीता", "Δημήτρης", "Аня", "שרה",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_have_one_to_eight_words_and_begin_with_a_capital_where_there_are_any(name, form):
    written = unicodedata.normalize(form, f"{name}: well then")
    assert parse_dialogue(written) == ((unicodedata.normalize("NFC", name), "unknown", "well then"),)


def test_a_fullwidth_colon_divides_too():
    lines = parse_dialogue("[SCENE\uff1a厨房]\n小明\uff1a 你今天去哪里了\n")
    assert lines == (("小明", "厨房", "你今天去哪里了"),)


@pytest.mark.parametrize("mark", ["\ufeff", "\u200e", "\u200f", "\u202b", "\u2060"])
def test_invisible_marks_hide_no_speaker(mark):
    text = f"{mark}Mara: well then\n{mark}[SCENE: inn]\n{mark}Tom{mark}: {mark}off we go\n"
    assert parse_dialogue(text) == (("Mara", "unknown", "well then"), ("Tom", "inn", "off we go"))


@pytest.mark.parametrize(
    "row",
    [
        "mara: well then", "The old house was empty: well then", ": well then", "éloïse: well then",
        "Mara well then", "Mara: well", "Mara:     ",
        "Note: well then", "CONTEXT: well then", "Scene: well then", "Time: well then", "Location: well then",
        "(Mara: well then)", "42: well then", "[SCENE harbour]", "",
        "One Two Three Four Five Six Seven Eight Nine: well then",
        "See http://example.org/page for more", "At 10:30 we left the house", r"C:\Users\mara\dialogue.txt",
        "[21:05] Mara: well then", "Mara: ?!?!?!", "Mara: \U0001f600\U0001f600\U0001f600\U0001f600\U0001f600",
        "Mara: well \ufffd then",
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


def test_a_long_line_takes_linear_time():
    """A regular expression with spaces on both sides of a description took ten seconds for 3 kB."""
    start = time.process_time()
    for row in ("[SCENE:" + " " * 300_000 + "kitchen", "Mara" + " " * 300_000 + "!", "Mara: a" + " " * 300_000 + "b"):
        parse_dialogue(row)
    assert time.process_time() - start < 5


def load_text(folder, text):
    path = folder / "d.txt"
    path.write_text(text, encoding="utf-8")
    return load_dialogue(path, TINY)


KITCHEN = "[SCENE: kitchen]\nAda: the kettle is boiling over\n\nBo: then take it off the stove\n"


def test_lines_that_are_left_out_are_counted_named_and_explained_in_one_line(tmp_path, caplog):
    text = KITCHEN + "Ada: no\nNote: he leaves by the door\n" + "[21:07] Ada: this is an export\n" * 5
    load_text(tmp_path, text)
    lines = [record.getMessage() for record in caplog.records if "are left out" in record.getMessage()]
    assert lines == [
        f"{tmp_path / 'd.txt'}: 7 of 10 lines are left out: "
        "5 are not of the form Name: words (line 7, line 8, line 9 and 2 more); "
        "1 are notes and not speech (line 6); 1 have fewer than 5 characters after the name (line 5)"
    ]


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, caplog):
    load_text(tmp_path, KITCHEN)
    assert "lines are left out" not in caplog.text


def test_a_file_without_dialogue_is_refused_with_the_lines_that_it_has(tmp_path):
    with pytest.raises(BadInput, match=r"holds no line of dialogue \(2 of 2 lines are left out: 2 are not of the form"):
        load_text(tmp_path, "[21:07] Ada: this is an export\n\n[21:08] Bo: and this is too\n")


def test_more_than_one_line_in_a_hundred_with_lost_characters_is_too_much(tmp_path, caplog):
    whole = "Ada: the kettle is boiling over\nBo: then take it off the stove\n" * 99
    load_text(tmp_path, whole + "Bo: caf\ufffd au lait\n")
    assert (
        "1 of 199 lines are left out: 1 hold U+FFFD, where an earlier program lost characters (line 199)" in caplog.text
    )
    with pytest.raises(BadInput, match=r"3 of 201 lines hold U\+FFFD"):
        load_text(tmp_path, whole + "Bo: caf\ufffd au lait\n" * 3)


# --- tokens ---


def test_ids_go_by_frequency_after_padding_and_unknown():
    tokenizer = Tokenizer.of(["b a, b!", "B c... a"], 40)
    assert tokenizer.words == ("", "<UNK>", "b", "a", "c")
    assert tokenizer.encode("A b, nowhere. Don't") == [3, 2, UNKNOWN, UNKNOWN]
    assert tokenizer.decode([PADDING, 3, UNKNOWN, 2, 99]) == "a <UNK> b <UNK>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("नमस्ते, आप कैसे हैं", ["नमस्ते", "आप", "कैसे", "हैं"]),
        ("مَرْحَبًا بك", ["مَرْحَبًا", "بك"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),  # noqa: RUF001 - Persian
        ("صورة، جميلة", ["صورة", "جميلة"]),
        ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
        ("col·lecció צה״ל", ["collecció", "צהל"]),
        ("I\u2764\ufe0flove \U0001f469\u200d\U0001f467 it_all", ["i", "love", "it", "all"]),
        ("Don't 3.5", ["dont", "3", "5"]),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_of_any_script_stay_whole(text, words, form):
    (line,) = parse_dialogue(unicodedata.normalize(form, f"Ada: {text}"))
    tokenizer = Tokenizer.of([line.words], 40)
    assert tokenizer.words[2:] == tuple(unicodedata.normalize("NFC", word) for word in words)


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
        (b"\xef\xbb\xbf\n", "is empty"),
        ("Mara: one two three".encode("utf-16"), "UTF-16"),
        ("Mara: one two three".encode("utf-32"), "UTF-32"),
        (b"\0\0\xfe\xff" + "Mara: one two three".encode("utf-32-be"), "UTF-32"),
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
