"""The example of a cluster on a real Slurm: two nodes of one core each on this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "slurm"
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port={nodes} CPUs=1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, (*DAEMONS, "sbatch"))),
    reason="needs Debian's slurm-wlm and munge, and to be root",
)


def wait_for(happened, seconds, what):
    give_up = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up, what
        time.sleep(0.2)


class Cluster:
    """A Slurm of two nodes."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        port = 17000 + os.getpid() % 1000 * 4
        text = CONFIGURATION.format(
            host=socket.gethostname().split(".")[0], folder=folder, port=port, nodes=f"[{port + 1}-{port + 2}]"
        )
        (folder / "slurm.conf").write_text(text)
        tools = str(Path(sys.executable).parent)
        known = {name: value for name, value in os.environ.items() if "XDIST" not in name and name != "CI"}
        self.environment = known | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{tools}{os.pathsep}{known['PATH']}",
            "PYTEST_ARGUMENTS": "-pno:xdist -pno:hypothesispytest -pno:cacheprovider --speedup-max-time=1",
        }
        self.processes = []

    def start(self):
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
            for name in ("run", "log", "lib"):
                place = Path("/var" if name != "run" else "/", name, "munge")
                place.mkdir(parents=True, exist_ok=True)
                shutil.chown(place, "munge", "munge")
            subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged"], check=True, capture_output=True)
        for command in (["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]):
            process = subprocess.Popen(
                command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self.processes.append(process)
        wait_for(lambda: self.call("sinfo", "-h", "-o", "%t %D").split() == ["idle", "2"], 60, "no two idle nodes")

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(30)

    def call(self, *command, folder=None):
        done = subprocess.run(command, env=self.environment, cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout

    def submit(self, *arguments, folder):
        done = subprocess.run(
            ["sbatch", "--parsable", *arguments], env=self.environment, cwd=folder, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def states(self, job):
        return self.call("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%i %T").splitlines()

    def wait(self, job, seconds=120):
        """Wait until no task of a job is waiting or running."""
        waiting = ("PENDING", "RUNNING", "COMPLETING")
        wait_for(
            lambda: not any(word in state for state in self.states(job) for word in waiting),
            seconds,
            f"job {job} does not end",
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        try:
            made.start()
        except (AssertionError, OSError, subprocess.CalledProcessError) as error:
            logs = "".join(path.read_text(errors="replace")[-500:] for path in sorted(made.folder.glob("*.log")))
            pytest.skip(f"Slurm does not start on this machine: {error}; {logs}")
        yield made
    finally:
        made.stop()


@pytest.fixture
def suite(tmp_path):
    return Path(shutil.copytree(EXAMPLE, tmp_path / "suite", ignore=shutil.ignore_patterns("__pycache__")))


def merged(suite):
    return json.loads((suite / "shards" / "all.json").read_text())["speedclaims"]


def rows(section):
    return sorted((row["nodeid"], row["status"], row["equivalence"]) for row in section["pairs"])


def test_an_array_of_shards_merged_equals_the_whole_run(cluster, suite):
    job = cluster.submit("--array=1-2", "shard.sh", folder=suite)
    last = cluster.submit(f"--dependency=afterany:{job}", "merge.sh", folder=suite)
    cluster.wait(last)
    logs = "".join(path.read_text() for path in suite.glob("*.log"))
    section = merged(suite)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--speedup-report=whole",
        *cluster.environment["PYTEST_ARGUMENTS"].split(),
    ]
    subprocess.run(command, cwd=suite, env=cluster.environment, check=True, capture_output=True)
    whole = json.loads((suite / "whole" / "record.json").read_text())["speedclaims"]
    assert rows(section) == rows(whole), logs
    assert section["merged"]["holes"] == []
    assert (suite / "report" / "index.html").exists(), logs


def test_a_killed_task_is_a_hole_and_its_shard_alone_is_run_again(cluster, suite, monkeypatch):
    quick = cluster.environment["PYTEST_ARGUMENTS"]
    slow = f"{quick} --speedup-max-time=5 --speedup-precision=0.0001"  # so that there is time to kill it
    monkeypatch.setitem(cluster.environment, "PYTEST_ARGUMENTS", slow)
    job = cluster.submit("--array=1-2", "shard.sh", folder=suite)
    partial = suite / "shards" / "2" / "record.partial.json"
    wait_for(partial.exists, 60, "no pair was measured")
    cluster.call("scancel", "--signal=KILL", "--full", f"{job}_2")
    cluster.call("scancel", f"{job}_2")
    cluster.wait(job)
    cluster.wait(cluster.submit("merge.sh", folder=suite))
    (hole,) = merged(suite)["merged"]["holes"]
    assert hole.startswith("shard 2 of 2 was cut off: ")
    assert hole.endswith("run it again with --speedup-shard 2/2")
    again = subprocess.run(
        [sys.executable, "-m", "pytest", "--speedup-shard=2/2", "--speedup-report=shards/2",
         *quick.split()],
        cwd=suite, env=cluster.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout
    cluster.wait(cluster.submit("merge.sh", folder=suite))
    section = merged(suite)
    assert section["merged"]["holes"] == section["not_run"] == []
    assert len(rows(section)) == 5


def test_a_training_over_two_nodes_is_saved_when_its_job_is_asked_to_stop(cluster, suite, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setitem(cluster.environment, "FIRST_NODE", "127.0.0.1")  # both nodes are this machine
    monkeypatch.setitem(cluster.environment, "PORT", str(15000 + os.getpid() % 1000))
    monkeypatch.setitem(cluster.environment, "PYTHONPATH", str(ROOT))
    run = suite / "run"
    job = cluster.submit(
        "torchrun.sh", "-m", "trainers", "tabular_regressor", "train", "--preset=tiny", "--tier=reference",
        "--epochs=5000", f"--out={run}", folder=suite,
    )  # fmt: skip
    log = suite / "torchrun.log"
    try:
        wait_for((run / "improved_model_best_model.pth").exists, 90, "no epoch was trained")
        cluster.call("scancel", "--signal=TERM", job)
        cluster.wait(job)
    finally:
        said = log.read_text() if log.exists() else ""
        cluster.call("scancel", job)
    assert (run / "improved_model_checkpoint_interrupted.pth").exists(), said[-3000:]
    assert said.count("interrupted: the training is saved") == 1, said[-3000:]
