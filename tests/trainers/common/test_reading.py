"""Texts and JSON that people give, and the line that says what a reader leaves out."""

import pytest

from trainers.common.reading import LeftOut, is_too_much, read_json, read_text, some_of
from trainers.contract import BadInput


def test_more_than_one_in_a_hundred_is_too_much():
    assert not is_too_much(0, 0)
    assert not is_too_much(1, 100)
    assert is_too_much(2, 199)
    assert is_too_much(1, 99)


def test_three_of_many_are_named():
    assert some_of([]) == ""
    assert some_of(["a", "b", "c"]) == "a, b, c"
    assert some_of(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_what_is_left_out_is_counted_by_its_reason():
    left_out = LeftOut("lines")
    assert not left_out
    for number in range(5):
        left_out.add(f"line {number}", "are short")
    left_out.add("line 9", "are long")
    assert len(left_out) == 6
    assert (left_out.count("are short"), left_out.count("are wide")) == (5, 0)
    assert left_out.out_of(10) == (
        "6 of 10 lines are left out: 1 are long (line 9); 5 are short (line 0, line 1, line 2 and 2 more)"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_text_is_utf_8_with_or_without_a_mark(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("größe", encoding=encoding)
    assert read_text(tmp_path / "a.txt", "give a text") == "größe"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; give a text"),
        (b"\xef\xbb\xbf ", "is empty"),
        ("a".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        ("a".encode("utf-32"), "is UTF-32 text"),
        (b"a\0b", "zero bytes; give a text"),
        (b"abc\xff", r"is no UTF-8 text \(byte 3\)"),
    ],
)
def test_other_texts_are_refused_by_name(tmp_path, content, said):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(BadInput, match=said):
        read_text(tmp_path / "a.txt", "give a text")
    with pytest.raises(BadInput, match="cannot be read"):
        read_text(tmp_path / "b.txt", "give a text")


def test_a_name_that_json_gives_twice_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text('{"a": {"b": 1, "b": 2}}')
    with pytest.raises(ValueError, match="'b' is given twice"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "a.json")
