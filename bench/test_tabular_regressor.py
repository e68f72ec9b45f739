"""Document 004: the tabular regressor before and after its "comprehensive optimizations"."""

import shutil
import signal
import sys
from functools import partial

import pytest

from bench.harness.estimates import called_at, paired_difference, raising_once, relative_growth
from bench.harness.side import exact_arithmetic
from speedclaims.recorders.memory import current_bytes
from trainers.contract import Interrupted

MIXED_PRECISION = ("tabular-regressor.amp-speed", "tabular-regressor.amp-memory", "tabular-regressor.memory-halved")


@pytest.mark.speedup_passes("syncs", "gpu", "profile")
@pytest.mark.speedup_claim("tabular-regressor.whole", variant="done right")
def test_document_004_as_a_whole(tabular_regressor):
    """An epoch as document 004 has it, mixed precision and four loader workers on, against the one before it."""
    tabular_regressor.epochs(before=tabular_regressor.reference(), after=tabular_regressor.optimized())


@pytest.mark.speedup_claim("tabular-regressor.whole", variant="published")
def test_document_004_as_published(tabular_regressor):
    """An epoch of the program after document 004 as its authors published it against the one before it."""
    tabular_regressor.epochs(before=tabular_regressor.reference(), after=tabular_regressor.published())


@pytest.mark.speedup_passes("cold", "profile")
def test_fastest(tabular_regressor):
    """An epoch of the fastest tier against one of the reference: same rows, batches, network, loss and updates."""
    tabular_regressor.epochs(before=tabular_regressor.reference(), after=tabular_regressor.fastest())


@pytest.mark.speedup_claim(*MIXED_PRECISION, variant="done right")
def test_mixed_precision(tabular_regressor):
    """An epoch in mixed precision against the same in float32, nothing else changed."""
    tabular_regressor.epochs(
        before=tabular_regressor.restructured(),
        after=tabular_regressor.restructured(mixed_precision=True),
        passes=["time", "memory"],
    )


@pytest.mark.speedup_claim(*MIXED_PRECISION, variant="published")
def test_mixed_precision_as_published(tabular_regressor, device):
    """An epoch of the published program in mixed precision against the same in float32, nothing else changed."""
    if device == "cpu":
        pytest.skip("without a GPU the published program's mixed precision does nothing")
    others = {"workers_by_default": False, "workers_change_order": False}
    tabular_regressor.epochs(
        before=tabular_regressor.published(**others, mixed_precision_by_default=False),
        after=tabular_regressor.published(**others),
        passes=["time", "memory"],
    )


@pytest.mark.speedup_claim("tabular-regressor.loader-workers")
def test_loader_workers(tabular_regressor):
    """An epoch whose batches four persistent workers assemble against one that assembles its own."""
    tabular_regressor.epochs(
        before=tabular_regressor.restructured(),
        after=tabular_regressor.restructured(loader_workers=True, persistent_workers=True),
    )


@pytest.mark.speedup_long(2)
@pytest.mark.speedup_claim("tabular-regressor.persistent-workers")
def test_persistent_workers(tabular_regressor):
    """An epoch whose four loader workers outlive it against one that starts its own, nothing else changed."""
    tabular_regressor.epochs(
        before=tabular_regressor.restructured(loader_workers=True),
        after=tabular_regressor.restructured(loader_workers=True, persistent_workers=True),
    )


def test_restructured(tabular_regressor):
    """The optimized trainer with every switch off against the reference: what rewriting alone changes."""
    tabular_regressor.epochs(before=tabular_regressor.reference(), after=tabular_regressor.restructured())


@pytest.mark.speedup_control
def test_control(tabular_regressor):
    """Two separately built reference trainers: what identical code differs by on this machine."""
    tabular_regressor.epochs(before=tabular_regressor.reference(), after=tabular_regressor.reference())


EPOCHS_OF_QUALITY = {"tiny": 3, "smoke": 10, "default": 2}
EPOCHS_OF_MEMORY = {"tiny": 20, "smoke": 60, "default": 12}
WARM_EPOCHS = 3
MOST_SKIPPED = 20
"""Halvings after which the loss scale, 65,536 at first, is below 1."""


@pytest.mark.speedup_claim("tabular-regressor.amp-stability")
def test_mixed_precision_keeps_the_validation_loss(tabular_regressor, figure, preset):
    """Validation loss in mixed precision against float32, over paired seeds, in standard deviations of float32's."""

    def reached(seed: int, *, mixed_precision: bool) -> float:
        switches = {"mixed_precision": mixed_precision, "loader_workers": False, "persistent_workers": False}
        trainer = tabular_regressor.build("optimized", switches, seed=seed)
        for _ in range(EPOCHS_OF_QUALITY[preset]):
            trainer.train_epoch("train")
        trainer.close()
        return trainer.metrics["val_loss"]

    figure(**paired_difference(partial(reached, mixed_precision=False), partial(reached, mixed_precision=True)))


@pytest.mark.parametrize(
    "tier", ["reference", pytest.param("optimized", marks=pytest.mark.speedup_claim("tabular-regressor.no-leak"))]
)
def test_memory_over_epochs(tabular_regressor, figure, preset, device, tier):
    """Growth of the memory in use from epoch to epoch: a leak is a slope."""
    trainer = tabular_regressor.build(tier, None)
    levels = []
    for _ in range(WARM_EPOCHS + EPOCHS_OF_MEMORY[preset]):
        trainer.train_epoch("train")
        levels.append(current_bytes(device)["value"])
    trainer.close()
    if None in levels:
        figure(None, unit="% per epoch", reason=current_bytes(device)["reason"])
    else:
        figure(**relative_growth(levels[WARM_EPOCHS:]))


@pytest.mark.speedup_claim("tabular-regressor.oom", variant="published")
def test_running_out_of_memory_as_published(tabular_regressor, figure):
    """Steps that the published program takes all the same when memory runs out at one of four points."""
    record_steps_without_memory(tabular_regressor, figure, "published", {"workers_by_default": False})


@pytest.mark.speedup_claim("tabular-regressor.oom", variant="done right")
def test_running_out_of_memory(tabular_regressor, figure):
    """Steps taken all the same when memory runs out in the forward pass, backward, unscaling or the update."""
    switches = {"mixed_precision": True, "loader_workers": False, "persistent_workers": False}
    record_steps_without_memory(tabular_regressor, figure, "optimized", switches)


def record_steps_without_memory(tabular_regressor, figure, tier, switches):
    """Count the points of a step at which memory may run out and the step is taken all the same."""
    torch = pytest.importorskip("torch")
    survived = []
    for owner_of, name in (
        (lambda trainer: trainer.model, "forward"),
        (lambda _: torch.Tensor, "backward"),
        (lambda _: torch.amp.GradScaler, "unscale_"),
        (lambda trainer: trainer.optimizer, "step"),
    ):
        trainer = tabular_regressor.build(tier, switches)
        train_until_applied(trainer)
        before = [weight.detach().clone() for weight in trainer.model.parameters()]
        with raising_once(owner_of(trainer), name, torch.OutOfMemoryError(f"injected in {name}")) as was_called:
            try:
                trainer.train_steps(1, "train")
            except torch.OutOfMemoryError:
                pass
            else:
                moved = any(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
                survived += [name] if was_called() and moved else []
        trainer.close()
    figure(len(survived), exact=True, unit="of 4 faults", details=[f"survived: {', '.join(survived) or 'none'}"])


def train_until_applied(trainer):
    """Take steps until one is not skipped: in float16 the first ones only lower the loss scale."""
    for _ in range(MOST_SKIPPED):
        trainer.train_steps(1, "train")
        if not trainer.metrics["num_skipped_steps"]:
            return
    raise AssertionError(f"the first {MOST_SKIPPED} steps were all skipped")


STOPS = {"in the first epoch": 2, "at its end": 9, "in the second epoch": 12, "in the last epoch": 22}
"""Steps of three epochs of ten in which Ctrl-C comes; the training stops within eight steps, or at the epoch's end."""


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.speedup_claim("tabular-regressor.resumed", variant="published")
def test_interrupted_trainings_are_resumed_as_published(tabular_regressor, figure, tmp_path, device):
    """The same by the published functions, which begin again with the best weights of the training before."""
    del tabular_regressor  # it skips where PyTorch is missing
    from trainers.tabular_regressor.document_004 import published  # noqa: PLC0415 - a machine may lack PyTorch

    record_resumed(published.train_model, figure, tmp_path, device, {})


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.speedup_claim("tabular-regressor.resumed", variant="done right")
def test_interrupted_trainings_are_resumed(tabular_regressor, figure, tmp_path, device):
    """Trainings that Ctrl-C stops at four moments and document 004's functions resume to the same end, to the bit."""
    del tabular_regressor  # it skips where PyTorch is missing
    from trainers.tabular_regressor.document_004 import api  # noqa: PLC0415 - a machine may lack PyTorch

    record_resumed(partial(api.train_model, device=device, seed=0), figure, tmp_path, device, {"resume_from": True})


def record_resumed(train_model, figure, tmp_path, device, resuming):
    """Count the moments at which a training may be stopped and still ends the same, to the bit.

    Args:
        train_model: trains as document 004's function of this name.
        figure: the plugin's fixture.
        tmp_path: where it writes.
        device: where it trains.
        resuming: arguments by which it goes on.
    """
    import torch  # noqa: PLC0415 - a machine may lack it

    from trainers.common import checkpoint  # noqa: PLC0415
    from trainers.tabular_regressor.config import RegressorConfig  # noqa: PLC0415
    from trainers.tabular_regressor.data import offline_data_path  # noqa: PLC0415
    from trainers.tabular_regressor.document_004 import api as documented  # noqa: PLC0415
    from trainers.tabular_regressor.document_004.model_names import ModelFiles  # noqa: PLC0415
    from trainers.tabular_regressor.reference import ReferenceTrainer  # noqa: PLC0415
    from trainers.tabular_regressor.training import read_training  # noqa: PLC0415 - likewise

    tiny = RegressorConfig.preset("tiny")
    X, Y = documented.load_and_preprocess_data(offline_data_path(tiny))  # noqa: N806 - the document's names
    config = documented.TrainingConfig(
        hidden_size=tiny.hidden_size, num_layers=tiny.num_layers, num_epochs=tiny.num_epochs, use_mixed_precision=True
    )

    def train(name: str, **options: object) -> None:
        torch.manual_seed(0)
        loaders = documented.setup_training(X, Y, batch_size=tiny.batch_size)
        dimensions, path = (X.shape[1], Y.shape[1]), str(tmp_path / name / "improved_model")
        train_model(*loaders, *dimensions, model_name=path, config=config, **options)

    def final(name: str) -> bytes:
        path = ModelFiles(str(tmp_path / name / "improved_model")).checkpoint("last")
        return checkpoint.dumps(read_training(path)["state"])

    same = []
    with exact_arithmetic(device):
        train("whole")
        for moment, step in STOPS.items():
            stop = called_at(ReferenceTrainer, "_next_batch", step, partial(signal.raise_signal, signal.SIGINT))
            with stop, pytest.raises(Interrupted):
                train(moment)
            train(moment, **resuming)
            same += [moment] if final(moment) == final("whole") else []
    details = [f"preset tiny; went on to the bit after a stop {', '.join(same) or 'never'}"]
    figure(len(same), exact=True, unit="of 4 stops", details=details)


def old_program(module, path, folder, num_epochs=2):
    """Train as code written before document 004 does, from one seed, and return every loss."""
    sys.modules["torch"].manual_seed(0)
    X, Y = module.load_and_preprocess_data(path)  # noqa: N806 - the document's names
    loaders = module.setup_training(X, Y)
    shutil.rmtree(folder, ignore_errors=True)  # a training begins with the best weights that it finds
    folder.mkdir()
    name = str(folder / "improved_model")
    _, train_losses, val_losses, test_loss = module.train_model(
        *loaders, X.shape[1], Y.shape[1], model_name=name, enable_early_stop=False, fixed_epochs=num_epochs
    )
    return [*train_losses, *val_losses, test_loss]


@pytest.fixture
def old_programs(tabular_regressor, preset, tmp_path):
    """The same old program on the functions before and after document 004."""
    del tabular_regressor  # it skips where PyTorch is missing
    from trainers.tabular_regressor.config import RegressorConfig  # noqa: PLC0415
    from trainers.tabular_regressor.data import offline_data_path  # noqa: PLC0415
    from trainers.tabular_regressor.document_004 import api as documented  # noqa: PLC0415
    from trainers.tabular_regressor.document_004 import original, published  # noqa: PLC0415 - likewise

    path = offline_data_path(RegressorConfig.preset(preset))
    sides = []
    modules = {"old functions": original, "document 004's functions": documented, "published functions": published}
    for name, module in modules.items():
        folder = tmp_path / name
        sides.append(partial(old_program, module, path, folder))
        sides[-1].label = name
    return sides


def test_an_old_program(pair, old_programs):
    """A program written before document 004, all defaults, on its functions against the same on the old ones."""
    before, after, _ = old_programs

    def same_losses() -> None:
        if before() != after():
            raise AssertionError("the losses of the old program differ on the new functions")

    pair(before=before, after=after, equivalent=same_losses)


def record_losses_that_differ(figure, before, after):
    """Count the losses of an old program that are not the same, to the bit, and say by how much they differ."""
    losses = list(zip(before(num_epochs=4), after(num_epochs=4), strict=True))
    differ = [abs(new / old - 1) for old, new in losses if old != new]
    details = [f"of {len(losses)}", *([f"by up to {max(differ):.1%}"] if differ else [])]
    figure(len(differ), exact=True, unit="losses", details=details)


@pytest.mark.speedup_claim("tabular-regressor.old-calls", variant="done right")
def test_an_old_program_computes_the_same(figure, old_programs):
    """Losses of an old program that are not the same, to the bit, on document 004's functions."""
    before, after, _ = old_programs
    record_losses_that_differ(figure, before, after)


@pytest.mark.speedup_claim("tabular-regressor.old-calls", variant="published")
def test_an_old_program_computes_the_same_as_published(figure, old_programs):
    """Losses of an old program that are not the same, to the bit, on the functions that were published."""
    before, _, after = old_programs
    record_losses_that_differ(figure, before, after)
