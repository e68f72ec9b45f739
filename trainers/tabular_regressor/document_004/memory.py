"""Document 004's memory management: looking at a GPU's memory and giving back what is not needed."""

import gc

import torch

__all__ = ["clear_gpu_memory", "show_gpu_memory_usage"]

_MIB = 2**20


def clear_gpu_memory() -> None:
    """Collect garbage and give back the GPU memory that PyTorch keeps but does not use; harmless without a GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def show_gpu_memory_usage() -> dict[str, int] | None:
    """Print how much memory of the current GPU is in use.

    Returns:
        `allocated_bytes` (by tensors), `reserved_bytes` (kept by PyTorch), `peak_bytes` (most ever allocated) and
        `total_bytes` (of the device); None without a GPU, where there is nothing to measure.

    """
    if not torch.cuda.is_available():
        print("GPU memory: not measured, no GPU is available to PyTorch")  # noqa: T201 - showing is what it is for
        return None
    usage = {
        "allocated_bytes": torch.cuda.memory_allocated(),
        "reserved_bytes": torch.cuda.memory_reserved(),
        "peak_bytes": torch.cuda.max_memory_allocated(),
        "total_bytes": torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory,
    }
    figures = ", ".join(f"{name.removesuffix('_bytes')} {value / _MIB:.1f} MiB" for name, value in usage.items())
    print(f"GPU memory: {figures}")  # noqa: T201 - as above
    return usage
