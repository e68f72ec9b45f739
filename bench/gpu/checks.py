"""The checks of a first look at a GPU: each takes one CUDA path of the project, as its users do.

A check returns figures, and raises an exception where its path does not work. How far losses are apart is a figure and
no failure: kernels round differently. The order is that of `CHECKS`, the cheap and important ones first.
"""

import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import trainers
from bench.harness.estimates import raising_once
from bench.harness.images import HeldLoader
from bench.harness.side import exact_arithmetic
from speedclaims.recorders import ceilings, memory
from speedclaims.recorders.flops import count as flops
from speedclaims.recorders.nvml import devices as nvml
from speedclaims.recorders.nvml import window as nvml_window
from speedclaims.recorders.phases import recorder as phases_record
from speedclaims.recorders.phases import stopwatch as profile
from speedclaims.recorders.syncs import torch as syncs_torch
from trainers.common import checkpoint
from trainers.contract import BadInput

Figures = dict[str, Any]

DEVICE = "cuda"
_LOSSES = ("discriminator_losses", "generator_losses")
_MEGABYTE = 1e6
_NUM_HELD = 3
_MOST_GROWTH_MB = 16.0
_FIRST_STEPS = 8
"""In float16 the first steps only lower the loss scale; this number of steps is checked."""


class FailedCheckError(AssertionError):
    """A path ran and did not do what it should; the message says what."""


@dataclass(frozen=True)
class Check:
    """One CUDA path.

    Attributes:
        name: what the terminal and the file call it.
        run: takes the path; returns its figures.
        compiles: whether it compiles kernels that later runs find in the compiler's cache.
    """

    name: str
    run: Callable[["Look"], Figures]
    compiles: bool = False


CHECKS: list[Check] = []
"""All checks, in the order in which they run."""

FIRST_OF_TRAINERS = "twin reference"
"""The checks before it look at what the machine does; nothing else should use the GPU meanwhile."""


def check(name: str, *, compiles: bool = False) -> Callable[[Callable[["Look"], Figures]], Callable[["Look"], Figures]]:
    """Register a function as a check."""

    def register(run: Callable[["Look"], Figures]) -> Callable[["Look"], Figures]:
        CHECKS.append(Check(name, run, compiles))
        return run

    return register


@dataclass
class Look:
    """Share between checks the trainers that are built, and the images of a few batches.

    Attributes:
        preset: sizes of the trainers.
    """

    preset: str
    _trainers: dict[tuple[object, ...], Any] = field(default_factory=dict)
    _starts: dict[str, Any] = field(default_factory=dict)

    def new(self, family: str, tier: str, switches: Mapping[str, bool] | None = None) -> Any:
        """Build a trainer that no other check uses."""
        return trainers.family(family).build(tier, preset=self.preset, device=DEVICE, switches=switches, log=_ignore)

    def trainer(self, family: str, tier: str, **switches: bool) -> Any:
        """Return the trainer of a tier; the first check that asks for it builds it."""
        key = (family, tier, *sorted(switches.items()))
        if key not in self._trainers:
            self._trainers[key] = self.new(family, tier, switches or None)
        return self._trainers[key]

    def held(self, tier: str, **switches: bool) -> Any:
        """Return a text-to-image trainer whose images are decoded already."""
        trainer = self.trainer("text_to_image", tier, **switches)
        trainer.train_loader = HeldLoader(self.batches)
        return trainer

    @cached_property
    def batches(self) -> list[Any]:
        """A few decoded batches, the first ones of an epoch."""
        reference = self.trainer("text_to_image", "reference")
        loader = reference.make_loader("train")
        loader.sampler.seek(reference.seed, 0, 0)
        return list(islice(loader, _NUM_HELD))

    def start(self, family: str) -> Any:
        """Return the reference's state before its first step."""
        if family not in self._starts:
            reference = self.new(family, "reference")
            self._starts[family] = reference.state()
            reference.close()
        return self._starts[family]

    def forget(self) -> None:
        """Close all trainers: after a failure they may be in the middle of anything."""
        trainers, self._trainers = list(self._trainers.values()), {}
        for trainer in trainers:
            trainer.close()


# --- The machine and what is read of it ---


@check("machine")
def _machine(look: Look) -> Figures:
    del look
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "torch": torch.__version__,
        "memory_gb": properties.total_memory / 1e9,
        "num_cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "capability": torch.cuda.get_device_capability(0),
        "nvml": nvml.describe(),
    }


@check("memory")
def _memory(look: Look) -> Figures:
    del look
    num_bytes = 2**28
    before = memory.current_bytes(DEVICE)["value"]
    found = memory.call_memory(DEVICE, lambda: torch.empty(num_bytes, dtype=torch.uint8, device=DEVICE))
    peak, increase = found["peak"]["value"], found["increase"]["value"]
    after = memory.current_bytes(DEVICE)["value"]
    if increase < num_bytes or peak != before + increase or after != before:
        raise FailedCheckError(
            f"{num_bytes} bytes raise the peak from {before:.0f} by {increase:.0f} to {peak:.0f} and leave "
            f"{after - before:.0f}"
        )
    return {"peak_mb": peak / _MEGABYTE, "in_use_mb": after / _MEGABYTE}


@check("synchronizations")
def _synchronizations(look: Look) -> Figures:
    """Count the waits of a few lines; CUDA's own check must name the same lines."""
    del look
    host, device = torch.ones(3), torch.ones(3, device=DEVICE)

    def work() -> None:
        float(device.sum())
        device.tolist()
        device.nonzero()
        device[device > 0]
        f"{device[0]}"
        host.to(DEVICE)
        device.cpu()
        if device[0] > 0:
            pass

    work()
    with syncs_torch.counting_syncs() as counted:
        work()
    with syncs_torch.cuda_warnings() as warned:
        work()
    if set(counted.own) != set(warned):
        only_counted, only_warned = sorted(set(counted.own) - set(warned)), sorted(set(warned) - set(counted.own))
        raise FailedCheckError(f"counted only: {only_counted}; of CUDA's check only: {only_warned}")
    return {"waits": counted.own.total(), "cuda_counts": warned.total()}


@check("operations")
def _operations(look: Look) -> Figures:
    """Count the operations of a small network; on the GPU they must be those on the CPU."""
    del look
    counts = {}
    for device in ("cpu", DEVICE):
        lstm = torch.nn.LSTM(16, 32, num_layers=2, batch_first=True).to(device)
        convolution = torch.nn.Conv1d(32, 8, 3).to(device)
        inputs_BTF = torch.ones(4, 10, 16, device=device)  # noqa: N806 - B sequences, T tokens, F features

        def call(lstm: Any = lstm, convolution: Any = convolution, inputs_BTF: Any = inputs_BTF) -> None:  # noqa: N803
            convolution(lstm(inputs_BTF)[0].transpose(1, 2)).sum().backward()

        counts[device] = flops.flops_per_call(call)
    if counts["cpu"] != counts[DEVICE] or counts[DEVICE]["value"] is None:
        raise FailedCheckError(f"counted on the CPU: {counts['cpu']}; on the GPU: {counts[DEVICE]}")
    return {"operations": counts[DEVICE]["value"]}


@check("phases")
def _phases(look: Look) -> Figures:
    """Profile one step of a small network: its phases, and for how much of it the GPU is busy."""
    del look
    model = torch.nn.Linear(1024, 1024).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        model(torch.ones(256, 1024).to(DEVICE)).square().mean().backward()
        optimizer.step()
        torch.cuda.synchronize()

    step()
    found = _profiled(step)
    missing = {profile.TRANSFER, profile.FORWARD, profile.BACKWARD, profile.OPTIMIZER} - set(found["phases"])
    if missing:
        raise FailedCheckError(f"phases that were not seen: {sorted(missing)}; seen: {found['phases']}")
    return found


@check("busy fraction")
def _busy(look: Look) -> Figures:
    """Let the profiler see the kernels of a call that does nothing but multiply."""
    del look
    matrix = torch.randn(2048, 2048, device=DEVICE)

    def call() -> None:
        for _ in range(20):
            torch.mm(matrix, matrix)
        torch.cuda.synchronize()

    call()
    return _required(phases_record.profile_side(_ignore, call, DEVICE)["busy"], "busy_percent")


@check("ceilings")
def _ceilings(look: Look) -> Figures:
    del look
    found = ceilings.measure(DEVICE)
    rates = {**found["matmul"], "copy": found["copy"]}
    # In T(FL)OP/s and TB/s.
    return {name: _required(each, name)[name] / 1e12 for name, each in rates.items()}


@check("NVML window")
def _window(look: Look) -> Figures:
    del look
    matrix = torch.randn(4096, 4096, device=DEVICE, dtype=torch.bfloat16)

    def call() -> None:
        for _ in range(50):
            torch.mm(matrix, matrix)
        torch.cuda.synchronize()

    call()
    found = nvml_window.watch(call)
    figures = {name: each["value"] for name, each in found.figures.items() if each["value"] is not None}
    reasons = {name: each["reason"] for name, each in found.figures.items() if each["value"] is None}
    if not figures:
        raise FailedCheckError(f"no figure at all: {next(iter(reasons.values()))}")
    return {"num_missing": len(reasons), **figures, "reasons": reasons, "timeline": found.timeline}


# --- The dialogue GAN's twin ---


@check(FIRST_OF_TRAINERS)
def _twin_reference(look: Look) -> Figures:
    trainer = look.trainer("dialogue_twin", "reference")
    for phase in trainer.phases:
        _steps(trainer, 1, phase)
    return _cost(lambda: _steps(trainer, 2, "adversarial"), 2)


@check("twin fastest")
def _twin_fastest(look: Look) -> Figures:
    """Capture a batch of each phase, and replay it."""
    trainer = look.trainer("dialogue_twin", "fastest")
    first_s = {phase: _seconds(partial(_steps, trainer, 2, phase)) for phase in trainer.phases}
    cost = _cost(lambda: _steps(trainer, 4, "adversarial"), 4)
    before = torch.cuda.memory_allocated()
    trainer.drop_graphs()
    _steps(trainer, 1, "adversarial")
    grown = (torch.cuda.memory_allocated() - before) / _MEGABYTE
    if grown > _MOST_GROWTH_MB:
        raise FailedCheckError(f"capturing again left {grown:.0f} MB more in use")
    return {**cost, "captures_s": sum(first_s.values()), "grown_mb": grown, "first_two_s": first_s}


@check("twin fastest epochs")
def _twin_epochs(look: Look) -> Figures:
    """Train an epoch of each phase, whose last batch is smaller, and validate."""
    trainer = look.trainer("dialogue_twin", "fastest")
    seconds = {phase: _seconds(partial(trainer.train_epoch, phase)) for phase in trainer.phases}
    size = trainer.config.batch_size
    return {
        "epoch_s": seconds["adversarial"],
        "last_batch": len(trainer.data.train) % size or size,
        "val_loss": trainer.evaluate()["val_loss"],
        "seconds": seconds,
    }


@check("twin states")
def _twin_states(look: Look) -> Figures:
    return _states(look, "dialogue_twin", "adversarial", look.trainer("dialogue_twin", "fastest"))


@check("twin losses")
def _twin_losses(look: Look) -> Figures:
    sides = {
        "fastest fp32": look.trainer("dialogue_twin", "fastest", bfloat16=False),
        "fastest": look.trainer("dialogue_twin", "fastest"),
    }
    return _compared(look, "dialogue_twin", "adversarial", 3, sides)


# --- The tabular regressor ---

_NO_WORKERS = {"loader_workers": False, "persistent_workers": False}
_PLAIN, _MIXED = {**_NO_WORKERS, "mixed_precision": False}, {**_NO_WORKERS, "mixed_precision": True}


@check("tabular reference")
def _tabular_reference(look: Look) -> Figures:
    return _tabular_epochs(look.trainer("tabular_regressor", "reference"))


@check("tabular restructured")
def _tabular_restructured(look: Look) -> Figures:
    return _tabular_epochs(look.trainer("tabular_regressor", "optimized", **_PLAIN))


@check("tabular mixed")
def _tabular_mixed(look: Look) -> Figures:
    """Train in float16 with a loss scale; its first steps may be left out."""
    trainer = look.trainer("tabular_regressor", "optimized", **_MIXED)
    _steps(trainer, _FIRST_STEPS, "train")
    skipped = trainer.metrics["num_skipped_steps"]
    return {f"skipped_of_{_FIRST_STEPS}": skipped, **_tabular_epochs(trainer)}


@check("tabular out of memory")
def _tabular_out_of_memory(look: Look) -> Figures:
    """Let memory run out at four places; the batch must be taken in parts, and the training must go on."""
    points: dict[str, Callable[[Any], Any]] = {
        "forward": lambda trainer: trainer.model,
        "backward": lambda _: torch.Tensor,
        "unscale_": lambda _: torch.amp.GradScaler,
        "step": lambda trainer: trainer.optimizer,
    }
    skipped = {}
    for name, owner_of in points.items():
        trainer = look.new("tabular_regressor", "optimized", _MIXED)
        with raising_once(owner_of(trainer), name, torch.OutOfMemoryError(f"injected in {name}")) as was_called:
            _steps(trainer, 2 * _FIRST_STEPS, "train")
        if not was_called():
            raise FailedCheckError(f"no step of {2 * _FIRST_STEPS} came to {name}: all were skipped")
        if trainer.num_parts == 1:
            raise FailedCheckError(f"no batch was taken in parts after memory ran out in {name}")
        skipped[name] = trainer.metrics["num_skipped_steps"]
        trainer.close()
    return {"survived": len(skipped), **{f"skipped_{name}": number for name, number in skipped.items()}}


@check("tabular published")
def _tabular_published(look: Look) -> Figures:
    """Train and validate as published, in float16, and leave out a batch for which memory runs out."""
    trainer = look.new("tabular_regressor", "published", {"workers_by_default": False})
    try:
        _steps(trainer, _FIRST_STEPS, "train")
        figures = _tabular_epochs(trainer)
        before = [weight.detach().clone() for weight in trainer.model.parameters()]
        with raising_once(trainer.model, "forward", torch.OutOfMemoryError("injected in forward")):
            _steps(trainer, 1, "train")
        if any(not torch.equal(one, other) for one, other in zip(before, trainer.model.parameters(), strict=True)):
            raise FailedCheckError("a batch for which memory ran out changed the weights")
        _steps(trainer, _FIRST_STEPS, "train")
        return figures
    finally:
        trainer.close()


@check("tabular workers")
def _tabular_workers(look: Look) -> Figures:
    """Train as document 004 has it, with worker processes that are forked after CUDA has begun."""
    trainer = look.new("tabular_regressor", "optimized")
    try:
        return _tabular_epochs(trainer, times=1)
    finally:
        trainer.close()


# --- Text to image ---

_SMALLER_WORK = ("fewer_epochs", "larger_batches", "smaller_images", "sparse_logging")


def _image_optimized(look: Look, *, mixed: bool) -> Any:
    return look.held("optimized", **dict.fromkeys(_SMALLER_WORK, False), mixed_precision=mixed)


@check("image data")
def _image_data(look: Look) -> Figures:
    """Make the offline data where it is not kept yet, and decode a few batches."""
    make_s = _seconds(lambda: look.trainer("text_to_image", "reference"))
    decode_s = _seconds(lambda: look.batches)
    return {"make_s": make_s, "ms_to_decode_a_batch": 1e3 * decode_s / _NUM_HELD}


@check("image reference")
def _image_reference(look: Look) -> Figures:
    trainer = look.held("reference")
    return _cost(lambda: _steps(trainer, _NUM_HELD, "train"), _NUM_HELD)


@check("image published")
def _image_published(look: Look) -> Figures:
    """Take the published program's steps on the original's image size; the smaller one must end it."""
    trainer = look.held("published", **dict.fromkeys(("fewer_epochs", "larger_batches", "smaller_images"), False))
    figures = _cost(lambda: _steps(trainer, _NUM_HELD, "train"), _NUM_HELD)
    smaller = look.new("text_to_image", "published", {"larger_batches": False})
    try:
        smaller.train_steps(1, "train")
    except BadInput:
        return figures
    finally:
        smaller.close()
    raise FailedCheckError("the published networks took a step on smaller images")


@check("image restructured")
def _image_restructured(look: Look) -> Figures:
    trainer = _image_optimized(look, mixed=False)
    return _cost(lambda: _steps(trainer, _NUM_HELD, "train"), _NUM_HELD)


@check("image mixed")
def _image_mixed(look: Look) -> Figures:
    """Train in float16 with a loss scale; its first steps may be left out."""
    trainer = _image_optimized(look, mixed=True)
    _steps(trainer, _FIRST_STEPS, "train")
    skipped = trainer.metrics["num_skipped_steps"]
    return {f"skipped_of_{_FIRST_STEPS}": skipped, **_cost(lambda: _steps(trainer, _NUM_HELD, "train"), _NUM_HELD)}


@check("image checkpoint")
def _image_checkpoint(look: Look) -> Figures:
    """Save the state of a device, read it, and go on from it."""
    trainer = look.held("reference")
    state = trainer.state()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint"
        save_s = _seconds(lambda: checkpoint.save(file, state))
        loaded = checkpoint.load(file)
        size = file.stat().st_size
    trainer.load_state(loaded)
    _require_same("the loaded checkpoint", trainer.state(), state)
    _steps(trainer, 1, "train")
    return {"save_s": save_s, "megabytes": size / _MEGABYTE}


# --- What is compiled, which takes long ---


@check("tabular fastest", compiles=True)
def _tabular_fastest(look: Look) -> Figures:
    return _tabular_compiled(look.trainer("tabular_regressor", "fastest"))


@check("image fastest")
def _image_fastest(look: Look) -> Figures:
    return _image_compiled(look.held("fastest", cached_images=False))


@check("image fastest cached", compiles=True)
def _image_cached(look: Look) -> Figures:
    """Decode all images into the cache, train from it, and finish an epoch, whose last batch is smaller."""
    open_s = _seconds(lambda: look.trainer("text_to_image", "fastest"))
    trainer = look.trainer("text_to_image", "fastest")
    _steps(trainer, 1, "train")
    cost = _cost(lambda: _steps(trainer, 4, "train"), 4)
    num_items, size = trainer.data.num_items("train"), trainer.config.batch_size
    last = num_items % size or size
    state = trainer.state()
    trainer.load_state({**state, "progress": {**state["progress"], "num_items_done": num_items - last}})
    last_s = _seconds(lambda: trainer.train_epoch("train"))
    _require_steps(trainer, 1)
    return {**cost, "open_s": open_s, "last_batch": last, "last_batch_s": last_s}


@check("twin optimized", compiles=True)
def _twin_optimized(look: Look) -> Figures:
    """Train in each phase with the documents' switches, whose losses drift, and compare them."""
    trainer = look.trainer("dialogue_twin", "optimized")
    first_s = {phase: _seconds(partial(_steps, trainer, 2, phase)) for phase in trainer.phases}
    cost = _cost(lambda: _steps(trainer, 2, "adversarial"), 2)
    skipped = trainer.metrics["num_skipped_steps"]
    apart = _compared(look, "dialogue_twin", "adversarial", 3, {"optimized": trainer})
    return {**cost, "skipped": skipped, "compiling_s": sum(first_s.values()), **apart, "first_two_s": first_s}


@check("tabular fastest fp32", compiles=True)
def _tabular_fastest_fp32(look: Look) -> Figures:
    return _tabular_compiled(look.trainer("tabular_regressor", "fastest", bfloat16=False))


@check("tabular losses")
def _tabular_losses(look: Look) -> Figures:
    sides = {
        "restructured": look.trainer("tabular_regressor", "optimized", **_PLAIN),
        "fastest fp32": look.trainer("tabular_regressor", "fastest", bfloat16=False),
        "fastest": look.trainer("tabular_regressor", "fastest"),
        "mixed": look.trainer("tabular_regressor", "optimized", **_MIXED),
    }
    return _compared(look, "tabular_regressor", "train", 8, sides)


@check("tabular states")
def _tabular_states(look: Look) -> Figures:
    sides = (look.trainer("tabular_regressor", "fastest"), look.trainer("tabular_regressor", "optimized", **_MIXED))
    return _states(look, "tabular_regressor", "train", *sides)


@check("image fastest fp32", compiles=True)
def _image_fastest_fp32(look: Look) -> Figures:
    return _image_compiled(look.held("fastest", cached_images=False, bfloat16=False))


@check("image losses")
def _image_losses(look: Look) -> Figures:
    sides = {
        "restructured": _image_optimized(look, mixed=False),
        "fastest fp32": look.held("fastest", cached_images=False, bfloat16=False),
        "fastest": look.held("fastest", cached_images=False),
        "mixed": _image_optimized(look, mixed=True),
    }
    return _compared(look, "text_to_image", "train", 3, sides)


@check("image states")
def _image_states(look: Look) -> Figures:
    sides = (look.held("fastest", cached_images=False), _image_optimized(look, mixed=True))
    return _states(look, "text_to_image", "train", *sides)


@check("image validation")
def _image_validation(look: Look) -> Figures:
    trainer = look.held("reference")
    return {"distance": trainer.evaluate(), "seconds": _seconds(trainer.evaluate)}


@check("twin profile")
def _twin_profile(look: Look) -> Figures:
    return _profiles(look, "dialogue_twin", 4, "adversarial", {"fastest": look.trainer("dialogue_twin", "fastest")})


@check("tabular profile")
def _tabular_profile(look: Look) -> Figures:
    return _profiles(look, "tabular_regressor", 50, "train", {"fastest": look.trainer("tabular_regressor", "fastest")})


@check("image profile")
def _image_profile(look: Look) -> Figures:
    look.held("reference")
    return _profiles(look, "text_to_image", 2, "train", {"fastest": look.held("fastest", cached_images=False)})


# --- What checks have in common ---


def _ignore(*_: object) -> None:
    pass


def _seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes until the device has done what it asked for."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def _cost(call: Callable[[], object], num_steps: int, *, times: int = 5) -> Figures:
    """Return the median time of a step and by how much a call raises the memory in use, after one warm call."""
    call()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = statistics.median(_seconds(call) for _ in range(times))
    peak = torch.cuda.max_memory_allocated()
    return {"ms_a_step": 1e3 * seconds / num_steps, "rise_mb": (peak - before) / _MEGABYTE}


def _steps(trainer: Any, num_steps: int, phase: str) -> None:
    trainer.train_steps(num_steps, phase)
    _require_steps(trainer, num_steps)


def _require_steps(trainer: Any, num_steps: int) -> None:
    metrics = trainer.metrics
    if metrics["num_steps"] != num_steps or len(metrics["train_losses"]) != num_steps:
        raise FailedCheckError(f"{num_steps} steps were asked for, and {metrics['num_steps']} were taken")


def _required(figure: Mapping[str, Any], name: str) -> Figures:
    """Return a figure of the record by name.

    Raises:
        FailedCheckError: it has no value; the message is its reason.
    """
    if figure["value"] is None:
        raise FailedCheckError(figure["reason"])
    return {name: figure["value"]}


def _profiled(call: Callable[[], object]) -> Figures:
    found = phases_record.profile_side(_ignore, call, DEVICE)
    phases = {phase["name"]: phase["seconds"] for phase in found["phases"]}
    return {"wall_s": found["wall_s"]["value"], "busy": found["busy"]["value"], "phases": phases}


def _profiles(look: Look, family: str, num_steps: int, phase: str, sides: Mapping[str, Any]) -> Figures:
    """Profile a few warm steps of the reference and of other sides."""

    def call(trainer: Any) -> None:
        _steps(trainer, num_steps, phase)
        trainer.synchronize()

    found = {}
    for name, trainer in {"reference": look.trainer(family, "reference"), **sides}.items():
        trainer.load_state(look.start(family))
        call(trainer)
        found[name] = _profiled(partial(call, trainer))
    return {**{f"busy {name}": each["busy"] for name, each in found.items()}, "sides": found}


def _tabular_epochs(trainer: Any, *, times: int = 3) -> Figures:
    """Train whole epochs, whose last batch is smaller."""
    trainer.train_epoch("train")
    found = _cost(lambda: trainer.train_epoch("train"), 1, times=times)
    metrics = trainer.metrics
    return {
        "ms_an_epoch": found.pop("ms_a_step"),
        **found,
        "steps": metrics["num_steps"],
        "skipped": metrics["num_skipped_steps"],
        "val_loss": metrics["val_loss"],
        "in_use_mb": memory.current_bytes(DEVICE)["value"] / _MEGABYTE,
    }


def _tabular_compiled(trainer: Any) -> Figures:
    first_s = _seconds(lambda: _steps(trainer, 1, "train"))
    whole_s = _seconds(lambda: trainer.train_epoch("train"))
    return {**_tabular_epochs(trainer), "first_step_s": first_s, "first_epoch_s": whole_s}


def _image_compiled(trainer: Any) -> Figures:
    first_s = _seconds(lambda: _steps(trainer, 1, "train"))
    return {**_cost(lambda: _steps(trainer, _NUM_HELD, "train"), _NUM_HELD), "first_step_s": first_s}


def _states(look: Look, family: str, phase: str, *sides: Any) -> Figures:
    """Take a state to a side and back to the reference, to the bit, and train on from it."""
    reference, start = look.trainer(family, "reference"), look.start(family)
    reference.load_state(start)
    _steps(reference, 2, phase)
    trained = reference.state()
    for side in sides:
        for state in (start, trained):
            side.load_state(state)
            _require_same(f"a state of the reference in {type(side).__name__}", _common(side.state()), _common(state))
        _steps(side, 2, phase)
        after = side.state()
        reference.load_state(after)
        _require_same("its state in the reference", _common(reference.state()), _common(after))
        _steps(reference, 1, phase)
    return {"megabytes": len(checkpoint.dumps(start)) / _MEGABYTE}


def _common(state: Mapping[str, Any]) -> Figures:
    """Return the parts of a state that all tiers have."""
    return {name: part for name, part in state.items() if name not in {"scaler", "stopping", "schedulers"}}


def _require_same(what: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    differing = [name for name in expected if checkpoint.dumps(found[name]) != checkpoint.dumps(expected[name])]
    if differing:
        raise FailedCheckError(f"{what} differs in: {', '.join(differing)}")


def _compared(look: Look, family: str, phase: str, num_steps: int, sides: Mapping[str, Any]) -> Figures:
    """Compare the losses of sides with the reference's, from its first state, under two numerical settings."""
    reference = look.trainer(family, "reference")
    figures: Figures = {}
    modes = {}
    for mode, setting in (("as it is", nullcontext()), ("deterministic, no TF32", exact_arithmetic(DEVICE))):
        with setting, _fresh_graphs(sides):
            expected = _first_losses(look, family, reference, num_steps, phase)
            found = {name: _first_losses(look, family, side, num_steps, phase) for name, side in sides.items()}
            found["again"] = _first_losses(look, family, reference, num_steps, phase)
        apart = {name: [_apart(a, b) for a, b in zip(expected, each, strict=True)] for name, each in found.items()}
        modes[mode] = {"losses": expected, "apart": apart}
        figures = {name: _largest(each) for name, each in apart.items()}  # in the end, of the second setting
    return {**figures, "modes": modes}


@contextmanager
def _fresh_graphs(sides: Mapping[str, Any]) -> Iterator[None]:
    """Drop captured graphs before and after the block: they keep the kernels of the setting they were captured in."""
    captured = [side for side in sides.values() if hasattr(side, "drop_graphs")]
    for side in captured:
        side.drop_graphs()
    yield
    for side in captured:
        side.drop_graphs()


def _first_losses(look: Look, family: str, trainer: Any, num_steps: int, phase: str) -> list[tuple[float, ...]]:
    trainer.load_state(look.start(family))
    _steps(trainer, num_steps, phase)
    metrics = trainer.metrics
    losses = [metrics[name] for name in _LOSSES if name in metrics] or [metrics["train_losses"]]
    return list(zip(*losses, strict=True))


def _apart(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return the largest relative difference of the losses of one step."""
    return _largest([abs(b - a) / max(abs(a), 1e-9) for a, b in zip(expected, found, strict=True)])


def _largest(values: Sequence[float]) -> float:
    return math.nan if any(math.isnan(value) for value in values) else max(values)
