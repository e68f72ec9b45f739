"""The devices that the properties of the PyTorch families are tested on.

The numbers in the names of these tests are those of docs/properties.md.
"""

import functools
import os

import pytest


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """Name of a device, on which the module's `build` builds its trainers; on CUDA with deterministic kernels."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if (build := getattr(request.module, "build", None)) is not None:
        monkeypatch.setattr(request.module, "build", functools.partial(build, device=request.param))
    if request.param == "cpu":
        yield request.param
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to repeat itself
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    torch.use_deterministic_algorithms(mode=True)
    yield request.param
    torch.use_deterministic_algorithms(mode=False)
