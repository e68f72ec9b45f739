"""Configuration, presets and switches of the tabular regressor. Imports no framework."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import attrs

from trainers.common.configuration import Configuration, setting
from trainers.contract import BadInput
from trainers.switches import Switch

__all__ = ["FASTEST_SWITCHES", "PRESETS", "PUBLISHED_SWITCHES", "SWITCHES", "RegressorConfig"]

SWITCHES = (
    Switch(
        "mixed_precision",
        "autocast and loss scaling: float16 on a GPU, bfloat16 on a CPU",
        # Not close: in bfloat16, single losses among the first 20 are off by up to 2%, four times what close allows.
        parity="statistical",
    ),
    Switch("loader_workers", "batches are assembled by worker processes instead of the training process"),
    Switch("persistent_workers", "worker processes outlive the epoch; does nothing where there are no workers"),
)
"""What document 004 adds to the reference, in the order of its table."""

PUBLISHED_SWITCHES = (
    Switch(
        "mixed_precision_by_default",
        "mixed precision is on where nobody asked for it",
        "statistical",
        neutral_when="there is no GPU and autocast_on_cuda_only is on",
    ),
    Switch("workers_by_default", "each loader has worker processes, which persist, where nobody asked for them"),
    Switch(
        "workers_change_order",
        "persistent workers draw fewer random numbers, so the rows come in another order from the second epoch on",
        "statistical",
        neutral_when="there are no persistent workers, or one epoch is trained",
    ),
    Switch(
        "autocast_on_cuda_only",
        "mixed precision does nothing without a GPU",
        "statistical",
        neutral_when="the training is on a GPU, or without mixed precision",
    ),
    Switch(
        "skips_batch_on_oom",
        "a batch for which memory runs out is left out; while gradients are unscaled or applied, it ends the training",
        "statistical",
        neutral_when="memory suffices",
    ),
    Switch(
        "validates_in_mixed_precision",
        "validation and test are in mixed precision too, where the training is",
    ),
)
"""What the published program of document 004 does otherwise than the optimized tier, its defects included."""

FASTEST_SWITCHES = (
    Switch("resident_data", "all rows lie on the device, and a batch is taken out of them by their numbers at once"),
    Switch("fused_optimizer", "AdamW clips and updates all weights in one kernel", "close"),
    Switch(
        "onednn_products",
        "linear layers but the last in float32 by oneDNN instead of MKL; on where layers are wide and the processor "
        "AMD's with AVX-512, which MKL leaves unused there; nothing on a GPU",
        "close",
    ),
    Switch(
        "bfloat16",
        "linear layers but the last in bfloat16, everything else in float32; on where the device multiplies in "
        "bfloat16 and, on a CPU, layers are wide enough to gain by it",
        "close",
        rtol=5e-3,
    ),
    Switch(
        "fused_gradient",
        "loss and gradient of a batch are one function in C++; on with bfloat16 where the processor has AVX-512 with "
        "bfloat16 and there is a C++ compiler, nothing elsewhere or without bfloat16",
        "close",
        rtol=5e-3,
    ),
    Switch(
        "compiled_loss",
        "all weights lie in one buffer, of which torch.compile makes the loss and its gradient; on with CUDA, and on a "
        "CPU with a C++ compiler in trainings of 40,000 steps or more, which earn the time that compiling takes; "
        "nothing with fused_gradient",
        "close",
    ),
    Switch(
        "deferred_metrics",
        "losses stay on the device and are fetched once a call; on with CUDA: a CPU has no queue to wait for",
    ),
    Switch(
        "whole_epoch_graph",
        "all steps of an epoch are launched at once, as a CUDA graph, and so is its validation; on with CUDA; nothing "
        "without resident_data, or in an epoch that is begun or asked for in part",
        "close",
    ),
)
"""The fastest tier's, each the same work; the order is that of the ladder."""

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "tiny": {
        "num_rows": 200, "num_features": 8, "num_targets": 2, "hidden_size": 16, "num_layers": 1, "batch_size": 16,
        "num_epochs": 3,
    },
    "smoke": {
        "num_rows": 2_000, "num_features": 32, "num_targets": 3, "hidden_size": 64, "num_layers": 2, "batch_size": 64,
        "num_epochs": 20,
    },
    "default": {},
})  # fmt: skip
"""Values that differ from the original program's, by preset."""


@attrs.frozen
class RegressorConfig(Configuration):
    """Hold every size and hyperparameter of the family; the defaults are those of the original program."""

    num_rows: int = setting(18_000, "rows N of the offline data, not of a user's own file", ge=10)
    num_features: int = setting(366, "columns F of the offline data's X", ge=2)
    num_targets: int = setting(5, "columns K of the offline data's Y", ge=1)
    data_seed: int = setting(0, "seed of the offline data", ge=0)
    hidden_size: int = setting(512, "width of the network", ge=1)
    num_layers: int = setting(4, "residual blocks", ge=0)
    dropout: float = setting(0.1, "probability of zeroing an activation", ge=0, lt=1)
    batch_size: int = setting(64, "rows of a step", ge=1)
    learning_rate: float = setting(1e-3, "learning rate of AdamW at the start of every cosine cycle", gt=0)
    weight_decay: float = setting(1e-4, "weight decay of AdamW", ge=0)
    restart_epochs: int = setting(20, "epochs of the first cosine cycle", ge=1)
    restart_factor: int = setting(2, "length of a cosine cycle in lengths of the one before", ge=1)
    min_learning_rate: float = setting(1e-6, "learning rate at the end of a cosine cycle", ge=0)
    clip_norm: float = setting(1.0, "limit of the norm of all gradients together", gt=0, infinite=True)
    num_epochs: int = setting(300, "most epochs to train", ge=1)
    patience: int = setting(30, "epochs without a better validation loss after which training stops", ge=1)
    checkpoint_every: int = setting(50, "epochs between two periodic checkpoints", ge=1)
    val_split: float = setting(0.1, "fraction of the rows for validation", gt=0, lt=1)
    test_split: float = setting(0.1, "fraction of the rows for the test", gt=0, lt=1)
    # Apart from the training's seed, so that every seed is tested on the same rows.
    split_seed: int = setting(42, "seed of the split into training, validation and test", ge=0)
    huber_weight: float = setting(0.3, "listed by the original program, used by nothing", ge=0)
    mse_weight: float = setting(0.7, "listed by the original program, used by nothing", ge=0)
    huber_delta: float = setting(1.0, "listed by the original program, used by nothing", gt=0)
    use_mixed_precision: bool = setting(True, "default of the switch `mixed_precision` in the optimized tier")
    num_workers: int = setting(4, "worker processes of each loader while the switch `loader_workers` is on", ge=0)
    persistent_workers: bool = setting(True, "default of the switch `persistent_workers` in the optimized tier")

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __attrs_post_init__(self) -> None:
        """Refuse fractions that leave no rows to train on.

        Raises:
            BadInput: they do, by name.

        """
        if self.val_split + self.test_split >= 1:
            raise BadInput(
                f"val_split {self.val_split} and test_split {self.test_split} leave no rows to train on",
                "configuration",
                "choose fractions whose sum is below 1",
            )
