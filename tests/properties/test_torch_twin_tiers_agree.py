"""Properties 26, 36 and 37 of the dialogue GAN's twin in PyTorch: its fastest tier does what its reference does.

What it has to do with TensorFlow is in `test_torch_twin_agreement`; this needs none.
"""

import functools

import numpy as np
import pytest

from tests import strategies
from tests.properties.controls import fails, holds
from tests.states import assert_same_tree, same
from trainers.dialogue_gan.config import TWIN_SWITCHES
from trainers.dialogue_gan.pytorch import FAMILY

torch = pytest.importorskip("torch")

from trainers.dialogue_gan.pytorch import fastest, model, optimizer, sampling  # noqa: E402 - only with PyTorch
from trainers.dialogue_gan.pytorch.fastest import FastestTrainer  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.optimizer import ForeachAdam, KerasAdam  # noqa: E402 - likewise
from trainers.dialogue_gan.pytorch.sampling import (  # noqa: E402 - likewise
    incremental_sequences,
    merged_sequences,
    next_token,
    sample_sequences,
)
from trainers.dialogue_gan.pytorch.weights import keras_names  # noqa: E402 - likewise
from trainers.pytorch.compiling import compile_each_size  # noqa: E402 - likewise
from trainers.pytorch.devices import compiles_for  # noqa: E402 - likewise

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

PHASES = ("generator_pretraining", "discriminator_pretraining", "adversarial")
QUIET = {"preset": "tiny", "log": lambda _: None}
# At the original's rates the generator's adversarial loss stays too close to nothing for a fault to show.
RATES = {"num_lines": 4, "learning_rate_g": 0.01, "learning_rate_d": 0.01}
NUM_STEPS = 5
FLOAT32, ROUNDED = 1e-4, 5e-3


# --- 26 ---


@functools.cache
def outspoken():
    """A generator whose logits differ by enough for what went before to decide what is drawn."""
    generator = build("reference", seed=3, **QUIET).generator
    with torch.no_grad():
        for name, weight in keras_names(generator):
            weight.mul_(20.0 if name == "logits/kernel" else 3.0)
            if weight.dim() == 1:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return generator


GREEDY = 1e-6
"""Temperature at which logits that differ by 1e-4 are 100 apart, and no noise decides between them."""


def check_decoding(draw, temperature, num_drawn, seed):
    """26: a sampler draws the tokens of full prefixes, greedy ones while the first two are not as good."""
    generator = outspoken()
    ids = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 2, 1])
    uniforms_TBV = torch.rand(num_drawn, 4, 40, generator=torch.Generator().manual_seed(seed))
    wanted_BT, ours_BT = (each(generator, *ids, uniforms_TBV, temperature) for each in (sample_sequences, draw))
    assert ours_BT.shape == wanted_BT.shape
    assert (ours_BT[:, 0] == 1).all()
    counted_BT = np.ones(wanted_BT.shape, dtype=bool)
    if temperature == GREEDY:
        logits_BTV = generator(wanted_BT, *ids).detach().numpy()
        second, first = np.moveaxis(np.sort(logits_BTV)[..., -2:], -1, 0)
        counted_BT[:, 1:] = np.logical_and.accumulate(first - second > 1e-4, 1)[:, :-1]
        assert counted_BT.mean() > 0.5
    assert np.array_equal(ours_BT.numpy()[counted_BT], wanted_BT.numpy()[counted_BT])


decoding = holds(
    check_decoding,
    strategies.st.sampled_from([1.0, 0.5, GREEDY]),
    strategies.few(9).map(lambda number: number + 2),
    strategies.seeds(),
    max_examples=10,
)


def test_26_incremental_decoding_draws_what_full_prefixes_draw():
    decoding(incremental_sequences)


def test_26_merged_products_draw_what_full_prefixes_draw():
    decoding(merged_sequences)


def test_few_tokens_of_many_ids_are_drawn_without_the_table_of_all_ids(monkeypatch):
    trainer, made = build("fastest", **QUIET), []
    monkeypatch.setattr(
        fastest, "merged_sequences", lambda *given, **more: made.append(given) or merged_sequences(*given, **more)
    )
    num_ids = trainer.config.vocabulary_size
    assert num_ids > 4
    for num_sequences in (1, num_ids):
        ids_B = torch.zeros(num_sequences, dtype=torch.int64)
        uniforms_TBV = torch.rand(1, num_sequences, num_ids)
        ours_BT = trainer.fakes(ids_B, ids_B, uniforms_TBV, 1.0)
        assert torch.equal(ours_BT, sample_sequences(trainer.generator, ids_B, ids_B, uniforms_TBV, 1.0))
    assert [len(characters_B) for _, characters_B, *_ in made] == [num_ids]


def test_26_the_compiled_sampler_draws_what_full_prefixes_draw():
    if not compiles_for(torch.device("cpu")):
        pytest.skip("needs a C++ compiler")
    draw = functools.partial(merged_sequences, step=compile_each_size(next_token))
    for temperature in (1.0, 0.5, GREEDY):
        check_decoding(draw, temperature, 9, seed=5)


def forgotten_state(patch):
    """The second LSTM forgets."""
    real, calls = torch.lstm_cell, []

    def forgetting(values, state, *weights):
        calls.append(None)
        return real(values, state if len(calls) % 2 else tuple(map(torch.zeros_like, state)), *weights)

    patch.setattr(torch, "lstm_cell", forgetting)


def forgotten_cells(patch):
    """The second LSTM forgets, of merged products."""
    real, calls = sampling._cell, []

    def forgetting(gates, cells):
        calls.append(None)
        return real(gates, cells if len(calls) % 2 else torch.zeros_like(cells))

    patch.setattr(sampling, "_cell", forgetting)


def other_noise(patch):
    """The draws of all tokens, or of all sequences, with the numbers of the first."""
    real = sampling.gumbel_noise
    patch.setattr(sampling, "gumbel_noise", lambda uniforms: real(uniforms[:1].expand_as(uniforms)))


def untold(patch):
    """Nobody says who speaks."""
    real = model.Generator.conditions
    patch.setattr(model.Generator, "conditions", lambda *arguments: 0 * real(*arguments))


FAULTS = [
    (forgotten_state, incremental_sequences),
    (other_noise, incremental_sequences),
    (untold, incremental_sequences),
    (forgotten_cells, merged_sequences),
    (other_noise, merged_sequences),
    (untold, merged_sequences),
]


@pytest.mark.parametrize(("plant", "draw"), FAULTS)
def test_26_notices_a_fault(plant, draw):
    def faulty(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            return draw(*arguments)

    assert fails(decoding, faulty)


# --- 36 ---


def figures(trainer, phase):
    """Figures of the first steps of a phase."""
    trainer.train_steps(NUM_STEPS, phase)
    return dict(trainer.metrics)


def assert_alike(ours, theirs, rtol):
    assert ours.keys() == theirs.keys()
    for name, series in theirs.items():
        # A policy gradient's loss passes through zero; what is left there is rounding.
        assert ours[name] == pytest.approx(series, rel=rtol, abs=rtol), name


def of_single_steps(ours, reference, phase):
    """Figures of both sides' steps, each from the state that the reference has come to."""
    for _ in range(NUM_STEPS):
        ours.load_state(reference.state())
        for trainer in (ours, reference):
            trainer.train_steps(1, phase)
        yield dict(ours.metrics), dict(reference.metrics)


def check_agreement(kind, overrides, settings, seed, phase):
    """36: the figures of every step agree, whichever switches are on, and training changed the weights."""
    arguments = {"seed": seed, **QUIET, **RATES, **overrides}
    reference = build("reference", **arguments)
    ours = build("fastest", switches=settings, **arguments)
    ours.__class__ = kind
    start = ours.state()
    if settings["bfloat16"]:
        # What rounding to so few bits makes of an update, and that of the next, is not bounded.
        for one, other in of_single_steps(ours, reference, phase):
            assert_alike(one, other, ROUNDED)
    else:
        assert_alike(figures(ours, phase), figures(reference, phase), FLOAT32)
    trained = {"generator_pretraining": ["generator"], "discriminator_pretraining": ["discriminator"]}
    for part in trained.get(phase, ["generator", "discriminator"]):
        after = ours.state()[part]
        for name, before in start[part].items():
            is_told = ours.config.conditional or not name.startswith(("character", "scene"))
            assert np.array_equal(before, after[name]) != is_told, name


# Compiling takes longer than these tests; property 26 looks at the compiled sampler.
UNCOMPILED_SWITCHES = [switch for switch in TWIN_SWITCHES if switch.name != "compiled_sampler"]

agreement = holds(
    check_agreement,
    strategies.tiny_dialogue_overrides(),
    strategies.switch_subsets(UNCOMPILED_SWITCHES),
    strategies.seeds(),
    strategies.st.sampled_from(PHASES),
    max_examples=12,
)


def test_36_any_subset_of_the_switches_agrees_with_the_reference():
    agreement(FastestTrainer)


class SwappedMasks(FastestTrainer):
    """Gives the real sequences the masks of the fake ones."""

    def judged(self, real_BT, fake_BT, draws):
        return super().judged(real_BT, fake_BT, draws._replace(real=draws.fake, fake=draws.real))


class NoDropout(FastestTrainer):
    """Leaves the generator's dropout out."""

    def logits(self, inputs, masks):
        return super().logits(inputs, [torch.ones_like(mask) for mask in masks])


class OneSeed(FastestTrainer):
    """Draws the same in all steps."""

    def uniforms(self, phase, num_sequences):
        epoch, _ = self._positions[phase]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(self._positions, phase, (epoch, 0))
            return super().uniforms(phase, num_sequences)


class Backwards(FastestTrainer):
    """Files the figures in the wrong order."""

    def _file(self, figures_F):
        super()._file(figures_F[::-1])


class Idle(FastestTrainer):
    """Evaluates the losses, and never steps."""

    def _train_batch(self, phase, batch):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(KerasAdam, "step", lambda _: None)
            super()._train_batch(phase, batch)


@pytest.mark.parametrize("kind", [SwappedMasks, NoDropout, OneSeed, Backwards, Idle])
def test_36_notices_a_fault(kind):
    assert fails(agreement, kind)


def test_36_losses_that_are_deferred_are_the_same_to_the_bit():
    found = []
    for deferred in (False, True):
        trainer = build("fastest", switches={"deferred_metrics": deferred}, seed=4, **QUIET, **RATES)
        for train in (
            functools.partial(trainer.train_steps, 3),
            trainer.train_epoch,
            functools.partial(trainer.train_steps, trainer.num_batches + 1),
        ):
            train("adversarial")
            found.append((deferred, trainer.metrics, trainer.epoch_losses("adversarial")))
        found.append((deferred, trainer.state()))
    half = len(found) // 2
    for (_, *single), (_, *together) in zip(found[:half], found[half:], strict=True):
        assert same(single, together)


# --- One operation over all weights is one for each ---


def check_optimizers(kind, clipnorm, seed, scale, num_steps):
    """Weights and moments after some steps are those of `KerasAdam`, with gradients under and over the limit."""
    networks = [model.Discriminator(build("reference", **QUIET).config) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    ours, theirs = kind(networks[0], "d", 0.01, clipnorm), KerasAdam(networks[1], "d", 0.01, clipnorm)
    random = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        for one, other in zip(ours.weights, theirs.weights, strict=True):
            one.grad = torch.randn(one.shape, generator=random) * scale
            other.grad = one.grad.clone()
        for network in networks:
            # Rows that came twice: the squares are half those of the sum.
            network.token_embedding.squares.copy_(network.token_embedding.weight.grad.square() / 2)
        ours.step()
        theirs.step()
    for one, other in zip(ours.tensors(), theirs.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


same_optimizer = holds(
    check_optimizers,
    strategies.st.sampled_from([0.5, 1.0, 3.0]),
    strategies.seeds(),
    strategies.st.sampled_from([1e-6, 0.01, 1.0, 100.0]),
    strategies.few(3),
    max_examples=15,
)


def test_an_update_of_all_weights_at_once_is_that_of_each():
    same_optimizer(ForeachAdam)


class Unclipped(ForeachAdam):
    """Takes gradients as they are."""

    def _update(self, *arguments):
        self.clipnorm = 1e30
        super()._update(*arguments)


class OtherEpsilon(ForeachAdam):
    """Adds the epsilon where PyTorch's Adam does."""

    def _update(self, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimizer, "_EPSILON", 1e-7 * 0.001**0.5)
            super()._update(*arguments)


class SquaredSums(ForeachAdam):
    """Squares an embedding's gradient as any other."""

    def _squares(self, gradients):
        return [gradient.square() for gradient in gradients]


@pytest.mark.parametrize("kind", [Unclipped, OtherEpsilon, SquaredSums])
def test_another_update_is_noticed(kind):
    assert fails(same_optimizer, kind)


def test_a_step_without_gradients_or_with_a_closure_is_refused():
    adam = KerasAdam(build("reference", **QUIET).discriminator, "discriminator", 0.01, 1.0)
    with pytest.raises(ValueError, match="every weight needs a gradient"):
        adam.step()
    assert int(adam.iteration) == 0


# --- 37 ---


# With these the optimized tier computes what the others do; compiling would take longer than these tests.
NEUTRAL = {"temp_start": 1.0, "temp_end": 1.0, "gradient_clip": float("inf")}
UNCOMPILED = {"optimized": {"compiled_steps": False}}


def check_states(build, seed, num_steps, first, then):
    """37: the state of any tier loads into any other key for key and bit for bit, and both go on alike."""
    one, other = (
        build(tier, seed=seed + number, switches=UNCOMPILED.get(tier), **QUIET, **RATES, **NEUTRAL)
        for number, tier in enumerate((first, then))
    )
    for phase in PHASES:
        one.train_steps(num_steps, phase)
    state = one.state()
    other.load_state(state)
    assert_same_tree(other.state(), state)
    for trainer in (one, other):
        trainer.train_steps(2, "adversarial")
    ours, theirs = (
        {name: value for name, value in trainer.metrics.items() if name != "temperature"} for trainer in (other, one)
    )
    assert_alike(ours, theirs, FLOAT32)


tiers = strategies.st.sampled_from(FAMILY.tiers)
states = holds(check_states, strategies.few_seeds(), strategies.few(3), tiers, tiers, max_examples=12)


def test_37_the_state_of_either_tier_loads_into_the_other_key_for_key():
    states(build)


@pytest.mark.parametrize("lost", ["momentums", "velocities", "iteration"])
def test_37_notices_what_is_lost(lost):
    def forgetful(tier, **arguments):
        trainer = build(tier, **arguments)
        real = trainer.generator_optimizer.set_values

        def forget(values):
            real(values)
            kept = getattr(trainer.generator_optimizer, lost)
            for tensor in kept if isinstance(kept, list) else [kept]:
                tensor.zero_()

        trainer.generator_optimizer.set_values = forget
        return trainer

    assert fails(states, forgetful)


# --- Where there is CUDA ---


@pytest.mark.gpu
def test_36_a_captured_batch_is_what_its_kernels_are_one_by_one():
    """With the last batch of an epoch, which is smaller, and over the end of an epoch."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    arguments = {"seed": 4, "device": "cuda", **QUIET, **RATES}
    trainers = [
        build("fastest", switches={"cuda_graphs": captured, "bfloat16": False}, **arguments)
        for captured in (False, True)
    ]
    for phase in PHASES:
        for _ in range(trainers[0].num_batches + 2):
            trainers[1].load_state(trainers[0].state())
            for trainer in trainers:
                trainer.train_steps(1, phase)
            assert_alike(dict(trainers[1].metrics), dict(trainers[0].metrics), FLOAT32)
    assert len(trainers[0].data.train) % trainers[0].config.batch_size, "the last batch is smaller than the others"
    assert len(trainers[1]._captured) == 2 * len(PHASES)


@pytest.mark.gpu
def test_36_the_tiers_agree_on_a_gpu_too():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    arguments = {"seed": 4, "device": "cuda", **QUIET, **RATES}
    reference, ours = build("reference", **arguments), build("fastest", **arguments)
    for phase in PHASES:
        for one, other in of_single_steps(ours, reference, phase):
            assert_alike(one, other, ROUNDED)
