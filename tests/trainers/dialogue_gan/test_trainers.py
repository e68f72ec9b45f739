"""The dialogue GAN's trainers: the contract, the printed lines, and the counts."""

import re

import numpy as np
import pytest

from tests.trainers.dialogue_gan.trainer_contract import (
    PHASES,
    SMALL,
    check_contract,
    check_epochs,
    check_error_in_step,
    fresh_of,
)
from trainers.contract import BadInput

pytest.importorskip("tensorflow")

from trainers.dialogue_gan import FAMILY
from trainers.dialogue_gan.config import SWITCHES

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache")

fresh = fresh_of(build)


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_every_tier_keeps_the_contract(tier):
    check_contract(fresh(tier)[0])


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_an_epoch_that_was_begun_is_finished_and_steps_go_on_into_the_next(tier):
    check_epochs(fresh(tier)[0], 3.68)


@pytest.mark.parametrize(
    ("tier", "name", "failing"),
    [
        *((tier, "train_discriminator", lambda *_: 1 / 0) for tier in ("reference", "optimized")),
        ("fastest", "_train", {"adversarial": lambda *_: 1 / 0}),
    ],
)
def test_an_error_in_a_step_leaves_the_batch_to_be_done(tier, name, failing, monkeypatch):
    check_error_in_step(fresh(tier)[0], monkeypatch, name, failing, rel=1e-5)


def test_validation_is_the_mean_over_all_targets_but_padding():
    trainer, _ = fresh("optimized")
    log_probabilities, num_padding = [], 0
    for batch in trainer.data.val_batches(3):
        logits_BTV = trainer.generator(batch.tokens_BT[:, :-1], batch.characters_B, batch.scenes_B).numpy()
        logits_BTV = logits_BTV.astype(np.float64)
        normalized_BTV = logits_BTV - np.log(np.exp(logits_BTV).sum(-1, keepdims=True))
        targets_BT = batch.tokens_BT[:, 1:]
        of_targets_BT = np.take_along_axis(normalized_BTV, targets_BT[..., None], -1)[..., 0]
        log_probabilities += of_targets_BT[targets_BT != 0].tolist()
        num_padding += int((targets_BT == 0).sum())
    assert num_padding > 0, "nothing to leave out"
    loss = -np.mean(log_probabilities)
    assert trainer.evaluate()["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert trainer.evaluate()["val_perplexity"] == pytest.approx(np.exp(loss), rel=1e-4)


def test_training_learns():
    trainer, _ = fresh("optimized")
    trainer.generator_optimizer.learning_rate = 0.05
    before = trainer.evaluate()["val_perplexity"]
    for _ in range(4):
        trainer.train_epoch(PHASES[0])
    assert trainer.metrics["val_perplexity"] < 0.8 * before


def test_the_reference_prints_every_tenth_batch():
    trainer, lines = fresh("reference")
    assert trainer.num_batches >= 10
    trainer.train_epoch("adversarial")
    assert lines[0] == "Epoch 1/2"
    number = r"-?\d+\.\d{4}"
    assert re.fullmatch(f"Batch 10: G_Loss={number}, D_Loss={number}, D_Acc={number}, Reward={number}", lines[1])


def test_the_optimized_tier_prints_what_the_documents_print(monkeypatch):
    trainer, lines = fresh("optimized")
    monkeypatch.setattr(trainer, "config", trainer.config.replace(sample_every=1))  # it is in no graph
    trainer.batch_seconds.clear()
    trainer.train_epoch("adversarial")
    trainer.final_statistics()
    number = r"-?\d+\.\d{4}"
    patterns = (
        r"Epoch 1/2 \| Temperature: 2\.000",
        rf"Batch 10: G_Loss={number}, D_Loss={number}, D_Acc={number}, Reward={number} \| \u26a1\d+\.\dms/batch",
        "\n  \U0001f4ca EPOCH SUMMARY:",
        f"    Generator Loss: {number}",
        f"    Discriminator Loss: {number}",
        rf"    Discriminator Accuracy: {number}( \U0001f3af)?",
        f"    Average Reward: {number}",
        r"    Epoch Time: \d+\.\d\ds \| Avg Batch: \d+\.\dms",
        r"Sample: Tobias: .*",
        "Performance Stats:",
        f"  Total batches: {trainer.num_batches}",
        *(rf"  {name} batch time: \d+\.\dms" for name in ("Avg", "Min", "Max")),
        r"  Final temperature: 1\.900",
        f"  Final D accuracy: {number}",
    )
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), line


@pytest.mark.parametrize(("accuracy", "marked"), [(0.7, False), (0.71, True)])
def test_an_accuracy_above_seven_tenths_is_marked(accuracy, marked):
    trainer, lines = fresh("optimized")
    for name, values in trainer._epoch_series["adversarial"].items():
        values[:] = [accuracy if name == "discriminator_accuracies" else 0.5]
    trainer._summarize()
    assert ("\U0001f3af" in "".join(lines)) is marked


def test_an_eager_configuration_decides_for_both_tiers():
    eager, _ = fresh("reference", eager=True)
    eager.train_steps(1, PHASES[0])
    assert eager.metrics["num_traces"] == 0
    assert not build("optimized", eager=True, **SMALL).switches["graph_steps"]
    assert build("optimized", eager=True, switches={"graph_steps": True}, **SMALL).switches["graph_steps"]


def test_a_switch_that_is_unknown_or_a_device_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="unknown switch 'fast'"):
        build("optimized", switches={"fast": True}, **SMALL)
    with pytest.raises(BadInput, match="no switches"):
        build("reference", switches={SWITCHES[0].name: True}, **SMALL)
    for device in ("tpu", "cuda:99"):
        with pytest.raises(BadInput, match=device):
            build("reference", device=device, **SMALL)


def test_samples_are_as_many_and_the_same_for_the_same_seed():
    trainer, _ = fresh("reference")
    ours = trainer.sample(0, 1, num=3, temperature=1.0, seed=4)
    assert len(ours) == 3
    assert ours == trainer.sample(0, 1, num=3, temperature=1.0, seed=4)
    assert ours != trainer.sample(0, 1, num=3, temperature=1.0, seed=5)
