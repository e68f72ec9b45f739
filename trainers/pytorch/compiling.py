"""Compiling with PyTorch for the sizes that a training has."""

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

__all__ = ["compile_each_size"]

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_MOST_ENTRIES = 4096


def compile_each_size(
    function: Callable[_Given, _Result], *, options: dict[str, Any] | None = None
) -> Callable[_Given, _Result]:
    """Compile a function for each size of its inputs; kernels for any size are slower.

    An epoch's last batch, where it is smaller, gets kernels of its own that way.

    Args:
        function: what to compile.
        options: of the compiler that makes the kernels.

    """
    # All trainers of a process share what was compiled of one function, and every trainer with its optimizer, every
    # size, layout and precision is an entry of it. At the default of eight PyTorch silently runs the function
    # uncompiled from then on. Where a release can keep the entries of trainers apart, each looks only through its own.
    limits = torch._dynamo.config  # noqa: SLF001 - where PyTorch documents it
    limits.recompile_limit = max(limits.recompile_limit, _MOST_ENTRIES)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, _MOST_ENTRIES)
    can_isolate = "isolate_recompiles" in inspect.signature(torch.compile).parameters
    isolation: dict[str, Any] = {"isolate_recompiles": True} if can_isolate else {}
    compiled: Callable[_Given, _Result] = torch.compile(function, dynamic=False, options=options, **isolation)
    return compiled
