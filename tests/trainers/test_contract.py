"""The contract that every family and every trainer keeps."""

import importlib.util
import pickle
import sys

import pytest

from trainers import Family, families, family
from trainers.contract import BadInput, Trainer
from trainers.switches import Switch

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

every_family = pytest.mark.parametrize("name", families())
every_tier = pytest.mark.parametrize(
    ("name", "tier"), [(name, tier) for name in families() for tier in family(name).tiers]
)


@pytest.fixture
def build():
    """Build small trainers of any family, and close them after the test; skip where the framework is not installed."""
    made = []

    def built(name, tier, **arguments):
        of = family(name)
        pytest.importorskip(of.framework)
        made.append(of.build(tier, preset="tiny", log=lambda _: None, **arguments))
        return made[-1]

    yield built
    for trainer in made:
        trainer.close()


def test_bad_input_is_one_line_that_says_where_what_and_mend():
    error = BadInput("has two\nlines", "some/file", "give   it one")
    assert str(error) == "some/file: has two lines; give it one"


def test_bad_input_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(BadInput("what", "where", "mend")))  # noqa: S301 - our own bytes
    assert (error.what, error.where, error.mend) == ("what", "where", "mend")


@every_family
def test_a_family_describes_itself(name):
    found = family(name)
    assert isinstance(found, Family)
    assert found.name == name
    assert found.title
    assert found.presets == ("tiny", "smoke", "default")
    assert found.tiers[0] == "reference"
    assert not found.switches["reference"]
    assert all(isinstance(switch, Switch) for switches in found.switches.values() for switch in switches)
    assert set(found.add_options) <= set(found.actions)


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match=r"'nothing'.*tabular_regressor"):
        family("nothing")


@every_family
def test_arguments_that_cannot_be_used_are_refused_before_the_framework_is_needed(name, monkeypatch):
    found = family(name)
    monkeypatch.delitem(sys.modules, found.framework, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for what, tier, arguments in (
        ("unknown tier 'warp'", "warp", {}),
        ("unknown preset 'huge'", "reference", {"preset": "huge"}),
        ("unknown key 'warp'", "reference", {"warp": 1}),
        ("unknown switch 'warp'", "reference", {"switches": {"warp": True}}),
        (f"{found.framework} is not installed", "reference", {}),
    ):
        with pytest.raises(BadInput, match=what):
            found.build(tier, **{"preset": "tiny", **arguments})


@every_family
def test_values_of_the_caller_replace_those_of_the_preset(name, monkeypatch):
    configs = []
    monkeypatch.setattr(Family, "assemble", lambda *arguments, **_: configs.append(arguments[-1]))
    of = family(name)
    of.build("reference", preset="tiny")
    of.build("reference", preset="tiny", batch_size=3)
    plain, changed = configs
    assert plain == of.config.preset("tiny").replace(**of.overrides)
    assert changed == plain.replace(batch_size=3) != plain


RUNS = {("text_to_image", "published"): {"smaller_images": False}}
"""Switches without which a tier cannot train: as published, this one ends with an error."""


@every_tier
def test_every_tier_offers_what_the_contract_asks_for(build, name, tier):
    trainer = build(name, tier, switches=RUNS.get((name, tier)))
    assert isinstance(trainer, Trainer)
    assert tuple(trainer.phases) == family(name).phases
    switches = getattr(trainer, "switches", {})
    assert list(switches) == [switch.name for switch in family(name).switches[tier]]
    for phase in trainer.phases:
        trainer.train_steps(3, phase)
        trainer.synchronize()
        assert len(trainer.metrics["train_losses"]) == trainer.metrics["num_steps"] == 3
        assert trainer.metrics["num_skipped_steps"] == 0
        trainer.train_epoch(phase)
    trainer.close()
    trainer.close()


@every_tier
def test_an_unknown_phase_and_a_negative_count_are_refused(build, name, tier):
    trainer = build(name, tier)
    with pytest.raises(ValueError, match="'warming_up'"):
        trainer.train_epoch("warming_up")
    with pytest.raises(ValueError, match="'warming_up'"):
        trainer.train_steps(1, "warming_up")
    with pytest.raises(ValueError, match="-1"):
        trainer.train_steps(-1, trainer.phases[-1])


@every_tier
def test_no_steps_change_nothing(build, name, tier):
    trainer = build(name, tier)
    before = trainer.state()["progress"]
    trainer.train_steps(0, trainer.phases[-1])
    assert trainer.metrics["train_losses"] == []
    assert trainer.state()["progress"] == before
