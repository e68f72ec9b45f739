"""Run pytest in forks of a process that has already imported what every run imports.

Half of a small run is the import of pytest, Matplotlib and other libraries, and the tests start hundreds of runs.
Each fork imports the plugin itself, pytest-benchmark and whatever a test may replace (PyTorch, TensorFlow, pynvml).

The standard input holds a line of JSON for each run: `folder`, `arguments`, `environment`, and files for `stdout` and
`stderr`. The answer is a line with the exit status.
"""

import gc
import importlib
import json
import os
import sys

import pytest
from _pytest.config import default_plugins

SHARED = (
    "attrs",
    "cpuinfo.cpuinfo",
    "fastjsonschema",
    "jinja2",
    "numpy",
    "rich.console",
    "rich.table",
    "unittest.mock",
)
BUILTIN = tuple(f"_pytest.{name}" for name in default_plugins)


def begin(run):
    """Become what `python -m pytest` would be."""
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, run["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, run["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        file = os.open(name, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(run["folder"])
    os.environ.clear()
    os.environ.update(run["environment"])
    own, known = sys.path[0], run["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = ["", *known, *(path for path in sys.path if path != own and path not in known)]
    sys.argv = ["pytest", *run["arguments"]]


def serve():
    """Fork for each line, and answer when the fork has ended."""
    for name in (*SHARED, *BUILTIN):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a fork's collections, of which a pair makes several, need not go through all this
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            begin(json.loads(line))
            return
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    sys.exit()


if __name__ == "__main__":
    serve()
    sys.exit(pytest.main())
