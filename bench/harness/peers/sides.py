"""Sides whose call is as long as a fit that a user would start, and what trains them on both ends of a pair."""

import math
from dataclasses import dataclass

from bench.harness.side import Side

OWN_VAL_LOSS_RTOL = 1e-4


@dataclass
class EpochsSide(Side):
    """A side one call of which trains several epochs: what starting a fit costs is spread over them.

    Attributes:
        num_epochs: of one call.
    """

    num_epochs: int = 1

    def __call__(self) -> None:
        """Train them, one after the other."""
        for _ in range(self.num_epochs):
            self.trainer.train_epoch(self.phase)


@dataclass
class FitEpochsSide(EpochsSide):
    """A peer's side one call of which is one fit over several epochs."""

    def __call__(self) -> None:
        """Train them in one fit."""
        self.trainer.train_epochs(self.num_epochs)


@dataclass
class FitStepsSide(Side):
    """A peer's side that reports the mean losses of a fit: for the loss of each step it fits once per step."""

    def next_losses(self, num_steps: int) -> list[tuple[float, ...]]:
        """Take steps from the trainer's position, each in a fit of its own, and return their losses."""
        return [super(FitStepsSide, self).next_losses(1)[0] for _ in range(num_steps)]


def assert_same_epochs(before: EpochsSide, after: EpochsSide, *, val_loss_rtol: float = 1e-2) -> None:
    """Raise an AssertionError unless a call of each side takes as many steps, to the same epoch and rate, and as good.

    Training magnifies rounding, so validation losses agree to one per cent only, and from random weights at the sizes
    of the preset default to less. Each is to be that of the weights at the end of its side's call.
    """
    reached = []
    for side in (before, after):
        side.reset()
        side()
        metrics, of_these_weights = side.trainer.metrics, side.trainer.evaluate("val")
        if not math.isclose(metrics["val_loss"], of_these_weights, rel_tol=OWN_VAL_LOSS_RTOL):
            raise AssertionError(f"a call reports the val_loss {metrics['val_loss']!r}, it is {of_these_weights!r}")
        steps = {float(slot["step"]) for slot in side.trainer.state()["optimizer"]["state"].values()}
        reached.append({**metrics, "number of steps": max(steps)})
        side.reset()
    exactly = (("epoch", 0.0), ("number of steps", 0.0), ("learning_rate", 1e-12))
    for name, rtol in (*exactly, ("val_loss", val_loss_rtol)):
        a, b = (metrics[name] for metrics in reached)
        if not math.isclose(a, b, rel_tol=rtol):
            raise AssertionError(f"after a call the {name} is {a!r} before and {b!r} after")
