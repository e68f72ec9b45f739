"""The tabular regressor as a loop by hand trains it: rows on the device, the whole update compiled.

It is LeanRL's way (github.com/pytorch-labs/LeanRL): loss, backward pass, clipping and optimizer in one function under
`torch.compile`, with a mode that tries out kernels and, on CUDA, replays graphs.

Shape suffixes: B rows of a batch, F features, K targets.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainers.pytorch.clipping import clip_by_global_norm
from trainers.pytorch.devices import find_device
from trainers.tabular_regressor import FAMILY
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.fastest import FastestTrainer
from trainers.tabular_regressor.model import regression_loss

__all__ = ["CompiledRegressor", "build"]


def build(  # noqa: PLR0913 - a family's build, and one setting of the peer's
    tier: str,
    switches: Mapping[str, bool] | None,
    *,
    preset: str,
    device: str,
    is_rounded: bool,
    seed: int = 0,
    **overrides: Any,
) -> "CompiledRegressor":
    """Build the peer as `Family.build` builds a tier: the same weights and batches.

    Args:
        tier: of the side that asks; there is one peer.
        switches: the peer has none.
        preset: one of the family's.
        device: `cpu` or `cuda`.
        is_rounded: whether linear layers multiply in bfloat16.
        seed: of weights, batches and dropout.
        overrides: values of `RegressorConfig` that differ from the preset's.
    """
    del tier, switches
    config = RegressorConfig.preset(preset).replace(**overrides)
    data = FAMILY.find_data(config, None)
    return CompiledRegressor(config, data, device=find_device(device), seed=seed, is_rounded=is_rounded)


class CompiledRegressor(FastestTrainer):
    """The fastest tier's rows, state and fused AdamW; its update is compiled as a whole.

    Args:
        arguments: the tier's.
        is_rounded: whether linear layers multiply in bfloat16.
    """

    def __init__(self, *arguments: Any, is_rounded: bool, **options: Any) -> None:
        """Compile with the first update of each size."""
        on = ("resident_data", "fused_optimizer", "deferred_metrics")
        switches = {switch.name: switch.name in on for switch in FAMILY.switches["fastest"]}
        super().__init__(*arguments, switches=switches, **options)
        self._is_rounded = is_rounded
        self._compiled_update = torch.compile(self._whole_update, mode="max-autotune", dynamic=False)

    def _update(self, features_BF: Tensor, targets_BK: Tensor) -> Tensor:  # noqa: N803 - tensors carry shape suffixes
        return self._compiled_update(features_BF, targets_BK).clone()  # a replayed graph writes over its results

    def _whole_update(self, features_BF: Tensor, targets_BK: Tensor) -> Tensor:  # noqa: N803 - likewise
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._is_rounded):
            outputs_BK3 = self.model(features_BF)  # noqa: N806 - likewise
        loss = regression_loss(outputs_BK3.float(), targets_BK)
        loss.backward()
        clip_by_global_norm(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return loss.detach()
