"""Regression of table columns with PyTorch, after document 004. PyTorch is imported when a trainer is built.

What document 004 names (`train_model`, `TrainingConfig`, ...) is in `document_004`, and can be imported from here too.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.contract import BadInput, Trainer
from trainers.tabular_regressor.config import FASTEST_SWITCHES, PRESETS, SWITCHES, TIERS, RegressorConfig

__all__ = ["ACTIONS", "FASTEST_SWITCHES", "PRESETS", "SWITCHES", "TIERS", "RegressorConfig", "build"]

_DOCUMENTED = frozenset({
    "TrainingConfig", "TrainingMetrics", "check_existing_model_files", "check_existing_plots", "clear_gpu_memory",
    "extract_final_predictions", "load_and_preprocess_data", "load_state_dict_safely", "load_training_config",
    "plot_losses", "plot_predictions", "save_training_config", "setup_logging", "setup_training",
    "show_gpu_memory_usage", "train_model",
})  # fmt: skip

ACTIONS = ("make-data", "train", "predict")
"""What the command line can do with this family."""


def __getattr__(name: str) -> Any:
    """Import what document 004 names when it is first asked for."""
    if name not in _DOCUMENTED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.document_004.api"), name)


def build(  # noqa: PLR0913 - all but the tier are keywords, and a caller gives the few it cares about
    tier: str,
    *,
    preset: str = "smoke",
    data: str | Path | None = None,
    device: str = "cpu",
    seed: int = 0,
    switches: Mapping[str, bool] | None = None,
    **overrides: Any,
) -> Trainer:
    """Build a trainer, ready for its first step.

    Two tiers built with the same arguments start with the same weights, see the same batches in the same order and
    draw the same dropout masks.

    Args:
        tier: one of `TIERS`.
        preset: one of `PRESETS`.
        data: an HDF5 file with X and Y; without it the family's offline data, made at the first call and then kept.
        device: `cpu`, `cuda` or `cuda:1`.
        seed: of the weights, the order of the batches and dropout. The offline data has its own, `data_seed`.
        switches: settings by name; those not named are on, as document 004 has them, unless the configuration says
            otherwise. Those of the fastest tier are on where the device makes them pay. The reference has none.
        overrides: values of `RegressorConfig` that differ from the preset's.

    Returns:
        A `contract.Trainer` whose only phase is `train`.

    Raises:
        BadInput: an unknown tier, preset, switch or configuration key, a bad value, bad data, or no such device.

    """
    if tier not in TIERS:
        raise BadInput(f"unknown tier {tier!r}", "tier", f"choose one of: {', '.join(TIERS)}")
    config = RegressorConfig.preset(preset).replace(**overrides)
    # Imported here so that asking for names and presets costs no import of PyTorch.
    from trainers.tabular_regressor import assembly  # noqa: PLC0415

    return assembly.assemble(tier, config, data=data, device=device, seed=seed, switches=switches)
