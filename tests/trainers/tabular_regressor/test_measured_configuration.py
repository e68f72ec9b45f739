"""The tabular regressor's pairs compute the same as they are measured: sizes, switches, precision and dropout."""

import pytest
import torch
from torch import nn

from bench import test_ablation, test_tabular_regressor
from tests.drawing import draws_of_torch
from tests.measured import bench_of, check_calls, check_equivalence, faster_tiers, pairs_of
from trainers.pytorch.onednn import has_onednn
from trainers.tabular_regressor import FAMILY, fastest, optimized, published

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

CPU = torch.device("cpu")
NAMES = (
    "test_document_004_as_a_whole",
    "test_document_004_as_published",
    "test_fastest",
    "test_restructured",
    "test_tabular_regressor_epoch[restructured]",
    "test_tabular_regressor_epoch[+resident_data]",
    "test_tabular_regressor_epoch[+fused_optimizer]",
)
FIGURES = {"train_losses": 1e-2, "train_loss": 1e-2, "val_loss": 5e-2, "learning_rate": 1e-12}
WIDE_FIGURES = {**FIGURES, "train_loss": 0.1, "val_loss": 0.25}
"""Rounding to bfloat16 and an epoch's training set these apart; the benchmark's check is the strict one."""

ROWS = 800
"""Rows of the wide data, of the original's 18,000: a step takes 64 of either."""


def measured_pairs(bench):
    fixtures = {"tabular_regressor": bench, "preset": "smoke", "device": "cpu"}
    modules = test_tabular_regressor, test_ablation
    return {name: given for module in modules for name, given in pairs_of(module, bench, **fixtures).items()}


@pytest.fixture(scope="module")
def pairs(private_cache, one_thread):
    bench = bench_of("tabular_regressor")
    yield faster_tiers(measured_pairs(bench))
    bench.close()


def test_every_pair_of_a_faster_tier_on_the_same_work_is_tested(pairs):
    assert set(pairs) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_as_it_is_measured_computes_the_same(pairs, name):
    given = pairs[name]
    config = FAMILY.config.preset("smoke")
    assert given.before.trainer.config == given.after.trainer.config == config
    assert config.dropout > 0
    check_calls(given, draws_of_torch, FIGURES)


@pytest.mark.parametrize("name", NAMES)
def test_the_benchmarks_own_check_holds_with_dropout_on(pairs, name):
    check_equivalence(pairs[name])


# --- At the original's width, where a CPU multiplies by oneDNN and in bfloat16 ---

PRODUCTS = {
    "as resolved here": None,
    "float32": {"onednn_products": False, "bfloat16": False},
    "oneDNN": {"onednn_products": True, "bfloat16": False},
    "bfloat16": {"onednn_products": True, "bfloat16": True, "fused_gradient": False},
    "one function": {"bfloat16": True, "fused_gradient": True},
}


def wide_pair(products):
    """Return the pair of the fastest tier at the preset default, with some of its products chosen."""
    bench = bench_of("tabular_regressor", "default", parity_steps=6).built_with(num_rows=ROWS)
    if products is None:
        test_tabular_regressor.test_fastest(bench)
    else:
        bench.epochs(before=bench.reference(), after=bench.fastest(**products))
    return bench.pair.given[-1]


@pytest.fixture
def on_this_cpu():
    if not has_onednn(CPU):
        pytest.skip("this PyTorch has no oneDNN")


@pytest.mark.parametrize("can", [True, False])
def test_the_width_that_is_measured_turns_both_kinds_of_products_on(monkeypatch, can):
    """On a processor that has the instructions; at the preset smoke, whose layers are narrow, they stay off."""
    monkeypatch.setattr(fastest, "gains_by_onednn", lambda _: can)
    monkeypatch.setattr(fastest, "multiplies_bfloat16", lambda _: can)
    wide = wide_pair(None).after.trainer
    narrow = bench_of("tabular_regressor").fastest().trainer
    for name in ("onednn_products", "bfloat16"):
        assert (wide.switches[name], narrow.switches[name]) == (can, False)
    assert wide.config.hidden_size >= fastest._WIDE > narrow.config.hidden_size


@pytest.mark.usefixtures("on_this_cpu")
@pytest.mark.parametrize("products", PRODUCTS)
def test_a_wide_epoch_computes_the_same_whatever_multiplies(products):
    given = wide_pair(PRODUCTS[products])
    assert given.after.trainer.config == FAMILY.config().replace(num_rows=ROWS)
    check_calls(given, draws_of_torch, WIDE_FIGURES)
    check_equivalence(given)


@pytest.mark.usefixtures("on_this_cpu")
@pytest.mark.parametrize("products", PRODUCTS)
def test_a_wide_validation_is_in_float32(products):
    given = wide_pair(PRODUCTS[products])
    before, after = (side.trainer.evaluate("val") for side in (given.before, given.after))
    assert after == pytest.approx(before, rel=1e-5)


def test_a_compiled_wide_loss_keeps_the_masks(monkeypatch):
    """Through the compiler's graph, without its kernels, which take a minute to build."""
    compile_, calls = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda f, **_: calls.append(f) or compile_(f, backend="aot_eager"))
    bench = bench_of("tabular_regressor", "default", parity_steps=2).built_with(num_rows=ROWS)
    bench.epochs(before=bench.reference(), after=bench.fastest(compiled_loss=True, bfloat16=False))
    check_equivalence(bench.pair.given[-1])
    assert calls


# --- Negative controls ---


class Undropped(fastest.FastestTrainer):
    """Leaves dropout out where it does not call the network as a whole: by oneDNN, in bfloat16, and in C++."""

    def _outputs_of(self, features_BF, linear):
        return without_dropout(self.model, super()._outputs_of, features_BF, linear)

    def _fill_gradient(self, fused, features_BF, targets_BK):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fused._masks, "draw", lambda _: None)
            return super()._fill_gradient(fused, features_BF, targets_BK)


class Rerolled(fastest.FastestTrainer):
    """Draws a number more for each batch, and so other masks."""

    def _next_batch(self):
        torch.rand(1)
        return super()._next_batch()


class Undecided(fastest.FastestTrainer):
    """Validates with dropout on."""

    def _mean_loss(self, loader):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.model, "eval", self.model.train)
            return super()._mean_loss(loader)


class Hasty(fastest.FastestTrainer):
    """Takes a step less in each epoch."""

    def train_epoch(self, phase="train"):
        self.step += 1
        super().train_epoch(phase)


class UndroppedAutocast(optimized.OptimizedTrainer):
    """Leaves dropout out in mixed precision."""

    def _autocast_outputs(self, features_BF):
        return without_dropout(self.model, super()._autocast_outputs, features_BF)


class UndroppedPublished(published.PublishedTrainer):
    """Leaves dropout out."""

    def train_batch(self, features_BF, targets_BK):
        return without_dropout(self.model, super().train_batch, features_BF, targets_BK)


def without_dropout(model, function, *arguments):
    """Call a function while the model's dropout does nothing."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Dropout)]
    for layer in layers:
        layer.training = False
    try:
        return function(*arguments)
    finally:
        for layer in layers:
            layer.training = model.training


@pytest.mark.usefixtures("on_this_cpu")
@pytest.mark.parametrize("products", ["oneDNN", "bfloat16", "one function"])
def test_a_fast_path_that_skips_dropout_is_noticed(monkeypatch, products):
    monkeypatch.setattr(fastest, "FastestTrainer", Undropped)
    given = wide_pair(PRODUCTS[products])
    with pytest.raises(AssertionError):
        check_calls(given, draws_of_torch, {})
    with pytest.raises(AssertionError):
        check_equivalence(given)


@pytest.mark.parametrize("kind", [Rerolled, Undecided, Hasty])
def test_a_fault_in_the_measured_epoch_is_noticed(monkeypatch, kind):
    monkeypatch.setattr(fastest, "FastestTrainer", kind)
    bench = bench_of("tabular_regressor")
    test_tabular_regressor.test_fastest(bench)
    with pytest.raises(AssertionError):
        check_calls(bench.pair.given[-1], draws_of_torch, FIGURES)


@pytest.mark.parametrize(
    ("module", "kind", "name"),
    [
        (optimized, UndroppedAutocast, "test_document_004_as_a_whole"),
        (published, UndroppedPublished, "test_document_004_as_published"),
    ],
)
def test_a_documented_tier_that_skips_dropout_is_noticed(monkeypatch, request, module, kind, name):
    monkeypatch.setattr(module, kind.__base__.__name__, kind)
    bench = bench_of("tabular_regressor")
    request.addfinalizer(bench.close)  # it stops the workers
    getattr(test_tabular_regressor, name)(bench)
    (given,) = bench.pair.given
    with pytest.raises(AssertionError):
        check_equivalence(given)
    with pytest.raises(AssertionError):
        check_calls(given, draws_of_torch, {})
