"""`python -m bench.gpu`: what it packs for a machine without a network, and its first look at the GPU."""

import json
import shutil
import subprocess
import sys
import types
import zipfile
from importlib import metadata

import pytest

from bench.gpu import __main__ as gpu_command
from bench.gpu import pack, probe

torch = pytest.importorskip("torch")

from bench.gpu import checks  # noqa: E402 - only with PyTorch

GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
KEYS = {"id", "time", "author_time", "dirty", "project", "branch"}


def git(folder, *arguments):
    return subprocess.run([*GIT, "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path):
    """A repository with one commit: a file, one with a name of its own, an empty one, a program and a link."""
    folder = tmp_path / "checkout"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.txt").write_bytes(b"one\r\n\0")
    (folder / "deep" / "näme with space").write_text("two")
    (folder / "empty").touch()
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    (folder / "link").symlink_to("deep/nowhere")
    git(tmp_path, "init", "-q", "-b", "trunk", str(folder))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def offline(monkeypatch):
    """Leave the wheels out: they would come from the network."""
    monkeypatch.setattr(pack, "_download", lambda *_: None)


@pytest.fixture
def copy(checkout, tmp_path, offline):
    """The checkout as another machine gets it: without its history, with the packed folder."""
    pack.pack(checkout / ".gpu", root=checkout)
    folder = tmp_path / "copy"
    shutil.copytree(checkout, folder, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    return folder


# --- Which commit it is ---


def test_in_a_checkout_git_tells_the_commit(checkout):
    found = pack.commit_info(checkout)
    assert set(found) == KEYS
    assert found["id"] == git(checkout, "rev-parse", "HEAD").strip()
    assert (found["dirty"], found["branch"], found["project"]) == (False, "trunk", "checkout")
    (checkout / "new").touch()
    assert not pack.commit_info(checkout)["dirty"], "files that nobody added are no change"
    (checkout / "one.txt").write_text("other")
    assert pack.commit_info(checkout)["dirty"]
    git(checkout, "checkout", "-q", "--detach", "-f")
    git(checkout, "config", "remote.origin.url", "https://example.com/somebody/thing.git")
    found = pack.commit_info(checkout)
    assert (found["branch"], found["project"]) == ("(detached head)", "thing")


def test_it_is_what_pytest_benchmark_says(checkout, monkeypatch):
    utils = pytest.importorskip("pytest_benchmark.utils")
    monkeypatch.chdir(checkout)
    assert pack.commit_info(checkout) == utils.get_commit_info()


def test_a_copy_without_history_tells_the_same_commit(copy, checkout):
    assert pack.commit_info(copy) == pack.commit_info(checkout)
    assert pack.commit_info(copy, copy / ".gpu") == pack.commit_info(checkout)
    assert pack.commit_info(copy, copy / "elsewhere") is None


@pytest.mark.parametrize(
    ("change", "is_dirty"),
    [
        (lambda copy: (copy / "one.txt").write_bytes(b"one\n\0"), True),
        (lambda copy: (copy / "deep" / "näme with space").unlink(), True),
        (lambda copy: (copy / "empty").write_text(" "), True),
        (lambda copy: (copy / "link").unlink() or (copy / "link").symlink_to("deep"), True),
        (lambda copy: (copy / "added").touch(), False),
        (lambda copy: (copy / "one.txt").touch(), False),
    ],
    ids=["changed", "gone", "no longer empty", "another link", "added", "newer"],
)
def test_a_copy_knows_whether_a_file_of_its_commit_has_changed(copy, change, is_dirty):
    change(copy)
    assert pack.commit_info(copy)["dirty"] is is_dirty


def test_what_was_changed_before_packing_is_a_change_against_the_commit_too(checkout, copy):
    (checkout / "one.txt").write_text("not committed")
    pack.pack(checkout / ".gpu", root=checkout)
    shutil.copy(checkout / ".gpu" / "commit.json", copy / ".gpu" / "commit.json")
    assert not pack.commit_info(copy)["dirty"], "it has the file as the commit has it"
    shutil.copy(checkout / "one.txt", copy / "one.txt")
    assert pack.commit_info(copy)["dirty"]


def test_history_that_cannot_be_read_is_as_none(copy, checkout, monkeypatch):
    expected = pack.commit_info(copy)
    (copy / ".git").write_text("gitdir: /nowhere\n")
    assert pack.commit_info(copy) == expected
    shutil.rmtree(checkout / ".gpu")
    monkeypatch.setenv("PATH", "")
    assert pack.commit_info(copy) == expected
    assert pack.commit_info(checkout) is None


def test_the_repository_around_a_folder_is_not_its_own(checkout):
    assert pack.commit_info(checkout / "deep") is None


NO_FILES = '{"id": "0", "time": 0, "author_time": 0, "project": 0, "branch": 0, "files": 3}'


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", NO_FILES])
def test_a_damaged_note_of_the_commit_is_none(tmp_path, content):
    (tmp_path / ".gpu").mkdir()
    (tmp_path / ".gpu" / "commit.json").write_text(content)
    assert pack.commit_info(tmp_path) is None


def test_packing_needs_a_commit_and_says_so(tmp_path, offline):
    with pytest.raises(pack.PackError, match="no commit of git"):
        pack.pack(tmp_path / ".gpu", root=tmp_path)


def test_packing_into_a_file_says_so(checkout, offline):
    with pytest.raises(pack.PackError, match=r"one\.txt: cannot be written"):
        pack.pack(checkout / "one.txt", root=checkout)


# Not importorskip, nor find_spec: once pip is looked for, setuptools leaves distutils to Python; torch.compile fails.
@pytest.mark.skipif(not any(metadata.distributions(name="pip")), reason="pip is not installed")
def test_what_pip_cannot_find_is_one_line(checkout, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(pack.PackError, match=r"^pip cannot download the packages: ERROR: [^\n]+$"):
        pack.pack(checkout / ".gpu", root=checkout)


# --- The packages ---


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """Make wheels in a packed folder, each with one module that tells its version."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / ".gpu"
    (folder / "wheels").mkdir(parents=True)

    def add(name, version="1.0", tag="py3-none-any", module=None):
        module = module or name
        monkeypatch.delitem(sys.modules, module, raising=False)
        with zipfile.ZipFile(folder / "wheels" / f"{name}-{version}-{tag}.whl", "w") as archive:
            archive.writestr(f"{module}.py", f"version = {version!r}")
            archive.writestr(f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
        return folder

    return types.SimpleNamespace(add=add, folder=folder)


def test_only_what_is_missing_is_put_on_the_path(packed):
    packed.add("surely_missing", "2.5")
    packed.add("pytest", "999.0")
    place = pack.unpack(packed.folder)
    assert sys.path[0] == str(place)
    import surely_missing

    assert surely_missing.version == metadata.version("surely-missing") == "2.5"
    assert sorted(each.name for each in place.iterdir() if each.name != "__pycache__") == [
        "surely_missing-2.5.dist-info", "surely_missing.py",
    ]  # fmt: skip


def test_where_nothing_is_missing_nothing_changes(packed, tmp_path):
    packed.add("pytest", "999.0")
    before = list(sys.path)
    assert pack.unpack(packed.folder) is None
    assert pack.unpack(tmp_path / "nothing packed") is None
    assert sys.path == before


@pytest.mark.parametrize(
    ("installed", "is_replaced"), [("5.0.9", True), ("5.4", True), ("5.2.3", True), ("5.3.0", False)]
)
def test_a_version_that_the_project_or_the_newest_pytest_cannot_take_is_replaced(
    packed, monkeypatch, installed, is_replaced
):
    packed.add("pytest_benchmark", "5.3.1", module="benchmark_of_the_wheel")
    monkeypatch.setattr(pack.metadata, "version", lambda _: installed)
    monkeypatch.setattr(pack, "bounds", lambda _: {"pytest-benchmark": [(">=", "5.1"), ("<", "5.4")]})
    assert (pack.unpack(packed.folder) is not None) == is_replaced


def test_a_module_that_another_distribution_brings_is_not_hidden(packed):
    packed.add("another_json", module="json")
    assert pack.unpack(packed.folder) is None


def test_wheels_compiled_for_another_python_stay_where_they_are(packed):
    ours = f"cp{sys.version_info.major}{sys.version_info.minor}"
    packed.add("missing_one", tag="cp39-cp39-manylinux_2_17_x86_64")
    assert pack.unpack(packed.folder) is None
    packed.add("missing_two", tag=f"{ours}-{ours}-manylinux_2_17_x86_64.manylinux2014_x86_64")
    place = pack.unpack(packed.folder)
    assert (place / "missing_two.py").exists()
    assert not (place / "missing_one.py").exists()


@pytest.mark.parametrize(("tag", "is_ours"), [("cp38", True), ("cp311.cp312", True), ("cp399", False)])
def test_a_wheel_of_the_stable_interface_works_with_later_pythons(packed, tag, is_ours):
    packed.add("missing_three", tag=f"{tag}-abi3-manylinux_2_17_x86_64")
    assert (pack.unpack(packed.folder) is not None) == is_ours


def test_a_damaged_wheel_is_named(packed):
    file = packed.add("surely_missing") / "wheels" / "surely_missing-1.0-py3-none-any.whl"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(pack.PackError, match=r"surely_missing-1\.0-py3-none-any\.whl: cannot be read"):
        pack.unpack(packed.folder)


@pytest.mark.parametrize(
    ("version", "sign", "bound", "expected"),
    [
        ("5.10", ">=", "5.9", True), ("5.3", ">=", "5.3.0", True), ("5.3.0rc1", "<", "5.4", True),
        ("5.4.0", "<", "5.4", False), ("2.0", "==", "2", True), ("1.9", ">", "1.9", False), ("1.8", "<=", "1.9", True),
    ],
)  # fmt: skip
def test_versions_are_compared_by_their_numbers(version, sign, bound, expected):
    assert pack._holds(version, sign, bound) is expected


def test_the_bounds_are_those_of_the_project():
    found = pack.bounds(pack.ROOT / "pyproject.toml")
    assert {"pytest", "pytest-benchmark", "rich", "jinja2", "nvidia-ml-py", "safetensors"} <= set(found)
    assert [sign for sign, _ in found["pytest-benchmark"]] == [">=", "<"]


# --- The first look ---


@pytest.fixture
def pretended(monkeypatch):
    """A GPU where there may be none, and no check yet."""
    found = []
    monkeypatch.setattr(probe, "no_gpu", lambda: None)
    monkeypatch.setattr(probe, "device_computes", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(checks, "CHECKS", found)
    return found


def rows(out):
    found = [json.loads(line) for line in (out / "probe.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in found if "begun" not in row]


def test_every_check_runs_and_fails_for_itself(pretended, tmp_path):
    def broken(look):
        look.trainer("tabular_regressor", "no such tier")

    def runs(look):
        assert look._trainers == {}
        return {"ms_a_step": 1.23456, "nan": float("nan"), "name": "x" * 100, "nested": {"deep": [1.0, float("inf")]}}

    pretended += [checks.Check("first", lambda _: {"one": 1}), checks.Check("broken", broken)]
    pretended += [checks.Check("after it", runs)]
    lines = []
    assert probe.probe(tmp_path / "new" / "out", "tiny", lines.append) == 1
    assert [line.split()[:2] for line in lines[:2]] == [["first", "ok"], ["broken", "FAILED"]]
    assert lines[2].startswith("    trainers.contract.BadInput: tier: unknown tier")
    (line,) = [line for line in lines if line.startswith("after it")]
    assert line.endswith("ms a step 1.23, nan nan")  # not half of the next figure
    assert lines[-1].startswith("2 of 3 checks passed")
    assert max(map(len, lines)) < 80
    begun, first, failed, last = rows(tmp_path / "new" / "out")
    assert (begun["preset"], first["check"], first["outcome"]) == ("tiny", "first", "ok")
    assert "in broken" in failed["traceback"]
    assert last["figures"]["nan"] == "nan"
    assert last["figures"]["nested"] == {"deep": [1.0, "inf"]}


def test_when_the_time_is_up_no_check_begins_and_the_others_are_named(pretended, tmp_path):
    pretended += [checks.Check(name, lambda _: {}) for name in ("one", "two")]
    lines = []
    assert probe.probe(tmp_path, "tiny", lines.append, seconds=0) == 0
    assert lines[0] == "not run, as 0 s had passed: one, two"
    assert rows(tmp_path)[-1]["not_run"] == ["one", "two"]


@pytest.mark.parametrize("most_s", [10.0, 0.0])
def test_what_compiles_may_be_compiled_ahead_by_processes_of_their_own(pretended, tmp_path, monkeypatch, most_s):
    """They start before the trainers' first check and are waited for, not for long."""
    happened = []

    class Process:
        def __init__(self, command, **_):
            happened.append(command[command.index("--compile") + 1])

        def wait(self, timeout=None):
            happened.append("waited")
            if timeout == 0.0:
                raise subprocess.TimeoutExpired("it", timeout)

        def kill(self):
            happened.append("killed")

    monkeypatch.setattr(probe.subprocess, "Popen", Process)
    monkeypatch.setattr(probe, "_MOST_WAIT_S", most_s)
    monkeypatch.setattr(probe, "commit_info", lambda _: None)
    for name, compiles in (("before", False), (checks.FIRST_OF_TRAINERS, False), ("kernels", True), ("last", False)):
        pretended.append(checks.Check(name, lambda _, name=name: happened.append(name) or {}, compiles))
    assert probe.probe(tmp_path, "tiny", lambda _: None, compile_ahead=True) == 0
    ended = ["killed", "waited"]
    waited = ["waited", *ended] if most_s == 0 else ["waited"]
    assert happened == ["before", "kernels", checks.FIRST_OF_TRAINERS, *waited, "kernels", "last", *ended]


def test_a_later_look_is_appended(pretended, tmp_path):
    pretended.append(checks.Check("one", lambda _: {}))
    for _ in range(2):
        probe.probe(tmp_path, "tiny", lambda _: None)
    assert len(rows(tmp_path)) == 4


def test_a_family_of_another_framework_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_command, "CARRIED", tmp_path / "none")
    monkeypatch.setattr(gpu_command, "_check", lambda: None)
    assert gpu_command.main(["--family", "dialogue_gan", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said == "error: --family dialogue_gan: it trains with tensorflow: see tox -e bench-tf-gpu\n"
    assert not (tmp_path / "out").exists()
    assert gpu_command._families([]) == ["dialogue_twin", "tabular_regressor", "text_to_image"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_there_is_one_line_and_the_code_2(tmp_path, capsys):
    assert probe.main([str(tmp_path / "out"), "tiny"]) == 2
    assert capsys.readouterr().out.startswith("no GPU: PyTorch ")
    assert not (tmp_path / "out").exists()


def test_bad_arguments_are_one_line_and_the_code_2(pretended, tmp_path, capsys):
    (tmp_path / "file").touch()
    for arguments in ([str(tmp_path), "huge"], [str(tmp_path / "file"), "tiny"], []):
        with pytest.raises(SystemExit) as caught:
            probe.main(arguments)
        assert caught.value.code == 2
    assert "file: File exists" in capsys.readouterr().err


def test_the_codes_tell_whether_a_check_failed(pretended, tmp_path, monkeypatch):
    pretended.append(checks.Check("one", lambda _: {}))
    assert probe.main([str(tmp_path), "tiny"]) == 0
    pretended.append(checks.Check("two", lambda _: 1 / 0))
    assert probe.main([str(tmp_path), "tiny"]) == 1


# --- The checks themselves, on a CPU ---

ON_A_CPU = (
    "twin reference", "twin states", "twin losses", "tabular reference", "tabular restructured", "tabular mixed",
    "tabular out of memory", "tabular states", "tabular losses", "image data", "image reference", "image mixed",
    "image checkpoint", "image fastest cached", "image states", "image losses", "image validation", "operations",
    "tabular profile",
)  # fmt: skip


@pytest.fixture
def on_a_cpu(monkeypatch, private_cache, one_thread):
    monkeypatch.setattr(checks, "DEVICE", "cpu")
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: 0)
    look = checks.Look("tiny")
    yield look
    look.forget()


@pytest.mark.parametrize("name", ON_A_CPU)
def test_a_check_passes_where_its_path_works(on_a_cpu, name):
    (check,) = [check for check in checks.CHECKS if check.name == name]
    figures = check.run(on_a_cpu)
    json.dumps(figures, default=str)
    if name.endswith("losses"):
        assert figures["again"] == 0
        assert 0 <= figures["fastest fp32"] < 1e-3


def test_a_state_that_loses_something_on_its_way_is_seen(on_a_cpu):
    trainer = on_a_cpu.trainer("tabular_regressor", "fastest")
    real = trainer.load_state

    def forgetful(state):
        real(state)
        with torch.no_grad():
            next(trainer.model.parameters()).zero_()

    trainer.load_state = forgetful
    with pytest.raises(checks.FailedCheckError, match="FastestTrainer differs in: model"):
        checks._tabular_states(on_a_cpu)


def test_a_call_that_takes_fewer_steps_is_seen(on_a_cpu):
    trainer = on_a_cpu.trainer("tabular_regressor", "reference")
    real = trainer.train_steps
    trainer.train_steps = lambda n, phase: real(n - 1, phase)
    with pytest.raises(checks.FailedCheckError, match="2 steps were asked for, and 1 were taken"):
        checks._steps(trainer, 2, "train")


def test_memory_that_runs_out_and_takes_no_parts_is_seen(on_a_cpu, monkeypatch):
    monkeypatch.setattr("trainers.tabular_regressor.optimized.OptimizedTrainer._make_room", lambda *_: None)
    with pytest.raises(checks.FailedCheckError, match="no batch was taken in parts after memory ran out in forward"):
        checks._tabular_out_of_memory(on_a_cpu)


def test_the_names_of_the_checks_differ_and_fit():
    names = [check.name for check in checks.CHECKS]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < probe._NAME_WIDTH
    assert set(ON_A_CPU) < set(names)


def test_what_is_wrong_in_values_is_not_judged_where_the_device_computes_none(pretended, tmp_path, monkeypatch):
    def wrong(look):
        raise checks.FailedCheckError("the weights are other ones")

    def broken(look):
        raise RuntimeError("no such kernel")

    pretended += [checks.Check("values", wrong), checks.Check("host", broken), checks.Check("fine", lambda look: {})]
    printed = []
    monkeypatch.setattr(probe, "device_computes", lambda: False)
    assert probe.probe(tmp_path, "tiny", printed.append, compile_ahead=False) == 1
    assert [row["outcome"] for row in rows(tmp_path)[1:]] == [probe.NOT_JUDGED, "failed", "ok"]
    assert printed[-1].startswith("1 of 3 checks passed, 1 not judged in")
    monkeypatch.setattr(probe, "device_computes", lambda: True)
    assert probe.probe(tmp_path, "tiny", printed.append, compile_ahead=False) == 2


def test_a_check_that_ends_its_process_costs_itself_alone(tmp_path, monkeypatch):
    file, asked = tmp_path / "probe.jsonl", []

    def run(command, **options):
        asked.append(command)
        done = probe._checks_in(file, 1)[1]
        for name in ("one", "two", "three"):
            if name not in done:
                probe._append(file, {"begun": name})
                if name == "two":
                    return types.SimpleNamespace(returncode=-11)
                probe._append(file, {"check": name, "outcome": "ok"})
        return types.SimpleNamespace(returncode=0)

    probe._append(file, {"check": "one", "outcome": "failed"})  # of an earlier look
    monkeypatch.setattr(probe.subprocess, "run", run)
    assert probe.probe_safely(tmp_path, "tiny", {}) == 1
    assert len(asked) == 2
    assert "--after=1" in asked[0]
    assert [(row["check"], row["outcome"]) for row in rows(tmp_path)] == [
        ("one", "failed"), ("one", "ok"), ("two", "failed"), ("three", "ok"),
    ]  # fmt: skip


def test_a_machine_without_a_gpu_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(probe.subprocess, "run", lambda *_, **__: types.SimpleNamespace(returncode=2))
    assert probe.probe_safely(tmp_path, "tiny", {}) == 2
