"""Regression of table columns with PyTorch, after document 004. The data is an HDF5 file with X and Y.

What document 004 names (`train_model`, `TrainingConfig`, ...) is in `document_004`, and can be imported from here too.
"""

import importlib
from typing import Any

from trainers.family import Family
from trainers.tabular_regressor.config import FASTEST_SWITCHES, PUBLISHED_SWITCHES, SWITCHES, RegressorConfig

__all__ = ["FAMILY"]

FAMILY = Family(
    name="tabular_regressor",
    title="regression of table columns with PyTorch, after document 004",
    package=__name__,
    framework="torch",
    config=RegressorConfig,
    switches={
        "reference": (),
        "published": PUBLISHED_SWITCHES,
        "optimized": SWITCHES,
        "fastest": FASTEST_SWITCHES,
    },
    parallel_tiers=("reference", "optimized"),
    actions=("make-data", "train", "predict"),
    is_silent=True,
)

_DOCUMENTED = frozenset({
    "TrainingConfig", "TrainingMetrics", "check_existing_model_files", "check_existing_plots", "clear_gpu_memory",
    "extract_final_predictions", "load_and_preprocess_data", "load_state_dict_safely", "load_training_config",
    "plot_losses", "plot_predictions", "save_training_config", "setup_logging", "setup_training",
    "show_gpu_memory_usage", "train_model",
})  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what document 004 names when it is first asked for."""
    if name not in _DOCUMENTED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.document_004.api"), name)
