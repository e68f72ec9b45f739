"""Pairs of unlike functions of the standard library and NumPy, whose speedups differ from process to process.

Two functions that share no code react differently to the layout of memory and to the order of hashes, so the speedup
of such a pair varies between processes more than that of two instances of one function.
"""

import base64
import bisect
import bz2
import collections
import copy
import csv
import datetime as dt
import decimal
import fractions
import functools
import hashlib
import heapq
import io
import itertools
import json
import math
import operator
import pickle
import random
import re
import statistics
import struct
import textwrap
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Side = Callable[[], object]
_RANDOM = random.Random(7)  # noqa: S311 - test data
_NUMBERS = [_RANDOM.random() for _ in range(2000)]
_WHOLE = [_RANDOM.randrange(10**6) for _ in range(2000)]
_WORDS = ["".join(_RANDOM.choices("abcdefgh", k=6)) for _ in range(800)]
_TEXT = " ".join(_WORDS)
_ROWS: list[dict[str, Any]] = [{"id": i, "name": w, "tags": [w[:2], w[2:]], "x": i / 7} for i, w in enumerate(_WORDS)]
_JSON, _PICKLE = json.dumps(_ROWS), pickle.dumps(_ROWS)
_CSV = "\n".join(",".join(_WORDS[i : i + 8]) for i in range(0, len(_WORDS), 8))
_ARRAY = np.random.default_rng(7).random(60_000)
_MATRIX = np.random.default_rng(8).random((160, 160)).astype(np.float32)
_Point = collections.namedtuple("_Point", "x y z")  # noqa: PYI024 - what is measured


def _appended() -> list[int]:
    found = []
    for one in _WHOLE:
        found.append(one * 2)  # noqa: PERF401 - what is measured
    return found


def _counted() -> dict[str, int]:
    found: dict[str, int] = {}
    for letter in _TEXT:
        found[letter] = found.get(letter, 0) + 1
    return found


def _concatenated() -> str:
    text = ""
    for word in _WORDS:
        text += word
    return text


def _popped() -> None:
    waiting = _WHOLE.copy()
    while waiting:
        waiting.pop(0)


def _popped_left() -> None:
    waiting = collections.deque(_WHOLE)
    while waiting:
        waiting.popleft()


PAIRS: dict[str, tuple[Side, Side]] = {
    "dump json, pickle": (lambda: json.dumps(_ROWS), lambda: pickle.dumps(_ROWS)),
    "load json, pickle": (lambda: json.loads(_JSON), lambda: pickle.loads(_PICKLE)),  # noqa: S301 - our own
    "append, comprehension": (_appended, lambda: [one * 2 for one in _WHOLE]),
    "concatenate, join": (_concatenated, lambda: "".join(_WORDS)),
    "percent, f-string": (lambda: ["%d:%s" % (3, w) for w in _WORDS], lambda: [f"{3}:{w}" for w in _WORDS]),  # noqa: UP031
    "re.sub, str.replace": (lambda: re.sub("ab", "xy", _TEXT), lambda: _TEXT.replace("ab", "xy")),
    "re.findall, str.split": (lambda: re.findall(r"\w+", _TEXT), lambda: _TEXT.split()),  # noqa: PLW0108
    "sorted, nsmallest": (lambda: sorted(_NUMBERS)[:20], lambda: heapq.nsmallest(20, _NUMBERS)),
    "sort by key, by getter": (
        lambda: sorted(_ROWS, key=lambda r: r["name"]),
        lambda: sorted(_ROWS, key=operator.itemgetter("name")),
    ),
    "Counter, dict": (_counted, lambda: collections.Counter(_TEXT)),
    "deepcopy, pickle": (lambda: copy.deepcopy(_ROWS[:60]), lambda: pickle.loads(pickle.dumps(_ROWS[:60]))),  # noqa: S301
    "list.pop, deque.popleft": (_popped, _popped_left),
    "list, set membership": (lambda: [w in _WORDS for w in _WORDS[:60]], lambda: [w in {*_WORDS} for w in _WORDS[:2]]),
    "index, bisect": (lambda: [_WHOLE.index(w) for w in _WHOLE[:40]], lambda: bisect.bisect(_WHOLE, 77)),
    "mean, fmean": (lambda: statistics.mean(_NUMBERS[:300]), lambda: statistics.fmean(_NUMBERS)),
    "median, sorted": (lambda: statistics.median(_NUMBERS), lambda: sorted(_NUMBERS)[1000]),
    "power, hypot": (
        lambda: [(x * x + 1) ** 0.5 for x in _NUMBERS],
        lambda: [math.hypot(x, 1) for x in _NUMBERS],
    ),
    "reduce, sum": (lambda: functools.reduce(operator.add, _WHOLE), lambda: sum(_WHOLE)),
    "nested loops, chain": (
        lambda: [x for row in _ROWS for x in row["tags"]],
        lambda: list(itertools.chain.from_iterable(row["tags"] for row in _ROWS)),
    ),
    "namedtuple, dict": (
        lambda: [_Point(x, x, x) for x in _WHOLE],
        lambda: [{"x": x, "y": x, "z": x} for x in _WHOLE],
    ),
    "struct, from_bytes": (
        lambda: struct.unpack(f"<{len(_PICKLE) // 4}I", _PICKLE[: len(_PICKLE) // 4 * 4]),
        lambda: [int.from_bytes(_PICKLE[i : i + 4], "little") for i in range(0, 4000, 4)],
    ),
    "sha256, md5": (lambda: hashlib.sha256(_PICKLE).digest(), lambda: hashlib.md5(_PICKLE).digest()),  # noqa: S324
    "bz2, zlib": (lambda: bz2.compress(_PICKLE), lambda: zlib.compress(_PICKLE)),
    "zlib 6, zlib 1": (lambda: zlib.compress(_PICKLE, 6), lambda: zlib.compress(_PICKLE, 1)),
    "base64, hex": (lambda: base64.b64encode(_PICKLE), _PICKLE.hex),
    "csv, split": (
        lambda: list(csv.reader(io.StringIO(_CSV))),
        lambda: [line.split(",") for line in _CSV.split("\n")],
    ),
    "strptime, fromisoformat": (
        lambda: dt.datetime.strptime("2026-11-27", "%Y-%m-%d"),  # noqa: DTZ007
        lambda: dt.datetime.fromisoformat("2026-11-27"),
    ),
    "fractions, decimal": (
        lambda: sum((fractions.Fraction(n, 7) for n in range(60)), fractions.Fraction()),
        lambda: sum((decimal.Decimal(n) / 7 for n in range(60)), decimal.Decimal()),
    ),
    "textwrap, slices": (
        lambda: textwrap.wrap(_TEXT[:1500], 60),
        lambda: [_TEXT[i : i + 60] for i in range(0, len(_TEXT), 60)],
    ),
    "accumulate, np.cumsum": (lambda: list(itertools.accumulate(_NUMBERS)), lambda: np.cumsum(_ARRAY)),
    "np.sort, np.partition": (lambda: np.sort(_ARRAY), lambda: np.partition(_ARRAY, 100)),
    "mask, np.where": (lambda: _ARRAY[_ARRAY > 0.5], lambda: np.where(_ARRAY > 0.5, _ARRAY, 0.0)),
    "einsum, matmul": (lambda: np.einsum("ij,jk->ik", _MATRIX[:60], _MATRIX), lambda: _MATRIX @ _MATRIX),
    "convolve, fft": (lambda: np.convolve(_ARRAY[:2000], _ARRAY[:300]), lambda: np.fft.rfft(_ARRAY)),
    "np.exp, np.sqrt": (lambda: np.exp(_ARRAY), lambda: np.sqrt(_ARRAY)),
    "np.unique, set": (lambda: np.unique(_WHOLE), lambda: set(_WHOLE)),
}
"""Name to both sides."""
