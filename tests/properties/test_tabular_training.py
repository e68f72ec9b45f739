"""Properties 33, 38 to 40, 42 and 43 of the tabular regressor's training; each with a planted fault."""

import contextlib
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import trainers
from tests import strategies
from tests.properties.controls import fails, holds, memory_runs_out
from tests.states import same
from trainers.common import checkpoint
from trainers.contract import BadInput
from trainers.tabular_regressor import FAMILY, TrainingConfig
from trainers.tabular_regressor.config import SWITCHES
from trainers.tabular_regressor.document_004.model_files import load_state_dict_safely, load_training, save_training
from trainers.tabular_regressor.document_004.training_config import load_training_config, save_training_config
from trainers.tabular_regressor.model import extract_final_predictions
from trainers.tabular_regressor.optimized import OptimizedTrainer

build = FAMILY.build

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

ROOT = Path(trainers.__file__).parents[1]
OFF = {switch.name: False for switch in SWITCHES}


def make(kind=OptimizedTrainer, *, mixed=True, **arguments):
    arguments = {"preset": "tiny", "num_workers": 0, **arguments}
    trainer = build("optimized", switches={**OFF, "mixed_precision": mixed}, **arguments)
    trainer.__class__ = kind
    return trainer


class AlikeParts(OptimizedTrainer):
    """Forgets in a retry what the first attempt drew."""

    def train_batch(self, features_BF, targets_BK):
        self.random.reinstall, kept = (lambda _: None), self.random.reinstall
        try:
            return super().train_batch(features_BF, targets_BK)
        finally:
            self.random.reinstall = kept


class KeepingScaler(OptimizedTrainer):
    """Goes on with a scaler that an error has left between unscaling and updating."""

    def _renew_scaler(self, state):
        del state


class Twice(OptimizedTrainer):
    """Leaves the gradients of a failed attempt to be added to."""

    def _make_room(self, num_rows):
        kept = [parameter.grad for parameter in self.model.parameters()]
        super()._make_room(num_rows)
        for parameter, gradient in zip(self.model.parameters(), kept, strict=True):
            parameter.grad = gradient
        self.optimizer.zero_grad = lambda: None


# --- 33 ---


def check_recovery(kind, point, mixed, seed, num_before, times, dropout):
    """33: memory runs out at any point: the next steps work, and all is that of a run in as many parts, bitwise."""
    if point == "unscale" and not mixed:
        mixed = True  # only a scaler comes there
    hit, calm = make(kind, mixed=mixed, seed=seed, dropout=dropout), make(mixed=mixed, seed=seed, dropout=dropout)
    for trainer in (hit, calm):
        trainer.train_steps(num_before)
    try:
        with memory_runs_out(hit, point, times):
            hit.train_steps(1)
        calm.num_parts = 2**times
        calm.train_steps(1)
        for trainer in (hit, calm):
            trainer.train_steps(3)
    except RuntimeError as error:
        raise AssertionError("the step after it does not work") from error
    assert hit.metrics == calm.metrics
    assert same(hit.state(), calm.state())


recoveries = holds(
    check_recovery,
    strategies.memory_points(),
    strategies.flags(),
    strategies.seeds(),
    strategies.step_counts(),
    strategies.few(3),
    strategies.dropouts(),
    max_examples=6,
)


@pytest.mark.usefixtures("device")
def test_33_after_running_out_of_memory_the_weights_are_those_of_a_retry_free_run():
    recoveries(OptimizedTrainer)


@pytest.mark.parametrize("kind", [AlikeParts, KeepingScaler, Twice])
def test_33_notices_a_fault(kind):
    assert fails(recoveries, kind)


# --- 38 ---


def forgetting(part):
    """A trainer that loads everything but one part of a state."""

    class Forgetting(OptimizedTrainer):
        def load_state(self, state):
            own = self.state()[part]
            super().load_state({**state, part: {**own, "scale": 2.0} if part == "scaler" else own})

    return Forgetting


def check_resume(kind, overrides, settings, seed, num_steps, num_more):
    """38: saved to a file at any step and resumed by another process's trainer = never interrupted, bitwise."""
    settings = {**settings, "loader_workers": False}
    arguments = {"preset": "tiny", "seed": seed, "switches": settings, **overrides}
    whole, before = (build("optimized", **arguments) for _ in range(2))
    after = build("optimized", **{**arguments, "seed": seed + 1})
    after.__class__ = kind
    for trainer in (whole, before):
        trainer.train_epoch()
        trainer.train_steps(num_steps)
    after.load_state(checkpoint.loads(checkpoint.dumps(before.state()), "state"))
    for trainer in (whole, after):
        trainer.train_steps(num_more)
        trainer.train_epoch()
        trainer.train_epoch()
    assert same(whole.state(), after.state())


resumes = holds(
    check_resume,
    strategies.tiny_regressor_overrides(),
    strategies.switch_subsets(SWITCHES),
    strategies.seeds(),
    strategies.step_counts(),
    strategies.step_counts(),
    max_examples=10,
)


@pytest.mark.usefixtures("device")
def test_38_interrupted_at_any_step_and_resumed_is_uninterrupted_to_the_bit():
    resumes(OptimizedTrainer)


@pytest.mark.parametrize("part", ["model", "optimizer", "scheduler", "scaler", "random", "progress"])
def test_38_notices_a_part_that_is_forgotten(part):
    assert fails(resumes, forgetting(part))


# --- 39 ---


@pytest.fixture(scope="module")
def saved(tmp_path_factory, private_cache):
    """A checkpoint of a real training, and where copies of it may be damaged."""
    path = tmp_path_factory.mktemp("saved") / "m_best_model.pth"
    trainer = make()
    trainer.train_steps(2)
    save_training(path, {"state": trainer.state()})
    return path


def unchecked(path):
    """A reader that believes what it reads, as PyTorch's own does."""
    return torch.load(path, weights_only=True)


def damage_is_noticed(path):
    content = path.read_bytes()
    copy = path.with_name("damaged.pth")

    def check(read, where, flip):
        place = int(where * len(content))
        if flip:
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(where * len(content) * 8) % 8
        else:
            damaged = content[:place]
        copy.write_bytes(damaged)
        try:
            read(copy)
        except BadInput as error:
            assert "damaged.pth" in str(error)  # noqa: PT017 - which error it is, is what is asked
        except Exception as error:
            raise AssertionError("not refused by name") from error
        else:
            raise AssertionError("not refused")

    return holds(check, strategies.fractions(), strategies.flags(), max_examples=200)


@pytest.mark.parametrize("read", [load_training, lambda path: load_state_dict_safely(path, "cpu")])
def test_39_a_flipped_bit_or_a_truncation_is_refused_by_name(saved, read):
    damage_is_noticed(saved)(read)


def test_39_notices_a_reader_that_checks_nothing(saved):
    assert fails(damage_is_noticed(saved), unchecked)


def test_39_all_of_200_flipped_bits_are_refused(saved):
    content = saved.read_bytes()
    copy = saved.with_name("flipped.pth")
    refused = unnoticed = 0
    for bit in random.Random(0).sample(range(len(content) * 8), 200):  # noqa: S311 - which bits is no secret
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        copy.write_bytes(damaged)
        with contextlib.suppress(BadInput):
            load_training(copy)
            continue
        refused += 1
        with contextlib.suppress(Exception):
            unchecked(copy)
            unnoticed += 1
    assert refused == 200
    assert unnoticed > 100, "the control: PyTorch's own reader takes most of them"


# --- 40 ---

KILLING = """
import itertools, os, pathlib, random, signal, sys, time
import numpy as np
from trainers.common import checkpoint
from trainers.contract import BadInput

def save(path, count):
    tree = {"count": count, "array": np.full(200_000, count)}
    if sys.argv[2] == "atomic":
        checkpoint.save(path, tree)
    else:
        path.write_bytes(checkpoint.dumps(tree))

path, delays, whole = pathlib.Path(sys.argv[1]), random.Random(1), 0
for _ in range(50):
    save(path, 0)
    ready, begun = os.pipe()
    process = os.fork()
    if process == 0:
        for count in itertools.count(1):
            os.write(begun, b".")
            save(path, count)
    os.read(ready, 1)
    time.sleep(delays.uniform(0, 0.03))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    os.close(ready), os.close(begun)
    try:
        loaded = checkpoint.load(path)
        whole += bool((loaded["array"] == loaded["count"]).all())
    except BadInput:
        pass
print(whole)
"""


def killed_50_times(folder, how):
    """How many of 50 files were whole after the process that saved them was killed at a random moment."""
    command = [sys.executable, "-c", KILLING, str(folder / "file"), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    return int(done.stdout)


def test_40_killed_at_50_random_moments_every_file_is_the_old_or_the_new_one(tmp_path):
    assert killed_50_times(tmp_path, "atomic") == 50


def test_40_notices_a_file_that_is_written_in_place(tmp_path):
    assert killed_50_times(tmp_path, "in place") < 50


# --- 42 ---


def check_between(extract, outputs_BK3):
    """42: predictions lie between p2 and p3, up to a unit in the last place."""
    _, p2_BK, p3_BK = np.moveaxis(outputs_BK3, -1, 0)
    predictions_BK = extract(torch.from_numpy(outputs_BK3), outputs_BK3.shape[1]).numpy()
    low_BK, high_BK = np.minimum(p2_BK, p3_BK), np.maximum(p2_BK, p3_BK)
    ulp_BK = np.spacing(np.maximum(np.abs(low_BK), np.abs(high_BK)))
    assert (predictions_BK >= low_BK - ulp_BK).all()
    assert (predictions_BK <= high_BK + ulp_BK).all()


between = holds(check_between, strategies.model_outputs())


def test_42_predictions_lie_between_the_two_modes():
    between(extract_final_predictions)


def test_42_notices_a_weight_that_is_not_clamped():
    def unclamped(outputs_BK3, _):
        p1_BK, p2_BK, p3_BK = outputs_BK3.unbind(-1)
        return (1 - p1_BK) / 2 * p2_BK + (1 + p1_BK) / 2 * p3_BK

    assert fails(between, unclamped)


def prefix_check(folder):
    def check(read, weights):
        plain = {name: torch.from_numpy(value) for name, value in weights.items()}
        for wrapped in (plain, {f"module.{name}": value for name, value in plain.items()}):
            torch.save(wrapped, folder / "w.pth")
            loaded = read(folder / "w.pth")
            assert list(loaded) == list(plain)
            assert all(loaded[name].numpy().tobytes() == value.tobytes() for name, value in weights.items())

    return holds(check, strategies.state_dicts())


def test_42_a_module_prefix_round_trips(tmp_path):
    prefix_check(tmp_path)(lambda path: load_state_dict_safely(path, "cpu"))


def test_42_notices_a_reader_that_keeps_the_prefix(tmp_path):
    assert fails(prefix_check(tmp_path), unchecked)


# --- 43 ---


def config_check(folder):
    def check(load, settings, key):
        path = folder / "config.json"
        config = TrainingConfig(**settings)
        save_training_config(config, path)
        assert load(path) == config
        assert load(path).to_dict() == config.to_dict()
        path.write_text(json.dumps({**settings, "clip_norm": 1.0, key: 1}), encoding="utf-8")
        try:
            load(path)
        except BadInput as error:
            assert " ".join(repr(key).split()) in str(error)  # noqa: PT017 - which error it is, is what is asked
        else:
            raise AssertionError("not refused")

    return holds(check, strategies.training_settings(), strategies.unknown_keys(TrainingConfig().to_dict()))


def test_43_a_configuration_round_trips_and_unknown_keys_are_refused_by_name(tmp_path):
    config_check(tmp_path)(load_training_config)


def forgiving(path):
    """A reader that leaves out what it does not know."""
    values = json.loads(path.read_text(encoding="utf-8"))
    known = TrainingConfig().to_dict()
    given = {name: float("inf") if value == "infinity" else value for name, value in values.items() if name in known}
    return TrainingConfig(**given)


def forgetful(path):
    """A reader that takes the default for one value."""
    config = load_training_config(path)
    config.update(patience=TrainingConfig().patience)
    return config


@pytest.mark.parametrize("load", [forgiving, forgetful])
def test_43_notices_a_fault(tmp_path, load):
    assert fails(config_check(tmp_path), load)
