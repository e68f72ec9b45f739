"""Errors of the loaders' worker processes: which are printed, and which are silenced."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# A process that hands out a batch as a worker does, to a training that hangs up at once.
WORKER = """
import os, socket, sys
from multiprocessing import resource_sharer

import trainers.pytorch.loading as loading

def hand_out(conn, pid):
    {sending}

def close():
    done.append(True)

done = []
{prepare}
address, key = resource_sharer._resource_sharer.register(hand_out, close)
{hang_up}
"""

HANG_UP = """
with socket.socket(socket.AF_UNIX) as caller:
    caller.connect(address)
resource_sharer.stop()
"""

TAKE = """
client = resource_sharer._resource_sharer.get_connection((address, key))
while not done:
    pass
resource_sharer.stop()
"""


def told(prepare, hang_up, sending="pass"):
    script = WORKER.format(prepare=prepare, hang_up=hang_up, sending=sending)
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.mark.parametrize(("prepare", "is_silent"), [("loading.prepare_worker(0)", True), ("", False)])
def test_a_training_that_hangs_up_on_a_worker_is_no_news(prepare, is_silent):
    assert ("Traceback" not in told(prepare, HANG_UP)) == is_silent


def test_another_error_of_a_worker_is_told():
    assert "ZeroDivisionError" in told("loading.prepare_worker(0)", TAKE, sending="1 / 0")
