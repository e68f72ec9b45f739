"""State of an optimizer whose kernels or memory layout differ from those of the tier that saved it, for PyTorch."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["align_moments", "keep_kernel_options", "portable_state"]

_CHOICES = {"fused": None, "foreach": None, "capturable": False}
"""What PyTorch keeps among the hyperparameters though it says how to compute and not what; as it is by default."""


def portable_state(optimizer: Optimizer) -> dict[str, Any]:
    """Copy of an optimizer's state as one would have it that was built without choosing kernels or a memory layout.

    An optimizer that loads PyTorch's own state continues with the kernels of the one that saved it.
    """
    state = optimizer.state_dict()
    groups = [{**group, **{key: _CHOICES[key] for key in _CHOICES if key in group}} for group in state["param_groups"]]
    slots = {
        # The count of steps lies on the device for a fused kernel, and on the CPU for all others.
        number: {key: value.cpu() if key == "step" else value.contiguous() for key, value in slot.items()}
        for number, slot in state["state"].items()
        if slot["step"] > 0  # one that has yet to step has no moments, or zeros for a graph to find
    }
    return copy.deepcopy({"state": slots, "param_groups": groups})


def keep_kernel_options(optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state to load into an optimizer that keeps its own choice of kernels."""
    groups = [
        {**theirs, **{key: ours[key] for key in _CHOICES if key in ours}}
        for theirs, ours in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**state, "param_groups": groups}


def align_moments(optimizer: Optimizer) -> None:
    """Give loaded moments the memory layout of their weights: a fused kernel runs through both side by side."""
    for weight, slot in optimizer.state.items():
        for key, value in slot.items():
            if value.shape == weight.shape and value.stride() != weight.stride():
                slot[key] = torch.empty_like(weight).copy_(value)
