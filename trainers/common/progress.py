"""Show the progress of a training on stderr: a bar on a terminal, else one line an epoch."""

import sys

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

__all__ = ["EpochProgress"]


class EpochProgress(Progress):
    """Report epochs as they end: rich's bar, which a `with` block draws, keeps apart from other output and leaves.

    Args:
        num_epochs: epochs of the whole training.
        num_done: epochs that an earlier run of it has done.
        is_shown: whether this process shows anything; of several that train together, one does.

    """

    def __init__(self, num_epochs: int, num_done: int = 0, *, is_shown: bool = True) -> None:
        """Look whether stderr is a terminal."""
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        # Refreshed by hand: a drawing thread of its own and worker processes that are forked do not go together.
        super().__init__(
            *columns, console=Console(stderr=True), auto_refresh=False, disable=not (is_shown and sys.stderr.isatty())
        )
        self._is_shown = is_shown
        self._num_epochs, self._num_done = num_epochs, num_done
        self._training = self.add_task("training", total=num_epochs, completed=num_done)

    def step_done(self, fraction: float, figures: str) -> None:
        """Report how much of the running epoch is done, from 0 to 1, where there is a bar to show it."""
        self.update(self._training, completed=self._num_done + fraction, description=figures, refresh=True)

    def epoch_done(self, figures: str) -> None:
        """Report one more epoch with its figures, one short line of them."""
        self._num_done += 1
        self.step_done(0, figures)
        if self.disable and self._is_shown:
            print(f"epoch {self._num_done}/{self._num_epochs}  {figures}", file=sys.stderr, flush=True)  # noqa: T201
