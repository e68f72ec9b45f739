"""How a training is asked to stop: between two steps, where its state is whole."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignals"]


class StopSignals:
    """Turns Ctrl-C into a question that a training answers between two steps, where its state is whole.

    A second one does not wait: it raises KeyboardInterrupt at once. Where signals cannot be caught, outside the main
    thread, or where Ctrl-C is ignored, nothing is changed.

    Args:
        also: further signals that shall stop the training, such as `signal.SIGTERM`.

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

    def _receive(self, number: int, _: FrameType | None) -> None:
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
