"""The dialogue GAN's configuration and switches."""

import importlib.util
import json
import math
import sys

import pytest

from trainers.contract import BadInput
from trainers.dialogue_gan import FAMILY
from trainers.dialogue_gan.config import PHASES, SWITCHES, DialogueConfig

build = FAMILY.build

DOCUMENTED = {
    "TEMP_START": 3.0, "TEMP_END": 0.3, "TEMP_DECAY": 0.9, "D_TRAIN_INTERVAL": 2, "D_STEPS": 2, "G_STEPS": 3,
    "GRADIENT_CLIP": 0.5, "LEARNING_RATE_G": 2e-4, "LEARNING_RATE_D": 3e-4, "ADVERSARIAL_EPOCHS": 7,
    "LABEL_SMOOTHING": 0.2, "BATCH_SIZE": 32,
}  # fmt: skip


def test_the_defaults_are_the_original_programs():
    config = DialogueConfig()
    assert (config.temp_start, config.temp_end, config.temp_decay) == (2.0, 0.5, 0.95)
    assert (config.d_train_interval, config.d_steps, config.g_steps, config.gradient_clip) == (1, 1, 1, 1.0)
    assert (config.learning_rate_g, config.learning_rate_d, config.adversarial_epochs) == (1e-4, 1e-4, 20)
    assert [config.num_epochs(phase) for phase in PHASES] == [5, 3, 20]


def test_the_documents_own_names_are_taken_too():
    config = DialogueConfig().replace(**DOCUMENTED)
    assert config.to_dict().items() >= {name.lower(): value for name, value in DOCUMENTED.items()}.items()
    with pytest.raises(BadInput, match="temp_end is given twice"):
        DialogueConfig().replace(TEMP_END=0.1, temp_end=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("temp_start", "temp_end", "sampler_temperature") for value in (0, -1, math.nan)),
        ("temp_start", math.inf), ("temp_decay", 0), ("temp_decay", 1.5), ("temp_decay", -0.5),
        ("d_train_interval", 0), ("d_train_interval", -1), ("d_train_interval", 1.5), ("d_train_interval", True),
        ("d_steps", 0), ("g_steps", 0), ("gradient_clip", 0), ("gradient_clip", -1.0), ("gradient_clip", math.nan),
        ("learning_rate_g", 0), ("label_smoothing", 0.5), ("dropout", 1.0), ("vocabulary_size", 2),
        ("sequence_length", 1), ("max_consecutive_skips", 0), ("eager", 1), ("D_TRAIN_INTERVAL", 0),
        ("steps_per_call", 0), ("steps_per_call", 2.0),
    ],
)  # fmt: skip
def test_bad_values_are_refused_by_name(name, value):
    with pytest.raises(BadInput) as raised:
        DialogueConfig().replace(**{name: value})
    assert name.lower() in str(raised.value)


def test_a_temperature_that_would_rise_is_refused():
    with pytest.raises(BadInput, match=r"temp_end 0\.5 is above temp_start 0\.4"):
        DialogueConfig().replace(temp_start=0.4)


def test_unknown_keys_and_presets_are_refused_by_name():
    with pytest.raises(BadInput, match="unknown key 'temperature_start'"):
        DialogueConfig().replace(temperature_start=1.0)
    with pytest.raises(BadInput, match="unknown preset 'huge'"):
        DialogueConfig.preset("huge")


@pytest.mark.parametrize("preset", sorted(FAMILY.presets))
def test_presets_round_trip_as_json(preset, tmp_path):
    config = DialogueConfig.preset(preset)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config.to_dict()))
    assert DialogueConfig().changed_by(path) == config == DialogueConfig.from_dict(config.to_dict())


def test_a_settings_file_goes_over_a_configuration(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"TEMP_START": 4.0, "gradient_clip": "infinity"}')
    config = DialogueConfig.preset("tiny").changed_by(path)
    assert (config.temp_start, config.gradient_clip, config.hidden_size) == (4.0, math.inf, 8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ('{"d_steps": 1, "d_steps": 2}', "'d_steps' is given twice"),
        ('{"huge": 1}', "unknown key 'huge'"),
        ('{"TEMP_DECAY": 0}', "temp_decay is 0"),
    ],
)
def test_a_bad_settings_file_is_refused_by_name(tmp_path, content, said):
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(BadInput) as raised:
        DialogueConfig().changed_by(path)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_the_switches_say_what_they_change():
    by_name = {switch.name: switch for switch in SWITCHES}
    assert {name for name, switch in by_name.items() if switch.work == "different"} == {
        "discriminator_interval",
        "temperature_schedule",
    }
    assert {name for name, switch in by_name.items() if not switch.default} == {"python_float_temperature"}
    assert {name for name, switch in by_name.items() if switch.parity == "bitwise"} == {
        "deferred_metrics",
        "device_accuracy",
        "nan_skip",
    }


def test_what_build_cannot_use_is_refused_before_tensorflow_is_needed(monkeypatch):
    with pytest.raises(BadInput, match="unknown tier 'warp'"):
        build("warp")
    with pytest.raises(BadInput, match="temp_end"):
        build(FAMILY.tiers[0], preset="tiny", temp_end=-1)


def test_a_tensorflow_that_is_missing_is_one_line(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BadInput, match=r"tensorflow is not installed; pip install tensorflow-cpu"):
        build("reference", preset="tiny")
