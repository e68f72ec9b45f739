"""The PyTorch twin's pair computes the same as it is measured: sizes, switches, dropout and sampling."""

import contextlib
from collections import defaultdict

import pytest

torch = pytest.importorskip("torch")

from bench import test_dialogue_twin  # noqa: E402 - only with PyTorch
from tests.drawing import draws_of_torch  # noqa: E402 - likewise
from tests.measured import bench_of, check_calls, check_equivalence, faster_tiers, pairs_of  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch import FAMILY, fastest, model  # noqa: E402 - likewise

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

NAME = "test_fastest_adversarial_batches_of_the_pytorch_twin"
FIGURES = {"discriminator_losses": 1e-4, "rewards": 1e-4}


@contextlib.contextmanager
def draws_and_masks():
    """Give all that is drawn inside and, when it ends, the masks that were applied, by their shape."""
    masks, real = defaultdict(list), model.masked

    def noted(values, uniforms, rate):
        if uniforms is not None:
            masks[uniforms.shape[1:]].append(uniforms >= rate)
        return real(values, uniforms, rate)

    with pytest.MonkeyPatch.context() as patch, draws_of_torch() as drawn:
        patch.setattr(model, "masked", noted)
        yield drawn
    # Of both sides together or of one after the other: the rows are the same.
    drawn += [torch.cat(of_shape) for _, of_shape in sorted(masks.items())]


def measured_pair():
    bench = bench_of("dialogue_twin")
    # On a CPU the others are measured on request only: TensorFlow's own pairs answer for them.
    pairs = faster_tiers(pairs_of(test_dialogue_twin, bench, dialogue_twin=bench, num_steps=4))
    assert list(pairs) == [NAME]
    return pairs[NAME]


def test_batches_as_they_are_measured_compute_the_same():
    given = measured_pair()
    config = FAMILY.config.preset("smoke").replace(**FAMILY.overrides)
    assert given.before.trainer.config == given.after.trainer.config == config
    assert config.dropout > 0
    check_calls(given, draws_and_masks, FIGURES)


def test_the_benchmarks_own_check_holds_with_dropout_on():
    check_equivalence(measured_pair())


class Undropped(fastest.FastestTrainer):
    """Leaves the generator's dropout out."""

    def logits(self, inputs, masks):
        del masks
        return super().logits(inputs, None)


class OneMask(fastest.FastestTrainer):
    """Gives the fake sequences the masks of the real ones."""

    def judged(self, real_BT, fake_BT, draws):
        return super().judged(real_BT, fake_BT, draws._replace(fake=draws.real))


@pytest.mark.parametrize("kind", [Undropped, OneMask])
def test_a_fault_in_what_is_measured_is_noticed(monkeypatch, kind):
    monkeypatch.setattr(fastest, "FastestTrainer", kind)
    with pytest.raises(AssertionError):
        check_calls(measured_pair(), draws_and_masks, {})
