"""Documents 000 to 002: the dialogue GAN before and after its six changes, in all three phases.

The documents show a training whose steps are graphs already, and state the problem of one without; both are here. The
fakes are sampled operation by operation on either side, as the documents left it.
"""

import math
from dataclasses import replace
from functools import partial
from statistics import mean

import pytest

from bench.harness.dialogue import PhasesSide, poisoned_steps, weights_are_finite
from bench.harness.estimates import mean_change, paired_difference
from speedclaims.recorders.memory import call_memory
from speedclaims.recorders.nvml.devices import gpu_environment
from speedclaims.recorders.syncs.tensorflow import counting_syncs
from trainers.dialogue_gan.phased_trainer import SERIES

PRETRAINING_STEPS = 8
QUICK = {"tiny": {"sequence_length": 3}, "smoke": {"sequence_length": 8}, "default": {}}
"""Shorter sequences, of which a sampler that runs operation by operation makes enough for an interval."""

SHORT = {"tiny": {"sequence_length": 3}, "smoke": {"sequence_length": 4, "num_lines": 4}, "default": {}}
"""Sequences half as long and fewer lines of dialogue, for what needs whole epochs."""

LIVELY = {
    "tiny": {"sequence_length": 3},
    "smoke": {"sequence_length": 4, "learning_rate_g": 1e-3, "learning_rate_d": 1e-3},
    "default": {},
}
"""Ten times the learning rates of the documents, where few batches of short sequences have to change the networks."""

PROPORTIONS = {"tiny": (1, 1, 5), "smoke": (1, 1, 5), "default": (5, 3, 20)}
"""Batches of each phase in the proportion of their epochs, 5 to 3 to 20; rounded where they are few."""

GRAPHS = {"graph_steps": True}

VARIANTS = {"published": "published", "done right": "optimized"}
"""The tier of each of the ledger's variants."""


@pytest.fixture
def quick(dialogue_gan, preset):
    """Pairs whose adversarial batches take less time."""
    return dialogue_gan.built_with(**QUICK[preset])


@pytest.fixture
def short(dialogue_gan, preset):
    """Pairs whose epochs take less time."""
    return dialogue_gan.built_with(**SHORT[preset])


# --- The whole, as the documents have it ---


OF_A_BATCH = ("dialogue-gan.batch", "dialogue-gan.overall", "dialogue-gan.overall-speed", "dialogue-gan.utilization")


@pytest.mark.speedup_long(2)
@pytest.mark.speedup_passes("gpu")
@pytest.mark.speedup_claim(*OF_A_BATCH, variant="published")
def test_adversarial_batch_as_published(quick):
    """An adversarial batch of the program after the documents as published against one before the changes."""
    quick.steps(before=quick.reference(), after=quick.published(), num_steps=1)


@pytest.mark.speedup_long(2)
@pytest.mark.speedup_passes("syncs", "gpu", "profile")
@pytest.mark.speedup_claim(*OF_A_BATCH, variant="done right")
@pytest.mark.speedup_claim("dialogue-gan.utilization-before")
def test_adversarial_batch(quick):
    """An adversarial batch with all six changes against one as the documents show it before them."""
    quick.steps(before=quick.reference(), after=quick.optimized(), num_steps=1)


@pytest.mark.speedup_long(3)
@pytest.mark.speedup_passes("cold", "profile")
def test_fastest_adversarial_batch(dialogue_gan):
    """An adversarial batch with the reference's work and mathematics in the fastest tier, against the reference's."""
    dialogue_gan.steps(before=dialogue_gan.reference(), after=dialogue_gan.fastest(), num_steps=1)


@pytest.mark.speedup_long(3)
def test_adversarial_batch_by_the_clock_of_the_host(dialogue_gan):
    """The same batch timed as document 000 times it: by the host's clock, without waiting for the device."""
    dialogue_gan.steps(
        before=dialogue_gan.reference(), after=dialogue_gan.optimized(), num_steps=1, synchronize=lambda: None
    )


@pytest.mark.speedup_long(2)
@pytest.mark.speedup_claim("dialogue-gan.epoch", variant="published")
def test_adversarial_epoch_as_published(short):
    """An adversarial epoch of the published program, its figures fetched one by one, against one before the changes."""
    short.epochs(before=short.reference(), after=short.published())


@pytest.mark.speedup_long(2)
@pytest.mark.speedup_claim("dialogue-gan.epoch", variant="done right")
def test_adversarial_epoch(short):
    """An adversarial epoch with all six changes, validation and summary in it, against one before them."""
    short.epochs(before=short.reference(), after=short.optimized())


@pytest.fixture
def whole_trainings(short, preset):
    """Pairs that train batches of all phases in the proportion of their epochs."""
    return of_all_phases(short, preset)


def of_all_phases(bench, preset):
    """Return pairs with batches of all phases in a call."""
    return replace(bench, kind=partial(PhasesSide, num_batches=PROPORTIONS[preset]))


@pytest.mark.speedup_long(4)
@pytest.mark.speedup_claim("dialogue-gan.total", "dialogue-gan.total-of-three-to-four", variant="published")
def test_whole_training_as_published(whole_trainings):
    """Batches of all three phases of the published program against those before the changes."""
    whole_trainings.epochs(before=whole_trainings.reference(), after=whole_trainings.published())


@pytest.mark.speedup_long(4)
@pytest.mark.speedup_claim("dialogue-gan.total", "dialogue-gan.total-of-three-to-four", variant="done right")
def test_whole_training(whole_trainings):
    """Batches of all three phases in the proportion of a whole training."""
    whole_trainings.epochs(before=whole_trainings.reference(), after=whole_trainings.optimized())


def test_generator_pretraining(dialogue_gan):
    """Batches of the generator's pre-training, all changes against none."""
    bench = dialogue_gan.of_phase("generator_pretraining")
    bench.steps(before=bench.reference(), after=bench.optimized(), num_steps=PRETRAINING_STEPS)


def test_discriminator_pretraining(quick):
    """A batch of the discriminator's pre-training, all changes against none."""
    bench = quick.of_phase("discriminator_pretraining")
    bench.steps(before=bench.reference(), after=bench.optimized(), num_steps=1)


# --- Each change on its own, where its effect is largest: without the sampler, most of an adversarial batch ---


@pytest.mark.speedup_claim("dialogue-gan.deferred-metrics", "dialogue-gan.numpy-in-loop")
def test_deferred_metrics(dialogue_gan):
    """Losses that stay on the device against `.numpy()` after every batch, nothing else changed."""
    bench = dialogue_gan.of_phase("generator_pretraining")
    bench.steps(
        before=bench.restructured(**GRAPHS), after=bench.restructured(**GRAPHS, deferred_metrics=True),
        num_steps=PRETRAINING_STEPS,
    )  # fmt: skip


def test_graph_steps(dialogue_gan):
    """Train steps as graphs (tf.function) against the same operation by operation, as the problem is stated."""
    bench = dialogue_gan.of_phase("generator_pretraining")
    bench.steps(before=bench.restructured(), after=bench.restructured(**GRAPHS), num_steps=PRETRAINING_STEPS)


def test_graph_steps_of_an_adversarial_batch(quick):
    """An adversarial batch with graphs for its train steps against one operation by operation throughout."""
    quick.steps(before=quick.restructured(), after=quick.restructured(**GRAPHS), num_steps=1)


@pytest.mark.parametrize("interval", [1, 2, 4])
def test_discriminator_interval(quick, interval):
    """The discriminator trained at an interval of batches, against every batch."""
    bench = quick.built_with(d_train_interval=interval)
    bench.steps(
        before=bench.restructured(**GRAPHS), after=bench.restructured(**GRAPHS, discriminator_interval=True),
        num_steps=interval, work="different" if interval > 1 else "same",
    )  # fmt: skip


def test_clipping_and_nan_skip(dialogue_gan):
    """Updates clipped by their global norm and left out where it is not finite, against updates as they are."""
    bench = dialogue_gan.of_phase("generator_pretraining")
    bench.steps(
        before=bench.restructured(**GRAPHS),
        after=bench.restructured(**GRAPHS, global_norm_clipping=True, nan_skip=True),
        num_steps=PRETRAINING_STEPS,
    )  # fmt: skip


def test_device_accuracy(quick):
    """The discriminator's accuracy left on the device against `.numpy()` after every batch."""
    quick.steps(
        before=quick.restructured(**GRAPHS), after=quick.restructured(**GRAPHS, device_accuracy=True),
        num_steps=1,
    )  # fmt: skip


def test_temperature_schedule(quick):
    """Logits divided by a temperature, a tensor, against logits as they are."""
    quick.steps(
        before=quick.restructured(**GRAPHS),
        after=quick.restructured(**GRAPHS, temperature_schedule=True),
        num_steps=1, work="different",
    )  # fmt: skip


@pytest.mark.speedup_long(3)
def test_temperature_as_a_tensor(short, pair):
    """Epochs at falling temperatures: passed as a tensor, against the documents' Python number, traced every epoch."""
    on = {**GRAPHS, "temperature_schedule": True}
    before, after = short.restructured(**on, python_float_temperature=True), short.restructured(**on)
    # Not put back to the start between rounds: only from epoch to epoch does the temperature fall.
    pair(before=before, after=after, equivalent=short.same_losses(before, after))


@pytest.mark.parametrize("kind", ["tensor", "python number"])
def test_traces_over_epochs(short, figure, kind):
    """Graphs of the generator's step that are traced in four adversarial epochs."""
    on = {**GRAPHS, "temperature_schedule": True, "python_float_temperature": kind != "tensor"}
    trainer = short.restructured(**on).trainer
    counts = []
    for _ in range(4):
        trainer.train_steps(1, "adversarial")
        counts.append(trainer.num_traces)
        trainer.train_epoch("adversarial")
    # the first batch traces the discriminator's step too, once
    figure(counts[-1] - counts[0] + 1, exact=True, unit="traces", details=[f"temperature as a {kind}"])


def test_restructured(quick):
    """The optimized trainer with every switch off but graphs against the reference: what rewriting alone changes."""
    quick.steps(before=quick.reference(), after=quick.restructured(**GRAPHS), num_steps=1)


@pytest.mark.speedup_long(4)
@pytest.mark.speedup_control
def test_control(quick):
    """Two separately built reference trainers: what identical code differs by on this machine."""
    quick.steps(before=quick.reference(), after=quick.reference(), num_steps=1)


# --- What is counted, and what is learned ---

MOST_BATCHES = 10


def count_syncs(side, *, num_batches=None):
    """Count what the trainer's own code asks the device for in some batches of an epoch, or in a whole epoch."""
    trainer = side.trainer
    trainer.train_steps(1, "adversarial")  # tracing asks for values of its own
    side.reset()
    with counting_syncs() as syncs:
        if num_batches is None:
            trainer.train_epoch("adversarial")
        else:
            trainer.train_steps(num_batches, "adversarial")
    return syncs


def syncs_a_batch(side):
    """Return how often the loop over the batches asks for a value, a batch, and of how many batches that is."""
    num_batches = min(MOST_BATCHES, side.trainer.num_batches)
    return count_syncs(side, num_batches=num_batches).own.total() / num_batches, num_batches


@pytest.mark.parametrize("tier", ["reference", "published", "optimized", "fastest"])
def test_synchronizations(quick, figure, tier):
    """Values that the trainer's own code asks the device for, an adversarial batch."""
    side = getattr(quick, tier)()
    value, num_batches = syncs_a_batch(side)
    syncs = count_syncs(side)
    lines = [f"{place.rpartition('/')[2]} {count}" for place, count in syncs.own.most_common()]
    details = [
        f"of {num_batches} batches",
        f"in an epoch of {side.trainer.num_batches}, validation included, {syncs.own.total()}, by line: "
        + ", ".join(lines),
        f"made inside the frameworks: {syncs.internal} an epoch",
    ]
    figure(value, exact=True, unit="a batch", details=details)


@pytest.mark.speedup_claim("dialogue-gan.gpu-memory")
def test_peak_memory_as_a_share_of_the_gpus(dialogue_gan, tensorflow_device, figure):
    """The memory at the peak of an adversarial batch with all six changes, as a share of the GPU's."""
    record_share_of_memory(dialogue_gan.optimized(), tensorflow_device, figure)


@pytest.mark.speedup_claim("dialogue-gan.gpu-memory-before")
def test_peak_memory_before_as_a_share_of_the_gpus(dialogue_gan, tensorflow_device, figure):
    """The memory at the peak of an adversarial batch before the changes, as a share of the GPU's."""
    record_share_of_memory(dialogue_gan.reference(), tensorflow_device, figure)


def record_share_of_memory(side, tensorflow_device, figure):
    """Record the memory at the peak of an adversarial batch as a share of the GPU's."""
    if tensorflow_device == "cpu":
        figure(None, unit="% of the GPU's memory", reason="no GPU took part")
        return
    side.num_steps = 1
    side()
    gpus = gpu_environment()
    if not gpus:
        figure(None, unit="% of the GPU's memory", reason="NVML does not say how much memory the GPU has")
        return
    peak = call_memory(tensorflow_device, side)["peak"]["value"]
    details = ["TensorFlow's own count, without what its allocator keeps in reserve"]
    figure(100 * peak / gpus[0]["memory_bytes"], exact=True, unit="% of the GPU's memory", details=details)


@pytest.mark.parametrize(
    "tier",
    [
        "reference",
        *(
            pytest.param(tier, marks=pytest.mark.speedup_claim("dialogue-gan.memory-transfers", variant=variant))
            for variant, tier in VARIANTS.items()
        ),
    ],
)
def test_figures_in_a_copy_from_the_device(quick, figure, tier):
    """Figures of an adversarial epoch's batches for each copy from the device, printed lines and all else included."""
    side = getattr(quick, tier)()
    trainer = side.trainer
    trainer.train_steps(1, "adversarial")  # tracing asks for values of its own
    side.reset()
    with counting_syncs() as syncs:
        trainer.train_steps(trainer.num_batches, "adversarial")
        num_values = sum(len(values) for name, values in trainer.metrics.items() if name in SERIES["adversarial"])
    num_copies = syncs.own.total()
    details = [f"{num_copies} copies for {num_values} figures, in an epoch of {trainer.num_batches} batches"]
    figure(num_values / num_copies, exact=True, unit="figures a copy", details=details)


@pytest.mark.speedup_claim("dialogue-gan.syncs", variant="published")
def test_fewer_synchronizations_as_published(quick, figure):
    """How many times fewer values the loop of the published program asks the device for."""
    record_fewer_syncs(quick.reference(), quick.published(), figure)


@pytest.mark.speedup_claim("dialogue-gan.syncs", variant="done right")
def test_fewer_synchronizations(quick, figure):
    """How many times fewer values the loop over the batches asks the device for."""
    record_fewer_syncs(quick.reference(), quick.optimized(), figure)


def record_fewer_syncs(reference, side, figure):
    """Count how many times fewer values a side's loop over the batches asks the device for than the reference's."""
    before, after = (syncs_a_batch(each)[0] for each in (reference, side))
    if after == 0:
        figure(None, reason=f"nothing is asked for in so few batches ({before:g} a batch before)")
    else:
        figure(before / after, exact=True, details=[f"{before:g} a batch before, {after:g} after"])


@pytest.mark.parametrize(
    "tier",
    [
        "reference",
        *(
            pytest.param(
                tier,
                marks=pytest.mark.speedup_claim(
                    "dialogue-gan.nan", "dialogue-gan.nan-crashes", "dialogue-gan.training-failures",
                    "dialogue-gan.stable-training", "dialogue-gan.overall-stability", variant=variant,
                ),
            )
            for variant, tier in VARIANTS.items()
        ),
    ],
)  # fmt: skip
def test_gradients_that_are_not_finite(quick, figure, tier):
    """Trainings whose weights are spoilt by a NaN or an infinity in the gradients of one step."""
    spoilt = []
    for phase in ("generator_pretraining", "adversarial"):
        for value in (math.nan, math.inf):
            side = getattr(quick, tier)()
            poisoned_steps(side.trainer, phase, value)
            spoilt += [] if weights_are_finite(side.trainer) else [f"{value} in {phase.replace('_', ' ')}"]
            side.close()
    figure(len(spoilt), exact=True, unit="of 4 faults", details=[f"spoilt by: {', '.join(spoilt) or 'none'}"])


@pytest.mark.speedup_claim("dialogue-gan.convergence", "dialogue-gan.converges-faster")
def test_annealing_and_the_validation_loss(short, figure):
    """Validation loss of the generator after an adversarial epoch at temperature 2, against none, over paired seeds."""

    def reached(seed: int, *, side) -> float:
        begin_at(seed, short, side)
        side.trainer.train_epoch("generator_pretraining")
        side.trainer.train_epoch("adversarial")
        return side.trainer.metrics["val_loss"]

    before, after = short.restructured(**GRAPHS), short.restructured(**GRAPHS, temperature_schedule=True)
    found = paired_difference(partial(reached, side=before), partial(reached, side=after))
    found["details"].append("an epoch of the generator's pre-training, then one adversarial epoch")
    figure(**found, work="different")


@pytest.mark.speedup_claim("dialogue-gan.stable-accuracy")
def test_stability_of_the_discriminators_accuracy(dialogue_gan, preset, figure):
    """Change of the discriminator's accuracy from batch to batch, all six changes against none, over paired seeds."""
    bench = dialogue_gan.built_with(**LIVELY[preset])
    before, after = bench.reference(), bench.optimized()
    num_batches = min(MOST_BATCHES, before.trainer.num_batches)

    def reached(seed: int, *, side) -> float:
        begin_at(seed, bench, side)
        for phase in ("discriminator_pretraining", "adversarial"):
            side.trainer.train_steps(num_batches, phase)
        return mean_change(side.trainer.metrics["discriminator_accuracies"])

    found = paired_difference(partial(reached, side=before), partial(reached, side=after), num_seeds=5)
    found["details"].append(f"{num_batches} adversarial batches, after as many of the discriminator's pre-training")
    figure(**found, work="different")


def begin_at(seed, bench, side):
    """Put a side at the beginning of the training of a seed."""
    starting = bench.build("reference", None, seed=seed)
    side.trainer.load_state(starting.state())
    starting.close()


@pytest.mark.speedup_claim("dialogue-gan.same-losses")
def test_all_changes_as_documented_compute_the_same(quick, figure):
    """Losses of the first steps that differ from the reference's by more than 1e-5, all six changes as documented."""
    steps = quick.parity_steps
    losses = [side.first_losses(steps) for side in (quick.reference(), quick.optimized())]
    pairs = [pair for both in zip(*losses, strict=True) for pair in zip(*both, strict=True)]
    differ = [abs(after / before - 1) for before, after in pairs if not math.isclose(before, after, rel_tol=1e-5)]
    details = [f"of {len(pairs)}"] + ([f"by {mean(differ):.1%} in the mean"] if differ else [])
    figure(len(differ), exact=True, unit="losses", work="different", details=details)
