"""Properties 34 and 36 to 38 of the fastest tiers that run on PyTorch; each with planted faults."""

import contextlib
import itertools
import math

import pytest
import torch

from tests import strategies
from tests.properties.controls import fails, forgetting, holds
from tests.states import assert_same_tree, leaves, same
from trainers import family
from trainers.common import checkpoint
from trainers.pytorch.devices import compiles_for
from trainers.tabular_regressor import fastest as tabular
from trainers.tabular_regressor.fused_gradient import can_fuse
from trainers.text_to_image import fastest as image

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

FAMILIES = {name: family(name) for name in ("tabular_regressor", "text_to_image")}
BASES = {"tabular_regressor": tabular.FastestTrainer, "text_to_image": image.FastestTrainer}
OVERRIDES = {
    "tabular_regressor": strategies.tiny_regressor_overrides(),
    "text_to_image": strategies.tiny_dcgan_overrides(),
}
LOSSES = ("train_losses", "discriminator_losses", "generator_losses")
NETWORKS = ("model", "generator", "discriminator")
OPTIMIZERS = ("optimizer", "generator_optimizer", "discriminator_optimizer")
STEPS_FROM_ONE_STATE = 2
"""See `Bench.resync_every`: training magnifies any rounding."""

both_families = pytest.mark.parametrize("name", FAMILIES)


def switches_of(name, *, but=()):
    return [switch for switch in FAMILIES[name].switches["fastest"] if switch.name not in but]


def compiled(name):
    """Switches that need a compiler, and minutes of it."""
    return [switch.name for switch in switches_of(name) if switch.name.startswith("compiled")]


def make(name, tier="fastest", kind=None, *, switches=None, **arguments):
    if tier == "fastest":
        switches = {**{switch.name: False for switch in switches_of(name)}, **(switches or {})}
    with pytest.MonkeyPatch.context() as patch:
        # Before it is built, for the switches bind methods of the class.
        patch.setattr(f"trainers.{name}.fastest.FastestTrainer", kind or BASES[name])
        return FAMILIES[name].build(
            tier, **{"preset": "tiny", "switches": switches, "log": lambda _: None, **arguments}
        )


def losses(trainer):
    return [trainer.metrics[each] for each in LOSSES if each in trainer.metrics]


def parts(trainer, names):
    state = trainer.state()
    return {name: state[name] for name in names if name in state}


# --- 36 ---


class Twice(image.FastestTrainer):
    """Normalizes images that are normalized already."""

    def _normalized(self, bytes_BCHW):
        return super()._normalized(super()._normalized(bytes_BCHW))


class JoinedNorms(image.FastestTrainer):
    """Lets a BatchNorm see the joined passes' images as one batch."""

    def _joined_discriminator_loss(self, images_BCHW, wrong_B, fakes_BCHW, texts_BE):
        logits_G = self.discriminator.image(torch.cat([images_BCHW, images_BCHW[wrong_B], fakes_BCHW]))
        entropy = image.entropy_of_probabilities
        passes = [self.discriminator.logits(each, texts_BE) for each in logits_G.chunk(3)]
        return entropy(passes[0], 1.0) + entropy(passes[1], 0.0) + entropy(passes[2], 0.0)

    _discriminator_loss = _joined_discriminator_loss


class Pruned(image.FastestTrainer):
    """Prunes gradients that somebody does use."""

    def _update(self, batch):
        kept = next(self.generator.parameters())
        before = kept.detach().clone()
        found = super()._update(batch)
        kept.data.copy_(before)
        return found


class OffByOne(tabular.FastestTrainer):
    """Takes the row after the one it should."""

    def _next_batch(self):
        features_BF, targets_BK = super()._next_batch()
        return features_BF.roll(1, 0), targets_BK


class Unclipped(tabular.FastestTrainer):
    """Leaves the gradients as they are."""

    def _update(self, features_BF, targets_BK):
        self.config, config = self.config.replace(clip_norm=float("inf")), self.config
        try:
            return super()._update(features_BF, targets_BK)
        finally:
            self.config = config


def check_agreement(name):
    def check(kind, overrides, settings, seed):
        """36: losses agree to the weakest parity that is on, and training changed all weights."""
        on = [switch for switch in switches_of(name) if settings.get(switch.name)]
        rtol = max((switch.rtol for switch in on if switch.parity == "close"), default=0.0)
        arguments = {"seed": seed, **overrides}
        reference, ours = make(name, "reference", **arguments), make(name, kind=kind, switches=settings, **arguments)
        start = parts(ours, NETWORKS)
        for _ in range(4):
            ours.load_state(reference.state())
            for trainer in (reference, ours):
                trainer.train_steps(STEPS_FROM_ONE_STATE)
            for theirs, found in zip(losses(reference), losses(ours), strict=True):
                assert len(found) == STEPS_FROM_ONE_STATE
                assert all(map(math.isfinite, found))
                assert found == (pytest.approx(theirs, rel=rtol) if rtol else theirs)
        if not rtol:
            assert_same_tree(reference.state(), ours.state())
        for network, weights in parts(ours, NETWORKS).items():
            assert not any(map(torch.equal, start[network].values(), weights.values()))

    but = ("bfloat16", "fused_gradient", *compiled(name))  # the second does nothing without the first
    settings = strategies.switch_subsets(switches_of(name, but=but))
    return holds(check, OVERRIDES[name], settings, strategies.seeds(), max_examples=10)


@both_families
def test_36_any_subset_of_the_switches_agrees_with_the_reference(name):
    check_agreement(name)(None)


@pytest.mark.parametrize("kind", [Twice, JoinedNorms, Pruned])
def test_36_notices_a_fault_of_text_to_image(kind):
    assert fails(check_agreement("text_to_image"), kind)


@pytest.mark.parametrize("kind", [OffByOne, Unclipped])
def test_36_notices_a_fault_of_the_tabular_regressor(kind):
    assert fails(check_agreement("tabular_regressor"), kind)


# --- 34 ---

WIDE = {
    "tabular_regressor": {"hidden_size": 64, "batch_size": 64},
    "text_to_image": {"image_size": 16, "width": 8, "batch_size": 16},
}


class LightPixels(image.FastestTrainer):
    """Weighs the pixels' distance 2% too low."""

    def _generator_loss(self, *batch):
        weights = self.loss_weights
        self.loss_weights = weights | {"l1_weight": 0.98 * weights["l1_weight"]}
        try:
            return super()._generator_loss(*batch)
        finally:
            self.loss_weights = weights


class HalfTheBlocks(tabular.FastestTrainer):
    """Has the right loss, and a gradient of the last layer alone."""

    def _mixed_outputs(self, features_BF):
        with torch.autocast("cpu", torch.bfloat16):
            hidden_BH = self.model.layers(self.model.input_norm(self.model.input_proj(features_BF))).float()
        return self.model.output_proj(hidden_BH.detach()).view(-1, self.model.num_targets, 3)


def gradients_of(trainer, network):
    """Gradients of a network's weights, which may lie in one buffer; zeros where there is none."""
    flat = getattr(trainer, "_flat", None)
    if flat is not None:
        return [flat.buffer_W.grad]
    weights = getattr(trainer, network).parameters()
    return [torch.zeros(weight.numel()) if weight.grad is None else weight.grad.flatten() for weight in weights]


def check_rounding(name, *, fused=False):
    def check(kind, seed):
        """34: a first step in bfloat16 has float32's losses within 5e-3, and its gradients with a cosine of 0.99."""
        off = [*compiled(name), *(() if fused else ("fused_gradient",))]
        but = {switch.name: switch.name not in off for switch in switches_of(name)}
        plain, rounded = (
            make(name, kind=one, switches={**but, "bfloat16": one is not None}, seed=seed, **WIDE[name])
            for one in (None, kind)
        )
        for trainer in (plain, rounded):
            trainer.train_steps(1)
        assert losses(plain) != losses(rounded), "bfloat16 is off"
        for theirs, ours in zip(losses(plain), losses(rounded), strict=True):
            assert ours == pytest.approx(theirs, rel=5e-3)
        for network in NETWORKS:
            if hasattr(plain, network):
                pair = [torch.cat(gradients_of(trainer, network)) for trainer in (plain, rounded)]
                assert torch.nn.functional.cosine_similarity(*pair, dim=0) >= 0.99

    return holds(check, strategies.few_seeds(), max_examples=10)


@pytest.mark.parametrize("kind", [tabular.FastestTrainer, image.FastestTrainer], ids=FAMILIES)
def test_34_the_first_step_in_bfloat16_is_that_of_float32_within_its_rounding(kind):
    check_rounding(kind.__module__.split(".")[1])(kind)


@pytest.mark.skipif(not can_fuse(torch.device("cpu")), reason="needs AVX-512 with bfloat16 and a C++ compiler")
def test_34_the_first_fused_gradient_is_that_of_float32_within_its_rounding():
    check_rounding("tabular_regressor", fused=True)(tabular.FastestTrainer)


@pytest.mark.parametrize("kind", [HalfTheBlocks, LightPixels])
def test_34_notices_a_fault(kind):
    assert fails(check_rounding(kind.__base__.__module__.split(".")[1]), kind)


# --- 37 ---


def check_state_travels(name):
    def check(kind, overrides, settings, seed, num_steps):
        """37: a state of this tier, whatever is on, goes through every other and comes out the same.

        Each goes on with its own kernels, as if it had trained from that state itself.
        """
        source = make(name, kind=kind, switches=settings, seed=seed, **overrides)
        source.train_steps(num_steps)
        state = source.state()
        for tier in ("reference", "optimized", "fastest"):
            other = {
                "fastest": settings,
                "optimized": {s.name: False for s in FAMILIES[name].switches["optimized"]},
            }.get(tier)
            target = make(name, tier, kind, switches=other, seed=seed + 1, **overrides)
            target.load_state(state)
            back = target.state()
            assert list(back) == list(state)
            for part in state.keys() - {"random", "scaler", "scheduler"}:
                assert_same_tree(state[part], back[part], part)
            fused = {getattr(target, each).param_groups[0]["fused"] for each in OPTIMIZERS if hasattr(target, each)}
            assert fused == {True if tier == "fastest" and settings["fused_optimizer"] else None}
            target.train_steps(1)
            source.load_state(back)
            source.train_steps(1)
            rtol = 0 if tier == "fastest" else 5e-3 if settings["bfloat16"] else 1e-4
            for theirs, ours in zip(losses(source), losses(target), strict=True):
                assert ours == (pytest.approx(theirs, rel=rtol) if rtol else theirs)

    settings = strategies.switch_subsets(switches_of(name, but=("bfloat16", *compiled(name)))).map(
        lambda chosen: {**chosen, "bfloat16": False}
    )
    return holds(check, OVERRIDES[name], settings, strategies.seeds(), strategies.few(4), max_examples=5)


def taking_over(base):
    class TakingOver(base):
        """Saves its kernels with its state, as PyTorch does."""

        def state(self):
            state = super().state()
            return {**state, **{name: getattr(self, name).state_dict() for name in OPTIMIZERS if name in state}}

    return TakingOver


@both_families
def test_37_the_state_of_the_fastest_tier_travels_key_for_key(name):
    check_state_travels(name)(None)


@both_families
def test_37_notices_kernels_that_travel_with_the_state(name):
    assert fails(check_state_travels(name), taking_over(BASES[name]))


@both_families
def test_37_notices_moments_that_are_forgotten(name):
    assert fails(check_state_travels(name), forgetting(BASES[name], *OPTIMIZERS))


# --- 38 ---


def check_resume(name):
    def check(kind, overrides, settings, seed, num_steps, num_more):
        """38: saved to a file at any step and resumed by another process's trainer = never interrupted, bitwise."""
        arguments = {"switches": settings, **overrides}
        whole, before = (make(name, seed=seed, **arguments) for _ in range(2))
        after = make(name, kind=kind, seed=seed + 1, **arguments)
        for trainer in (whole, before):
            trainer.train_epoch()
            trainer.train_steps(num_steps)
        after.load_state(checkpoint.loads(checkpoint.dumps(before.state()), "state"))
        for trainer in (whole, after):
            trainer.train_steps(num_more)
            trainer.train_epoch()
        assert whole.metrics == after.metrics
        assert same(whole.state(), after.state())

    settings = strategies.switch_subsets(switches_of(name, but=compiled(name)))
    return holds(
        check, OVERRIDES[name], settings, strategies.seeds(), strategies.few_steps(), strategies.few_steps(),
        max_examples=5,
    )  # fmt: skip


@both_families
def test_38_interrupted_at_any_step_and_resumed_is_uninterrupted_to_the_bit(name):
    check_resume(name)(None)


@both_families
@pytest.mark.parametrize("parts", [NETWORKS, OPTIMIZERS, ("progress",)], ids=lambda names: names[-1])
def test_38_notices_a_part_that_is_forgotten(name, parts):
    assert fails(check_resume(name), forgetting(BASES[name], *parts))


# --- deferred metrics ---


@both_families
def test_deferred_metrics_are_fetched_when_a_step_fails(name):
    """What was trained before it counts, as in the reference."""
    reference, ours = make(name, "reference"), make(name, switches={"deferred_metrics": True})
    for trainer in (reference, ours):
        real, left = trainer._next_batch, itertools.count(3, -1)

        def failing(real=real, left=left):
            if not next(left):
                raise KeyboardInterrupt
            return real()

        trainer._next_batch = failing
        with contextlib.suppress(KeyboardInterrupt):
            trainer.train_steps(5)
    assert ours.metrics == reference.metrics
    assert len(ours.metrics["train_losses"]) == 3
    assert same(ours.state(), reference.state())


@both_families
def test_deferred_losses_count_for_the_epoch_they_are_of(name):
    reference, ours = make(name, "reference"), make(name, switches={"deferred_metrics": True})
    for trainer in (reference, ours):
        trainer.train_steps(trainer.num_batches + 2)
    assert same(ours.state(), reference.state())
    ours.train_epoch()
    ours.__class__ = type("Late", (BASES[name],), {"_begin_epoch": BASES[name].__base__._begin_epoch})
    ours.load_state(reference.state())
    reference.train_steps(reference.num_batches)
    ours.train_steps(ours.num_batches)
    assert not same(ours.state(), reference.state()), "the control"


def test_log_lines_say_the_same_though_losses_are_deferred():
    lines = {}
    for tier, switches in (("reference", None), ("fastest", {"deferred_metrics": True})):
        lines[tier] = []
        trainer = make("text_to_image", tier, switches=switches, log=lines[tier].append)
        trainer.train_epoch()
        lines[tier] = [line.rpartition("  ")[0] for line in lines[tier]]  # without the time
    assert lines["reference"] == lines["fastest"]
    assert len(lines["fastest"]) == 5


# --- compiled ---


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("tabular_regressor", ()),
        ("text_to_image", ()),
        ("text_to_image", ("pruned_backward", "reused_features", "joined_passes", "matrix_products")),
    ],
)
def test_compiled_losses_keep_dropout_and_every_loss(name, others):
    """Through the compiler's graph, without its kernels, which take a minute to build."""
    (switch,) = compiled(name)
    with pytest.MonkeyPatch.context() as patch:
        compile_, calls = torch.compile, []
        patch.setattr(torch, "compile", lambda f, **_: calls.append(f) or compile_(f, backend="aot_eager"))
        ours, plain = make(name, switches=dict.fromkeys((switch, *others), True)), make(name, "reference")
        for trainer in (ours, plain):
            trainer.train_steps(4)
        assert calls
        for theirs, found in zip(losses(plain), losses(ours), strict=True):
            assert found == pytest.approx(theirs, rel=1e-4)
        # Either goes on from the other's state, and from its own as if nothing had been.
        own, theirs = ours.state(), plain.state()
        assert_same_keys(own, theirs)
        for trainer, start in ((plain, own), (ours, own), (ours, theirs), (plain, theirs)):
            trainer.load_state(start)
            assert same(trainer.state(), start)
        ours.load_state(theirs)
        for trainer in (ours, plain):
            trainer.train_steps(2)
    for theirs, found in zip(losses(plain), losses(ours), strict=True):
        assert found == pytest.approx(theirs, rel=1e-4)


class Compilations:
    """Counts what the compiler makes, and keeps the sizes of inputs that it left open."""

    def __init__(self):
        self.count, self.open_sizes = 0, []

    def __call__(self, graph, inputs):
        self.count += 1
        sizes = [size for each in inputs if isinstance(each, torch.Tensor) for size in each.shape]
        self.open_sizes += [one for one in (*inputs, *sizes) if isinstance(one, torch.SymInt)]
        return graph.forward


@pytest.fixture
def compilations(monkeypatch):
    """Count what is compiled; what it makes is as slow as what it was made of."""
    made, compile_ = Compilations(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, dynamic=None, **_: compile_(f, backend=made, dynamic=dynamic))
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=8):
        yield made
    torch._dynamo.reset()


def compiled_epochs(name, compilations, batch_size=11):
    """Train two epochs whose last batch is smaller; how much was compiled in each."""
    (switch,) = compiled(name)
    ours, counts = make(name, switches={switch: True}, batch_size=batch_size), [compilations.count]
    for _ in range(2):
        ours.train_epoch("train")
        counts.append(compilations.count)
    return [after - before for before, after in itertools.pairwise(counts)]


@both_families
def test_an_epochs_last_and_smaller_batch_is_compiled_once_and_no_size_is_left_open(name, compilations):
    first, second = compiled_epochs(name, compilations)
    assert (first, second) == (2 * (1 + (name == "text_to_image")), 0)
    assert compilations.open_sizes == []


@both_families
def test_a_size_left_open_would_be_seen(name, compilations, monkeypatch):
    """The negative control: PyTorch's default, which compiles a second time for any size."""
    with_sizes = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: with_sizes(f))
    compiled_epochs(name, compilations)
    assert compilations.open_sizes


@both_families
def test_many_trainers_of_one_process_are_all_compiled(name, compilations):
    """Beyond eight compilations of one function PyTorch would run it uncompiled, and only write a warning."""
    counts = [compiled_epochs(name, compilations, batch_size=batch_size)[0] for batch_size in (8, 9, 10, 11, 12, 13)]
    assert min(counts) > 0
    assert sum(counts) > 8 * (1 + (name == "text_to_image"))


def assert_same_keys(left, right):
    assert [path for path, _ in leaves(left)] == [path for path, _ in leaves(right)]


@pytest.mark.skipif(not compiles_for(torch.device("cpu")), reason="needs a C++ compiler and Python's headers")
def test_kernels_of_the_compiler_draw_the_references_dropout_masks():
    reference, without = (make("tabular_regressor", "reference", dropout=dropout) for dropout in (0.5, 0.0))
    ours = make("tabular_regressor", switches={"compiled_loss": True}, dropout=0.5)
    for trainer in (reference, ours, without):
        trainer.train_steps(3)
    assert losses(ours)[0] == pytest.approx(losses(reference)[0], rel=1e-4)
    assert same(ours.random.state(), reference.random.state())
    assert losses(without)[0] != pytest.approx(losses(reference)[0], rel=1e-2), "the control"


def test_what_compiling_costs_is_paid_only_where_a_training_earns_it(monkeypatch):
    def switches(**changes):
        data = {"num_rows": 500, "num_features": 4, "hidden_size": 8, "num_layers": 0}
        return FAMILIES["tabular_regressor"].build("fastest", preset="tiny", device="cpu", **data, **changes).switches

    can = compiles_for(torch.device("cpu"))
    assert switches(num_epochs=1600)["compiled_loss"] == can  # of 400 rows, 16 a batch
    assert not switches(num_epochs=1599)["compiled_loss"]
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not switches(num_epochs=1600)["compiled_loss"]
