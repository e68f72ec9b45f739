"""Document 004's `TrainingConfig`, and its JSON file."""

import copy
import json
import math
import pickle

import pytest

from trainers.contract import BadInput
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.document_004.training_config import (
    TrainingConfig,
    load_training_config,
    save_training_config,
)

REFUSED = [
    ("hidden_size", -4),
    ("hidden_size", "wide"),
    ("hidden_size", 2.5),
    ("hidden_size", True),
    ("batch_size", 0),
    ("batch_size", -1),
    ("batch_size", None),
    ("num_layers", -1),
    ("num_workers", -1),
    ("dropout", 1),
    ("learning_rate", math.nan),
    ("learning_rate", math.inf),
    ("patience", 0),
    ("use_mixed_precision", 1),
    ("hiden_size", 4),
    ("num_rows", 100),
    ("_chosen", frozenset()),
    ("self", 1),
]


def test_the_documents_own_example_works():
    config = TrainingConfig()
    config.update(hidden_size=1024, num_layers=8, batch_size=128, use_mixed_precision=True, patience=50)
    assert (config.hidden_size, config.num_layers, config.batch_size, config.patience) == (1024, 8, 128, 50)
    assert config.chosen == {"hidden_size", "num_layers", "batch_size", "use_mixed_precision", "patience"}


def test_the_published_programs_names_mean_the_same_in_calls_attributes_and_files(tmp_path):
    theirs = {
        "dropout_rate": 0.2, "max_epochs": 7, "gradient_clip_norm": 2.0, "scheduler_t0": 5, "scheduler_t_mult": 3,
        "scheduler_eta_min": 1e-5, "save_checkpoint_every": 9,
    }  # fmt: skip
    ours = TrainingConfig(
        dropout=0.2, num_epochs=7, clip_norm=2.0, restart_epochs=5, restart_factor=3, min_learning_rate=1e-5,
        checkpoint_every=9,
    )  # fmt: skip
    config = TrainingConfig()
    config.update(**theirs)
    assert config == ours
    assert config.chosen == ours.chosen
    assert {name: getattr(config, name) for name in theirs} == theirs
    config.dropout_rate = 0.4
    assert config.dropout == 0.4
    (tmp_path / "old.json").write_text(json.dumps(theirs))
    assert load_training_config(tmp_path / "old.json") == ours


def test_a_value_under_both_names_is_refused():
    with pytest.raises(BadInput, match="dropout is given twice; leave out dropout or dropout_rate"):
        TrainingConfig(dropout=0.1, dropout_rate=0.2)


def test_the_defaults_are_those_of_the_trainers():
    trainers = RegressorConfig().to_dict()
    assert TrainingConfig().to_dict() == {name: trainers[name] for name in TrainingConfig().to_dict()}
    assert trainers.keys() - TrainingConfig().to_dict().keys() == {
        "num_rows", "num_features", "num_targets", "data_seed",
    }  # fmt: skip
    assert TrainingConfig().chosen == frozenset()
    assert TrainingConfig().regressor_config() == RegressorConfig()


def test_a_value_given_as_the_default_counts_as_chosen():
    config = TrainingConfig(batch_size=64)
    config.num_epochs = 300
    assert config == TrainingConfig()
    assert config.chosen == {"batch_size", "num_epochs"}


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_no_training_could_use_is_refused_by_name_and_changes_nothing(name, value):
    config = TrainingConfig(hidden_size=8)
    for change in (lambda: config.update(weight_decay=0.5, **{name: value}), lambda: setattr(config, name, value)):
        with pytest.raises(BadInput, match=name):
            change()
    assert config == TrainingConfig(hidden_size=8)
    assert config.chosen == {"hidden_size"}


def test_splits_are_refused_together():
    config = TrainingConfig(val_split=0.5)
    with pytest.raises(BadInput, match="test_split"):
        config.test_split = 0.5


def test_values_cannot_be_taken_away_and_a_changing_thing_has_no_hash():
    config = TrainingConfig()
    with pytest.raises(AttributeError, match="patience"):
        del config.patience
    with pytest.raises(TypeError):
        hash(config)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])  # noqa: S301 - our own bytes
def test_a_copy_is_equal_and_independent(copied):
    config = TrainingConfig(hidden_size=8)
    other = copied(config)
    assert other == config
    assert other.chosen == config.chosen
    other.hidden_size = 9
    assert config.hidden_size == 8


def test_chosen_values_go_over_those_of_a_preset():
    preset = RegressorConfig.preset("tiny")
    assert TrainingConfig(patience=7).regressor_config(preset) == preset.replace(patience=7)


def test_it_says_what_was_chosen():
    assert repr(TrainingConfig(patience=7, dropout=0.5)) == "TrainingConfig(dropout=0.5, patience=7)"


def test_a_file_holds_every_value_as_strict_json(tmp_path):
    path = tmp_path / "config.json"
    config = TrainingConfig(clip_norm=math.inf, dropout=0.25)
    save_training_config(config, path)
    values = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert values.keys() == config.to_dict().keys()
    assert load_training_config(path) == config


def test_the_default_file_is_the_one_that_the_document_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_training_config(TrainingConfig(patience=3))
    assert [path.name for path in tmp_path.iterdir()] == ["improved_model_config.json"]
    assert load_training_config().patience == 3


def test_a_file_may_name_some_values_only(tmp_path):
    (tmp_path / "some.json").write_text('{"patience": 3}')
    loaded = load_training_config(tmp_path / "some.json")
    assert loaded == TrainingConfig(patience=3)
    assert loaded.chosen == {"patience"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[1]", "holds no JSON object"),
        ("3", "holds no JSON object"),
        ('{"hiden_size": 3}', "'hiden_size'"),
        ('{"hidden_size": "3"}', "hidden_size is '3'"),
        ('{"hidden_size": -3}', "hidden_size is -3"),
        ('{"hidden_size": null}', "hidden_size is None"),
        ('{"hidden_size": [3]}', "hidden_size"),
        ('{"patience": 3, "patience": 4}', "'patience' is given twice"),
        ('{"dropout": NaN}', "NaN"),
        ('{"clip_norm": Infinity}', "Infinity"),
        ('{"learning_rate": "infinity"}', "learning_rate"),
        ('{"batch_size": 1e400}', "batch_size"),
        ('{"self": 1}', "'self'"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, named):
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=named) as caught:
        load_training_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_or_written_are_refused_by_name(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.json", "bytes.json", "."):
        with pytest.raises(BadInput):
            load_training_config(tmp_path / name)
    with pytest.raises(BadInput, match="missing"):
        save_training_config(TrainingConfig(), tmp_path / "missing" / "config.json")
