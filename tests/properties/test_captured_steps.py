"""Steps captured as graphs and replayed agree with steps run operation by operation; each with planted faults.

A recorded graph stands for CUDA's on this processor: a replay sees the memory of the capture and nothing else.
"""

import contextlib
import importlib
import types

import pytest
import torch

from bench.harness.bench import Bench
from tests import recorded_graphs
from tests.states import leaves
from trainers import family
from trainers.pytorch import cuda_graphs
from trainers.text_to_image.data.items import TrainSampler
from trainers.text_to_image.data.pixel_cache import CachedItems, open_cache
from trainers.text_to_image.data.resident import ResidentItems, ResidentLoader

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

MODULES = {
    "tabular_regressor": "trainers.tabular_regressor.fastest",
    "text_to_image": "trainers.text_to_image.fastest",
    "dialogue_twin": "trainers.dialogue_gan.pytorch.fastest",
}
CAPTURING = {
    "tabular_regressor": {"whole_epoch_graph": True},
    "text_to_image": {"captured_step": True, "resident_data": True},
    "dialogue_twin": {"cuda_graphs": True},
}
PHASES = {
    "tabular_regressor": ("train",),
    "text_to_image": ("train",),
    "dialogue_twin": ("generator_pretraining", "discriminator_pretraining", "adversarial"),
}
CASES = [(name, phase) for name, phases in PHASES.items() for phase in phases]
LOSSES = ("train_losses", "generator_losses", "discriminator_losses", "train_loss", "val_loss")
RTOL = 1e-4
"""The tolerance of `close`: a learning rate in float32 is rounded."""


@pytest.fixture
def captured(monkeypatch):
    """Let trainers capture; hold the graphs."""
    return recorded_graphs.pretend(monkeypatch, *map(importlib.import_module, MODULES.values()))


def make(name, *, capturing, **arguments):
    """Build a fastest trainer without what only CUDA has, which captures or does not."""
    switches = dict.fromkeys(CAPTURING[name], False) | {"bfloat16": False, "deferred_metrics": True}
    if capturing:
        switches |= CAPTURING[name]
    arguments = {"preset": "tiny", "seed": 3, "log": lambda _: None, **arguments}
    return family(name).build("fastest", switches=switches, **arguments)


def values(trainer):
    return {name: trainer.metrics[name] for name in LOSSES if name in trainer.metrics}


def statistics_of(trainer, network):
    """BatchNorm's, by name; not its means, which follow biases that nothing holds."""
    found = getattr(trainer, network, torch.nn.Identity()).named_buffers()
    return {name: value for name, value in found if not name.endswith("running_mean")}


def assert_agree(ours, theirs):
    """Losses of the last call, the learning rate, the place and all weights agree."""
    for name, losses in values(theirs).items():
        assert values(ours)[name] == pytest.approx(losses, rel=RTOL, abs=1e-6), name
    assert {key for key, _ in leaves(ours.state())} == {key for key, _ in leaves(theirs.state())}
    for weight, value in theirs.state().get("model", {}).items():  # of a GAN's, some only follow rounding errors
        assert torch.allclose(ours.state()["model"][weight], value, rtol=1e-3, atol=1e-4), weight
    for network in ("generator", "discriminator"):
        for name, statistics in statistics_of(theirs, network).items():
            assert torch.allclose(statistics_of(ours, network)[name], statistics, rtol=1e-2, atol=1e-3), (network, name)
    for name in {"epoch", "step", "num_steps", "learning_rate"} & theirs.metrics.keys():
        assert ours.metrics[name] == theirs.metrics[name], name


def check_agreement(name, phase):
    """Three epochs, one begun and finished, and a state of another trainer, in the same graphs throughout."""
    ours, theirs = make(name, capturing=True), make(name, capturing=False)
    first = make(name, capturing=False, seed=8).state()
    calls = [
        lambda trainer: trainer.train_epoch(phase),
        lambda trainer: trainer.train_steps(2, phase),
        lambda trainer: trainer.train_epoch(phase),
        lambda trainer: trainer.load_state(first),
        lambda trainer: trainer.train_epoch(phase),
        lambda trainer: trainer.train_steps(trainer.num_batches + 3, phase),
    ]
    for call in calls:
        for trainer in (ours, theirs):
            call(trainer)
        assert_agree(ours, theirs)
    return ours


@pytest.mark.parametrize(("name", "phase"), CASES)
def test_replayed_steps_agree_with_steps_that_are_not_captured(captured, name, phase):
    check_agreement(name, phase)
    # A graph for each size of a batch, of two kinds in text to image; or one for an epoch and one for its validation.
    least, most = (2, 4) if name == "text_to_image" else (1, 2)
    assert least <= len(captured.graphs) <= most
    assert sum(graph.num_replays for graph in captured.graphs) >= 4
    assert all(graph.num_replays for graph in captured.graphs)


@pytest.mark.parametrize(("name", "phase"), CASES)
def test_without_cuda_nothing_is_captured(monkeypatch, name, phase):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", None)
    trainer = make(name, capturing=True)
    trainer.train_steps(2, phase)
    assert trainer._captured == {}


def test_an_epoch_of_the_regressor_is_one_replay(captured):
    trainer = make("tabular_regressor", capturing=True)
    trainer.train_epoch()
    assert [graph.num_replays for graph in captured.graphs] == [1, 1]
    trainer.train_steps(1)
    trainer.train_epoch()  # the rest of it, step by step
    assert [graph.num_replays for graph in captured.graphs] == [1, 2]
    trainer.train_epoch()
    assert [graph.num_replays for graph in captured.graphs] == [2, 3]
    trainer.close()
    assert (trainer._captured, trainer._captured_validation) == ({}, None)


def test_dropped_graphs_are_captured_again(captured):
    for name in ("tabular_regressor", "text_to_image"):
        trainer, before = make(name, capturing=True), len(captured.graphs)
        for _ in range(2):
            trainer.train_epoch()
        num_graphs = len(captured.graphs) - before
        trainer.drop_graphs()
        trainer.train_epoch()
        assert len(captured.graphs) == before + 2 * num_graphs


def test_a_long_epoch_is_several_graphs_of_which_equal_ones_are_one(captured, monkeypatch):
    monkeypatch.setattr("trainers.tabular_regressor.fastest._STEPS_A_GRAPH", 3)
    ours = check_agreement("tabular_regressor", "train")
    assert ours.num_batches == 10
    assert [len(held) for _, held in ours._captured.values()] == [48, 16]
    assert ours._captured_validation is not None


@pytest.fixture
def check(captured):
    """The benchmark's own check of a pair whose after side replays whole epochs."""
    bench = Bench.of(
        family("tabular_regressor"), pair=None, preset="tiny", device="cpu", resync_every=2, parity_steps=6
    )
    settings = {"bfloat16": False, "compiled_loss": False, "onednn_products": False, "whole_epoch_graph": True}
    yield bench.same_losses(bench.reference(), bench.fastest(**settings))
    bench.close()


def test_the_benchmarks_check_holds_for_a_replayed_epoch(check, captured):
    assert check() == []
    assert [graph.num_replays for graph in captured.graphs] == [1, 1]


def test_the_benchmarks_check_looks_at_the_steps_that_are_replayed(check, monkeypatch):
    real = cuda_graphs.Captured.replay
    monkeypatch.setattr(cuda_graphs.Captured, "replay", lambda captured: real(captured) * 1.01)
    with pytest.raises(AssertionError, match="the loss of step 1 is"):
        check()


# --- Planted faults ---


def forgets_the_warm_up(monkeypatch):
    """A capture's warm-up stays done."""
    module = importlib.import_module(MODULES["tabular_regressor"])
    monkeypatch.setattr(module, "changed_by", lambda _: [])


def forgets_the_random_numbers(monkeypatch):
    """The warm-up's random numbers are used up."""
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *_: None)


def loads_into_other_tensors(monkeypatch):
    """A loaded optimizer has tensors that no graph knows."""
    module = importlib.import_module(MODULES["tabular_regressor"])
    monkeypatch.setattr(module, "keep_tensors", lambda *_: contextlib.nullcontext())


def keeps_the_rate(monkeypatch):
    """The learning rate of the capture is that of all epochs."""
    monkeypatch.setattr(cuda_graphs.LearningRates, "installed", contextlib.nullcontext)


def replays_the_first_order(monkeypatch):
    """The rows of an epoch never come to where the graph looks for them."""
    module = importlib.import_module(MODULES["tabular_regressor"])
    real = module.FastestTrainer._capture_steps

    def elsewhere(trainer, rows_N):
        steps, held_N = real(trainer, rows_N)
        return steps, held_N.clone()

    monkeypatch.setattr(module.FastestTrainer, "_capture_steps", elsewhere)


FAULTS = [
    forgets_the_warm_up,
    forgets_the_random_numbers,
    loads_into_other_tensors,
    keeps_the_rate,
    replays_the_first_order,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_capture_is_noticed(captured, monkeypatch, fault):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        check_agreement("tabular_regressor", "train")


def test_statistics_of_a_warm_up_that_stay_are_noticed(captured, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "buffers", lambda *_, **__: iter(()))
    ours, theirs = make("text_to_image", capturing=True), make("text_to_image", capturing=False)
    for trainer in (ours, theirs):
        trainer.train_epoch()
    with pytest.raises(AssertionError):
        assert_agree(ours, theirs)


def test_a_step_that_waits_for_the_device_cannot_be_captured(captured, monkeypatch):
    trainer = make("tabular_regressor", capturing=True)
    update = type(trainer)._update

    def waiting(self, *batch):
        loss = update(self, *batch)
        loss.item()
        return loss

    monkeypatch.setattr(type(trainer), "_update", waiting)
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        trainer.train_epoch()


# --- Recorded graphs ---


def test_a_recorded_graph_reads_and_writes_the_memory_of_its_capture(captured):
    held, total = torch.ones(3), torch.zeros(())
    recorded = cuda_graphs.capture(lambda: total.add_((held * 2)[1:].sum()).clone(), [total], torch.device("cpu"))
    assert (total, recorded.result) == (0, 4), "a capture changes nothing, and its result is other memory"
    held.copy_(torch.tensor([5.0, 6.0, 7.0]))
    assert recorded.replay() == total == 26
    held = torch.zeros(3)
    assert recorded.replay() == total == 52, "the name is another tensor's now"


# --- Resident data ---


@pytest.mark.parametrize("num_damaged", [0, 2])
def test_resident_batches_are_those_of_the_loader(tmp_path, num_damaged):
    trainer = make("text_to_image", capturing=False)
    data = trainer.data
    pixels = open_cache(data, trainer.config.image_size)
    damaged = {int(image): "cut short" for image in data.image_of_N[data.parts["train"]][:num_damaged]}
    pixels = types.SimpleNamespace(pixels_MHWC=pixels.pixels_MHWC, damaged=damaged)
    items = CachedItems(data, "train", pixels)
    loader = trainer._cached_loader(items, pixels, TrainSampler(items, 4))
    resident = ResidentLoader(ResidentItems(items, pixels, torch.device("cpu")), TrainSampler(items, 4), 4)
    named = set()
    for epoch, done in ((0, 0), (1, 8), (2, len(items) - 3)):
        for each in (loader, resident):
            each.sampler.seek(7, epoch, done)
        for theirs, ours in zip(loader, resident, strict=True):
            assert ours.damaged == theirs.damaged
            named.update(ours.damaged)
            assert ours.wrong_is_permutation == theirs.wrong_is_permutation
            for part in ("images_BCHW", "texts_BE", "wrong_B", "items_B"):
                one, other = getattr(ours, part), getattr(theirs, part)
                assert (one.dtype, one.tolist()) == (other.dtype, other.tolist()), part
    assert len(named) == len(damaged)
