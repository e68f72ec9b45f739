"""The rules of the house that code can hold: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAMILY_ORDER = ("config", "data", "model", "reference", "optimized", "fastest")
FRAMEWORKS = {"torch", "tensorflow"}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield what a module imports, and whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_type_checking(node)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node not in lazy) for alias in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name, _ in imports(path)}


def against_family_order(name: str, imported: set[str]) -> set[str]:
    """Return the modules of its family that a module must not import."""
    later = FAMILY_ORDER[FAMILY_ORDER.index(name) + 1 :]
    return imported & set(later)


@pytest.mark.parametrize("path", modules("bench/speedclaims"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_plugin_imports_nothing_of_the_trainers_or_the_benchmarks(path):
    assert not tops(path) & {"trainers", "bench", "tests"}


@pytest.mark.parametrize("path", modules("trainers"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_trainers_know_nothing_of_the_bench(path):
    assert not tops(path) & {"speedclaims", "bench", "tests", "pytest"}


@pytest.mark.parametrize("path", [*modules("trainers"), *modules("bench")], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_imports_both_frameworks(path):
    assert not tops(path) >= FRAMEWORKS


@pytest.mark.parametrize("path", modules("bench/speedclaims"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_plugin_imports_no_framework_at_all(path):
    """What it needs of one it takes from the process that has imported it already."""
    assert not FRAMEWORKS & tops(path)


@pytest.mark.parametrize(
    "path",
    [path for path in modules("trainers") if path.parent.parent.name == "trainers" and path.stem in FAMILY_ORDER],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_imports_inside_a_family_run_one_way(path):
    prefix = f"trainers.{path.parent.name}."
    imported = {name.removeprefix(prefix).split(".")[0] for name, _ in imports(path) if name.startswith(prefix)}
    assert not against_family_order(path.stem, imported)


def test_an_import_against_the_order_would_be_seen():
    assert against_family_order("model", {"optimized", "config"}) == {"optimized"}
    assert against_family_order("fastest", {"optimized", "config"}) == set()


@pytest.mark.parametrize("name", ["trainers", "trainers.__main__", "trainers.tabular_regressor", "trainers.contract"])
def test_asking_for_names_imports_no_framework(name):
    import subprocess
    import sys

    code = f"import sys, {name}; print(sorted({FRAMEWORKS!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_text_of_ours_names_a_machine_or_a_registry():
    words = ["/" + "work/", "/" + "tmp/venv", "pypi" + ".org", "files.python" + "hosted"]
    ours = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".toml", ".ini", ".txt", ".yml", ".sh"}]
    kept = [p for p in ours if not {".tox", ".venv", ".git", "latest"} & set(p.relative_to(ROOT).parts)]
    assert len(kept) > 20
    for path in kept:
        text = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in text], path
