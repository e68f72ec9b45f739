"""Imports run one way, and no module imports both frameworks."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trainers

ROOT = Path(trainers.__file__).parent
FRAMEWORKS = {"torch", "tensorflow", "keras"}
LAYERS = (
    "config", "schedule", "training_config", "grammar", "data", "renderer", "loaders", "phases", "draws", "model",
    "recurrence", "samples", "memory", "model_names", "weights", "optimizer", "model_files", "logs", "plots",
    "reference", "original", "optimized", "fastest", "training", "documented", "commands",
)  # fmt: skip
MODULES = sorted(ROOT.rglob("*.py"))
LAYERED = [path for path in MODULES if path.parent != ROOT and path.stem in LAYERS]


def imported_by(path):
    """Full names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_both_frameworks_or_the_benchmarks(path):
    roots = {name.partition(".")[0] for name in imported_by(path)}
    assert len({"tensorflow" if root == "keras" else root for root in roots & FRAMEWORKS}) <= 1
    assert not roots & {"bench", "speedclaims", "tests"}


@pytest.mark.parametrize("path", LAYERED, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_inside_a_family_run_one_way(path):
    own = ".".join(("trainers", *path.relative_to(ROOT).parts[:-1], ""))
    for name in imported_by(path):
        layer = name.removeprefix(own).partition(".")[0]
        if name.startswith(own) and layer in LAYERS:
            assert LAYERS.index(layer) < LAYERS.index(path.stem), f"{path.stem} imports {name}"


@pytest.mark.parametrize(
    "code",
    [
        "import trainers, trainers.common.checkpoint, trainers.switches",
        "import trainers; [trainers.family(name).switches for name in trainers.families()]",
        "import trainers.tabular_regressor.document_004.training_config, trainers.tabular_regressor.document_004.logs",
        "import trainers.dialogue_gan.data, trainers.dialogue_gan.schedule, trainers.dialogue_gan.commands",
        "import trainers.dialogue_gan.pytorch, trainers.dialogue_gan.phased_trainer",
        "import trainers.common.seeds, trainers.tensorflow.runtime",
        "from trainers.__main__ import main; import contextlib\nwith contextlib.suppress(SystemExit): main(['--help'])",
        "from trainers.__main__ import main; assert main(['tabular_regressor', 'train', '--epochs', '-1']) == 2",
    ],
)
def test_no_framework_is_imported_before_it_is_used(code):
    check = f"{code}\nimport sys; print(sorted({FRAMEWORKS | {'h5py'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT.parent, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "[]"
