"""Properties 36 and 38 of the dialogue GAN between fresh processes, where TensorFlow repeats itself to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import trainers
from trainers.common import checkpoint

pytest.importorskip("tensorflow")

pytestmark = pytest.mark.usefixtures("private_cache")

ROOT = Path(trainers.__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

# --- 36 ---

FRESH = """
import hashlib, json, sys
from trainers.common import checkpoint
from trainers.dialogue_gan import FAMILY

trainer = FAMILY.build(sys.argv[1], preset="tiny", log=lambda _: None, seed=5, **json.loads(sys.argv[2]))
losses = []
for phase, num_steps in zip(trainer.phases, (5, 3, 20)):
    trainer.train_steps(num_steps, phase)
    losses += trainer.metrics["train_losses"]
print(json.dumps([[loss.hex() for loss in losses], hashlib.sha256(checkpoint.dumps(trainer.state())).hexdigest()]))
"""


def in_a_fresh_process(tier, **overrides):
    """Losses of 5, 3 and 20 steps of the three phases, to the bit, and the hash of the state after them."""
    settings = {"temp_start": 1.0, "temp_end": 1.0, "gradient_clip": float("inf"), "sequence_length": 3, **overrides}
    command = [sys.executable, "-c", FRESH, tier, json.dumps(settings)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


def test_36_in_fresh_processes_the_optimized_tier_is_the_reference_to_the_bit():
    theirs = in_a_fresh_process("reference")
    assert len(theirs[0]) == 28
    assert in_a_fresh_process("optimized") == theirs
    assert in_a_fresh_process("optimized", temp_start=2.0) != theirs, "the control: it is no comparison of nothing"


# --- 38 ---

# What a shell starts in the background ignores Ctrl-C, and so would all that these tests start there.
LISTENING = """
import signal, sys
from trainers.__main__ import main

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


# Three tokens instead of six, because fakes are made operation by operation; and so more lines, for as many batches.
SHORT = {"sequence_length": 3, "num_lines": 12}


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """Arguments that choose a training which is over soon."""
    path = tmp_path_factory.mktemp("settings") / "short.json"
    path.write_text(json.dumps(SHORT))
    return "--preset", "tiny", "--config", path


def started(*arguments):
    command = [sys.executable, "-c", LISTENING, "dialogue_gan", "train", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, text=True, **pipes)


def what_was_learned(path):
    """The state of a checkpoint and the figures of all epochs, to the bit."""
    content = checkpoint.load(path)
    return checkpoint.dumps([content["state"], content["history"]])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, private_cache, preset):
    """What a training that nobody stops ends with, and how long its epochs take."""
    folder = tmp_path_factory.mktemp("whole")
    begun = time.monotonic()
    training = started(*preset, "--out", folder)
    first = next(line for line in training.stderr if line.startswith("epoch 1/"))
    at_first = time.monotonic() - begun
    assert training.wait(timeout=300) == 0, first
    return what_was_learned(folder / "dialogue_gan_last.ckpt"), at_first, time.monotonic() - begun


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, 0.2), (signal.SIGTERM, 0.6)])
def test_38_stopped_by_a_signal_and_resumed_ends_to_the_bit_like_uninterrupted(
    uninterrupted, preset, tmp_path, number, moment
):
    learned, at_first, at_end = uninterrupted
    for divisor in (1, 4, 16):  # on a machine with changing load, a training may be faster than the moment
        folder = tmp_path / str(divisor)
        training = started(*preset, "--out", folder)
        next(line for line in training.stderr if line.startswith("epoch 1/"))
        time.sleep(moment / divisor * (at_end - at_first))
        training.send_signal(number)
        _, said = training.communicate(timeout=300)
        saved = folder / "dialogue_gan_interrupted.ckpt"
        if saved.exists():
            break
    assert training.returncode == 128 + number, said
    assert said.splitlines()[-1] == f"interrupted: the training is saved; continue with --resume {saved}"
    resumed = started("--resume", saved)
    _, said = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, said
    assert what_was_learned(folder / "dialogue_gan_last.ckpt") == learned
