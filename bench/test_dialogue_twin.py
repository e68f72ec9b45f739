"""The PyTorch twin of the dialogue GAN: its reference against its other tiers, where TensorFlow has no GPU.

These pairs add to those of `test_dialogue_gan`: no claim about the TensorFlow program is judged here. The pairs that
answer a claim's question for PyTorch are evidence next to it.
"""

from dataclasses import replace
from functools import partial

import pytest

from bench.harness.dialogue import PhasesSide, twin_side

PRETRAINING_STEPS = 8
SHORT = {"tiny": {}, "smoke": {"num_lines": 4}, "default": {"num_lines": 60}}
"""Fewer lines of dialogue, for whole epochs: 23 batches at full size."""

COMPILED = {"compiled_steps": True}
WITH_PASSES = {"test_adversarial_batch", "test_fastest_adversarial_batches_of_the_pytorch_twin"}


@pytest.fixture(autouse=True)
def _whole_measurement(request, preset) -> None:
    """More time at the original's sizes, and all passes for whole batches; the smaller sizes take seconds."""
    if preset == "default":
        request.applymarker(pytest.mark.speedup_long(3))
        if request.node.originalname in WITH_PASSES:
            request.applymarker(pytest.mark.speedup_passes("syncs", "gpu", "profile", "cold"))


@pytest.fixture
def num_steps(preset, device):
    """Batches of one call: one where a batch takes the reference half a minute."""
    return 1 if (preset, device) == ("default", "cpu") else 4


def test_fastest_adversarial_batches_of_the_pytorch_twin(dialogue_twin, num_steps):
    """Adversarial batches of the PyTorch twin: the reference's work and mathematics in its fastest tier."""
    dialogue_twin.steps(before=dialogue_twin.reference(), after=dialogue_twin.fastest(), num_steps=num_steps)


# --- What documents 000 to 002 changed; on a CPU, TensorFlow's own pairs say it ---


@pytest.fixture
def twin(request, dialogue_twin, device):
    """Pairs whose reference has compiled train steps, as the documents' code before its changes."""
    if device == "cpu" and request.config.getoption("--family") != "dialogue_twin":
        pytest.skip("on a CPU TensorFlow's own pairs answer this; ask for these with --family=dialogue_twin")
    return dialogue_twin.built_with(eager=False)


@pytest.fixture
def short(twin, preset):
    """Pairs whose epochs take less time."""
    return twin.built_with(**SHORT[preset])


@pytest.mark.speedup_evidence(
    "dialogue-gan.batch", "dialogue-gan.overall", "dialogue-gan.overall-speed", "dialogue-gan.utilization-before",
    "dialogue-gan.utilization",
)  # fmt: skip
@pytest.mark.parametrize("face", ["eager", "compiled"])
def test_adversarial_batch(twin, num_steps, face):
    """Adversarial batches of the PyTorch twin: all six changes against its reference, with eager or compiled steps."""
    bench = twin.built_with(eager=face == "eager")
    before = bench.reference()
    before.label += f" with {face} steps"
    bench.steps(before=before, after=bench.optimized(), num_steps=num_steps)


@pytest.mark.speedup_evidence("dialogue-gan.epoch")
def test_adversarial_epoch(short):
    """An adversarial epoch of the PyTorch twin with all six changes, validation and summary in it, against before."""
    short.epochs(before=short.reference(), after=short.optimized())


@pytest.mark.speedup_evidence("dialogue-gan.total", "dialogue-gan.total-of-three-to-four")
def test_whole_training(twin):
    """Batches of all three phases of the PyTorch twin, 5 to 3 to 20 as the epochs of a whole training."""
    bench = replace(twin, kind=partial(twin_side, kind=partial(PhasesSide, num_batches=(5, 3, 20))))
    bench.epochs(before=bench.reference(), after=bench.optimized())


@pytest.mark.speedup_evidence("dialogue-gan.deferred-metrics", "dialogue-gan.numpy-in-loop")
def test_deferred_metrics(twin):
    """Losses of the PyTorch twin that stay on the device against `.item()` after every batch, nothing else changed."""
    bench = twin.of_phase("generator_pretraining")
    bench.steps(
        before=bench.restructured(**COMPILED), after=bench.restructured(**COMPILED, deferred_metrics=True),
        num_steps=PRETRAINING_STEPS,
    )  # fmt: skip


def test_compiled_steps(twin):
    """Train steps of the PyTorch twin through torch.compile against the same operation by operation."""
    bench = twin.of_phase("generator_pretraining")
    bench.steps(before=bench.restructured(), after=bench.restructured(**COMPILED), num_steps=PRETRAINING_STEPS)


def test_compiled_steps_of_adversarial_batches(twin, num_steps):
    """Adversarial batches of the PyTorch twin with compiled train steps against operation by operation throughout."""
    twin.steps(before=twin.restructured(), after=twin.restructured(**COMPILED), num_steps=num_steps)


@pytest.mark.parametrize("interval", [1, 2, 4])
def test_discriminator_interval(twin, interval):
    """The discriminator of the PyTorch twin trained at an interval of batches, against every batch."""
    bench = twin.built_with(d_train_interval=interval)
    bench.steps(
        before=bench.restructured(**COMPILED), after=bench.restructured(**COMPILED, discriminator_interval=True),
        num_steps=interval, work="different" if interval > 1 else "same",
    )  # fmt: skip


def test_clipping_and_nan_skip(twin):
    """Updates of the PyTorch twin clipped by their global norm and left out where it is not finite, against neither."""
    bench = twin.of_phase("generator_pretraining")
    bench.steps(
        before=bench.restructured(**COMPILED),
        after=bench.restructured(**COMPILED, global_norm_clipping=True, nan_skip=True),
        num_steps=PRETRAINING_STEPS,
    )  # fmt: skip


def test_device_accuracy(twin, num_steps):
    """The discriminator's accuracy of the PyTorch twin left on the device against `.item()` after every batch."""
    twin.steps(
        before=twin.restructured(**COMPILED), after=twin.restructured(**COMPILED, device_accuracy=True),
        num_steps=num_steps,
    )  # fmt: skip


def test_temperature_schedule(twin, num_steps):
    """Logits of the PyTorch twin divided by a temperature, a tensor, against logits as they are."""
    twin.steps(
        before=twin.restructured(**COMPILED), after=twin.restructured(**COMPILED, temperature_schedule=True),
        num_steps=num_steps, work="different",
    )  # fmt: skip


def test_temperature_as_a_tensor(short, pair):
    """Epochs of the PyTorch twin at falling temperatures: as a tensor, against a Python number compiled every epoch."""
    on = {**COMPILED, "temperature_schedule": True}
    before, after = short.restructured(**on, python_float_temperature=True), short.restructured(**on)
    # Not put back to the start between rounds: only from epoch to epoch does the temperature fall.
    pair(before=before, after=after, equivalent=short.same_losses(before, after))
