"""Check the contract that every trainer of the dialogue GAN keeps, in either framework."""

import functools

import pytest

from trainers.contract import Trainer

PHASES = ("generator_pretraining", "discriminator_pretraining", "adversarial")
SMALL = {"preset": "tiny", "sequence_length": 3, "num_lines": 12}


def fresh_of(build):
    """Return a function that gives a trainer in its first state, and the lines it prints; each is built once."""

    @functools.cache
    def made(tier, **arguments):
        lines = []
        trainer = build(tier, log=lines.append, **{**SMALL, **arguments})
        return trainer, lines, trainer.state()

    def fresh(tier, **arguments):
        trainer, lines, start = made(tier, **arguments)
        lines.clear()
        trainer.load_state(start)
        return trainer, lines

    return fresh


def check_contract(trainer):
    """Hold a trainer to `contract.Trainer`, close it, and return the metrics of its two adversarial steps."""
    assert isinstance(trainer, Trainer)
    assert trainer.phases == PHASES
    for phase in PHASES:
        trainer.train_steps(2, phase)
        trainer.synchronize()
        metrics = trainer.metrics
        assert len(metrics["train_losses"]) == metrics["num_steps"] == metrics["step"] == 2
        assert metrics["num_skipped_steps"] == 0
        assert all(type(loss) is float for loss in metrics["train_losses"])
    sums = [sum(pair) for pair in zip(metrics["generator_losses"], metrics["discriminator_losses"], strict=True)]
    assert metrics["train_losses"] == sums
    trainer.train_steps(0, "adversarial")
    assert trainer.metrics["train_losses"] == []
    with pytest.raises(ValueError, match="no phase 'warmup'"):
        trainer.train_steps(1, "warmup")
    with pytest.raises(ValueError, match="must not be negative"):
        trainer.train_steps(-1, "adversarial")
    trainer.close()
    trainer.close()
    return metrics


def check_epochs(trainer, first_loss):
    """An epoch that was begun is finished, and steps go on into the next."""
    trainer.train_steps(3, PHASES[0])
    trainer.train_epoch(PHASES[0])
    metrics = trainer.metrics
    assert (metrics["epoch"], metrics["step"], metrics["num_steps"]) == (1, 0, trainer.num_batches - 3)
    assert metrics["val_loss"] == pytest.approx(first_loss, abs=0.05)
    trainer.train_steps(trainer.num_batches + 2, PHASES[0])
    assert trainer.position(PHASES[0]) == (2, 2)
    assert trainer.position(PHASES[2]) == (0, 0), "every phase has a position of its own"


def check_error_in_step(trainer, patch, name, failing, rel):
    """An error in a step, by one of the trainer's attributes, leaves its batch to be done."""
    trainer.train_steps(1, "adversarial")
    before = trainer.state()
    with patch.context() as failed:
        failed.setattr(trainer, name, failing)
        with pytest.raises(ZeroDivisionError):
            trainer.train_steps(1, "adversarial")
    assert trainer.position("adversarial") == (0, 1)
    trainer.train_steps(1, "adversarial")
    losses = trainer.metrics["train_losses"]
    trainer.load_state(before)
    trainer.train_steps(1, "adversarial")
    assert trainer.metrics["train_losses"] == pytest.approx(losses, rel=rel, abs=0)
