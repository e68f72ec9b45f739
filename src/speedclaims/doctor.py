"""Report what can be measured on this machine, and why the rest cannot.

The frameworks and NVML are queried in separate processes; this process imports none of them. A broken installation
gives a reason instead of a crash, and one that hangs is ended after a timeout. ``possible`` is either true, with the
reason null, or false, with the reason.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from speedclaims import __version__
from speedclaims.measure import contention
from speedclaims.record import benchmark_rows
from speedclaims.record.json_types import JsonObject
from speedclaims.recorders import environment
from speedclaims.recorders.recorder import Machine
from speedclaims.recorders.registry import recorders

TIMEOUT_S = 120.0
_MARK = "speedclaims-probe:"
_LONGEST_REASON = 300

# Each probe prints one line: the mark and a JSON object, {"reason": ...} where there is nothing to find.
_HEAD = f"""
import json, sys
def told(error):
    return " ".join(f"{{type(error).__name__}}: {{error}}".split())
def answer(**found):
    print("\\n{_MARK}" + json.dumps(found), flush=True)
    sys.exit(0)
def importing(name):
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        answer(reason="it is not installed" if error.name == name else told(error))
    except Exception as error:
        answer(reason=told(error))
"""

_TORCH = """
torch = importing("torch")
gpus, reason = [], None
try:
    torch.cuda.init()
    torch.zeros(1, device="cuda").sum().item()
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = f"{properties.major}.{properties.minor}"
        gpus.append({"index": index, "name": properties.name, "memory_bytes": properties.total_memory,
                     "compute_capability": capability})
except Exception as error:
    reason = told(error)
answer(version=str(torch.__version__), cuda=torch.version.cuda, gpus=gpus, gpu_reason=reason,
       threads={"intra_op": torch.get_num_threads(), "inter_op": torch.get_num_interop_threads()})
"""

_TENSORFLOW = """
tf = importing("tensorflow")
gpus, reason, cuda = [], None, None
try:
    cuda = dict(tf.sysconfig.get_build_info()).get("cuda_version")
    for index, device in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(device)
        capability = details.get("compute_capability")
        gpus.append({"index": index, "name": details.get("device_name", device.name), "memory_bytes": None,
                     "compute_capability": ".".join(map(str, capability)) if capability else None})
    if not gpus:
        built = tf.test.is_built_with_cuda()
        reason = "TensorFlow sees no GPU" if built else "TensorFlow was built without CUDA"
except Exception as error:
    reason = told(error)
threading = tf.config.threading
answer(version=str(tf.__version__), cuda=cuda, gpus=gpus, gpu_reason=reason,
       threads={"intra_op": threading.get_intra_op_parallelism_threads(),
                "inter_op": threading.get_inter_op_parallelism_threads()})
"""

_NVML = """
from speedclaims.recorders.nvml import devices
answer(**devices.describe())
"""

_TRAINERS = """
trainers = importing("trainers")
try:
    answer(families=[str(name) for name in trainers.families()])
except Exception as error:
    answer(reason=told(error))
"""

_PROBES = {"torch": _TORCH, "tensorflow": _TENSORFLOW, "nvml": _NVML, "trainers": _TRAINERS}


def report(timeout_s: float = TIMEOUT_S) -> JsonObject:
    """Return what was found on this machine and what can be measured on it, as plain JSON values.

    Args:
        timeout_s: seconds after which a framework that is still being imported is given up.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = dict(zip(_PROBES, pool.map(lambda name: _probe(name, timeout_s), _PROBES), strict=True))
    frameworks = {name: _framework(name, found[name]) for name in ("torch", "tensorflow")}
    nvml = _nvml(found["nvml"])
    benchmark = pytest_benchmark()
    return {
        "speedclaims": __version__,
        "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "memory_bytes": environment.memory_bytes(),
        "threads": {name: os.environ.get(name) for name in environment.VARIABLES},
        "frameworks": frameworks,
        "cuda": _cuda(frameworks),
        "nvml": nvml,
        "pytest_benchmark": benchmark,
        "passes": _passes(frameworks, nvml, benchmark),
        "trainers": {"families": None, "reason": None, **found["trainers"]},
    }


def state(*reasons: str | None) -> JsonObject:
    """Return whether something is possible: when there is no reason against it."""
    against = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
    return {"possible": not against, "reason": against or None}


# -- asking in another process -------------------------------------------------------------------------------------


def _probe(name: str, timeout_s: float) -> JsonObject:
    """Return what a probe found, or ``{"reason": ...}``."""
    # -P: a folder called torch in the working directory is not PyTorch; a project's own trainers are looked for there
    options = [] if name == "trainers" else ["-P"]
    command = [sys.executable, *options, "-W", "ignore", "-c", _HEAD + _PROBES[name]]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
    # files instead of pipes: what a probe leaves running could hold a pipe open for ever
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        process = subprocess.Popen(  # noqa: S603 - this Python and our own code
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=quiet, start_new_session=True
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            return {"reason": f"it did not answer within {timeout_s:g} s"}
        return _answer(out) or {"reason": _why(code, err)}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a probe and whatever it started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _answer(out: IO[str]) -> JsonObject | None:
    out.seek(0)
    lines = [line for line in out if line.startswith(_MARK)]
    return dict(json.loads(lines[-1].removeprefix(_MARK))) if lines else None


def _why(code: int, err: IO[str]) -> str:
    """Return why a probe gave no answer: the signal that ended it, or the last line it wrote."""
    if code < 0:
        try:
            return f"importing it crashed ({signal.Signals(-code).name})"
        except ValueError:
            return f"importing it crashed (signal {-code})"
    err.seek(0)
    lines = [" ".join(line.split()) for line in err if line.strip()]
    return (lines[-1] if lines else f"its process ended with {code} and without an answer")[:_LONGEST_REASON]


# -- what follows from it ------------------------------------------------------------------------------------------


def _framework(name: str, found: JsonObject) -> JsonObject:
    """Return a framework's version, threads and devices; where it cannot be imported, why."""
    reason = _short(found.get("reason"))
    missing = f"{name}: {reason}" if reason else None
    on_gpu = state(missing or _short(found.get("gpu_reason")))
    return {
        "version": found.get("version") or environment.versions([name])[name],
        **state(reason),
        "cuda": found.get("cuda"),
        "threads": found.get("threads"),
        "devices": {"cpu": state(missing), "cuda": {**on_gpu, "gpus": found.get("gpus", [])}},
    }


def _short(reason: str | None) -> str | None:
    return reason[:_LONGEST_REASON] if reason else None


def _cuda(frameworks: JsonObject) -> JsonObject:
    """Return whether any framework can use a CUDA device."""
    on_gpu = {name: framework["devices"]["cuda"] for name, framework in frameworks.items()}
    if any(found["possible"] for found in on_gpu.values()):
        return state()
    reasons = (found["reason"] for found in on_gpu.values())
    return state(*(_named(name, reason) for name, reason in zip(on_gpu, reasons, strict=True)))


def _named(name: str, reason: str) -> str:
    return reason if reason.startswith(f"{name}: ") else f"{name}: {reason}"


def _nvml(found: JsonObject) -> JsonObject:
    devices = found.get("devices", [])
    reason = _short(found.get("reason")) or (None if devices else "NVML finds no GPU")
    return {
        **state(f"pynvml: {reason}" if reason else None),
        "driver": found.get("driver"),
        "cuda": found.get("cuda"),
        "devices": devices,
    }


def _cpu() -> JsonObject:
    found = environment.cpu()
    missing = "the system does not tell (virtual machines and containers often do not)"
    waiting = contention.waiting_percent_1min()
    return {**found, "waiting_percent_1min": waiting, "governor_reason": None if found["governor"] else missing}


def pytest_benchmark() -> JsonObject:
    """Return the version of pytest-benchmark, and whether this plugin works with it."""
    version = environment.versions(["pytest-benchmark"])["pytest-benchmark"]
    if version is None:
        return {"version": None, "compatible": False, "reason": "pytest-benchmark is not installed"}
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - comes with pytest

    fits = SpecifierSet(benchmark_rows.SUPPORTED).contains(version, prereleases=True)
    reason = None if fits else f"speedclaims needs pytest-benchmark {benchmark_rows.SUPPORTED}, {version} is installed"
    return {"version": version, "compatible": fits, "reason": reason}


def _passes(frameworks: JsonObject, nvml: JsonObject, benchmark: JsonObject) -> JsonObject:
    """Return for each pass and recorded figure whether it is possible here."""
    importable = any(framework["possible"] for framework in frameworks.values())
    machine = Machine(
        frameworks=None if importable else "neither torch nor tensorflow can be imported",
        torch_on_cuda=frameworks["torch"]["devices"]["cuda"]["reason"],
        nvml=lambda figure: _no_figure(nvml, figure),
    )
    timed = benchmark["reason"]
    lines = {line: why for one in recorders().values() for line, why in one.obstacles(machine).items()}
    return {"time": state(timed)} | {line: state(timed, *why) for line, why in lines.items()}


def _no_figure(nvml: JsonObject, figure: str) -> str | None:
    """Return why NVML gives no such figure: itself, or each of its devices."""
    devices = nvml["devices"]
    if not nvml["possible"] or any(device[figure]["possible"] for device in devices):
        reason: str | None = nvml["reason"]
        return reason
    return "; ".join(f"{device['name']}: {device[figure]['reason']}" for device in devices)
