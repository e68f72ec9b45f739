"""Choose the dtype and renew the loss scaler of mixed-precision steps, for PyTorch."""

from collections.abc import Mapping
from typing import Any

import torch

from trainers.pytorch.devices import cpu_capabilities

__all__ = ["automatic_dtype", "multiplies_bfloat16", "renewed"]


def automatic_dtype(device: torch.device) -> torch.dtype:
    """Type that the documents' autocast takes on a GPU, float16; a CPU has bfloat16."""
    return torch.float16 if device.type == "cuda" else torch.bfloat16


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions that multiply bfloat16; others emulate it, more slowly than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = cpu_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def renewed(scaler: torch.amp.GradScaler, device: torch.device, state: Mapping[str, Any]) -> torch.amp.GradScaler:
    """Return a new loss scaler that continues from a state, without the memory of an interrupted step.

    A scaler interrupted between unscaling and updating keeps a mark that makes the next step fail.
    """
    fresh = torch.amp.GradScaler(device.type, enabled=scaler.is_enabled())
    if fresh.is_enabled():
        fresh.load_state_dict(dict(state))
    return fresh
