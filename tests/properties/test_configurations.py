"""Property 43 of the configurations of text to image and the dialogue GAN; the regressor has files of its own."""

import json
import math

import pytest

from tests import strategies
from tests.properties.controls import fails, holds
from trainers.common.configuration import INFINITE, read_settings
from trainers.contract import BadInput
from trainers.dialogue_gan.config import DialogueConfig
from trainers.text_to_image.config import TextToImageConfig

SETTINGS = {TextToImageConfig: strategies.text_to_image_settings(), DialogueConfig: strategies.dialogue_settings()}


def written(path, settings):
    """Write settings as JSON, which has no infinite number."""
    texts = {name: INFINITE if value == math.inf else value for name, value in settings.items()}
    path.write_text(json.dumps(texts, allow_nan=False), encoding="utf-8")


def config_check(kind, folder):
    path = folder / "config.json"

    def check(load, settings, key):
        config = kind(**settings)
        written(path, config.to_dict())
        assert load(kind, path) == config
        assert load(kind, path).to_dict() == config.to_dict()
        written(path, settings)
        assert load(kind, path) == config
        written(path, {**settings, key: 1})
        try:
            load(kind, path)
        except BadInput as error:
            assert " ".join(repr(key).split()) in str(error)  # noqa: PT017 - which error it is, is what is asked
        else:
            raise AssertionError("not refused")

    return holds(check, SETTINGS[kind], strategies.unknown_keys(kind().to_dict()))


def read(kind, path):
    return kind.from_dict(read_settings(path))


def forgiving(kind, path):
    """A reader that leaves out what it does not know."""
    known = kind().to_dict()
    return kind(**{name: value for name, value in read_settings(path).items() if name in known})


def forgetful(kind, path):
    """A reader that takes the default for one value."""
    return read(kind, path).replace(split_seed=kind().split_seed)


def rounding(kind, path):
    """A reader that knows six digits of a number."""
    config = read(kind, path)
    numbers = {name: value for name, value in config.to_dict().items() if name.startswith("learning_rate")}
    return config.replace(**{name: float(f"{value:.6g}") for name, value in numbers.items()})


@pytest.mark.parametrize("kind", SETTINGS)
def test_43_a_configuration_round_trips_and_unknown_keys_are_refused_by_name(kind, tmp_path):
    config_check(kind, tmp_path)(read)


@pytest.mark.parametrize("load", [forgiving, forgetful, rounding])
@pytest.mark.parametrize("kind", SETTINGS)
def test_43_notices_a_fault(kind, tmp_path, load):
    assert fails(config_check(kind, tmp_path), load)
