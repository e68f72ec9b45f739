"""Data of the dialogue GAN: the text format, tokens, training sequences, batches. NumPy only.

Shape suffixes: N sequences, T tokens of a sequence, B sequences of one batch.
"""

import collections
import hashlib
import logging
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers.common import checkpoint
from trainers.common.cache_dir import get_or_create
from trainers.common.reading import LeftOut, is_too_much, read_text
from trainers.common.seeds import derived_seed
from trainers.contract import BadInput
from trainers.dialogue_gan.config import DialogueConfig
from trainers.dialogue_gan.synthetic import write_dialogue

__all__ = [
    "PADDING", "UNKNOWN", "Batch", "DialogueData", "Line", "Sequences", "Tokenizer", "find_data", "load_dialogue",
    "make_data", "offline_data_path", "parse_dialogue", "prepare",
]  # fmt: skip

logger = logging.getLogger(__name__)

TokenArray = NDArray[np.int32]

PADDING = 0
"""Token id that fills up short sequences."""

UNKNOWN = 1
"""Token id of a word that is not in the vocabulary; fake sequences start with it."""

_GENERATOR_VERSION = 1  # part of the cached file's name: raise it whenever make_data's output changes
_NO_SCENE = "unknown"
_UNKNOWN_WORD = "<UNK>"
_NO_NAMES = frozenset({"note", "context", "scene", "time", "location"})
_LEAST_CHARACTERS = 5
_FEW_WORDS, _MOST_WORDS = 3, 8
"""Words of a name: up to how many anything goes, and up to how many at all."""

_COLON = re.compile("[:\uff1a]")  # the fullwidth one of Chinese and Japanese texts too
_NO_SPEECH = ("//", "\\")  # how a link and a path go on after their colon
_LOST = "\ufffd"  # what programs write for a character that they could not decode
_LOST_CHARACTERS = "hold U+FFFD, where an earlier program lost characters"
_INVISIBLE = str.maketrans(
    {
        "\u200b": " ",  # a space of no width, between the words of scripts without spaces
        # Byte-order marks, which joined files have inside too; soft hyphens; marks of the direction of writing, which
        # exported chats have in front of each line; and signs that choose between two pictures of a character.
        **dict.fromkeys("\ufeff\u00ad\u061c\u200e\u200f\u2060"),
        **dict.fromkeys(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])),
        **dict.fromkeys(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])),
    }
)
_JOINERS = frozenset("\u200c\u200d")  # they shape the letters of Persian and of India's scripts
_INNER_MARKS = re.compile("(?<=\\w)['\u2019](?=\\w)|(?<=[^\\W\\d_])[\u00b7\u05f3\u05f4](?=[^\\W\\d_])")
"""Apostrophes, and what Catalan and Hebrew have between the letters of a word."""

_MARKS_OF_NAMES = frozenset("_.'\u2019-\u2010\u2011\u00b7\u30fb\u05f3\u05f4")


class Line(NamedTuple):
    """One line of dialogue: who says what, and where."""

    character: str
    scene: str
    words: str


def parse_dialogue(text: str) -> tuple[Line, ...]:
    """Find the dialogue in a text, without what is neither a scene nor a line of dialogue.

    `[SCENE: description]` sets the scene of what follows. `Name: words` is dialogue, in any script:

    - A name has one to eight words and begins with a letter, in scripts that have capitals with a capital. In a name of
      more than three words, those of four letters or more do not begin with a small letter. `Note`, `Context`, `Scene`,
      `Time` and `Location` are not names.
    - The words have five characters or more, and a letter or digit among them.
    - The colon is none of a link or a time.

    Texts are read in Unicode's normalization form C, without invisible characters.
    """
    return _parse(text)[0]


def _parse(text: str) -> tuple[tuple[Line, ...], LeftOut, int]:
    """Find the dialogue, the lines that are left out, and how many lines there are that are not blank."""
    scene, lines, left_out, num_lines = _NO_SCENE, list[Line](), LeftOut("lines"), 0
    for number, row in enumerate(_cleaned(text).splitlines(), start=1):
        if not (stripped := row.strip()):
            continue
        num_lines += 1
        read = _LOST_CHARACTERS if _LOST in stripped else _read_row(stripped, scene)
        if isinstance(read, Line):
            lines.append(read)
        elif isinstance(read, _Scene):
            scene = read.description
        else:
            left_out.add(f"line {number}", read)
    return tuple(lines), left_out, num_lines


def _cleaned(text: str) -> str:
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE))


class _Scene(NamedTuple):
    """One line that sets the scene."""

    description: str


def _read_row(row: str, scene: str) -> Line | _Scene | str:
    """Take one line apart, without spaces around it; a text says why it is left out."""
    # Not by one regular expression: with spaces inside a line, such tend to take the square of its length.
    front, colon, back = _parts_of(row)
    if colon and front.startswith("[") and row.endswith("]") and front[1:].strip().lower() == "scene":
        return _Scene(" ".join(back.removesuffix("]").split()) or _NO_SCENE)
    name, words = _name_of(front) if colon else None, back.strip()
    if name is None or words.startswith(_NO_SPEECH):
        return "are not of the form Name: words"
    if name.lower() in _NO_NAMES:
        return "are notes and not speech"
    if len(words) < _LEAST_CHARACTERS:
        return f"have fewer than {_LEAST_CHARACTERS} characters after the name"
    if not any(map(str.isalnum, words)):
        return "have no word after the name"
    return Line(name, scene, words)


def _parts_of(row: str) -> tuple[str, str, str]:
    """Divide a line at its first colon; one between two digits, as in a time, divides nothing."""
    found = _COLON.search(row)
    if found is None or (row[: found.start()][-1:].isdigit() and row[found.end() :][:1].isdigit()):
        return row, "", ""
    return row[: found.start()], found[0], row[found.end() :]


def _name_of(text: str) -> str | None:
    """Return a speaker's name with single spaces; None where a text is no name."""
    words = text.split()
    if not 0 < len(words) <= _MOST_WORDS or not all(map(_is_of_name, "".join(words))):
        return None
    if not words[0][0].isalpha() or words[0][0].islower():
        return None
    if len(words) > _FEW_WORDS and any(len(word) > _FEW_WORDS and word[0].islower() for word in words):
        return None  # the clause before a colon: "The old house was empty: ..."
    return " ".join(words)


def _is_of_word(character: str) -> bool:
    """Whether a character is a letter, a digit, or a mark on one, such as the vowels of Hindi."""
    return character.isalnum() or character in _JOINERS or unicodedata.category(character).startswith("M")


def _is_of_name(character: str) -> bool:
    return _is_of_word(character) or character in _MARKS_OF_NAMES


class _OnlyWords(dict[int, str]):
    """Map what belongs to no word to a space, for `str.translate`."""

    def __missing__(self, code: int) -> str:
        """Look a character up once."""
        character = self[code] = chr(code) if _is_of_word(chr(code)) else " "
        return character


_ONLY_WORDS = _OnlyWords()


def _words_of(text: str) -> list[str]:
    """Lower case, without punctuation; `don't` stays one word."""
    words = _INNER_MARKS.sub("", text.lower()).translate(_ONLY_WORDS).split()
    return [word for word in words if any(map(str.isalnum, word))]


@dataclass(frozen=True)
class Tokenizer:
    """Words by token id and back.

    Attributes:
        words: the word of every id; the first two are padding and `<UNK>`.

    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], vocabulary_size: int) -> "Tokenizer":
        """Give ids to the most frequent words, the most frequent first; of equally frequent ones, the earlier first."""
        counts = collections.Counter(word for text in texts for word in _words_of(text))
        kept_words = [word for word, _ in counts.most_common(vocabulary_size - 2)]
        if len(kept_words) < len(counts):
            logger.warning(
                "%d of %d words are not in the vocabulary of %d and become %s",
                len(counts) - len(kept_words), len(counts), vocabulary_size, _UNKNOWN_WORD,
            )  # fmt: skip
        return cls(("", _UNKNOWN_WORD, *kept_words))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return [self._ids.get(word, UNKNOWN) for word in _words_of(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids, without padding; an id that no word has reads `<UNK>`."""
        known = len(self.words)
        return " ".join(self.words[token] if token < known else _UNKNOWN_WORD for token in tokens if token != PADDING)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.words) if token > UNKNOWN}


class Batch(NamedTuple):
    """Sequences of one step."""

    tokens_BT: TokenArray
    characters_B: TokenArray
    scenes_B: TokenArray


@dataclass(frozen=True)
class Sequences:
    """Training sequences, padded in front.

    Attributes:
        tokens_NT: token ids.
        characters_N: who speaks the line that the sequence leads to.
        scenes_N: where.

    """

    tokens_NT: TokenArray
    characters_N: TokenArray
    scenes_N: TokenArray

    @classmethod
    def none(cls, sequence_length: int) -> "Sequences":
        """Make a set of no sequences."""
        return cls(np.zeros((0, sequence_length), np.int32), np.zeros(0, np.int32), np.zeros(0, np.int32))

    def __len__(self) -> int:
        """Count the sequences."""
        return len(self.tokens_NT)

    def take(self, rows: NDArray[np.int64]) -> "Sequences":
        """Pick some of them."""
        return Sequences(self.tokens_NT[rows], self.characters_N[rows], self.scenes_N[rows])

    def batch(self, rows: NDArray[np.int64] | slice) -> Batch:
        """Put some of them into a batch."""
        return Batch(self.tokens_NT[rows], self.characters_N[rows], self.scenes_N[rows])


@dataclass(frozen=True)
class DialogueData:
    """One text, ready to train on.

    Attributes:
        train: sequences to train on.
        val: sequences to validate with.
        tokenizer: of the text.
        characters: names by id.
        scenes: descriptions by id.

    """

    train: Sequences
    val: Sequences
    tokenizer: Tokenizer
    characters: tuple[str, ...]
    scenes: tuple[str, ...]

    def num_batches(self, batch_size: int) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return math.ceil(len(self.train) / batch_size)

    def batches_of_epoch(self, batch_size: int, seed: int, epoch: int, num_done: int = 0) -> Iterator[Batch]:
        """Batches of one epoch in an order that depends on the seed and the epoch alone, without the first ones.

        Args:
            batch_size: sequences a batch.
            seed: of the training.
            epoch: counted from 0.
            num_done: batches to leave out.

        """
        order_N = np.random.default_rng(derived_seed(seed, epoch)).permutation(len(self.train))
        for start in range(num_done * batch_size, len(order_N), batch_size):
            yield self.train.batch(order_N[start : start + batch_size])

    def val_batches(self, batch_size: int) -> Iterator[Batch]:
        """Batches of the validation sequences, in their order."""
        for start in range(0, len(self.val), batch_size):
            yield self.val.batch(slice(start, start + batch_size))

    def fingerprint(self) -> str:
        """SHA-256 of all that a training sees, to tell whether two hold the same."""
        digest = hashlib.sha256()
        for part in (self.train, self.val):
            for array in (part.tokens_NT, part.characters_N, part.scenes_N):
                digest.update(repr(array.shape).encode() + array.astype("<i4").tobytes())
        digest.update(repr((self.tokenizer.words, self.characters, self.scenes)).encode())
        return digest.hexdigest()


def load_dialogue(path: Path, config: DialogueConfig) -> DialogueData:
    """Read a text file and make sequences of it.

    Raises:
        BadInput: the file cannot be read, is no UTF-8 text, or holds too little dialogue to train on.

    """
    return prepare(_read_lines(path), config, str(path))


def _read_lines(path: Path) -> tuple[Line, ...]:
    """Read the lines of dialogue in a file, and warn of those that are left out.

    A play or a novel may have any number of lines that nobody speaks, so these alone stop nothing. Lines in which
    characters were lost are damage, and more than 1% of them are too many.
    """
    lines, left_out, num_lines = _parse(read_text(path, "give a text file with lines of the form Name: words"))
    num_damaged = left_out.count(_LOST_CHARACTERS)
    if is_too_much(num_damaged, num_lines):
        what = f"{num_damaged} of {num_lines} lines {_LOST_CHARACTERS}"
        raise BadInput(what, str(path), "convert the original text to UTF-8 again")
    if not lines:
        reasons = f" ({left_out.out_of(num_lines)})" if left_out else ""
        raise BadInput(f"holds no line of dialogue{reasons}", str(path), "write lines of the form Name: words")
    if left_out:
        logger.warning("%s: %s", path, left_out.out_of(num_lines))
    return lines


def prepare(lines: Sequence[Line], config: DialogueConfig, where: str) -> DialogueData:
    """Make sequences of lines: every prefix of "previous line + this line", a damaged copy of each, and the split.

    Raises:
        BadInput: there are not enough for a training and a validation part; `where` is what the message calls them.

    """
    tokenizer = Tokenizer.of((line.words for line in lines), config.vocabulary_size)
    characters = tuple(dict.fromkeys(line.character for line in lines))
    scenes = tuple(dict.fromkeys(line.scene for line in lines))
    for kind, names in (("speaker", characters), ("scene", scenes)):
        if len(names) == 1:
            logger.warning("there is only one %s, %s: the generator learns nothing from being told", kind, names[0])
    prefixes, owners = _prefixes([tokenizer.encode(line.words) for line in lines], config.sequence_length)
    whole = Sequences(
        tokens_NT=_padded(prefixes, config.sequence_length),
        characters_N=np.array([characters.index(lines[owner].character) for owner in owners], np.int32),
        scenes_N=np.array([scenes.index(lines[owner].scene) for owner in owners], np.int32),
    )
    rng = np.random.default_rng(config.split_seed)
    everything = _augmented(whole, config.augmentation, rng)
    order_N = rng.permutation(len(everything))
    num_val = round(config.val_split * len(everything))
    if not 0 < num_val < len(everything):
        what = f"gives {len(everything)} sequence(s), too few for training and validation"
        raise BadInput(what, where, "give more lines of dialogue, of two words or more")
    return DialogueData(
        train=everything.take(order_N[num_val:]),
        val=everything.take(order_N[:num_val]),
        tokenizer=tokenizer,
        characters=characters,
        scenes=scenes,
    )


def _prefixes(encoded: Sequence[list[int]], sequence_length: int) -> tuple[list[list[int]], list[int]]:
    """Prefixes of 2 to T tokens of every line with the line before it, and the number of the line each leads to."""
    prefixes, owners, num_cut = [], [], 0
    previous: list[int] = []
    for number, tokens in enumerate(encoded):
        together = previous + tokens
        num_cut += len(together) > sequence_length
        for length in range(2, min(len(together), sequence_length) + 1):
            prefixes.append(together[:length])
            owners.append(number)
        previous = tokens
    if num_cut:
        logger.info(
            "%d of %d lines, with the line before them, are longer than %d tokens; what is beyond is left out",
            num_cut, len(encoded), sequence_length,
        )  # fmt: skip
    return prefixes, owners


def _padded(prefixes: Sequence[list[int]], sequence_length: int) -> TokenArray:
    tokens_NT = np.full((len(prefixes), sequence_length), PADDING, np.int32)
    for row, prefix in enumerate(prefixes):
        tokens_NT[row, sequence_length - len(prefix) :] = prefix
    return tokens_NT


def _augmented(whole: Sequences, fraction: float, rng: np.random.Generator) -> Sequences:
    """Sequences, then a copy of each in which some tokens are set to 0."""
    lost_NT = rng.random(whole.tokens_NT.shape) < fraction
    return Sequences(
        tokens_NT=np.concatenate([whole.tokens_NT, np.where(lost_NT, np.int32(PADDING), whole.tokens_NT)]),
        characters_N=np.tile(whole.characters_N, 2),
        scenes_N=np.tile(whole.scenes_N, 2),
    )


def make_data(path: Path, config: DialogueConfig) -> None:
    """Write the offline data's text.

    Raises:
        BadInput: the file cannot be written.

    """
    checkpoint.make_folder(path.parent)
    checkpoint.write(path, write_dialogue(config).encode())


def find_data(config: DialogueConfig, data: str | Path | None) -> DialogueData:
    """Load the given file, or the offline data of the configuration.

    Raises:
        BadInput: see `load_dialogue` and `offline_data_path`.

    """
    return load_dialogue(offline_data_path(config) if data is None else Path(data), config)


def offline_data_path(config: DialogueConfig) -> Path:
    """Find the offline data of a configuration, made at the first call and then kept.

    Raises:
        BadInput: there is no place to keep it.

    """
    sizes = (config.num_lines, config.num_characters, config.num_scenes, config.num_words, config.data_seed)
    name = f"v{_GENERATOR_VERSION}-{'-'.join(map(str, sizes))}.txt"
    return get_or_create("dialogue_gan", name, lambda path: make_data(path, config))
