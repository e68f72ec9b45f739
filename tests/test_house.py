"""The rules of the house that code can hold: who may import whom."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAMILY_ORDER = ("config", "data", "model", "reference", "optimized", "fastest")
FRAMEWORKS = {"torch", "tensorflow"}


def test_the_module_that_plugin_and_trainers_share_is_the_same():
    """Neither may import the other."""
    ours, theirs = (ROOT / folder / "boundary.py" for folder in ("src/speedclaims", "trainers/common"))
    assert ours.read_text(encoding="utf-8") == theirs.read_text(encoding="utf-8")


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


@pytest.mark.parametrize("path", modules("src/speedclaims"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_plugin_imports_nothing_of_the_trainers_or_the_benchmarks(path):
    assert not tops(path) & {"trainers", "bench", "tests"}


@pytest.mark.parametrize("path", modules("trainers"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_trainers_know_nothing_of_the_bench(path):
    assert not tops(path) & {"speedclaims", "bench", "tests", "pytest"}


@pytest.mark.parametrize("path", [*modules("trainers"), *modules("bench")], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_imports_both_frameworks(path):
    assert not tops(path) >= FRAMEWORKS


@pytest.mark.parametrize("path", modules("src/speedclaims"), ids=lambda p: str(p.relative_to(ROOT)))
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


# --- The floors: imports run one way ---

FLOORS = (
    ("boundary", "clock", "errors", "numbers"),
    ("record",),
    ("recorders", "claims"),
    (
        "measure",
        "gate",
        "audit",
        "report.model",
        "report.html",
        "report.markdown",
        "report.terminal",
        "report.alternatives",
        "report.json_verdict",
    ),
    ("markers", "shards", "session"),
    ("fixtures", "options", "gating", "revisions"),
    ("export", "docs", "doctor", "calibrate", "merge", "plugin", "direct"),
    ("commands", "bisect"),
    ("cli",),
    ("__main__",),
)
"""Parts of the plugin from the lowest to the highest: one imports from its own and from lower ones."""

DRAWING = {"matplotlib", "jinja2", "markupsafe", "rich"}
BANNED = ("told", "stands", "brings", "goes on", "beside", "anew", "so many", "of one's own", "shall", "mend", "reckon")
BANNED += ("doors", "deaf")
"""Words that the first line of a docstring does not use: they say less than a standard term."""


def dotted(path: Path) -> str:
    """Return a module's name."""
    folder = ROOT / "src" if path.is_relative_to(ROOT / "src") else ROOT
    return ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")


def part(module: str) -> str:
    """Return the part of the plugin that a module belongs to."""
    words = module.split(".")[1:]
    return ".".join(words[:2]) if words[0] == "report" and len(words) > 1 else words[0]


def graph(folder: str) -> dict[str, set[str]]:
    """Return which modules of a folder a module imports, whenever it does."""
    names = {dotted(path): path for path in modules(folder)}
    found = {}
    for name, path in names.items():
        imported = {each for each, _ in imports(path)}
        found[name] = {
            other
            for each in imported
            for other in (each, each.rpartition(".")[0])
            if other in names and "." in other and other != name  # a package itself only names what is public
        }
    return found


def against_the_floors(found: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the imports that run up."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    return [
        (module, other)
        for module, imported in found.items()
        for other in imported
        if "." in module and "." in other and part(module) != "report" and part(other) != "report"
        if floor[part(module)] < floor[part(other)]
    ]


def circles(found: dict[str, set[str]]) -> set[str]:
    """Return the modules that import themselves by way of others."""

    def reached(module: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(found[module])
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += found[one]
        return seen

    return {module for module in found if module in reached(module)}


def test_nothing_in_the_plugin_imports_upward():
    assert against_the_floors(graph("src/speedclaims")) == []


@pytest.mark.parametrize("folder", ["src/speedclaims", "trainers", "bench"])
def test_there_is_no_circle_of_imports(folder):
    assert circles(graph(folder)) == set()


def test_a_circle_and_an_import_upward_would_be_seen():
    found = {"speedclaims.record.io": {"speedclaims.cli"}, "speedclaims.cli": {"speedclaims.record.io"}}
    assert against_the_floors(found) == [("speedclaims.record.io", "speedclaims.cli")]
    assert circles(found) == set(found)


@pytest.mark.parametrize("path", modules("src/speedclaims/report/model"), ids=lambda p: p.stem)
def test_the_report_s_model_draws_nothing(path):
    assert not tops(path) & DRAWING


def untyped(text: str) -> list[str]:
    """Return the functions and attributes of a module's text whose annotations name ``Any``."""
    found = []
    for node in ast.walk(ast.parse(text)):
        hints: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            hints = [node.returns, *(one.annotation for one in every if one is not None)]
        elif isinstance(node, ast.AnnAssign):
            hints = [node.annotation]
        quoted = [ast.parse(hint.value) for hint in hints if isinstance(hint, ast.Constant) and hint.value]
        names = {
            inner.id for hint in (*hints, *quoted) if hint for inner in ast.walk(hint) if isinstance(inner, ast.Name)
        }
        if "Any" in names:
            found.append(getattr(node, "name", "an attribute"))
    return found


@pytest.mark.parametrize("path", modules("src/speedclaims"), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_signature_of_the_plugin_says_any(path):
    """What comes from outside as JSON is of the types in `speedclaims.record.json_types`."""
    assert untyped(path.read_text(encoding="utf-8")) == []


def test_a_signature_that_says_any_would_be_seen():
    assert untyped("def f(a: dict[str, Any]): ...") == ["f"]
    assert untyped("def g(*, a: 'Any | None' = None) -> int: ...") == ["g"]
    assert untyped("class C:\n    x: list[Any]") == ["an attribute"]
    assert untyped("def h(a: object) -> None: ...") == []


def first_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the first line of every docstring of a module with its line number."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text.splitlines()[0]


def is_plain(line: str) -> bool:
    """Whether the first line of a docstring uses none of the words that are ruled out."""
    return not line.startswith("What ") and not re.search(rf"\b({'|'.join(BANNED)})", line.lower())


@pytest.mark.parametrize(
    "path",
    [path for folder in ("src/speedclaims", "trainers", "bench", "examples") for path in modules(folder)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_the_first_line_of_a_docstring_is_plain(path):
    assert [(number, line) for number, line in first_lines(path) if not is_plain(line)] == []


@pytest.mark.parametrize("line", ["What a pair is.", "Put it beside the other.", "Reckon the ratio.", "It shall end."])
def test_words_that_are_ruled_out_would_be_seen(line):
    assert not is_plain(line)


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        ("tests/speedclaims", "src/speedclaims"),
        ("tests/trainers", "trainers"),
        ("tests/bench", "bench"),
        ("tests/examples", "examples"),
    ],
)
def test_the_folders_of_tests_are_those_of_the_code(tests, code):
    """A folder of helpers, without tests, may have any name."""
    folders = {path.parent.relative_to(ROOT / tests) for path in (ROOT / tests).rglob("test_*.py")}
    assert folders
    assert [str(folder) for folder in folders if not (ROOT / code / folder).is_dir()] == []
