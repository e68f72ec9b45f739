"""Texts of the text-to-image GAN: words of captions, their vectors, and the embedding of a caption.

Shape suffixes: K known words, V numbers of a word vector, E numbers of an embedded text.
"""

import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.common.reading import is_too_much, refuse_other_encodings, some_of
from trainers.contract import BadInput
from trainers.text_to_image.config import TextToImageConfig

__all__ = ["TextEncoder", "read_vectors", "words_of"]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]

_PROJECTION_SEED = 20_000
_HEADER = re.compile(r"([0-9]{1,18}) ([0-9]{1,9})")


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """Turns a caption into numbers: the mean of its known words' vectors, through one fixed random linear layer.

    Attributes:
        words: those that have a vector.
        vectors_KV: one of each, float32.
        text_size: how many numbers an embedded text has.

    """

    words: tuple[str, ...]
    vectors_KV: FloatArray
    text_size: int

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where in the table each word is."""
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def projection(self) -> tuple[FloatArray, FloatArray]:
        """The layer's weights (V, E) and bias (E,), from a seed of its own, so that every training has the same.

        Both are uniform within the root of 1 / V, as PyTorch's linear layers start: a standard deviation of 0.033 for
        vectors of 300 numbers.
        """
        shape_VE = (self.vectors_KV.shape[1], self.text_size)
        bound = shape_VE[0] ** -0.5
        random = np.random.default_rng(_PROJECTION_SEED)
        weights_VE, bias_E = (random.uniform(-bound, bound, shape) for shape in (shape_VE, shape_VE[1:]))
        return weights_VE.astype(np.float32), bias_E.astype(np.float32)

    def knows(self, text: str) -> bool:
        """Whether any word of a text has a vector."""
        return any(word in self.rows for word in words_of(text))

    def encode(self, text: str) -> Tensor:
        """Embed a text, (E,); the layer's bias where no word is known."""
        weights_VE, bias_E = self.projection
        known = [self.rows[word] for word in words_of(text) if word in self.rows]
        mean_V = self.vectors_KV[known].mean(axis=0) if known else np.zeros(len(weights_VE), np.float32)
        # Not by a matrix product: its bits may depend on the number of threads, of which workers have fewer.
        return torch.from_numpy(np.einsum("v,ve->e", mean_V, weights_VE, optimize=False) + bias_E)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data, as a checkpoint holds it."""
        return {"words": list(self.words), "vectors": self.vectors_KV.copy(), "text_size": self.text_size}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TextEncoder":
        """Rebuild from `to_dict`'s result."""
        return cls(tuple(values["words"]), np.array(values["vectors"], np.float32), int(values["text_size"]))


def words_of(text: str) -> list[str]:
    """Split a text in lower case at spaces, as the original program does: "dog." is another word than "dog".

    A letter with an accent is one character, whichever way the text writes it (Unicode's normalization form C).
    """
    return unicodedata.normalize("NFC", text.lower()).split()


def read_vectors(path: Path, wanted: set[str], config: TextToImageConfig) -> TextEncoder:
    """Read the vectors of some words. Other words' lines are only looked at for their length: GloVe has 400,000.

    Args:
        path: a text file, a word and its numbers a line.
        wanted: the words.
        config: says how long a word vector and an embedded text is.

    Raises:
        BadInput: it cannot be read, is malformed, has vectors of another length, over 1% fewer than its first line
            announces, or none of a word that is wanted.

    """
    vectors: dict[str, FloatArray] = {}
    again: list[str] = []
    try:
        with path.open("rb") as start:
            refuse_other_encodings(start.read(4), path)
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            lines = _vector_lines(file, path, config.word_vector_size)
            for where, word, numbers in lines:
                if word in vectors:
                    again.append(f"{word[:40]!r} in line {where.rpartition(':')[2]}")
                elif word in wanted:
                    vectors[word] = _vector(numbers, where)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise BadInput(what, str(path), "check its permissions") from error
    except UnicodeDecodeError as error:
        raise BadInput("is no text", str(path), "give word vectors as text: a word and its numbers a line") from error
    if again:
        message = "%s: %d vectors of words of the captions are left out, the words have one already: %s"
        logger.warning(message, path, len(again), some_of(again))
    if not vectors:
        what = "has no vector of any word of the captions"
        raise BadInput(what, str(path), "give vectors of the captions' language, in lower case")
    words = tuple(vectors)
    return TextEncoder(words, np.stack([vectors[word] for word in words]), config.text_size)


def _vector_lines(lines: Iterable[str], path: Path, size: int) -> Iterator[tuple[str, str, list[str]]]:
    """Take the lines of a vectors file apart: where one is, its word and its numbers."""
    mend = f"give a file of word vectors of {size} numbers, as word_vector_size says"
    num_announced = num_vectors = 0
    for number, line in enumerate(lines, start=1):
        text = line.rstrip()
        header = _HEADER.fullmatch(text) if number == 1 and size > 1 else None
        if header:
            num_announced = int(header[1])
            if int(header[2]) != size:
                raise BadInput(f"its vectors have {header[2]} numbers, not {size}", f"{path}:1", mend)
        if header or not text:
            continue
        word, *numbers = text.rsplit(" ", size)
        # Some of GloVe's "words" have spaces in them; a number in front of the numbers is one too many.
        if len(numbers) != size or (" " in word and _is_number(word.rpartition(" ")[2])):
            raise BadInput(f"has {text.count(' ')} numbers, not {size}", f"{path}:{number}", mend)
        num_vectors += 1
        yield f"{path}:{number}", unicodedata.normalize("NFC", word), numbers
    if not num_vectors:
        raise BadInput("is empty", str(path), mend)
    if num_vectors < num_announced:
        what = f"has {num_vectors} of the {num_announced} vectors that its first line announces"
        if is_too_much(num_announced - num_vectors, num_announced):
            raise BadInput(what, str(path), "copy or download it again, or correct its first line")
        logger.warning("%s: %s", path, what)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _vector(numbers: Sequence[str], where: str) -> FloatArray:
    bad = next((text for text in numbers if not _is_number(text)), None)
    if bad is not None:
        raise BadInput(f"{bad[:40]!r} is no number", where, "check that the file was copied completely")
    with np.errstate(over="ignore"):
        vector_V = np.array([float(text) for text in numbers]).astype(np.float32)
    if not np.isfinite(vector_V).all():
        raise BadInput("a number is NaN, infinite or beyond float32", where, "remove the line")
    return vector_V
