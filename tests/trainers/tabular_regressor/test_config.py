"""The tabular regressor's configuration, presets and switches."""

import attrs
import pytest

from trainers.contract import BadInput
from trainers.tabular_regressor import FAMILY
from trainers.tabular_regressor.config import SWITCHES, RegressorConfig

build = FAMILY.build

REFUSED = [
    ("num_rows", 9),
    ("num_rows", -1),
    ("num_rows", "many"),
    ("num_rows", 100.0),
    ("num_rows", True),
    ("hidden_size", 0),
    ("num_layers", -1),
    ("dropout", 1.0),
    ("dropout", -0.1),
    ("dropout", float("nan")),
    ("batch_size", 0),
    ("learning_rate", 0.0),
    ("learning_rate", float("inf")),
    ("clip_norm", 0.0),
    ("clip_norm", -1.0),
    ("clip_norm", float("nan")),
    ("num_epochs", 0),
    ("patience", 0),
    ("val_split", 0.0),
    ("val_split", 1.0),
    ("num_workers", -1),
    ("num_workers", None),
    ("use_mixed_precision", "yes"),
    ("persistent_workers", 1),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_bad_value_is_refused_by_name(name, value):
    with pytest.raises(BadInput, match=name):
        RegressorConfig().replace(**{name: value})


@pytest.mark.parametrize("name", ["hiden_size", "", "to_dict"])
def test_an_unknown_key_is_refused_by_name(name):
    with pytest.raises(BadInput, match=repr(name)):
        RegressorConfig().replace(**{name: 1})


def test_splits_that_leave_no_training_rows_are_refused():
    with pytest.raises(BadInput, match="test_split"):
        RegressorConfig(val_split=0.5, test_split=0.5)


def test_an_infinite_clip_and_a_whole_number_for_a_float_are_fine():
    config = RegressorConfig(clip_norm=float("inf"), weight_decay=0)
    assert config.clip_norm == float("inf")


def test_a_configuration_survives_a_round_trip_through_plain_data():
    config = RegressorConfig.preset("smoke").replace(dropout=0.25)
    assert RegressorConfig.from_dict(config.to_dict()) == config


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RegressorConfig().batch_size = 3


def test_the_default_preset_is_the_original_program():
    config = RegressorConfig.preset("default")
    assert (config.num_rows, config.num_features, config.num_targets) == (18_000, 366, 5)
    assert (config.hidden_size, config.num_layers, config.dropout, config.batch_size) == (512, 4, 0.1, 64)
    assert (config.learning_rate, config.weight_decay, config.clip_norm) == (1e-3, 1e-4, 1.0)
    assert (config.restart_epochs, config.restart_factor, config.min_learning_rate) == (20, 2, 1e-6)
    assert (config.num_epochs, config.patience, config.checkpoint_every, config.split_seed) == (300, 30, 50, 42)
    assert (config.use_mixed_precision, config.num_workers, config.persistent_workers) == (True, 4, True)


def test_presets_hold_known_keys_and_grow():
    sizes = [RegressorConfig.preset(name) for name in ("tiny", "smoke", "default")]
    assert set(FAMILY.presets) == {"tiny", "smoke", "default"}
    assert sorted(sizes, key=lambda config: config.num_rows * config.hidden_size) == sizes


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"tier": "fast"}, "'fast'"),
        ({"preset": "huge"}, "'huge'"),
        ({"switches": {"fast": True}}, "'fast'"),
        ({"switches": {"mixed_precision": "on"}}, "mixed_precision"),
        ({"tier": "reference", "switches": {"mixed_precision": True}}, "no switches"),
        ({"device": "cuda:77"}, "'cuda:77'"),
        ({"device": "abacus"}, "'abacus'"),
        ({"device": "meta"}, "'meta'"),
        ({"hidden_size": -4}, "hidden_size"),
        ({"hiden_size": 4}, "'hiden_size'"),
    ],
)
@pytest.mark.usefixtures("private_cache")
def test_build_refuses_bad_arguments_by_name(arguments, named):
    with pytest.raises(BadInput, match=named):
        build(**{"tier": "optimized", "preset": "tiny", **arguments})


def test_tiers_and_switches_are_those_of_document_004():
    assert FAMILY.tiers == ("reference", "published", "optimized", "fastest")
    assert [switch.name for switch in SWITCHES] == ["mixed_precision", "loader_workers", "persistent_workers"]
    assert {switch.work for switch in SWITCHES} == {"same"}
