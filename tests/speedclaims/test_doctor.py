"""`speedclaims doctor`: strict JSON, a reason for everything that is not possible, and never a crash."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speedclaims import doctor
from speedclaims.recorders.registry import passes

ROOT = Path(__file__).parents[2]

FAKE_TORCH = """
__version__ = "9.8.7"

class _Version:
    cuda = "14.0"

class _Properties:
    name, total_memory, major, minor = "Test GPU", 1 << 30, 9, 0

class _Zeros:
    def sum(self): return self
    def item(self): return 0.0

class cuda:
    init = staticmethod(lambda: None)
    device_count = staticmethod(lambda: 1)
    get_device_properties = staticmethod(lambda index: _Properties)

version = _Version
zeros = lambda *a, **k: _Zeros()
get_num_threads = get_num_interop_threads = lambda: 3
"""
FAKE_NVML = """
class NVMLError(Exception): pass
class _Memory: total = 1 << 30
def _no(device): raise NVMLError("Not Supported")
nvmlInit = nvmlShutdown = lambda: None
nvmlSystemGetCudaDriverVersion = lambda: 13010
nvmlSystemGetDriverVersion = lambda: b"580.65"
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetUUID = lambda device: "GPU-0123"
nvmlDeviceGetName = lambda device: "Test GPU"
nvmlDeviceGetMemoryInfo = lambda device: _Memory
nvmlDeviceGetMigMode = lambda device: [1, 1]
nvmlDeviceGetUtilizationRates = _no
nvmlDeviceGetPowerUsage = nvmlDeviceGetTotalEnergyConsumption = lambda device: 5
"""


def missing(name):
    """Text of a module that is as good as not installed; also where only its import would take seconds."""
    return f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')"


WITHOUT_TENSORFLOW = {"tensorflow": missing("tensorflow")}
WITHOUT_FRAMEWORKS = {**WITHOUT_TENSORFLOW, "torch": missing("torch")}


def refuse_constant(name):
    raise ValueError(name)


def examine(folder, *arguments, **modules):
    """Run the command in a folder with modules of our own in the way, and return its answer."""
    in_the_way = folder / "path"
    in_the_way.mkdir(exist_ok=True)
    for name, text in modules.items():
        (in_the_way / f"{name}.py").write_text(text)
    paths = [str(in_the_way), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "speedclaims", "doctor", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout, parse_constant=refuse_constant)


def states(value, path=()):
    """Yield every place of an answer that says whether something is possible."""
    if isinstance(value, dict):
        for key in {"possible", "compatible"} & set(value):
            yield path, value[key], value["reason"]
        for key, inner in value.items():
            yield from states(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from states(inner, (*path, number))


def assert_reasoned(answer):
    found = list(states(answer))
    assert len(found) >= 18
    for path, possible, reason in found:
        assert isinstance(possible, bool), path
        assert (reason is None) is possible, path
        assert possible or reason.strip(), path
        assert "Traceback" not in (reason or ""), path


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return examine(tmp_path_factory.mktemp("here"))


def test_all_that_is_not_possible_has_a_reason_and_all_that_is_has_none(here):
    assert_reasoned(here)


def test_it_says_what_this_machine_is(here):
    assert here["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert here["cpu"]["num_cores"] >= 1
    assert here["cpu"]["waiting_percent_1min"] is None or 0 <= here["cpu"]["waiting_percent_1min"] <= 100
    assert (here["cpu"]["governor"] is None) is (here["cpu"]["governor_reason"] is not None)
    assert here["memory_bytes"] > 0
    assert "OMP_NUM_THREADS" in here["threads"]
    assert set(here["frameworks"]) == {"torch", "tensorflow"}
    assert here["pytest_benchmark"]["compatible"] is True


def test_every_pass_that_can_be_asked_for_is_told(here):
    assert set(passes()) <= set(here["passes"])
    assert here["passes"]["time"] == {"possible": True, "reason": None}


def test_a_project_without_trainers_is_told_so(here):
    assert here["trainers"] == {"families": None, "reason": "it is not installed"}


def test_trainers_in_the_working_directory_are_asked_for_their_families():
    done = subprocess.run(
        [sys.executable, "-m", "speedclaims", "doctor"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    families = json.loads(done.stdout)["trainers"]["families"]
    assert families
    folders = {path.parent.name for path in (ROOT / "trainers").glob("*/config.py")}
    assert families == sorted(folders | {"dialogue_twin"})


def test_where_torch_is_not_installed_the_reason_is_that(tmp_path):
    found = examine(tmp_path, torch=missing("torch"))
    assert found["frameworks"]["torch"]["reason"] == "it is not installed"
    assert found["frameworks"]["torch"]["devices"]["cpu"] == {
        "possible": False,
        "reason": "torch: it is not installed",
    }
    assert found["passes"]["time"]["possible"]
    assert_reasoned(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ImportError('libcudart.so.12: cannot open shared object file')", "ImportError: libcudart.so.12"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV)"),
        ("import os\nos._exit(7)", "its process ended with 7 and without an answer"),
        ("raise SystemExit('gone')", "gone"),
        ("version = 3", "AttributeError"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_broken_framework_is_a_reason_and_not_a_crash(text, words, tmp_path):
    found = examine(tmp_path, torch=text, tensorflow=text)
    for name in ("torch", "tensorflow"):
        framework = found["frameworks"][name]
        assert not framework["possible"]
        assert words in framework["reason"]
        assert words in framework["devices"]["cuda"]["reason"]
    assert_reasoned(found)


def test_a_framework_that_hangs_is_given_up_with_all_that_it_started(tmp_path):
    hangs = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    start = time.monotonic()
    found = examine(tmp_path, "--timeout", "4", torch=hangs, **WITHOUT_TENSORFLOW)
    assert time.monotonic() - start < 600
    assert found["frameworks"]["torch"]["reason"] == "it did not answer within 4 s"
    assert_reasoned(found)
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    assert not child.exists() or child.read_text().rpartition(") ")[2].startswith("Z")


def test_a_gpu_that_answers_is_described_and_what_it_cannot_do_has_its_reason(tmp_path):
    found = examine(tmp_path, torch=FAKE_TORCH, pynvml=FAKE_NVML, **WITHOUT_TENSORFLOW)
    torch = found["frameworks"]["torch"]
    assert (torch["version"], torch["cuda"], torch["threads"]) == ("9.8.7", "14.0", {"intra_op": 3, "inter_op": 3})
    assert torch["devices"]["cuda"]["gpus"][0]["compute_capability"] == "9.0"
    assert found["cuda"] == {"possible": True, "reason": None}
    assert (found["nvml"]["driver"], found["nvml"]["cuda"]) == ("580.65", "13.1")
    assert found["nvml"]["devices"][0]["mig"] is True
    assert found["passes"]["memory_cuda"]["possible"]
    assert "Test GPU: NVMLError: Not Supported" in found["passes"]["utilization"]["reason"]
    assert "Not Supported" not in (found["passes"]["energy"]["reason"] or "")
    assert_reasoned(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FAKE_NVML.replace("Count = lambda: 1", "Count = lambda: 0"), "NVML finds no GPU"),
        (
            FAKE_NVML.replace(
                "nvmlInit = nvmlShutdown = lambda: None", "nvmlShutdown = None\nnvmlInit = lambda: _no(0)"
            ),
            "NVMLError: Not Supported",
        ),
        (missing("pynvml"), "pynvml: it is not installed"),
        ("nvml = None", "another module of this name shadows that of nvidia-ml-py"),
    ],
)
def test_without_a_gpu_nvml_has_a_reason(text, words, tmp_path):
    found = examine(tmp_path, pynvml=text, **WITHOUT_FRAMEWORKS)
    assert words in found["nvml"]["reason"]
    assert words in found["passes"]["energy"]["reason"]
    assert_reasoned(found)


def test_a_folder_of_the_project_called_torch_is_not_taken_for_pytorch(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('the wrong one')")
    assert "the wrong one" not in json.dumps(examine(tmp_path, **WITHOUT_TENSORFLOW))


def test_another_pytest_benchmark_than_the_plugin_needs_is_told(monkeypatch):
    monkeypatch.setattr(doctor.environment, "versions", lambda names=(): dict.fromkeys(names, "9.9.9"))
    found = doctor.pytest_benchmark()
    assert found["compatible"] is False
    assert "9.9.9 is installed" in found["reason"]
    monkeypatch.setattr(doctor.environment, "versions", lambda names=(): dict.fromkeys(names))
    assert doctor.pytest_benchmark()["reason"] == "pytest-benchmark is not installed"


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_time_that_is_none_is_bad_usage(seconds):
    done = subprocess.run(
        [sys.executable, "-m", "speedclaims", "doctor", "--timeout", seconds],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "is not a positive number of seconds" in done.stderr


def test_this_process_imports_no_framework(tmp_path):
    code = (
        "import sys; from speedclaims import doctor; doctor.report(60); "
        "print(sorted({'torch', 'tensorflow', 'pynvml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
