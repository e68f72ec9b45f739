"""Random streams that belong to a trainer, for PyTorch."""

from types import TracebackType
from typing import Any, Self

import torch

from trainers.common.seeds import derived_seed

__all__ = ["RandomStream", "derived_seed"]


class RandomStream:
    """PyTorch's global generators as one trainer sees them: installed on entry, put back on exit.

    Dropout draws from the global generators and cannot be given another. Without this, two trainers measured in
    alternation would draw from one common stream, and each would change what the other computes.

    Args:
        seed: where the stream starts.
        device: the trainer's device; a CUDA device has a generator of its own in addition to the CPU's.

    """

    def __init__(self, seed: int, device: torch.device) -> None:
        """Start the stream without touching the global generators."""
        self._device = device
        self._own = {"cpu": torch.Generator().manual_seed(seed).get_state(), "cuda": None}
        if device.type == "cuda":
            self._own["cuda"] = torch.Generator(device).manual_seed(seed).get_state()
        self._outside: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Put the process's generators aside and install this stream's."""
        self._outside = self._swap(self._own)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remember how far this stream came, also after an error, and put the process's generators back."""
        self._own = self._swap(self._outside)

    def installed(self) -> dict[str, Any]:
        """Return the state of the process's generators; inside the `with` block they are this stream's."""
        cuda = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def reinstall(self, state: dict[str, Any]) -> None:
        """Put the process's generators where `installed` found them, so that what was drawn since is drawn again."""
        torch.set_rng_state(state["cpu"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self._device)

    def _swap(self, incoming: dict[str, Any]) -> dict[str, Any]:
        outgoing = self.installed()
        self.reinstall(incoming)
        return outgoing

    def state(self) -> dict[str, Any]:
        """Return a copy of the stream's state: `cpu`, and `cuda` or None, as byte tensors."""
        return {name: None if own is None else own.clone() for name, own in self._own.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`; a part that it lacks (it was saved on another kind of device) stays as it is."""
        for name, own in self._own.items():
            if own is not None and state.get(name) is not None:
                self._own[name] = state[name].detach().to("cpu", torch.uint8, copy=True)
