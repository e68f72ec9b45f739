"""What mixed-precision steps of all families share, for PyTorch."""

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["automatic_dtype", "renewed"]


def automatic_dtype(device: torch.device) -> torch.dtype:
    """Type that the documents' autocast takes on a GPU, float16; a CPU has bfloat16."""
    return torch.float16 if device.type == "cuda" else torch.bfloat16


def renewed(scaler: torch.amp.GradScaler, device: torch.device, state: Mapping[str, Any]) -> torch.amp.GradScaler:
    """Make a scaler that goes on from a state and remembers no step that an exception has broken off.

    Between unscaling and updating, a scaler remembers what would make the next step fail.
    """
    fresh = torch.amp.GradScaler(device.type, enabled=scaler.is_enabled())
    if fresh.is_enabled():
        fresh.load_state_dict(dict(state))
    return fresh
