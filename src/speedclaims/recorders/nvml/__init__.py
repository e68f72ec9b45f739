"""Read what NVML knows of NVIDIA GPUs."""
