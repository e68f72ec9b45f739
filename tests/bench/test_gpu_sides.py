"""Sides that measure on a GPU: exact checks, warm starts, no skipped steps, images decoded once.

The trainers are on the CPU here, and only told to measure as on a GPU.
"""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from bench.harness import images  # noqa: E402 - only with PyTorch
from bench.harness.bench import Bench  # noqa: E402 - likewise
from bench.harness.images import ImageBench, ImageSide  # noqa: E402 - likewise
from bench.harness.side import WARM_STEPS, Side, SkippedStepsError, _relative_difference  # noqa: E402 - likewise
from trainers import family  # noqa: E402 - likewise
from trainers.text_to_image.data import items as data  # noqa: E402 - likewise


@pytest.fixture
def bench():
    bench = Bench.of(family("tabular_regressor"), pair=None, preset="tiny", device="cpu")
    yield bench
    bench.close()


@pytest.fixture
def image_bench(private_cache):
    options = {"pair": None, "preset": "tiny", "device": "cpu", "log": lambda _: None, "kind": ImageSide}
    bench = ImageBench.of(family("text_to_image"), **options)
    yield bench
    bench.close()


def on_a_gpu(bench):
    """Return a bench that measures as on a GPU."""
    return replace(bench, device="cuda", _made=bench._made)


def test_timed_rounds_on_a_gpu_start_some_steps_after_the_first_at_the_beginning_of_an_epoch(bench):
    side = on_a_gpu(bench).restructured(mixed_precision=True)
    assert side.num_warm_steps == WARM_STEPS
    side.restart()
    state = side.trainer.state()
    assert all(slot["step"] == WARM_STEPS for slot in state["optimizer"]["state"].values())
    assert state["progress"] == side.initial["progress"]
    side()
    fresh = bench.reference()
    fresh()
    assert side.trainer.metrics["num_steps"] == fresh.trainer.metrics["num_steps"]
    side.restart()
    again = side.trainer.state()
    assert all(torch.equal(weight, again["model"][name]) for name, weight in state["model"].items())
    side.reset()
    assert not side.trainer.state()["optimizer"]["state"]


def test_on_a_cpu_timed_rounds_start_at_the_first_step(bench):
    side = bench.reference()
    assert side.warm is side.initial


class Scaled:
    """A trainer whose loss scale is so high that its first steps are skipped."""

    def __init__(self, num_skipped):
        self.num_skipped, self.metrics = num_skipped, {"num_steps": 0, "num_skipped_steps": 0}

    def state(self):
        return {"left": self.num_skipped, "progress": 0}

    def load_state(self, state):
        self.num_skipped = state["left"]

    def train_steps(self, n, phase):
        skipped = min(n, self.num_skipped)
        self.num_skipped -= skipped
        self.metrics = {"num_steps": n, "num_skipped_steps": skipped}


@pytest.mark.parametrize("num_skipped", [0, 2, WARM_STEPS - 1, WARM_STEPS, 40])
def test_a_pair_that_skips_steps_is_refused(num_skipped):
    side = Side(
        "half", "optimized", None, "train", lambda *_: Scaled(num_skipped), num_steps=3, num_warm_steps=WARM_STEPS
    )
    if num_skipped == 5 * WARM_STEPS:
        with pytest.raises(SkippedStepsError, match="half: 8 of 8 steps were skipped"):
            side.restart()
        return
    for _ in range(3):
        side.restart()
        side()
        assert side.trainer.metrics["num_skipped_steps"] == 0


def test_a_round_that_skips_a_step_is_refused_before_the_next(bench):
    side = Side("half", "optimized", None, "train", lambda *_: Scaled(2), num_steps=3)
    side.restart()
    side()
    with pytest.raises(SkippedStepsError, match="2 of 3 steps were skipped"):
        side.restart()


def test_checks_on_a_gpu_are_exact_and_drop_the_graphs_captured_meanwhile(bench):
    cudnn, seen = torch.backends.cudnn, []
    gpu = on_a_gpu(bench)
    side = gpu.reference()
    side.trainer.drop_graphs = lambda: seen.append("dropped")

    def check():
        seen.append((cudnn.deterministic, cudnn.allow_tf32, cudnn.benchmark))
        return ["answer"]

    before = cudnn.deterministic, cudnn.allow_tf32
    assert gpu._exactly(check)() == ["answer"]
    assert seen == [(True, False, False), "dropped"]
    assert (cudnn.deterministic, cudnn.allow_tf32) == before
    seen.clear()
    bench._exactly(check)()
    assert seen[0] == (*before, False)


def test_images_of_a_check_on_a_gpu_are_decoded_once_for_all_sides(image_bench, monkeypatch):
    images._FIRST_BATCHES.clear()
    gpu = replace(image_bench, device="cuda", _made=image_bench._made)
    before, after = gpu.reference(), gpu.restructured(mixed_precision=True)
    decoded = count_decoded(monkeypatch)
    losses = before.first_losses(3)
    assert decoded() == 3 * before.trainer.config.batch_size
    assert after.first_losses(3) != losses
    assert gpu.reference().first_losses(3) == losses
    assert decoded() == 3 * before.trainer.config.batch_size
    assert image_bench.reference().first_losses(3) == losses  # from the files


def count_decoded(monkeypatch):
    """Count the images that are decoded from here on."""
    count, real = [], data.decode_image

    def decode(*arguments):
        count.append(1)
        return real(*arguments)

    monkeypatch.setattr(data, "decode_image", decode)
    return lambda: len(count)


def test_an_epoch_in_memory_is_that_of_the_loader_to_the_bit(image_bench):
    held, trainer = image_bench.held_epoch(), image_bench.restructured().trainer
    trainer.train_loader.sampler.seek(trainer.seed, 0, 0)
    for part, batches in (("train", held.train.batches), ("val", held.val)):
        loader = trainer.train_loader if part == "train" else trainer.make_loader("val")
        for ours, theirs in zip(batches, loader, strict=True):
            assert torch.equal(ours.images_BCHW, theirs.images_BCHW)
            assert torch.equal(ours.texts_BE, theirs.texts_BE)
    reached = trainer.evaluate()
    held.give(trainer)
    assert trainer.evaluate() == reached
    trainer.train_epoch("train")
    assert trainer.metrics["num_steps"] == len(held.train.batches)


def test_losses_of_zero_have_a_relative_difference_too():
    assert _relative_difference(0.0, 0.0) == 0
    assert _relative_difference(0.0, 1.0) == math.inf
    assert _relative_difference(2.0, 1.0) == 0.5
