"""Several workers train the dialogue GAN as one does: real processes, which TF_CONFIG names."""

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.dialogue_gan.worker_job import figures_of, skips_of
from trainers.__main__ import main
from trainers.common import checkpoint

pytest.importorskip("tensorflow")

import tensorflow as tf

from trainers.dialogue_gan import FAMILY, training
from trainers.dialogue_gan.config import PHASES
from trainers.dialogue_gan.model import draw_tokens, dropped, seed_words
from trainers.tensorflow import cluster
from trainers.tensorflow.cluster import Cluster, read_cluster
from trainers.tensorflow.workers import Part

pytestmark = pytest.mark.usefixtures("private_cache")

ROOT = Path(__file__).parents[3]
SECONDS = 60
"""How soon the others must end after one is killed."""

STEPS = 20
# An epoch has 8 batches of 5 sequences, which two workers cannot share evenly, and one of 1, which they cannot share.
# The high learning rates let an error of an update show in the losses.
SIZES = {
    "sequence_length": 3, "num_lines": 12, "batch_size": 5, "learning_rate_g": 0.003, "learning_rate_d": 0.01,
    "pretraining_epochs_g": 0, "pretraining_epochs_d": 0, "adversarial_epochs": 5,
}  # fmt: skip
OPTIONS = {"preset": "tiny", **SIZES}
LAST, INTERRUPTED = (f"dialogue_gan_{kind}.ckpt" for kind in ("last", "interrupted"))


def free_addresses(num):
    listeners = [socket.create_server(("localhost", 0)) for _ in range(num)]
    addresses = [f"localhost:{listener.getsockname()[1]}" for listener in listeners]
    for listener in listeners:
        listener.close()
    return addresses


def tf_config(addresses, index):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


class Started:
    """Worker processes, each with a file of what it writes; they end with the block."""

    def __init__(self, folder, commands, addresses=None):
        folder.mkdir(exist_ok=True)
        addresses = addresses or free_addresses(len(commands))
        self.files = [folder / f"worker-{index}.txt" for index in range(len(commands))]
        self.processes = []
        for index, (command, file) in enumerate(zip(commands, self.files, strict=True)):
            environment = {**os.environ, "TF_CONFIG": tf_config(addresses, index)}
            with file.open("w") as stream:
                process = subprocess.Popen(
                    [sys.executable, *map(str, command)], cwd=ROOT, env=environment, stdout=stream, stderr=stream
                )
            self.processes.append(process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def said(self, index):
        return self.files[index].read_text(encoding="utf-8")

    def wait_for(self, text):
        """Wait until the first worker says something."""
        deadline = time.monotonic() + 180
        while text not in self.said(0):
            assert time.monotonic() < deadline
            assert all(process.poll() is None for process in self.processes), [self.said(0), self.said(1)]
            time.sleep(0.02)

    def codes(self, timeout=180):
        return [process.wait(timeout) for process in self.processes]


def train(out, *arguments, num=2, addresses=None, of_second=()):
    command = ["-m", "trainers", "dialogue_gan", "train", *arguments, "--out", out]
    commands = [command, [*command, *of_second], *[command] * (num - 2)]
    return Started(out.parent / f"{out.name}-said", commands, addresses)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "small.json"
    path.write_text(json.dumps(SIZES))
    return ("--preset", "tiny", "--config", path)


@pytest.fixture(scope="module")
def alone(private_cache):
    """Trainers of one process, by tier, and their states before the first step."""
    trainers = {tier: FAMILY.build(tier, log=lambda _: None, **OPTIONS) for tier in FAMILY.parallel_tiers}
    return {tier: (trainer, trainer.state()) for tier, trainer in trainers.items()}


def assert_close(ours, theirs):
    for name, values in theirs.items():
        # The policy loss is a small difference of large numbers.
        tolerance = 1e-5 if name == "generator_losses" else 0
        assert ours[name] == pytest.approx(values, rel=1e-4, abs=tolerance), name


def arrays_of(state):
    parts = ("generator", "discriminator", "generator_optimizer", "discriminator_optimizer")
    return {(part, name): np.asarray(value) for part in parts for name, value in state[part].items()}


# --- The same figures ---


@pytest.mark.parametrize("by_time", [False, True])
def test_the_parts_of_a_batch_have_its_masks_and_its_tokens(by_time):
    values_BTH = tf.random.stateless_normal((7, 3, 5), (1, 2))
    seed_2, ends = seed_words(3), (0, 2, 2, 7)
    parts = [Part(*map(tf.constant, (first, end, 7, 1.0))) for first, end in itertools.pairwise(ends)]
    whole = dropped(values_BTH, 0.3, seed_2, 1, by_time=by_time)
    found = [dropped(part.of(values_BTH), 0.3, seed_2, 1, by_time=by_time, part=part) for part in parts]
    assert np.array_equal(np.concatenate(found), whole)
    drawn = [draw_tokens(part.of(values_BTH[:, 0]), seed_2, part) for part in parts]
    assert np.array_equal(np.concatenate(drawn), draw_tokens(values_BTH[:, 0], seed_2))


@pytest.fixture(scope="module")
def shared(tmp_path_factory, alone):
    """Return what two workers' steps made, by tier: figures, skips and states of each worker; and of one process."""
    folder = tmp_path_factory.mktemp("shared")
    job = json.dumps({"tiers": FAMILY.parallel_tiers, "steps": STEPS, "options": OPTIONS, "out": str(folder / "job")})
    command = ["-m", "tests.trainers.dialogue_gan.worker_job", job]
    with Started(folder / "said", [command, command]) as workers:
        wanted = {}
        for tier, (trainer, start) in alone.items():
            trainer.load_state(start)
            figures, state = figures_of(trainer, STEPS), trainer.state()
            wanted[tier] = figures, state, skips_of(trainer, STEPS) if tier == "optimized" else []
        assert workers.codes() == [0, 0], [workers.said(0), workers.said(1)]
    found = {}
    for tier in wanted:
        names = [folder / f"job-{tier}-{index}" for index in range(2)]
        results = [json.loads(name.with_suffix(".json").read_text(encoding="utf-8")) for name in names]
        found[tier] = results, [checkpoint.load(name.with_suffix(".ckpt"))["state"] for name in names]
    return wanted, found


@pytest.mark.parametrize("tier", FAMILY.parallel_tiers)
def test_two_workers_have_the_figures_of_one(tier, shared):
    wanted, found = shared
    (first, second), _ = found[tier]
    assert first["figures"] == second["figures"]
    assert first["figures"].keys() == set(PHASES)
    for phase, figures in wanted[tier][0].items():
        assert len(figures["train_losses"]) == STEPS
        assert_close(first["figures"][phase], figures)


@pytest.mark.parametrize("tier", FAMILY.parallel_tiers)
def test_weights_and_moments_are_the_same_on_both_workers(tier, shared):
    wanted, found = shared
    first, second = map(arrays_of, found[tier][1])
    for name, values in arrays_of(wanted[tier][1]).items():
        assert first[name].tobytes() == second[name].tobytes(), name
        np.testing.assert_allclose(first[name], values, rtol=1e-3, atol=1e-5, err_msg=str(name))


def test_gradients_that_are_not_finite_on_one_worker_are_left_out_by_both(shared):
    wanted, found = shared
    (first, second), _ = found["optimized"]
    assert set(first["skips"]) == {0, 1}, "some batches hold the token"
    assert first["skips"] == second["skips"] == wanted["optimized"][2]


# --- Checkpoints, signals, deaths ---


def finish(trainer):
    """Train all phases to their ends; return the losses of every step, by phase and epoch."""
    losses = {}
    for phase in PHASES:
        while trainer.position(phase)[0] < trainer.config.num_epochs(phase):
            epoch, step = trainer.position(phase)
            trainer.train_steps(trainer.num_batches - step, phase)
            losses[phase, epoch] = trainer.epoch_losses(phase)
            trainer.train_epoch(phase)
    return losses


@pytest.fixture(scope="module")
def whole(alone):
    """Losses of a training that one process trains without a stop, and its state then."""
    trainer, start = alone["optimized"]
    trainer.load_state(start)
    return finish(trainer), trainer.state()


def assert_continues(path, alone, whole):
    """One process continues from a checkpoint as if nothing had happened."""
    trainer, _ = alone["optimized"]
    trainer.load_state(training.read_training(path)["state"])
    losses = finish(trainer)
    assert losses
    for key, values in losses.items():
        assert values == pytest.approx(whole[0][key], rel=1e-4), key


def test_ctrl_c_to_any_worker_stops_all_and_any_number_continues(tmp_path, settings, alone, whole):
    out = tmp_path / "run"
    with train(out, *settings) as workers:
        workers.wait_for("epoch 1/5")
        workers.processes[1].send_signal(signal.SIGINT)
        assert workers.codes() == [130, 130]
        assert workers.said(0).splitlines()[-1].endswith(f"continue with --resume {out / INTERRUPTED}")
        assert "interrupted" not in workers.said(1)
        assert "epoch" not in workers.said(1).lower()
    assert {path.name for path in out.iterdir()} == {INTERRUPTED, LAST}
    assert_continues(out / INTERRUPTED, alone, whole)
    with train(tmp_path / "two", "--resume", out / INTERRUPTED) as workers:
        assert workers.codes() == [0, 0]
        assert "validation loss" in workers.said(0)
    done = training.read_training(tmp_path / "two" / LAST)
    means = [np.mean(whole[0]["adversarial", epoch]) for epoch in range(5)]
    assert [epoch["train_loss"] for epoch in done["history"]["adversarial"]] == pytest.approx(means, rel=1e-4)
    theirs = arrays_of(whole[1])
    for name, values in arrays_of(done["state"]).items():
        # Adam makes steps of 0.003 of gradients that almost cancel, whatever their rounding.
        np.testing.assert_allclose(values, theirs[name], rtol=1e-3, atol=1e-3, err_msg=str(name))


def test_sigterm_to_all_workers_is_one_request(tmp_path, settings, alone, whole):
    """A worker that has stopped for another's signal takes its own for no second one, which would not wait."""
    with train(tmp_path / "run", *settings) as workers:
        workers.wait_for("Epoch 1/5")
        for process in reversed(workers.processes):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert workers.codes() == [143, 143]
    assert_continues(tmp_path / "run" / INTERRUPTED, alone, whole)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_the_death_of_a_worker_ends_the_others_and_leaves_a_whole_checkpoint(tmp_path, settings, alone, whole):
    with train(tmp_path / "0", *settings) as without_first, train(tmp_path / "1", *settings) as without_second:
        for victim, workers in enumerate((without_first, without_second)):
            workers.wait_for("epoch 2/5")  # the first checkpoint is written by then
            time.sleep(random.uniform(0, 0.5))  # noqa: S311 - whatever they are doing then
            workers.processes[victim].kill()
        killed = time.monotonic()
        for victim, workers in enumerate((without_first, without_second)):
            assert workers.processes[1 - victim].wait(SECONDS) == 2
            assert "error: workers: another one has ended" in workers.said(1 - victim).splitlines()[-1]
        assert time.monotonic() - killed < SECONDS
    for folder in (tmp_path / "0", tmp_path / "1"):
        # A writer that is killed leaves what it had of the next one beside it.
        assert {path.name for path in folder.iterdir() if path.suffix != ".tmp"} == {LAST}
        assert_continues(folder / LAST, alone, whole)


def test_workers_that_do_not_begin_the_same_training_are_refused(tmp_path, settings):
    with train(tmp_path / "run", *settings, of_second=("--seed", 1)) as workers:
        assert workers.codes() == [2, 2]
        for index in range(2):
            assert "do not begin the same training" in workers.said(index).splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_worker_that_dies_before_all_are_connected_is_not_waited_for_without_end(tmp_path):
    """Listen on the port of a worker without being one, which TensorFlow alone would not notice for an hour."""
    addresses = free_addresses(2)
    host, port = addresses[1].split(":")
    code = "from trainers.tensorflow import cluster as c; c.SECONDS_TO_MEET = 3; c.join_cluster(c.read_cluster())"
    with (
        socket.create_server((host, int(port))),
        Started(tmp_path / "said", [["-c", code]], addresses) as workers,
    ):
        assert workers.codes() == [1]


# --- What is refused ---


def refused(capsys, *arguments):
    assert main(["dialogue_gan", "train", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize("tier", ["published", "fastest"])
def test_tiers_that_train_in_one_process_are_refused(tier, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(["localhost:1", "localhost:2"], 0))
    said = refused(capsys, "--preset", "tiny", "--tier", tier, "--out", tmp_path / "run")
    assert f"tier: {tier} trains in one process only; choose reference or optimized" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("{", "no JSON"),
        ("[]", "no cluster"),
        ('{"task": {"type": "worker", "index": 0}}', "no cluster"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "no task"),
        (tf_config(["a:1", "b:1"], 2), "no worker of index 2"),
        (tf_config(["a:1", "b:1"], -1), "no worker of index -1"),
        (tf_config(["a:1", "b:1"], None), "no worker of index None"),
        (tf_config(["a:1", "b:1"], 0).replace('"type": "worker"', '"type": "chief"'), "no chief of index 0"),
        (tf_config(["a:1", "b:1"], 0).replace('"type": "worker"', '"type": "evaluator"'), "type 'evaluator'"),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}', "type 'ps'"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}', "two chiefs"),
        (tf_config(["a:1", "a:1"], 0), "one address twice"),
        (tf_config(["a:1", "b"], 0), "host:port"),
        (tf_config(["a:1", "b:0"], 0), "host:port"),
        (tf_config(["a:1", "b:99999"], 0), "host:port"),
        (tf_config(["a:1", "b:1"], 0).replace('"type": "worker"', '"type": []'), "type []"),
        (tf_config("a:1", 0), "host:port"),
    ],
)
def test_a_bad_tf_config_is_one_line(config, named, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    said = refused(capsys, "--preset", "tiny", "--out", tmp_path / "run")
    assert said.startswith("error: TF_CONFIG: ")
    assert named in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("config", ["", "{}", tf_config(["a:1"], 0)])
def test_no_other_worker_is_no_cluster(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    assert read_cluster() is None


@pytest.mark.parametrize(("kind", "index", "number"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_a_chief_is_the_first_worker(kind, index, number, monkeypatch):
    jobs = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}}))
    assert read_cluster() == Cluster(("a:1", "b:1", "c:1"), number)


def test_a_worker_that_does_not_come_is_named(capsys, tmp_path, monkeypatch, settings):
    ours, theirs = free_addresses(2)
    monkeypatch.setenv("TF_CONFIG", tf_config([ours, theirs], 0))
    monkeypatch.setattr(cluster, "SECONDS_TO_MEET", 0.3)
    said = refused(capsys, *settings, "--out", tmp_path / "run")
    assert f"no worker answers at {theirs} after 0.3 seconds" in said
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_named(capsys, tmp_path, monkeypatch, settings):
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("TF_CONFIG", tf_config([f"localhost:{port}", "localhost:1"], 0))
        assert f"port {port} cannot be used" in refused(capsys, *settings, "--out", tmp_path / "run")
