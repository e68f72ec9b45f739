"""The PyTorch twin of the dialogue GAN: its reference against its fastest tier, where TensorFlow has no GPU.

Beside, and not instead of, the pairs of `test_dialogue_gan`: no claim about the TensorFlow program is judged here.
"""

import pytest


@pytest.fixture(autouse=True)
def _whole_measurement(request, preset) -> None:
    """More time and all passes at the original's sizes; a quick look at the smaller ones takes seconds."""
    if preset == "default":
        request.applymarker(pytest.mark.long_pair(3))
        request.applymarker(pytest.mark.speedup_passes("syncs", "gpu", "profile", "cold"))


@pytest.fixture
def num_steps(preset, device):
    """Batches of one call: one where a batch takes the reference half a minute."""
    return 1 if (preset, device) == ("default", "cpu") else 4


def test_fastest_adversarial_batches_of_the_pytorch_twin(dialogue_twin, num_steps):
    """Adversarial batches of the PyTorch twin: the reference's work and mathematics in its fastest tier."""
    dialogue_twin.steps(before=dialogue_twin.reference(), after=dialogue_twin.fastest(), num_steps=num_steps)
