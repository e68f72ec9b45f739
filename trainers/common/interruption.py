"""How a training is asked to stop: between two steps, where its state is whole."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["SharedStopSignals", "StopSignals", "ignoring_signals", "interrupting_immediately"]


class StopSignals:
    """Turns Ctrl-C into a question that a training answers between two steps, where its state is whole.

    A second one does not wait: it raises KeyboardInterrupt at once. Where signals cannot be caught, outside the main
    thread, or where Ctrl-C is ignored, nothing is changed.

    Args:
        also: further signals that stop the training, such as `signal.SIGTERM`.

    Attributes:
        received: the signal that asked, or None.

    """

    def __init__(self, *also: signal.Signals) -> None:
        """Catch nothing yet."""
        self._numbers = (signal.SIGINT, *also)
        self._before: dict[signal.Signals, Any] = {}
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        """Catch the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                handler = signal.getsignal(number)
                if handler is not signal.SIG_IGN:
                    self._before[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the signals to whoever had them; one that came too late for the training is passed on."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self.received is not None and kind is None:
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        # Worker processes may get the signal too. Their end, which PyTorch reports by an error in the middle of
        # whatever runs, is then no news; a loader still notices it when it waits for them.
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came."""
        if self.received is not None:
            raise KeyboardInterrupt


class SharedStopSignals(StopSignals):
    """Stop several processes that train together between the same two steps, when any of them is asked to.

    Args:
        largest: returns the largest of the whole numbers that the processes call it with; each waits for all.
        also: as of `StopSignals`.
        is_alone: whether a second signal breaks in as it does in `StopSignals`. Among several processes it changes
            nothing: a scheduler and torchrun both pass on the same one, and a process that left in the middle of a step
            would let the others wait.

    Attributes:
        agreed: the signal that stopped the training, or None; the same in all processes.

    """

    def __init__(self, largest: Callable[[int], int], *also: signal.Signals, is_alone: bool) -> None:
        """Catch nothing yet."""
        super().__init__(*also)
        self._largest, self._is_alone = largest, is_alone
        # Not kept as `received`: the first signal to this process may still come, and must not count as the second.
        self.agreed: signal.Signals | None = None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._is_alone or self.received is None:
            super()._receive(number, frame)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came to any process; all must call this at the same place."""
        number = self._largest(self.received or 0)
        if number:
            self.agreed = signal.Signals(number)
            raise KeyboardInterrupt


@contextlib.contextmanager
def interrupting_immediately() -> Iterator[None]:
    """Let a signal that would be asked for later break into the block; what is done about it then stays the same."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(number: int, frame: FrameType | None) -> None:
        before[signal.Signals(number)](number, frame)
        raise KeyboardInterrupt

    # Where it breaks into a finalizer, such as a loader's that ends its workers, nothing can be raised: Python tells
    # the terminal and continues. The signal is known already, and asked for again.
    told = sys.unraisablehook

    def unless_interrupted(what: "sys.UnraisableHookArgs") -> None:
        if not isinstance(what.exc_value, KeyboardInterrupt):
            told(what)

    sys.unraisablehook = unless_interrupted
    for number, handler in before.items():
        if callable(handler):  # neither the system's own nor ignored
            signal.signal(number, receive)
    try:
        yield
    finally:
        sys.unraisablehook = told
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)


@contextlib.contextmanager
def ignoring_signals() -> Iterator[None]:
    """Let no signal break into the block: not a third Ctrl-C, nor the end of a worker, which PyTorch raises for."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            before[number] = signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
