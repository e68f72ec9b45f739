"""Configuration, presets and switches of the tabular regressor. Imports no framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from trainers.common.configuration import Bounds, Configuration
from trainers.contract import BadInput
from trainers.switches import Switch

__all__ = ["FASTEST_SWITCHES", "PRESETS", "SWITCHES", "TIERS", "RegressorConfig"]

TIERS = ("reference", "optimized", "fastest")
"""The tiers that exist, slowest first."""

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
        "compiled_loss",
        "all weights lie in one buffer, of which torch.compile makes the loss and its gradient; on with CUDA, and on a "
        "CPU with a C++ compiler in trainings of 40,000 steps or more, which earn the time that compiling takes",
        "close",
    ),
    Switch(
        "deferred_metrics",
        "losses stay on the device and are fetched once a call; on with CUDA: a CPU has no queue to wait for",
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


@dataclass(frozen=True)
class RegressorConfig(Configuration):
    """Every size and hyperparameter of the family; the defaults are those of the original program.

    Attributes:
        num_rows: rows N of the offline data; a user's own file has its own number.
        num_features: columns F of the offline data's X.
        num_targets: columns K of the offline data's Y.
        data_seed: seed of the offline data.
        hidden_size: width of the network.
        num_layers: residual blocks.
        dropout: probability of zeroing an activation, in [0, 1).
        batch_size: rows a step.
        learning_rate: of AdamW, at the start of every cosine cycle.
        weight_decay: of AdamW.
        restart_epochs: epochs of the first cosine cycle.
        restart_factor: each cycle lasts this many times the one before.
        min_learning_rate: at the end of a cycle.
        clip_norm: limit of the norm of all gradients together.
        num_epochs: most epochs to train.
        patience: epochs without a better validation loss after which training stops.
        checkpoint_every: epochs between two periodic checkpoints.
        val_split: fraction of the rows for validation.
        test_split: fraction of the rows for the test.
        split_seed: seed of the split, apart from the training's so that every seed is tested on the same rows.
        huber_weight: listed by the original, used by nothing.
        mse_weight: listed by the original, used by nothing.
        huber_delta: listed by the original, used by nothing.
        use_mixed_precision: default of the switch `mixed_precision` in the optimized tier.
        num_workers: worker processes of each loader while the switch `loader_workers` is on.
        persistent_workers: default of the switch `persistent_workers` in the optimized tier.

    """

    num_rows: int = 18_000
    num_features: int = 366
    num_targets: int = 5
    data_seed: int = 0
    hidden_size: int = 512
    num_layers: int = 4
    dropout: float = 0.1
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    restart_epochs: int = 20
    restart_factor: int = 2
    min_learning_rate: float = 1e-6
    clip_norm: float = 1.0
    num_epochs: int = 300
    patience: int = 30
    checkpoint_every: int = 50
    val_split: float = 0.1
    test_split: float = 0.1
    split_seed: int = 42
    huber_weight: float = 0.7
    mse_weight: float = 0.3
    huber_delta: float = 1.0
    use_mixed_precision: bool = True
    num_workers: int = 4
    persistent_workers: bool = True

    BOUNDS: ClassVar[Mapping[str, Bounds]] = {
        **dict.fromkeys(("data_seed", "num_layers", "split_seed", "num_workers"), Bounds(least=0)),
        **dict.fromkeys(("weight_decay", "min_learning_rate", "huber_weight", "mse_weight"), Bounds(least=0)),
        **dict.fromkeys(("num_targets", "hidden_size", "batch_size", "restart_epochs"), Bounds(least=1)),
        **dict.fromkeys(("restart_factor", "num_epochs", "patience", "checkpoint_every"), Bounds(least=1)),
        **dict.fromkeys(("learning_rate", "huber_delta"), Bounds(above=0)),
        **dict.fromkeys(("val_split", "test_split"), Bounds(above=0, below=1)),
        "num_rows": Bounds(least=10),
        "num_features": Bounds(least=2),
        "dropout": Bounds(least=0, below=1),
        "clip_norm": Bounds(above=0, may_be_infinite=True),
    }
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def __post_init__(self) -> None:
        """Refuse values that no training could use.

        Raises:
            BadInput: a value of the wrong type or out of its range, by name.

        """
        super().__post_init__()
        if self.val_split + self.test_split >= 1:
            raise BadInput(
                f"val_split {self.val_split} and test_split {self.test_split} leave no rows to train on",
                "configuration",
                "choose fractions whose sum is below 1",
            )
