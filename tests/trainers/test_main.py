"""`python -m trainers`: how it imports a family's commands, and its line where a framework is missing."""

import contextlib
import gc
import subprocess
import sys
from pathlib import Path

import pytest

import trainers
from trainers import __main__ as program

ROOT = Path(trainers.__file__).parents[1]
FAMILY = "tabular_regressor"


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("error", [None, ImportError("no framework")])
def test_a_family_is_imported_without_collecting_garbage_and_the_collector_is_put_back(monkeypatch, collects, error):
    seen = []

    def import_module(name):
        seen.append((name, gc.isenabled()))
        if error:
            raise error

    family = trainers.family(FAMILY)
    monkeypatch.delitem(sys.modules, f"trainers.{FAMILY}.commands", raising=False)
    monkeypatch.setattr(program.importlib, "import_module", import_module)
    before = gc.isenabled()
    gc.unfreeze()
    try:
        (gc.enable if collects else gc.disable)()
        with pytest.raises(ImportError) if error else contextlib.nullcontext():
            program._commands(family)
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [(f"trainers.{FAMILY}.commands", False)]
    assert gc.get_freeze_count() > 0


WITHOUT_TORCH = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] == "torch" else self.finder.find_spec(name, *rest)

sys.meta_path[:] = map(Hiding, sys.meta_path)
from trainers.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_torch_that_is_missing_is_one_line(tmp_path):
    command = [sys.executable, "-c", WITHOUT_TORCH, FAMILY, "train", "--out", str(tmp_path / "o")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert done.stderr == "error: environment: torch is not installed; pip install torch\n"
