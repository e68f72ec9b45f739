"""Measure the cost of recording: the same training with its GPU watched and unwatched."""

from dataclasses import dataclass, replace

import pytest

from bench.harness.side import Side
from speedclaims.recorders.nvml.devices import describe
from speedclaims.recorders.nvml.window import watch


@dataclass
class WatchedSide(Side):
    """A side around whose every call NVML is read, as the pass `gpu` reads it around its window."""

    def __call__(self) -> None:
        """Train, watched."""
        watch(super().__call__, min_seconds=0)


def test_watching_the_gpu(tabular_regressor, device):
    """An epoch with NVML read before and after it against the same epoch unwatched."""
    if device == "cpu":
        pytest.skip("needs a CUDA device: what watching a GPU costs is claimed of no other machine")
    reason = describe().get("reason")
    if reason is not None:
        pytest.skip(f"NVML cannot be used: {reason}")
    watched = replace(tabular_regressor, kind=WatchedSide)
    tabular_regressor.epochs(
        before=tabular_regressor.reference(), after=replace(watched.reference(), label="reference, watched")
    )
