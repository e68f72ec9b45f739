"""Progress of a training on stderr: a bar where somebody watches, else one line an epoch."""

import sys
from types import TracebackType
from typing import Any, Self

__all__ = ["EpochProgress"]


class EpochProgress:
    """Reports epochs as they end.

    Args:
        num_epochs: epochs of the whole training.
        num_done: epochs that an earlier run of it has done.

    """

    def __init__(self, num_epochs: int, num_done: int = 0) -> None:
        """Look whether stderr is a terminal."""
        self._num_epochs = num_epochs
        self._num_done = num_done
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        """Draw the bar, on a terminal."""
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - drawing is all it is needed for
            from rich.progress import MofNCompleteColumn, Progress  # noqa: PLC0415

            # Refreshed by hand: a drawing thread of its own and worker processes that are forked do not go together.
            columns = (*Progress.get_default_columns(), MofNCompleteColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
            self._task = self._bar.add_task("training", total=self._num_epochs, completed=self._num_done)
            self._bar.start()
            self._bar.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop refreshing the bar and leave it on the screen."""
        if self._bar is not None:
            self._bar.stop()

    def step_done(self, fraction: float, figures: str) -> None:
        """Report how much of the running epoch is done, from 0 to 1, where there is a bar to show it."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._num_done + fraction, description=figures, refresh=True)

    def epoch_done(self, figures: str) -> None:
        """Report one more epoch with its figures, one short line of them."""
        self._num_done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._num_done, description=figures, refresh=True)
        else:
            print(f"epoch {self._num_done}/{self._num_epochs}  {figures}", file=sys.stderr, flush=True)  # noqa: T201
