"""Measure a pair whose sides several ranks of torchrun work on together.

Each rank is a process that runs the test. The first one leads: it says what comes next, all start from a barrier, and
the time of a round is that of the rank that took longest. So all decisions rest on one process's clock.
"""

import importlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import TYPE_CHECKING

from speedclaims import clock
from speedclaims.measure.calls import Call, Loop
from speedclaims.measure.interleave import Measurement, Settings, Work, measure, quiet_interpreter
from speedclaims.measure.torchrun import RanksError, launcher
from speedclaims.recorders.recorder import SIDES

if TYPE_CHECKING:
    from speedclaims.record.types import Equivalence, SideName

_PREPARE, _TIME, _STOP = range(3)
_LAST_TENSORS_S = 0.1
"""Seconds after which no thread of Gloo's holds a tensor any more. One that still did would need Python's lock, while
PyTorch holds it and waits for the thread: now and then a rank would never end."""


def join(*, is_rank: bool) -> None:
    """Join the ranks that torchrun started, or be the only rank; nothing changes where the process has joined already.

    Args:
        is_rank: whether torchrun started this process. One that it did not start runs the test too, to hand it on to
            ranks, and there a network's DistributedDataParallel is one of a single rank.

    Raises:
        RanksError: PyTorch cannot be imported.
    """
    launcher(1)
    try:
        torch, dist = _torch(), _distributed()
    except ImportError as error:
        raise RanksError(f"the marker speedup_ranks needs PyTorch, which cannot be imported: {error}") from error

    if dist.is_initialized():
        return
    on_gpu = torch.cuda.is_available()
    if is_rank and on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    if is_rank:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)


def leave() -> None:
    """Wait until no rank needs another any more."""
    dist = _distributed()

    dist.barrier()
    time.sleep(_LAST_TENSORS_S)


def leave_alone() -> None:
    """Leave the group of a single rank."""
    dist = _distributed()

    if dist.is_initialized():
        leave()
        dist.destroy_process_group()


def _torch() -> ModuleType:
    return importlib.import_module("torch")


def _distributed() -> ModuleType:
    return importlib.import_module("torch.distributed")


class Link:
    """Connects the ranks: what the first one says, and the longest time of all.

    Attributes:
        is_leader: whether this is the first rank.
    """

    def __init__(self) -> None:
        """Make a second group, so that the test's messages and these do not meet."""
        dist = _distributed()

        self._group = dist.new_group(backend="gloo")
        self.is_leader = dist.get_rank() == 0

    def say(self, what: int, number: int = 0, repeats: int = 0) -> tuple[int, int, int]:
        """Send what comes next, from the first rank; on the others return it."""
        torch, dist = _torch(), _distributed()

        message = torch.tensor([what, number, repeats])
        dist.broadcast(message, 0, group=self._group)
        said = message.tolist()
        return said[0], said[1], said[2]

    def slowest(self, seconds: Callable[[], float]) -> float:
        """Return the seconds of the rank that takes longest; all start together."""
        torch, dist = _torch(), _distributed()

        dist.barrier(group=self._group)
        took = torch.tensor([seconds()], dtype=torch.float64)
        dist.all_reduce(took, dist.ReduceOp.MAX, group=self._group)
        return float(took[0])

    def agreed(self, found: "tuple[Equivalence, list[str]]") -> "tuple[Equivalence, list[str]]":
        """Return what the equivalence checks of all ranks say together: a failure of any of them is one of the pair."""
        dist = _distributed()

        everywhere: list[tuple[Equivalence, list[str]] | None] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, found, group=self._group)
        for rank, one in enumerate(everywhere):
            if one is not None and one[0] == "failed":
                return "failed", [f"rank {rank}: {detail}" for detail in one[1] or ["the check returned False"]]
        return found


class _CallOfRanks(Call):
    """A side's call on all ranks at once."""

    def __init__(self, of: "WorkOfRanks", name: "SideName", function: Callable[[], object], loop: Loop) -> None:
        super().__init__(function, f"the {name} side", loop, waits=of.waits_for_results)
        self._link, self._number = of.link, SIDES.index(name)

    def seconds(self, repeats: int, synchronize: Callable[[], object], clock: Callable[[], float]) -> float:
        if self._link.is_leader:
            self._link.say(_TIME, self._number, repeats)
        alone = super().seconds
        return self._link.slowest(lambda: alone(repeats, synchronize, clock))


@dataclass(frozen=True, kw_only=True)
class WorkOfRanks(Work):
    """The work of a pair whose first rank leads the others.

    Attributes:
        link: to the other ranks.
    """

    link: Link
    _calls: "dict[SideName, _CallOfRanks]" = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, work: Work, link: Link) -> "WorkOfRanks":
        """Return the work of a pair, on all ranks."""
        return cls(**{one.name: getattr(work, one.name) for one in fields(work) if one.init}, link=link)

    def side(self, name: "SideName") -> Call:
        """Return one side."""
        if name not in self._calls:
            function = self.before if name == "before" else self.after
            self._calls[name] = _CallOfRanks(self, name, function, self.loop)
        return self._calls[name]

    def prepare(self, name: "SideName") -> None:
        """Run the setup of a side on all ranks."""
        if self.link.is_leader:
            self.link.say(_PREPARE, SIDES.index(name))
        super().prepare(name)


def measure_together(work: Work, settings: Settings, link: Link) -> Measurement | None:
    """Measure both sides in alternation on all ranks; the first one returns the measurement, the others None.

    Raises:
        RefusedError: as `measure`; then the other ranks wait for this one until its process ends.
    """
    everywhere = WorkOfRanks.of(work, link)
    if link.is_leader:
        found = measure(everywhere, settings)
        link.say(_STOP)
        return found
    with quiet_interpreter(work.before, work.after, disable_gc=settings.disable_gc):
        _follow(everywhere, SIDES)
    return None


def _follow(work: WorkOfRanks, names: "Sequence[SideName]") -> None:
    """Do what the first rank says until it says that all is measured."""
    read = clock.timer()
    while True:
        what, number, repeats = work.link.say(_STOP)
        if what == _STOP:
            return
        if what == _PREPARE:
            work.prepare(names[number])
        else:
            work.side(names[number]).seconds(repeats, work.synchronize, read)
