"""Loss and gradient in C++ are those of autograd with the same rounding, dropout included; each with planted faults."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tests import strategies
from tests.properties.controls import fails, holds
from trainers import family
from trainers.contract import BadInput
from trainers.pytorch import cpp
from trainers.pytorch.devices import cpu_capabilities
from trainers.pytorch.flat_weights import FlatWeights
from trainers.tabular_regressor import fused_gradient
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.fused_gradient import DropoutMasks, FusedGradient, can_fuse
from trainers.tabular_regressor.model import TabularRegressor, regression_loss

pytestmark = [
    pytest.mark.usefixtures("private_cache", "one_thread"),
    pytest.mark.skipif(not can_fuse(torch.device("cpu")), reason="needs AVX-512 with bfloat16 and a C++ compiler"),
]

SIZES = st.fixed_dictionaries(
    {
        "num_rows": st.integers(1, 70),
        "num_features": st.integers(1, 70),
        "hidden_size": st.integers(3, 70),
        "num_layers": st.integers(0, 3),
        "num_targets": st.integers(1, 4),
        "dropout": st.sampled_from([0.0, 0.1, 0.5]),
        "num_threads": st.integers(1, 3),
    }
)


class Rounded(torch.autograd.Function):
    """A linear layer that multiplies what it is given rounded to bfloat16, and adds up in float32."""

    @staticmethod
    def forward(context, values, weight, bias):
        rounded = values.bfloat16().float(), weight.bfloat16().float()
        context.save_for_backward(*rounded)
        return rounded[0] @ rounded[1].T + bias

    @staticmethod
    def backward(context, gradient):
        values, weight = context.saved_tensors
        rounded = gradient.bfloat16().float()
        return rounded @ weight, rounded.T @ values, gradient.sum(0)


def expected_loss(network, features, targets, masks, dropout):
    def linear(layer, values):
        return Rounded.apply(values, layer.weight, layer.bias)

    factors = itertools.repeat(1.0) if masks is None else iter(masks.float() / (1 - dropout))
    hidden = network.input_norm(linear(network.input_proj, features))
    for first, first_norm, gelu, _, second, second_norm, _ in network.layers:
        inner = gelu(first_norm(linear(first, hidden))) * next(factors)
        hidden = hidden + second_norm(linear(second, inner)) * next(factors)
    return regression_loss(network.output_proj(hidden).view(-1, network.num_targets, 3), targets)


def problem(sizes, seed):
    """A network with nothing in its starting place, its weights, and a batch."""
    torch.manual_seed(seed)
    shape = {key: sizes[key] for key in ("num_features", "num_targets", "hidden_size", "num_layers", "dropout")}
    network = TabularRegressor(**shape)
    with torch.no_grad():
        for weight in network.parameters():  # matrices as they are: larger ones magnify what rounding does
            weight.add_(0.3 * torch.randn_like(weight) * (weight.dim() == 1))
    batch = torch.randn(sizes["num_rows"], sizes["num_features"]), torch.randn(sizes["num_rows"], sizes["num_targets"])
    return network, FlatWeights(network), batch


@pytest.fixture
def has_amx(private_cache):
    """Skip where the source cannot multiply by AMX."""
    if not fused_gradient._multiplies_by_amx():
        pytest.skip("the processor, the compiler or the system has no AMX")


@pytest.fixture(params=[False, True], ids=["AVX-512", "AMX"])
def amx(request):
    """Return whether the products are AMX's."""
    if request.param:
        request.getfixturevalue("has_amx")
    return request.param


def check_gradient(built, sizes, seed):
    """Loss, gradient and norm are autograd's; a batch of fewer rows after a whole one, or after NaN, has its own."""
    source, amx = built
    network, flat, (features, targets) = problem(sizes, seed)
    config = RegressorConfig.preset("tiny").replace(batch_size=sizes["num_rows"], dropout=sizes["dropout"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: sizes["num_threads"])
        patch.setattr(fused_gradient, "_SOURCE", source)
        patch.setattr(fused_gradient, "_multiplies_by_amx", lambda: amx)
        fused = FusedGradient(network, flat, config)
        assert fused(features * torch.nan, targets)[0].isnan()
        for rows in (max(1, sizes["num_rows"] - 3), sizes["num_rows"], max(1, sizes["num_rows"] - 2)):
            before = torch.get_rng_state()
            loss, norm = fused(features[:rows], targets[:rows])
            after = torch.get_rng_state()
            torch.set_rng_state(before)
            shape = 2 * sizes["num_layers"], rows, sizes["hidden_size"]
            masks = None
            if sizes["dropout"] and sizes["num_layers"]:
                masks = torch.stack([torch.empty(shape[1:]).bernoulli_(1 - sizes["dropout"]) for _ in range(shape[0])])
            assert torch.equal(torch.get_rng_state(), after)
            network.zero_grad()
            wanted = expected_loss(network, features[:rows], targets[:rows], masks, sizes["dropout"])
            wanted.backward()
            gradients = {name: weight.grad for name, weight in network.named_parameters()}
            size = torch.cat([each.flatten() for each in gradients.values()]).norm()
            # Sums in another order may round one value to the other neighbour in bfloat16, up to 1/128 of it away.
            assert loss.item() == pytest.approx(wanted.item(), rel=5e-3)
            assert norm.item() == pytest.approx(fused.gradient_W.double().norm().item(), rel=1e-5)
            for name, ours in flat.views(fused.gradient_W).items():
                assert (ours - gradients[name]).norm() <= 0.01 * gradients[name].norm() + 0.002 * size, name


gradients = holds(check_gradient, SIZES, strategies.seeds(), max_examples=25)


def test_loss_and_gradient_are_autograds(amx):
    gradients((fused_gradient._SOURCE, amx))


def test_without_training_there_is_no_dropout_and_rows_may_lie_anywhere():
    sizes = {"num_rows": 9, "num_features": 5, "hidden_size": 40, "num_layers": 2, "num_targets": 2, "dropout": 0.5}
    network, flat, (features, targets) = problem(sizes, 4)
    fused = FusedGradient(network.eval(), flat, RegressorConfig.preset("tiny").replace(dropout=0.5))
    before = torch.get_rng_state()
    loss, _ = fused(features.T.contiguous().T, targets.T.contiguous().T)
    assert torch.equal(torch.get_rng_state(), before)
    assert loss.item() == pytest.approx(expected_loss(network, features, targets, None, 0.5).item(), rel=2e-3)
    network.train()
    assert fused(features, targets)[0] != loss


def test_the_sizes_of_the_original_program(amx):
    sizes = {
        "num_rows": 64, "num_features": 366, "hidden_size": 512, "num_layers": 4, "num_targets": 5, "dropout": 0.1,
        "num_threads": 2,
    }  # fmt: skip
    check_gradient((fused_gradient._SOURCE, amx), sizes, 1)


FAULTS = {
    "the gradient of LayerNorm's bias": ("sums[2 * width + i] += gradient[i];", ""),
    "GELU": ("0.254829592f", "0.3f"),
    "the last row of an odd number": ("(rows + 1) / 2, sums", "rows / 2, sums"),
    "what a batch before left behind": ("if (end % 2 != 0) std::memset", "if (false) std::memset"),
    "dropout's scale": ("slope[i] *= factor;", "slope[i] *= float(mask[i]);"),
    "the residual's gradient": ("downstream[i] += gradient[i];", "downstream[i] = gradient[i];"),
    "the clamp": ("p1 >= -1.0f && p1 <= 1.0f", "true"),
}
FAULTS_OF_AMX = {
    "rows after the last": ("begin, last, columns, padded(rows) / kStep", "begin, end, columns, padded(rows) / kStep"),
    "what a batch before left after the last row": ("(last - end) * width", "0 * width"),
    "rows of a register": ("std::min(rows, kTile);", "std::min(rows, kTile - 1);"),
    "the lower rows": ("_tile_dpbf16ps(2, 5, 6);", "_tile_dpbf16ps(2, 4, 6);"),
    "the right half": ("right + half + step", "right + step"),
    "columns of the padding": ("inputs - i - column;", "kFloats;"),
    "the transpose": ("gather_epi32(places, pairs + i, 4)", "gather_epi32(places, pairs, 4)"),
    "the norm": ("squares += _mm512_reduce_add_ps(of_columns);", ""),
}


def planted(what, old, new, folder):
    text = fused_gradient._SOURCE.read_text(encoding="utf-8")
    assert text.count(old) == 1, what
    source = folder / "gradient.cpp"
    source.write_text(text.replace(old, new), encoding="utf-8")
    return source


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_in_the_source_is_noticed(what, tmp_path):
    assert fails(gradients, (planted(what, *FAULTS[what], tmp_path), False))


@pytest.mark.usefixtures("has_amx")
@pytest.mark.parametrize("what", FAULTS_OF_AMX)
def test_a_fault_in_the_products_by_amx_is_noticed(what, tmp_path):
    assert fails(gradients, (planted(what, *FAULTS_OF_AMX[what], tmp_path), True))


def test_the_same_batch_has_the_same_bits_again_and_on_other_threads_the_same_values(amx, monkeypatch):
    monkeypatch.setattr(fused_gradient, "_multiplies_by_amx", lambda: amx)
    sizes = {"num_rows": 33, "num_features": 9, "hidden_size": 40, "num_layers": 2, "num_targets": 2, "dropout": 0.0}
    network, flat, batch = problem(sizes, 3)
    fused = FusedGradient(network, flat, RegressorConfig.preset("tiny").replace(batch_size=33, dropout=0.0))
    found = []
    for num_threads in (1, 1, 2, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda num=num_threads: num)
        loss, _ = fused(*batch)
        found.append((loss, fused.gradient_W.clone()))
    for one, other in itertools.pairwise(found[:4:2] + found[1:4:2]):
        torch.testing.assert_close(one, other)
    for one, other in ((0, 1), (2, 3)):
        assert all(map(torch.equal, found[one], found[other]))
    torch.testing.assert_close(found[0], found[4])


# --- Masks ---


def check_masks(draws, dropout, counts, seed):
    """Masks and the generator after them are PyTorch's, wherever in its words the generator is."""
    masks = draws(dropout)
    torch.manual_seed(seed)
    torch.rand(seed % 1000)
    before = torch.get_rng_state()
    ours = [masks.draw((2, count, 3)) for count in counts]
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    for mask_MBH in ours:
        wanted = torch.stack([torch.empty(mask_MBH.shape[1:]).bernoulli_(1 - dropout) for _ in range(2)])
        assert torch.equal(mask_MBH.float(), wanted)
    assert torch.equal(torch.get_rng_state(), after)


masks = holds(
    check_masks,
    st.sampled_from([0.05, 0.1, 0.5, 0.9]),
    st.lists(st.integers(1, 300), min_size=1, max_size=3),
    strategies.seeds(),
    max_examples=25,
)


def test_masks_are_those_of_pytorchs_dropout():
    masks(DropoutMasks)


class OtherShare(DropoutMasks):
    """Drops a little more."""

    def draw(self, shape_MBH):
        self._kept *= 0.95
        return super().draw(shape_MBH)


class OneMask(DropoutMasks):
    """Draws one mask for both places of a block."""

    def draw(self, shape_MBH):
        return super().draw((1, *shape_MBH[1:])).expand(shape_MBH)


@pytest.mark.parametrize("kind", [OtherShare, OneMask])
def test_other_masks_are_noticed(kind):
    assert fails(masks, kind)


def test_where_pytorch_draws_otherwise_it_draws_itself(monkeypatch):
    real = torch.Tensor.bernoulli_
    monkeypatch.setattr(torch.Tensor, "bernoulli_", lambda tensor, share: real(tensor, share).neg_().add_(1))
    check_masks(DropoutMasks, 0.3, [40, 7], 4)


def test_masks_are_drawn_at_once_where_pytorch_draws_one_by_one():
    if str(cpu_capabilities()["cpu_name"]).startswith("Intel"):
        pytest.skip("on Intel's processors MKL draws for PyTorch")
    masks = DropoutMasks(0.3)
    assert masks._draw == masks._draw_at_once


def test_without_dropout_nothing_is_drawn():
    before = torch.get_rng_state()
    assert DropoutMasks(0.0).draw((2, 3, 4)) is None
    assert torch.equal(torch.get_rng_state(), before)


# --- In the trainer ---


def make(tier, **arguments):
    sizes = {"hidden_size": 64, "num_layers": 2, "num_features": 20, "batch_size": 32, "num_rows": 200}
    return family("tabular_regressor").build(tier, **{"preset": "tiny", "seed": 3, **sizes, **arguments})


FUSED = {"bfloat16": True, "fused_gradient": True}


def test_a_training_goes_as_the_references():
    reference, ours = make("reference"), make("fastest", switches=FUSED)
    for _ in range(2):
        for trainer in (reference, ours):
            trainer.train_epoch()
        assert ours.metrics["train_losses"] == pytest.approx(reference.metrics["train_losses"], rel=0.03)
        assert torch.equal(ours.random.state()["cpu"], reference.random.state()["cpu"])
    losses = [make("fastest", switches={**FUSED, "fused_gradient": on}) for on in (False, True)]
    for trainer in losses:
        trainer.train_steps(1)
    assert losses[0].metrics["train_losses"] == pytest.approx(losses[1].metrics["train_losses"], rel=5e-3)
    assert losses[0].metrics["train_losses"] != losses[1].metrics["train_losses"], "it is not used"


def test_it_needs_bfloat16_and_takes_the_place_of_compiling(monkeypatch):
    plain = make("fastest", switches={**FUSED, "bfloat16": False})
    assert plain._differentiate == plain._differentiate_loss
    wide = make("fastest", hidden_size=256, num_epochs=40_000)
    assert wide.switches["fused_gradient"]
    assert not wide.switches["compiled_loss"]
    both = make("fastest", switches={**FUSED, "compiled_loss": True})
    assert both._differentiate != both._differentiate_loss
    assert both._loss == both._loss_of_batch, "nothing is compiled by torch.compile"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not make("fastest", hidden_size=256).switches["fused_gradient"]


def test_the_compiler_does_not_run_for_a_switch_that_is_off(monkeypatch, tmp_path):
    called = tmp_path / "called"
    compiler = tmp_path / "g++"
    compiler.write_text(f"#!/bin/sh\ntouch {called}\nexit 1\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    cpp.load_library.cache_clear()
    off = {"bfloat16": True, "fused_gradient": False, "compiled_loss": False}
    make("fastest", hidden_size=256, switches=off).train_steps(1)
    assert not called.exists()
    assert not make("fastest", hidden_size=256, switches={"compiled_loss": False}).switches["fused_gradient"]
    assert called.exists()


def test_more_blocks_than_the_source_has_room_for_are_trained_without_it():
    deep = make("fastest", hidden_size=8, num_layers=129, switches={**FUSED, "compiled_loss": False})
    deep.train_steps(1)
    assert deep._differentiate == deep._differentiate_loss


def test_a_batch_that_is_larger_than_the_training_has_is_a_batch_too():
    reference, ours = make("reference"), make("fastest", switches=FUSED)
    features_BF, targets_BK = next(iter(reference.train_loader))
    batch = features_BF.repeat(3, 1), targets_BK.repeat(3, 1)
    for trainer in (reference, ours):
        trainer.model.eval()  # no dropout: the same for both
    assert ours.train_batch(*batch) == pytest.approx(reference.train_batch(*batch), rel=5e-3)


def fused_of(trainer):
    return trainer._differentiate.args[0]


@pytest.mark.usefixtures("has_amx")
def test_it_multiplies_by_amx_where_it_can():
    assert cpu_capabilities()["amx_bf16"]
    assert fused_of(make("fastest", switches=FUSED))._sizes[-1] == 1


REFUSED = """
import ctypes, torch
from tests.trainers.tabular_regressor.test_fused_gradient import FUSED, fused_of, make

class Stack(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

memory = ctypes.create_string_buffer(4096)  # less than the registers of AMX need in a signal
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 4096)), None) == 0
trainer = make("fastest", switches=FUSED)
assert fused_of(trainer)._sizes[-1] == 0
trainer.train_steps(1)
assert trainer.metrics["train_losses"][0] > 0
fused_of(trainer)._sizes[-1] = 1  # as another process may have chosen
fused_of(trainer)._take_memory(32, 1)
assert fused_of(trainer)(torch.randn(32, 20), torch.randn(32, trainer.config.num_targets))[0].isnan()
"""


def test_where_the_system_refuses_amx_it_multiplies_by_avx_512():
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr


def test_its_operations_are_counted_as_the_references():
    counts = []
    for trainer in (make("reference"), make("fastest", switches=FUSED)):
        trainer.train_steps(1)
        batch = next(iter(trainer.train_loader))
        trainer.model.train()
        with FlopCounterMode(display=False) as counter:
            trainer.train_batch(*batch)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_a_source_that_the_compiler_refuses_is_one_line(tmp_path, monkeypatch):
    source = tmp_path / "wrong.cpp"
    source.write_text("int one( { }", encoding="utf-8")
    with pytest.raises(BadInput, match=r"wrong.cpp: .*g\+\+ refuses it: .*error"):
        cpp.load_library("tabular_regressor", source)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BadInput, match="there is no C\\+\\+ compiler"):
        cpp.load_library("tabular_regressor", source)
    monkeypatch.setenv("CXX", "/bin/false")
    with pytest.raises(BadInput, match="exit code 1"):
        cpp.load_library("tabular_regressor", source)
    compiler = tmp_path / "compiler"
    compiler.write_text("no program", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(BadInput, match="compiler cannot be run: Exec format error"):
        cpp.load_library("tabular_regressor", source)
    compiler.write_text("#!/bin/sh\necho 'as: No space left on device' >&2; exit 1\n", encoding="utf-8")
    with pytest.raises(BadInput, match="no place to keep"):
        cpp.load_library("tabular_regressor", source)


@pytest.mark.parametrize("what", ["the folder may be written by all", "the library may be written by all"])
def test_a_library_that_others_may_have_made_is_not_loaded(monkeypatch, tmp_path, what):
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }', encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cpp.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    library = cpp.load_library("tabular_regressor", source)
    path = Path(library._name)
    assert path.is_relative_to(tmp_path / "cache")
    cpp.load_library.cache_clear()
    (path.parent if "folder" in what else path).chmod(0o777)
    again = Path(cpp.load_library("tabular_regressor", source)._name)
    if "folder" in what:  # nothing in it can be trusted
        assert again.is_relative_to(tmp_path / "temporary")
    else:
        assert not again.stat().st_mode & 0o002, "it was not built again"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_another_users_library_is_not_loaded(monkeypatch, tmp_path):
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }', encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = Path(cpp.load_library("tabular_regressor", source)._name)
    cpp.load_library.cache_clear()
    os.chown(path, 12345, 12345)
    cpp.load_library("tabular_regressor", source)
    assert path.stat().st_uid == 0, "it was not built again"


def test_a_compiler_that_refuses_the_source_leaves_the_switch_off_unless_it_is_asked_for(monkeypatch, tmp_path):
    source = tmp_path / "gradient.cpp"
    source.write_text("int one( { }", encoding="utf-8")
    monkeypatch.setattr(fused_gradient, "_SOURCE", source)
    assert not make("fastest", hidden_size=256).switches["fused_gradient"]
    with pytest.raises(BadInput, match="refuses it"):
        make("fastest", hidden_size=256, switches=FUSED)


def test_a_damaged_library_is_built_again(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "one.cpp"
    source.write_text('extern "C" int one() { return 1; }', encoding="utf-8")
    assert cpp.load_library("tabular_regressor", source).one() == 1
    (whole,) = (tmp_path / "cache").rglob("one-*.so")
    # In another folder: what a process has loaded from a path it does not load again.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    damaged = tmp_path / "other" / whole.relative_to(tmp_path / "cache")
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(whole.read_bytes()[:100])
    cpp.load_library.cache_clear()
    assert cpp.load_library("tabular_regressor", source).one() == 1
    assert len(damaged.read_bytes()) > 100


@pytest.mark.parametrize("wrong", ["columns", "targets", "rows", "type"])
def test_a_batch_of_other_sizes_or_of_another_type_is_refused(wrong):
    sizes = {"num_rows": 8, "num_features": 5, "hidden_size": 6, "num_layers": 1, "num_targets": 2, "dropout": 0.0}
    network, flat, (features, targets) = problem(sizes, 0)
    fused = FusedGradient(network, flat, RegressorConfig.preset("tiny").replace(batch_size=8, dropout=0.0))
    given = {
        "columns": (features[:, 1:], targets),
        "targets": (features, targets[:, 1:]),
        "rows": (features, targets[1:]),
        "type": (features.double(), targets),
    }
    with pytest.raises(ValueError, match="must be"):
        fused(*given[wrong])


def test_a_batch_with_a_nan_has_no_loss():
    sizes = {"num_rows": 8, "num_features": 5, "hidden_size": 6, "num_layers": 1, "num_targets": 2, "dropout": 0.0}
    network, flat, (features, targets) = problem(sizes, 0)
    features[3, 2] = float("nan")
    loss, norm = FusedGradient(network, flat, RegressorConfig.preset("tiny").replace(batch_size=8))(features, targets)
    assert loss.isnan()
    assert norm.isnan()


def test_processes_that_build_at_once_do_not_disturb_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = "from trainers.tabular_regressor.fused_gradient import DropoutMasks; DropoutMasks(0.1)"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(120) for process in started] == [0, 0]
    assert [path.suffix for path in (tmp_path / "trainers" / "tabular_regressor").iterdir()] == [".so"]
