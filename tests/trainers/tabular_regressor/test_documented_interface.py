"""Document 004's "All existing function names and signatures are preserved": code written before it runs unchanged."""

import ast
import inspect
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import trainers
from trainers import tabular_regressor
from trainers.contract import BadInput
from trainers.tabular_regressor import data as files
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.document_004 import api as documented
from trainers.tabular_regressor.document_004 import original, plots
from trainers.tabular_regressor.document_004.loaders import GivenLoaders
from trainers.tabular_regressor.model import TabularRegressor
from trainers.tabular_regressor.reference import ReferenceTrainer

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

ROOT = Path(trainers.__file__).parents[1]

# Word for word; "..." stands for parameters that the document does not name.
DOCUMENTED = """
load_state_dict_safely(file_path, device)
load_and_preprocess_data(file_path='training_data.h5')
setup_training(X, Y, batch_size=32, val_split=0.1, test_split=0.1)
train_model(train_loader, val_loader, test_loader, input_dim, output_dim, ...)
plot_losses(train_losses, val_losses, model_name="improved_model")
plot_predictions(model, val_loader, output_dim, stride=10, model_name="improved_model")
extract_final_predictions(model_output, output_dim)
"""
NAMED = """
clear_gpu_memory show_gpu_memory_usage TrainingConfig save_training_config load_training_config setup_logging
TrainingMetrics check_existing_plots check_existing_model_files
"""
TIERS = {"reference": original, "optimized": documented}


def documented_signatures():
    """Name -> [(parameter, default or None)] of the document's seven functions."""
    found = {}
    for line in DOCUMENTED.split("\n"):
        if line:
            name, _, rest = line.partition("(")
            call = ast.parse(f"{name}({rest.replace(', ...', '')}", mode="eval").body
            required = [(argument.id, inspect.Parameter.empty) for argument in call.args]
            found[name] = required + [(each.arg, ast.literal_eval(each.value)) for each in call.keywords]
    return found


def parameters(function):
    return [(each.name, each.default) for each in inspect.signature(function).parameters.values()]


def keeps_signature(function, promised):
    """Whether the promised parameters come first, by the same names and defaults, and all others have one."""
    own = parameters(function)
    return own[: len(promised)] == promised and all(
        default is not inspect.Parameter.empty for _, default in own[len(promised) :]
    )


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", documented_signatures())
def test_the_seven_signatures_are_the_documents(tier, name):
    function, promised = getattr(TIERS[tier], name), documented_signatures()[name]
    assert keeps_signature(function, promised)
    kinds = [each.kind for each in inspect.signature(function).parameters.values()][: len(promised)]
    assert set(kinds) == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


@pytest.mark.parametrize("name", documented_signatures())
def test_every_parameter_of_the_reference_tier_is_one_of_the_optimized_tier_with_the_same_default(name):
    before, after = (getattr(module, name) for module in (original, documented))
    assert keeps_signature(after, parameters(before))


def test_a_changed_signature_would_be_seen():
    """The negative control: another order, name or default, and a parameter more that must be given."""
    promised = documented_signatures()["setup_training"]

    def renamed(X, Y, batch=32, val_split=0.1, test_split=0.1): ...
    def redefaulted(X, Y, batch_size=64, val_split=0.1, test_split=0.1): ...
    def reordered(X, Y, val_split=0.1, batch_size=32, test_split=0.1): ...
    def demanding(X, Y, batch_size=32, val_split=0.1, test_split=0.1, *, config): ...
    def enhanced(X, Y, batch_size=32, val_split=0.1, test_split=0.1, num_workers=0): ...

    assert [keeps_signature(each, promised) for each in (renamed, redefaulted, reordered, demanding)] == [False] * 4
    assert keeps_signature(enhanced, promised)


def test_everything_that_the_document_names_can_be_imported():
    for name in (*NAMED.split(), *documented_signatures()):
        assert getattr(tabular_regressor, name) is getattr(documented, name)
        assert name in documented.__all__
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tabular_regressor.no_such_name


# --- a program written before document 004 ---


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """A working folder with the default data file."""
    monkeypatch.chdir(tmp_path)
    files.make_data(tmp_path / "training_data.h5", RegressorConfig.preset("tiny"))
    return tmp_path


def positional_program(module, num_epochs):
    X, Y = module.load_and_preprocess_data("training_data.h5")
    train, val, test = module.setup_training(X, Y, 32, 0.1, 0.1)
    arguments = (train, val, test, X.shape[1], Y.shape[1], 16, 2, 0.2, "improved_model", False, num_epochs)
    result = module.train_model(*arguments)
    model, train_losses, val_losses, _ = result
    module.plot_losses(train_losses, val_losses, "improved_model")
    module.plot_predictions(model, val, Y.shape[1], 5, "improved_model")
    return result, module.load_state_dict_safely("improved_model_best_model.pth", "cpu")


def keyword_program(module, num_epochs):
    X, Y = module.load_and_preprocess_data()
    train, val, test = module.setup_training(X=X, Y=Y)
    result = module.train_model(
        train_loader=train,
        val_loader=val,
        test_loader=test,
        input_dim=X.shape[1],
        output_dim=Y.shape[1],
        hidden_size=16,
        num_layers=2,
        dropout_rate=0.2,
        enable_early_stop=False,
        fixed_epochs=num_epochs,
    )
    model, train_losses, val_losses, _ = result
    module.plot_losses(train_losses=train_losses, val_losses=val_losses)
    module.plot_predictions(model=model, val_loader=val, output_dim=Y.shape[1])
    weights = module.load_state_dict_safely(file_path="improved_model_best_model.pth", device=torch.device("cpu"))
    return result, weights


def run(program, module, num_epochs=2):
    Path("improved_model_best_model.pth").unlink(missing_ok=True)
    torch.manual_seed(5)
    return program(module, num_epochs)


def check_same(one, other):
    (model, *losses), weights = one
    (other_model, *other_losses), other_weights = other
    assert losses == other_losses
    for left, right in ((model.state_dict(), other_model.state_dict()), (weights, other_weights)):
        assert list(left) == list(right)
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_old_programs_run_unchanged_on_both_tiers_and_give_the_same_numbers_to_the_bit(in_folder):
    results = [run(program, module) for module in TIERS.values() for program in (positional_program, keyword_program)]
    for other in results[1:]:
        check_same(results[0], other)
    (model, train_losses, val_losses, test_loss), weights = results[0]
    assert isinstance(model, torch.nn.Module)
    assert len(train_losses) == len(val_losses) == 2
    assert all(math.isfinite(loss) for loss in (*train_losses, *val_losses, test_loss))
    model.load_state_dict(weights)


def test_other_numbers_would_be_seen(in_folder, monkeypatch):
    """The negative control: mixed precision that nobody asked for."""
    kept = run(keyword_program, original)
    real = documented._settings
    monkeypatch.setattr(documented, "_settings", lambda *given: real(*given).replace(use_mixed_precision=True))
    with pytest.raises(AssertionError):
        check_same(kept, run(keyword_program, documented))


@pytest.mark.parametrize("tier", TIERS)
def test_the_sizes_and_the_stop_that_a_caller_asks_for_are_trained(in_folder, tier):
    (model, train_losses, *_), _ = run(keyword_program, TIERS[tier], num_epochs=3)
    assert (model.input_proj.out_features, len(model.layers), model.layers[0][3].p) == (16, 2, 0.2)
    assert len(train_losses) == 3


@pytest.mark.parametrize("tier", TIERS)
def test_without_early_stopping_no_epoch_is_left_out_however_bad(in_folder, tier, monkeypatch):
    monkeypatch.setattr(ReferenceTrainer, "_mean_loss", lambda self, _: float(self.epoch + 1))
    (_, _, val_losses, _), _ = run(keyword_program, TIERS[tier], num_epochs=40)
    assert val_losses == [epoch + 1.0 for epoch in range(40)]
    X, Y = TIERS[tier].load_and_preprocess_data()
    loaders = TIERS[tier].setup_training(X, Y)
    assert len(TIERS[tier].train_model(*loaders, 8, 2, 16, 2, model_name="other")[1]) == 31


@pytest.mark.parametrize("tier", TIERS)
def test_a_training_begins_with_the_best_weights_that_are_there(in_folder, tier):
    module = TIERS[tier]
    (first, *_), _ = run(keyword_program, module)
    X, Y = module.load_and_preprocess_data()
    start = {name: value.clone() for name, value in first.state_dict().items()}
    began = []

    def note(model, _):
        if not began:
            began.append({name: value.clone() for name, value in model.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        forward = TabularRegressor.forward
        patch.setattr(TabularRegressor, "forward", lambda model, rows: (note(model, rows), forward(model, rows))[1])
        module.train_model(*module.setup_training(X, Y), 8, 2, 16, 2, enable_early_stop=False, fixed_epochs=1)
    assert list(began[0]) == list(start)
    assert all(torch.equal(began[0][name], start[name]) for name in start)


@pytest.mark.parametrize("tier", TIERS)
def test_best_weights_of_another_size_are_refused_and_left_as_they_are(in_folder, tier):
    module = TIERS[tier]
    run(keyword_program, module)
    kept = Path("improved_model_best_model.pth").read_bytes()
    X, Y = module.load_and_preprocess_data()
    with pytest.raises(
        BadInput, match=r"improved_model_best_model\.pth: holds the weights of a network of another size"
    ):
        module.train_model(*module.setup_training(X, Y), 8, 2, 24, 2)
    assert Path("improved_model_best_model.pth").read_bytes() == kept


def test_weights_that_the_original_program_saved_are_loaded(in_folder):
    """Under the names that its layers have."""
    torch.manual_seed(3)
    linear = torch.nn.Linear

    class Program(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.input_proj, self.input_norm = linear(8, 16), torch.nn.LayerNorm(16)
            self.layers = torch.nn.ModuleList(
                torch.nn.Sequential(
                    linear(16, 16), torch.nn.LayerNorm(16), torch.nn.GELU(), torch.nn.Dropout(0.1), linear(16, 16),
                    torch.nn.LayerNorm(16), torch.nn.Dropout(0.1),
                )
                for _ in range(2)
            )  # fmt: skip
            self.output_proj = linear(16, 6)

        def forward(self, rows):
            hidden = self.input_norm(self.input_proj(rows))
            for layer in self.layers:
                hidden = hidden + layer(hidden)
            return self.output_proj(hidden)

    program = Program().eval()
    torch.save(program.state_dict(), "improved_model_best_model.pth")
    ours = TabularRegressor(8, 2, 16, 2, 0.1).eval()
    ours.load_state_dict(documented.load_state_dict_safely("improved_model_best_model.pth", "cpu"))
    rows = torch.randn(5, 8)
    torch.testing.assert_close(ours(rows).flatten(1), program(rows))


@pytest.mark.parametrize("tier", TIERS)
def test_without_a_seed_two_trainings_differ_and_with_torchs_they_do_not(in_folder, tier):
    module = TIERS[tier]
    X, Y = module.load_and_preprocess_data()

    def losses(seed=None):
        Path("improved_model_best_model.pth").unlink(missing_ok=True)
        if seed is not None:
            torch.manual_seed(seed)
        loaders = module.setup_training(X, Y)
        return module.train_model(*loaders, X.shape[1], Y.shape[1], enable_early_stop=False, fixed_epochs=1)[1]

    assert losses() != losses()
    assert losses(1) == losses(1) != losses(2)


def test_the_files_of_either_tier_are_what_the_document_lists(in_folder):
    run(positional_program, original)
    before = {path.name for path in in_folder.iterdir()}
    assert before == {
        "training_data.h5", "improved_model_best_model.pth", "improved_model_loss_analysis.png",
        "improved_model_predictions.png",
    }  # fmt: skip
    run(positional_program, documented)
    assert {path.name for path in in_folder.iterdir()} - before == {
        "improved_model_config.json", "improved_model_training.log", "improved_model_checkpoint_last.pth",
    }  # fmt: skip


def test_torch_load_reads_the_best_weights_of_either_tier_as_ever(in_folder):
    for module in TIERS.values():
        (model, *_), weights = run(positional_program, module, num_epochs=1)
        plain = torch.load("improved_model_best_model.pth", weights_only=True)
        assert all(torch.equal(plain[name], weights[name]) for name in model.state_dict())
        assert list(plain) == list(weights) == list(model.state_dict())


def test_loaders_made_by_the_caller_are_trained_on(in_folder):
    X, Y = documented.load_and_preprocess_data()
    rows = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loaders = [DataLoader(rows, batch_size=50, shuffle=shuffle) for shuffle in (True, False, False)]
    results = []
    for name, module in TIERS.items():
        torch.manual_seed(0)
        two_epochs = {"model_name": name, "enable_early_stop": False, "fixed_epochs": 2}
        results.append(module.train_model(*loaders, 8, 2, **two_epochs)[1:])
    assert results[0] == results[1]


def test_a_loader_with_an_order_of_its_own_keeps_it(in_folder):
    X, Y = documented.load_and_preprocess_data()
    order = [7, 3, 3, 100, 12, 9]
    seen = []

    class Noting(torch.utils.data.Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, row):
            seen.append(row)
            return X[row], Y[row]

    loader = DataLoader(Noting(), batch_size=2, sampler=order)
    rest = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=50)
    documented.train_model(loader, rest, rest, 8, 2, enable_early_stop=False, fixed_epochs=2)
    assert seen == [0, *order, *order], "one row is looked at for its shape"


@pytest.mark.parametrize("sampled", [{"num_samples": 30}, {"replacement": True}])
def test_a_random_sampler_of_another_kind_keeps_its_kind(in_folder, sampled):
    X, Y = documented.load_and_preprocess_data()
    table = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = DataLoader(table, batch_size=10, sampler=torch.utils.data.RandomSampler(table, **sampled))
    data = GivenLoaders({"train": loader}, 8, 2)
    assert data.loader("train") is loader


@pytest.mark.parametrize("tier", TIERS)
def test_numpy_tables_are_split_as_tensors_are(tier):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    ours = TIERS[tier].setup_training(X, Y)
    theirs = TIERS[tier].setup_training(torch.tensor(X, dtype=torch.float32), torch.tensor(Y, dtype=torch.float32))
    assert [len(loader.dataset) for loader in ours] == [40, 5, 5]
    assert [loader.batch_size for loader in ours] == [32] * 3
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(next(iter(one)), next(iter(other)), strict=True))


@pytest.mark.parametrize("tier", TIERS)
def test_sizes_may_be_numbers_of_numpys(in_folder, tier):
    X, Y = torch.randn(50, 3), torch.randn(50, 2)
    loaders = TIERS[tier].setup_training(X, Y, np.int64(10), np.float32(0.25), np.float64(0.1))
    assert [len(loader.dataset) for loader in loaders] == [33, 12, 5]
    assert loaders[0].batch_size == 10
    sizes = (np.int64(3), np.int64(2), np.int64(16), np.int64(1), np.float32(0.1))
    last = {"enable_early_stop": False, "fixed_epochs": np.int64(1)}
    assert len(TIERS[tier].train_model(*loaders, *sizes, **last)[1]) == 1


@pytest.mark.parametrize("tier", TIERS)
def test_the_training_loader_shuffles_anew_every_time(tier):
    X = torch.arange(200.0).reshape(100, 2)
    train, val, _ = TIERS[tier].setup_training(X, X)
    first, second = (torch.cat([features for features, _ in train]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first.sort(0).values, second.sort(0).values)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(val, val, strict=True))


def test_plotting_opens_no_window_and_touches_no_global_state(in_folder):
    code = """
import sys
from trainers.tabular_regressor import plot_losses
assert not [name for name in sys.modules if name.startswith("matplotlib")], "imported before anything is drawn"
plot_losses([1.0, 0.5], [1.0, 0.7])
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "TkAgg"}
    subprocess.run([sys.executable, "-c", code], cwd=in_folder, env=environment, check=True, timeout=300)
    assert (in_folder / "improved_model_loss_analysis.png").read_bytes().startswith(b"\x89PNG")


def test_plots_of_losses_that_are_no_numbers_are_drawn_and_others_refused(in_folder):
    path = documented.plot_losses([math.nan, 1.0, 0.5], [math.nan, math.inf, 0.7], "a")
    assert path.read_bytes().startswith(b"\x89PNG")
    documented.plot_losses([math.nan], [math.nan], "b")
    for losses in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(BadInput, match="losses"):
            documented.plot_losses(*losses)


@pytest.mark.parametrize("num_targets", [1, 2, 4])
def test_predictions_are_plotted_for_every_target_and_the_model_stays_as_it_is(in_folder, num_targets, monkeypatch):
    figures = []
    real = plots._write
    monkeypatch.setattr(plots, "_write", lambda figure, path: (figures.append(figure), real(figure, path))[1])
    X, Y = torch.randn(45, 3), torch.randn(45, num_targets)
    model = TabularRegressor(num_features=3, num_targets=num_targets, hidden_size=4, num_layers=1, dropout=0.5).train()
    loader = DataLoader(TensorDataset(X, Y), batch_size=20)
    path = documented.plot_predictions(model, loader, num_targets, 10)
    assert path == Path("improved_model_predictions.png")
    assert model.training
    (figure,) = figures
    truth = [axes.lines[0].get_ydata() for axes in figure.axes]
    predicted = [axes.lines[1].get_ydata() for axes in figure.axes]
    expected = documented.extract_final_predictions(model.eval()(X), num_targets).detach().numpy()[::10]
    np.testing.assert_array_equal(np.stack(truth, 1), Y[::10])
    np.testing.assert_allclose(np.stack(predicted, 1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stride", [0, -1, 1.5, True])
def test_a_stride_that_is_none_is_refused(stride):
    with pytest.raises(BadInput, match="stride"):
        documented.plot_predictions(torch.nn.Linear(1, 1), [], 1, stride)
