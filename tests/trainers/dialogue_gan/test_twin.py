"""The dialogue GAN's twin in PyTorch, without TensorFlow: contract, weights, printed lines, counts."""

import gc
import importlib.util
import re
import sys

import numpy as np
import pytest

from speedclaims.recorders.syncs.torch import counting_syncs
from tests import recorded_graphs
from tests.trainers.dialogue_gan.trainer_contract import (
    PHASES,
    SMALL,
    check_contract,
    check_epochs,
    check_error_in_step,
    fresh_of,
)
from trainers.contract import BadInput

torch = pytest.importorskip("torch")

from trainers.dialogue_gan.config import (  # noqa: E402 - likewise
    TWIN_OPTIMIZED_SWITCHES,
    TWIN_SWITCHES,
    DialogueConfig,
)
from trainers.dialogue_gan.pytorch import FAMILY, fastest  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.draws import num_uniforms, split  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.model import Discriminator, Generator, masked, num_parameters  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.sampling import draw_tokens, next_token  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.weights import initial_values, keras_values  # noqa: E402 - likewise

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

TINY = DialogueConfig.preset("tiny")


def build_uncompiled(tier, **arguments):
    """Build a trainer whose steps run operation by operation: compiling takes longer than these tests."""
    if tier == "optimized":
        arguments["switches"] = {"compiled_steps": False, **arguments.get("switches", {})}
    return build(tier, **arguments)


fresh = fresh_of(build_uncompiled)


# --- the contract ---


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_every_tier_keeps_the_contract(tier):
    metrics = check_contract(fresh(tier)[0])
    assert (metrics["num_generator_updates"], metrics["num_discriminator_updates"]) == (2, 2)


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_an_epoch_that_was_begun_is_finished_and_steps_go_on_into_the_next(tier):
    check_epochs(fresh(tier)[0], np.log(40))


@pytest.mark.parametrize("tier", FAMILY.tiers)
def test_an_error_in_a_step_leaves_the_batch_to_be_done(tier, monkeypatch):
    check_error_in_step(fresh(tier)[0], monkeypatch, "fakes", lambda *_: 1 / 0, rel=0)


def test_training_learns():
    trainer, _ = fresh("fastest", learning_rate_g=0.05)
    before = trainer.evaluate()["val_perplexity"]
    for _ in range(4):
        trainer.train_epoch(PHASES[0])
    assert trainer.metrics["val_perplexity"] < 0.8 * before


@pytest.mark.parametrize(
    ("tier", "deferred"), [("reference", None), ("fastest", {"deferred_metrics": True}), ("fastest", {})]
)
def test_every_tier_prints_every_tenth_batch_the_epoch_and_a_sample(tier, deferred):
    trainer, lines = fresh(tier, sample_every=1)
    if deferred:
        trainer._note = trainer._note_later
    assert trainer.num_batches >= 10
    trainer.train_epoch("adversarial")
    figures = r"G_Loss=-?\d+\.\d{4}, D_Loss=\d+\.\d{4}, D_Acc=\d+\.\d{4}, Reward=\d+\.\d{4}"
    patterns = ["Epoch 1/2", f"Batch 10: {figures}", figures, r"Sample: \w+: .*"]
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(patterns, lines, strict=True)), lines


def test_samples_are_as_many_and_the_same_for_the_same_seed():
    trainer, _ = fresh("reference")
    ours = trainer.sample(0, 1, num=3, temperature=1.0, seed=4)
    assert len(ours) == 3
    assert ours == trainer.sample(0, 1, num=3, temperature=1.0, seed=4)
    assert ours != trainer.sample(0, 1, num=3, temperature=1.0, seed=5)


def test_what_cannot_be_used_is_refused_in_one_line(monkeypatch):
    with pytest.raises(BadInput, match="unknown tier 'slowest'"):
        build("slowest", **SMALL)
    for tier, unknown in (("optimized", "graph_steps"), ("fastest", "fast")):
        with pytest.raises(BadInput, match=f"unknown switch '{unknown}'"):
            build(tier, switches={unknown: True}, **SMALL)
    with pytest.raises(BadInput, match="no switches"):
        build("reference", switches={TWIN_SWITCHES[0].name: True}, **SMALL)
    with pytest.raises(BadInput, match="unknown device 'tpu0'"):
        build("reference", device="tpu0", **SMALL)
    trainer, _ = fresh("reference")
    with pytest.raises(BadInput, match="no state of a dialogue_gan"):
        trainer.load_state({"family": "dialogue_gan"})
    with pytest.raises(BadInput, match="its hidden_size is 9, the trainer's is 8"):
        trainer.load_state(build("reference", hidden_size=9, log=print, **SMALL).state())
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BadInput, match="torch is not installed"):
        build("reference", **SMALL)


def test_on_a_cpu_what_is_cudas_stays_off():
    trainer, _ = fresh("fastest")
    off = {"compiled_sampler", "bfloat16", "deferred_metrics", "cuda_graphs"}
    assert {name for name, on in trainer.switches.items() if not on} == off
    asked = build("fastest", switches={"cuda_graphs": True}, log=print, **SMALL)
    asked.train_steps(1, "adversarial")
    assert asked._captured == {}


def test_the_sampler_is_compiled_for_batches_and_not_for_a_few_samples(monkeypatch):
    sizes = []

    def compiled(weights, position, *others):
        sizes.append(len(position.tokens_B))
        return next_token(weights, position, *others)

    monkeypatch.setattr(fastest, "_MOST_IDS_A_TOKEN", 1000)  # the batches are small
    monkeypatch.setattr(fastest, "compile_each_size", lambda function: compiled if function is next_token else None)
    trainer = build("fastest", switches={"compiled_sampler": True}, log=print, **SMALL)
    trainer.sample(0, 0, num=3, temperature=1.0, seed=1)
    assert sizes == []
    trainer.train_epoch("discriminator_pretraining")
    num_rows, size = len(trainer.data.train), trainer.config.batch_size
    assert num_rows % size, "the last batch is smaller"
    assert set(sizes) == {size, num_rows % size}
    assert len(sizes) == trainer.num_batches * (trainer.config.sequence_length - 1)


@pytest.fixture
def pretended_graphs(monkeypatch):
    """Holds the graphs that are captured, and the streams of their warm-ups."""
    return recorded_graphs.pretend(monkeypatch, fastest)


def capture(trainer, phase="adversarial"):
    batch = next(trainer.data.batches_of_epoch(trainer.config.batch_size, trainer.seed, 0))
    return trainer._capture(phase, trainer.moved(batch), trainer.uniforms(phase, len(batch.tokens_BT)))


def test_no_gradient_node_of_a_weight_outlives_into_a_capture(pretended_graphs, monkeypatch):
    """The node that accumulates a gradient stays on the stream that made it, which no capture may wait for."""
    trainer, _ = fresh("fastest")
    weights = {id(weight) for part in (trainer.generator, trainer.discriminator) for weight in part.parameters()}
    computed, held = trainer._computed, []

    def holders():
        functions = [one.grad_fn for one in gc.get_objects() if type(one) is torch.Tensor and one.grad_fn is not None]
        nodes = [node for function in functions for node, _ in function.next_functions]
        return [node for node in nodes if id(getattr(node, "variable", None)) in weights]

    def watched(*arguments):
        held.append(len(holders()))
        return computed(*arguments)

    monkeypatch.setattr(trainer, "_computed", watched)
    capture(trainer)
    assert held == [0, 0, 0]
    copies = [tensor.clone() for tensor in trainer.generator_optimizer.tensors()]
    assert 0 < len(holders()) <= len(copies), "the control"


def test_captures_take_one_stream_on_each_of_which_a_library_would_keep_memory(pretended_graphs):
    trainer, _ = fresh("fastest")
    for phase in PHASES:
        capture(trainer, phase)
    assert len(pretended_graphs.streams) == len(PHASES)
    assert {id(stream) for stream in pretended_graphs.streams} == {id(torch.cuda.graph.capture_stream)}


def test_dropped_graphs_are_captured_again(pretended_graphs, monkeypatch):
    trainer, _ = fresh("fastest")
    captured = []
    monkeypatch.setattr(trainer, "_figures_of_batch", trainer._replayed)
    monkeypatch.setattr(trainer, "_capture", lambda *given: captured.append(given[0]) or capture_of(trainer, *given))
    capture_of = type(trainer)._capture
    trainer.train_steps(2, "adversarial")
    assert captured == ["adversarial"]
    trainer.drop_graphs()
    trainer.train_steps(1, "adversarial")
    assert captured == ["adversarial"] * 2
    trainer.close()
    assert trainer._captured == {}


# --- the optimized tier ---


def test_the_optimized_tier_prints_the_lines_of_the_documents():
    trainer, lines = fresh("optimized", sample_every=1)
    trainer.batch_seconds.clear()
    trainer.final_statistics()
    assert lines == [], "nothing to say before the first adversarial batch"
    trainer.train_epoch("adversarial")
    trainer.final_statistics()
    number, ms = r"-?\d+\.\d{4}", r"\d+\.\dms"
    patterns = (
        r"Epoch 1/2 \| Temperature: 2\.000",
        rf"Batch 10: G_Loss={number}, D_Loss={number}, D_Acc={number}, Reward={number} \| \u26a1{ms}/batch",
        "\n  \U0001f4ca EPOCH SUMMARY:",
        *(f"    {name}: {number}" for name in ("Generator Loss", "Discriminator Loss")),
        rf"    Discriminator Accuracy: {number}( \U0001f3af)?",
        f"    Average Reward: {number}",
        rf"    Epoch Time: \d+\.\d\ds \| Avg Batch: {ms}",
        r"Sample: \w+: .*",
        "Performance Stats:",
        f"  Total batches: {trainer.num_batches}",
        *(f"  {name} batch time: {ms}" for name in ("Avg", "Min", "Max")),
        r"  Final temperature: 1\.900",
        f"  Final D accuracy: {number}",
    )
    assert len(patterns) == len(lines), lines
    for pattern, line in zip(patterns, lines, strict=True):
        assert re.fullmatch(pattern, line), (pattern, line)


@pytest.mark.parametrize(
    ("tier", "arguments", "steps"),
    [
        ("reference", {}, []),
        ("reference", {"EAGER": True}, []),
        ("reference", {"eager": False}, ["pretrain_generator_step", "discriminator_step", "generator_step"]),
        ("optimized", {}, ["pretrain_generator_step", "discriminator_step", "adversarial_generator_step"]),
        ("optimized", {"switches": {"compiled_steps": False}, "eager": False}, []),
        ("fastest", {"eager": False}, []),
    ],
)
def test_steps_are_compiled_where_the_configuration_or_a_switch_says_so(tier, arguments, steps, monkeypatch):
    asked = []

    def pretended(step, *, dynamic, isolate_recompiles, options):
        assert (dynamic, isolate_recompiles, options) == (False, True, None)
        asked.append(step.__name__)
        return step

    monkeypatch.setattr(torch, "compile", pretended)
    trainer = build(tier, log=lambda _: None, **SMALL, **arguments)
    assert asked == steps
    trainer.train_steps(1, "adversarial")
    assert np.isfinite(trainer.metrics["train_losses"]).all()


def test_without_a_compiler_steps_are_not_compiled_unless_asked_for(monkeypatch):
    monkeypatch.setattr("trainers.dialogue_gan.pytorch.optimized.compiles_for", lambda _: False)
    assert not build("optimized", **SMALL).switches["compiled_steps"]
    assert build("optimized", switches={"compiled_steps": True}, **SMALL).switches["compiled_steps"]


@pytest.mark.parametrize(
    ("off", "in_steps", "at_the_end"),
    [
        ((), 4, 4 + 1),  # the line after the tenth batch; then four series and the flags
        (("nan_skip",), 4, 4),
        (("device_accuracy",), 10 + 4, 3 + 1),
        (("deferred_metrics",), 3 * 10 + 2 * 10 + 4, 1),
        ([switch.name for switch in TWIN_OPTIMIZED_SWITCHES], 4 * 10 + 4, 0),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="on CUDA the copies of the batches count too")
def test_the_optimized_tier_waits_for_the_device_as_often_as_its_switches_say(off, in_steps, at_the_end):
    trainer = build_uncompiled("optimized", switches=dict.fromkeys(off, False), log=lambda _: None, **SMALL)
    assert trainer.num_batches >= 10, "an epoch's end is one more fetch of everything"
    for run, count in (
        (lambda: trainer.train_steps(10, "adversarial"), in_steps),
        (lambda: trainer.metrics, at_the_end),
        (lambda: trainer.metrics, 0),
    ):
        with counting_syncs() as syncs:
            run()
        assert (syncs.own.total(), syncs.internal) == (count, 0)


# --- weights ---


def test_the_default_sizes_are_the_original_programs():
    config = DialogueConfig()
    assert num_parameters(Generator(config, config.num_characters, config.num_scenes)) == 7_651_944
    assert num_parameters(Discriminator(config)) == 1_509_825


def test_weights_depend_on_the_seed_alone_and_are_drawn_as_keras_draws():
    generator = Generator(TINY.replace(hidden_size=30, vocabulary_size=300), 3, 4)
    ours, again, other = (initial_values(generator, seed) for seed in (0, 0, 1))
    assert list(ours) == list(keras_values(generator))
    assert all(np.array_equal(ours[name], again[name]) for name in ours)
    assert not np.array_equal(ours["logits/kernel"], other["logits/kernel"])
    recurrent_HG = ours["lstm_2/lstm_cell/recurrent_kernel"]
    np.testing.assert_allclose(recurrent_HG @ recurrent_HG.T, np.eye(30), atol=1e-5)
    limit = np.sqrt(6 / (30 + 300))
    assert 0.98 * limit < abs(ours["logits/kernel"]).max() <= limit
    assert 0.049 < abs(ours["token_embedding/embeddings"]).max() <= 0.05
    assert ours["lstm_1/lstm_cell/bias"].tolist() == [0] * 30 + [1] * 30 + [0] * 60
    kernel = initial_values(Discriminator(TINY), 0)["convolution_4/kernel"]
    assert kernel.shape == (4, 8, 2)
    limit = np.sqrt(6 / (4 * 8 + 4 * 2))
    assert 0.8 * limit < abs(kernel).max() <= limit


def test_the_second_bias_stays_zero():
    trainer, _ = fresh("reference", learning_rate_g=0.05)
    before = keras_values(trainer.generator)["lstm_1/lstm_cell/bias"]
    trainer.train_steps(3, PHASES[0])
    assert not np.array_equal(keras_values(trainer.generator)["lstm_1/lstm_cell/bias"], before)
    assert not trainer.generator.lstm_1.bias_hh_l0.any()
    assert not trainer.generator.lstm_2.bias_hh_l0.any()


# --- random numbers ---


def test_every_number_of_a_batch_has_one_use():
    config = TINY.replace(d_steps=2, g_steps=2)
    uniforms_N = torch.arange(num_uniforms(config, "adversarial", 3))
    draws = split(uniforms_N, config, "adversarial", 3)
    parts = [part for each in draws.of_discriminator for part in (each.sampling_TBV, *each.real, *each.fake)]
    parts += [part for masks in draws.of_generator for part in masks]
    assert draws.of_discriminator[1].sampling_TBV.shape == (5, 3, 40)
    assert [part.shape[1:] for part in draws.of_generator[0]] == [(1, 12), (1, 8)]
    assert torch.equal(torch.cat([part.flatten() for part in parts]), uniforms_N)
    for phase, sizes in ((PHASES[0], (0, 1)), (PHASES[1], (1, 0))):
        draws = split(torch.rand(num_uniforms(config, phase, 3)), config, phase, 3)
        assert tuple(map(len, draws)) == sizes


def test_steps_draw_different_numbers():
    trainer, _ = fresh("reference")
    first = trainer.uniforms("adversarial", 2)
    assert torch.equal(trainer.uniforms("adversarial", 2), first)
    trainer.train_steps(1, "adversarial")
    assert not torch.equal(trainer.uniforms("adversarial", 2), first)
    assert 0 <= first.min() < 0.02
    assert 0.98 < first.max() < 1


def test_a_dropout_mask_keeps_the_share_it_should():
    dropped = masked(torch.ones(64, 5, 200), torch.rand(64, 1, 200, generator=torch.Generator().manual_seed(0)), 0.3)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped)), "one mask for all tokens"
    assert (dropped == 0).float().mean() == pytest.approx(0.3, abs=0.015)
    assert dropped.max() == pytest.approx(1 / 0.7)


def test_26_draws_follow_the_distribution():
    logits_BV = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    drawn_B = draw_tokens(logits_BV, torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(torch.bincount(drawn_B) / len(drawn_B), [0.5, 0.3, 0.2], atol=0.012)


def test_a_uniform_number_of_zero_draws_nothing():
    assert draw_tokens(torch.tensor([[50.0, 0.0, 50.0]]), torch.tensor([[0.0, 0.5, 0.0]])).tolist() == [1]
