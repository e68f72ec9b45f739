import pickle

import pytest

from trainers import families, family
from trainers.contract import BadInput, Trainer
from trainers.tabular_regressor import TIERS, build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")


def test_bad_input_is_one_line_that_says_where_what_and_mend():
    error = BadInput("has two\nlines", "some/file", "give   it one")
    assert str(error) == "some/file: has two lines; give it one"


def test_bad_input_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(BadInput("what", "where", "mend")))  # noqa: S301 - our own bytes
    assert (error.what, error.where, error.mend) == ("what", "where", "mend")


def test_every_package_here_is_a_family():
    assert "tabular_regressor" in families()
    assert family("tabular_regressor").TIERS == TIERS


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match=r"'nothing'.*tabular_regressor"):
        family("nothing")


@pytest.mark.parametrize("tier", TIERS)
def test_every_tier_offers_what_the_contract_asks_for(tier):
    trainer = build(tier, preset="tiny", num_workers=0)
    assert isinstance(trainer, Trainer)
    for phase in trainer.phases:
        trainer.train_steps(3, phase)
        trainer.synchronize()
        assert len(trainer.metrics["train_losses"]) == trainer.metrics["num_steps"] == 3
        assert trainer.metrics["num_skipped_steps"] == 0
        trainer.train_epoch(phase)
    trainer.close()
    trainer.close()


@pytest.mark.parametrize("tier", TIERS)
def test_an_unknown_phase_and_a_negative_count_are_refused(tier):
    trainer = build(tier, preset="tiny", num_workers=0)
    with pytest.raises(ValueError, match="'adversarial'"):
        trainer.train_epoch("adversarial")
    with pytest.raises(ValueError, match="'adversarial'"):
        trainer.train_steps(1, "adversarial")
    with pytest.raises(ValueError, match="-1"):
        trainer.train_steps(-1, "train")


@pytest.mark.parametrize("tier", TIERS)
def test_no_steps_change_nothing(tier):
    trainer = build(tier, preset="tiny", num_workers=0)
    before = trainer.state()["progress"]
    trainer.train_steps(0, "train")
    assert trainer.metrics["train_losses"] == []
    assert trainer.state()["progress"] == before
