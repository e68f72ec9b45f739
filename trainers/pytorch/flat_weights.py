"""A network whose weights lie in one buffer, for PyTorch.

What goes through all weights, clipping and an optimizer, is one operation then, and a compiled loss makes one gradient.
Shape suffix: W, all weights of the network.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainers.contract import BadInput

__all__ = ["FlatWeights"]


class FlatWeights:
    """All parameters of a network, end to end in one buffer; the network's own become views of it.

    Args:
        network: its parameters have one dtype and lie on one device.

    Attributes:
        buffer_W: what an optimizer takes instead of the network's parameters.

    Raises:
        ValueError: parameters of several dtypes or devices.

    """

    def __init__(self, network: nn.Module) -> None:
        """Move the weights; their values stay."""
        weights = dict(network.named_parameters())
        if len({(weight.dtype, weight.device) for weight in weights.values()}) != 1:
            raise ValueError("one buffer needs parameters of one dtype on one device")
        self._shapes = {name: weight.shape for name, weight in weights.items()}
        self.buffer_W = nn.Parameter(torch.cat([weight.detach().reshape(-1) for weight in weights.values()]))
        for weight, view in zip(weights.values(), self.views(self.buffer_W.detach()).values(), strict=True):
            weight.data = view

    def views(self, buffer_W: Tensor) -> dict[str, Tensor]:
        """Return a buffer's parts in the parameters' shapes, by their names; gradients flow back through them."""
        parts = torch.split(buffer_W, [shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)}

    def spread(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Make the state of an optimizer of the buffer that of one of the network's parameters."""
        numbers = list(range(len(self._shapes)))
        slots: dict[int, dict[str, Any]] = {number: {} for number in numbers} if state["state"] else {}
        for key, value in (state["state"][0] if state["state"] else {}).items():
            one_each = self.views(value).values() if value.shape == self.buffer_W.shape else [value] * len(numbers)
            for number, part in zip(numbers, one_each, strict=True):
                slots[number][key] = part.clone()
        (group,) = state["param_groups"]
        return {"state": slots, "param_groups": [{**group, "params": numbers}]}

    def gathered(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Make the state of an optimizer of the network's parameters that of one of the buffer.

        Raises:
            BadInput: not every parameter has taken the same steps.

        """
        slots = [state["state"][number] for number in sorted(state["state"])]
        if slots and (len(slots) != len(self._shapes) or len({float(slot["step"]) for slot in slots}) != 1):
            mend = "give a state whose optimizer has updated all parameters in every step"
            raise BadInput("its parameters have taken different numbers of steps", "state", mend)
        together = {
            key: torch.cat([slot[key].reshape(-1) for slot in slots]) if key != "step" else slots[0][key].clone()
            for key in (slots[0] if slots else {})
        }
        (group,) = state["param_groups"]
        return {"state": {0: together} if slots else {}, "param_groups": [{**group, "params": [0]}]}
