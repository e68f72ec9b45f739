"""Results cross from one process to another as data, and differences are found and named."""

import dataclasses
import datetime as dt
import enum
import json
from collections import OrderedDict, namedtuple
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedclaims.revisions.values import UnsendableError, compare, decode, encode

Point = namedtuple("Point", "x y")  # noqa: PYI024 - as a user's code has them


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Item:
    name: str
    size: float
    cache: object = dataclasses.field(default=None, compare=False)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value):
    sent = json.loads(json.dumps(encode(value)))
    assert decode(sent) == value
    assert type(decode(sent)) is type(value)
    assert compare(sent, encode(value)) == ("passed", [])


@given(PLAIN, PLAIN)
def test_what_python_finds_different_differs(one, other):
    answer = compare(encode(one), encode(other))[0]
    if one != other and not _is_close(one, other):
        assert answer == "failed"


def _is_close(one, other):
    """Whether floating point tolerance could make two values equal: those with a float in them."""
    return "." in f"{one}{other}" or "e" in f"{one}{other}"


SAME = [
    (1, 1.0), (1.0, 1 + 1e-9), (float("nan"), float("nan")), (2 + 1j, 2 + 1e-10 + 1j),
    ({"a": 1, "b": 2}, OrderedDict(b=2, a=1)), ({1, 2}, frozenset({2, 1})), (Point(1, 2), (1, 2)),
    (np.float32(0.1), np.float32(0.1) * np.float32(1 + 1e-7)), (np.arange(3), np.arange(3, dtype=np.int8)),
    (np.array([np.nan, 1.0]), np.array([np.nan, 1.0])), (Item("a", 1.0, object()), Item("a", 1.0, object())),
    (np.zeros(0), np.zeros(0)), (b"x", bytearray(b"x")), (Path("a"), Path("a")),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), SAME)
def test_equal_within_the_tolerance_of_the_type(before, after):
    assert compare(encode(before), encode(after)) == ("passed", [])


DIFFERENT = [
    (1, 2, "1 became 2"), (1.0, 1.001, "1.0 became 1.001"), (True, 1, "True became 1"), (None, 0, "None became 0"),
    ("a", "b", "'a' became 'b'"), ([1, 2], (1, 2), "a list of 2 became a tuple of 2"),
    ([1], [1, 2], "1 items became 2"),
    ({"a": [1, 5]}, {"a": [1, 6]}, "5 became 6 at ['a'][1]"), ({"a": 1}, {"b": 1}, "'a' is gone"),
    ({1, 2}, {1, 3}, "2 is gone"),
    (Item("a", 1.0), Item("a", 2.0), "1.0 became 2.0 at [size]"),
    (np.zeros(3), np.zeros(4), "the shape (3,) became (4,)"),
    (np.zeros((2, 2)), np.array([[0, 0], [1, 0.0]]), "1 of 4 values differ, first [1, 0]: 0.0 became 1.0"),
    (np.array(["a"]), np.array(["b"]), "1 of 1 values differ, first [0]: a became b"),
    (Colour.RED, "RED", "RED became 'RED'"), (Decimal("1.0"), Decimal("1.1"), "1.0 became 1.1"),
    (dt.date(2026, 1, 2), dt.date(2026, 1, 3), "2026-01-02 became 2026-01-03"), (b"x", b"xy", "1 bytes became 2 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "words"), DIFFERENT)
def test_a_difference_is_named_with_its_place(before, after, words):
    assert compare(encode(before), encode(after)) == ("failed", [words])


def test_tensors_become_arrays():
    torch = pytest.importorskip("torch")
    half = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    assert compare(encode(half), encode(np.array([1.0, 2.0], np.float32)))[0] == "passed"
    assert compare(encode(torch.tensor([1.0])), encode(torch.tensor([1.0 + 1e-6])))[0] == "passed"
    assert compare(encode(torch.tensor([1.0])), encode(torch.tensor([1.0 + 1e-4])))[0] == "failed"


HIMSELF = []
HIMSELF.append(HIMSELF)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "returns an object, which"),
        ([pytest], "returns a module"),
        (HIMSELF, "nested too deeply"),
        (np.array([object()]), "an array of Python objects"),
        (np.zeros(9 * 2**20), "more than 64 MiB"),
        (lambda: 0, "returns a function"),
    ],
)
def test_what_cannot_be_sent_is_named(value, words):
    with pytest.raises(UnsendableError, match=words):
        encode(value)
