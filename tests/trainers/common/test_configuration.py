"""Fields of a configuration: declared once with their bounds and a description, and checked."""

import math

import attrs
import numpy as np
import pytest

from trainers.common.configuration import Configuration, read_settings, setting
from trainers.contract import BadInput
from trainers.dialogue_gan.config import DialogueConfig
from trainers.tabular_regressor.config import RegressorConfig
from trainers.text_to_image.config import TextToImageConfig


@attrs.frozen
class Example(Configuration):
    count: int = setting(3, "number of things", ge=1, lt=10)
    rate: float = setting(0.5, "speed of things", gt=0, le=1)
    limit: float = setting(1.0, "most of things", gt=0, infinite=True)
    side: int = setting(8, "size of things", ge=2, power_of_two=True)
    kind: str = setting("small", "kind of things", choices=("small", "large"))
    shown: bool = setting(True, "whether things are shown")


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("count", 0, "make it at least 1"),
        ("count", 10, "make it less than 10"),
        ("count", 2.0, "give it a number of type int"),
        ("count", True, "give it a number of type int"),
        ("count", np.True_, "give it a number of type int"),
        ("count", "3", "give it a number of type int"),
        ("count", None, "give it a number of type int"),
        ("count", np.array([1, 2]), "give it a number of type int"),
        ("count", 10**400, "give it a finite number"),
        ("rate", 0, "make it greater than 0"),
        ("rate", 1.01, "make it at most 1"),
        ("rate", False, "give it a number of type float"),
        ("rate", math.nan, "give it a finite number"),
        ("rate", math.inf, "give it a finite number"),
        ("rate", 10**400, "give it a finite number"),
        ("limit", -math.inf, "give it a finite number"),
        ("limit", math.nan, "give it a finite number"),
        ("side", 12, "make it a power of two"),
        ("side", 1, "make it at least 2"),
        ("kind", "huge", "choose one of: small, large"),
        ("kind", ["small"], "choose one of: small, large"),
        ("kind", np.array(["small", "large"]), "choose one of: small, large"),
        ("shown", 1, "set it to True or False"),
    ],
)
def test_a_value_out_of_its_bounds_is_one_line_with_advice(name, value, advice):
    with pytest.raises(BadInput) as raised:
        Example(**{name: value})
    shown = " ".join(repr(value).split())
    assert str(raised.value) == f"configuration: {name} is {shown}; {advice}"


@pytest.mark.parametrize(
    "values",
    [{"count": 9}, {"rate": 1}, {"rate": 1e-300}, {"limit": math.inf}, {"side": 2**40}, {"kind": "large"}],
)
def test_values_within_their_bounds_are_kept_as_they_are(values):
    for name, value in values.items():
        kept = getattr(Example(**values), name)
        assert kept == value
        assert type(kept) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("count", np.int64(4), 4),
        ("rate", np.float64(0.1), 0.1),
        ("rate", np.float32(0.25), 0.25),
        ("side", np.uint8(16), 16),
    ],
)
def test_numbers_of_numpy_become_python_s(name, value, plain):
    kept = Example().replace(**{name: value}).to_dict()[name]
    assert kept == plain
    assert type(kept) is type(plain)


def test_a_number_of_numpy_is_refused_like_python_s():
    with pytest.raises(BadInput, match="rate is nan"):
        Example(rate=np.float32("nan"))


def test_a_bound_that_does_not_exist_is_an_error_where_the_field_is_declared():
    with pytest.raises(KeyError, match="least"):
        setting(1, "number of things", least=1)


@pytest.mark.parametrize("kind", [DialogueConfig, RegressorConfig, TextToImageConfig])
def test_every_field_is_described_in_one_line(kind):
    descriptions = [field.metadata["description"] for field in attrs.fields(kind)]
    assert all(text and "\n" not in text for text in descriptions)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_of_settings_is_read_with_and_without_a_byte_order_mark(tmp_path, encoding):
    path = tmp_path / "config.json"
    path.write_text('{"count": 4, "kind": "größe"}', encoding=encoding)
    assert read_settings(path) == {"count": 4, "kind": "größe"}


def test_settings_that_are_nested_deeply_are_refused(tmp_path):
    path = tmp_path / "config.json"
    for depth in range(700, 1000, 3):
        path.write_text('{"count": ' + "[" * depth + "]" * depth + "}")
        with pytest.raises(BadInput, match=r"config\.json"):
            Example().changed_by(path)
