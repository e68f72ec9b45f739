"""Training under torchrun: what several ranks compute, their files, how they stop, and that none outlives another."""

import importlib
import json
import os
import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import torchrun
from tests.trainers.parallel_job import train
from trainers import BadInput, family
from trainers.__main__ import main
from trainers.common import checkpoint
from trainers.pytorch.loading import EpochSampler, RankBatchSampler
from trainers.pytorch.ranks import Ranks, join_ranks

DIALOGUE = {"generator_pretraining": 20, "discriminator_pretraining": 20, "adversarial": 20}
PLAIN = {"mixed_precision": False}
JOBS = {
    "tabular_regressor, reference": ("tabular_regressor", "reference", {"train": 20}, {}),
    "tabular_regressor, optimized": ("tabular_regressor", "optimized", {"train": 20}, {"switches": PLAIN}),
    "tabular_regressor, uneven": ("tabular_regressor", "reference", {"train": 56}, {"batch_size": 3}),
    "text_to_image, reference": ("text_to_image", "reference", {"train": 20}, {}),
    "text_to_image, one_forward": ("text_to_image", "reference", {"train": 20}, {"procedure": "one_forward"}),
    "text_to_image, optimized": ("text_to_image", "optimized", {"train": 20}, {"switches": PLAIN}),
    "text_to_image, uneven": ("text_to_image", "reference", {"train": 20}, {"batch_size": 5}),
    "dialogue_twin, reference": ("dialogue_twin", "reference", DIALOGUE, {}),
    "dialogue_twin, optimized": ("dialogue_twin", "optimized", DIALOGUE, {"switches": {"compiled_steps": False}}),
    "dialogue_twin, uneven": ("dialogue_twin", "reference", DIALOGUE, {"batch_size": 5}),
}
"""Each trains some steps with dropout, over the end of an epoch; an uneven one's last batch has one or two rows."""


def jobs(folder, begin=None):
    return [
        {
            "family": name, "tier": tier, "phases": phases, "options": {"preset": "tiny", **options},
            "out": str(folder / f"job-{number}"), "begin": begin and f"{begin}/job-{number}.0",
        }
        for number, (name, tier, phases, options) in enumerate(JOBS.values())
    ]  # fmt: skip


def run_ranks(num_ranks, wanted):
    done = torchrun.run(num_ranks, "-m", "tests.trainers.parallel_job", json.dumps(wanted))
    assert done.returncode == 0, done.stderr[-4000:]


def assert_close(ours, theirs, where=""):
    """Compare figures: to the rounding of float32 in another order."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_close(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, str | bool | None):
        assert ours == theirs, where
    else:
        one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if "accuracies" in where:  # counts: a sequence at the threshold may fall on its other side
            assert np.count_nonzero(np.abs(one - other) > 1e-6) <= len(one) / 5, where
            return
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=2e-6, err_msg=where)  # a policy's loss may be as small


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return what one process finds, by the job's number, and where its states are."""
    folder = tmp_path_factory.mktemp("alone")
    return [train(job, Ranks()) for job in jobs(folder)], folder


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Return the folder of what two ranks found."""
    folder = tmp_path_factory.mktemp("together")
    run_ranks(2, jobs(folder))
    return folder


@pytest.mark.parametrize("number", range(len(JOBS)), ids=list(JOBS))
def test_two_ranks_find_the_losses_of_one(alone, together, number):
    ranks = [checkpoint.load(together / f"job-{number}.{rank}") for rank in range(2)]
    assert checkpoint.dumps(ranks[0]) == checkpoint.dumps(ranks[1])  # weights, moments and all, to the bit
    assert_close(alone[0][number]["figures"], ranks[0]["figures"], "figures")
    assert_close(alone[0][number]["state"]["progress"], ranks[0]["state"]["progress"], "progress")
    for name, moments in alone[0][number]["state"].get("generator_optimizer", {}).items():
        if str(name).endswith("velocity"):  # Keras squares the rows of an embedding's gradient one by one
            found = ranks[0]["state"]["generator_optimizer"][name]
            np.testing.assert_allclose(found, moments, rtol=0.02, atol=1e-3 * np.max(moments), err_msg=name)
    for series in alone[0][number]["figures"].values():
        assert all(len(values) == JOBS[list(JOBS)[number]][2].get("train", 20) for values in series.values() if values)


def test_three_ranks_continue_what_two_began_as_one_would(together, tmp_path):
    wanted = [job for job in jobs(tmp_path, begin=together) if "batch_size" in job["options"]]
    assert len(wanted) == 3
    run_ranks(3, wanted)
    for job in wanted:
        found = checkpoint.load(Path(f"{job['out']}.0"))
        ours = train(job | {"out": f"{job['out']}-alone"}, Ranks())
        assert_close(ours["figures"], found["figures"], f"figures of {job['family']}")


def test_one_rank_of_torchrun_finds_the_bits_of_a_process_alone(alone, tmp_path):
    run_ranks(1, jobs(tmp_path)[:2])
    for number in range(2):
        found = checkpoint.load(tmp_path / f"job-{number}.0")
        assert found["figures"] == alone[0][number]["figures"]


@given(num_rows=st.integers(1, 40), number=st.integers(1, 9), batch_size=st.integers(1, 12))
def test_ranks_cut_each_batch_without_overlap(num_rows, number, batch_size):
    def parts(rank):
        order = EpochSampler(range(num_rows))
        order.seek(seed=1, epoch=2, num_done=0)
        return list(RankBatchSampler(order, batch_size, Ranks(rank, number, is_parallel=True)))

    whole = list(RankBatchSampler(EpochSampler(range(num_rows)), batch_size, Ranks(is_parallel=True)))
    by_rank = [parts(rank) for rank in range(number)]
    assert {len(one) for one in by_rank} == {len(whole)}
    seen = []
    for batches in zip(*by_rank, strict=True):
        together = [row for rows in batches for row in rows]
        if len(set(together)) < number:  # fewer rows than ranks: all of them on each
            assert all(rows == batches[0] for rows in batches)
            seen += batches[0]
        else:
            assert max(map(len, batches)) - min(map(len, batches)) <= 1
            seen += together
    assert sorted(seen) == list(range(num_rows))


@given(rows=st.lists(st.floats(-5, 5), min_size=1, max_size=30), number=st.integers(1, 8))
def test_weighted_means_of_ranks_average_to_the_mean_of_the_batch(rows, number):
    values = torch.tensor(rows, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for rank in range(number):
        ranks = Ranks(rank, number, is_parallel=True)
        ranks.num_rows = len(rows)
        total += ranks.weighted(values[ranks.rows].mean())
    torch.testing.assert_close(total / number, values.mean())


def test_what_ranks_cannot_share_is_refused():
    ranks = Ranks(0, 40, is_parallel=True)
    for name in ("tabular_regressor", "text_to_image", "dialogue_twin"):
        for tier in ("reference", "optimized"):
            with pytest.raises(BadInput, match="which 40 ranks cannot share; make it at least 40"):
                family(name).build(tier, preset="tiny", ranks=ranks, log=lambda _: None)
        with pytest.raises(BadInput, match="fastest trains in one process only; choose reference or optimized"):
            family(name).build("fastest", preset="tiny", ranks=ranks, log=lambda _: None)
    switches = {
        "dialogue_twin": ("compiled_steps",),
        "text_to_image": ("compiled_networks", "gradient_accumulation"),
    }
    for name, each in switches.items():
        for switch in each:
            with pytest.raises(BadInput, match=f"{switch} is on, which works in one process only; leave it off with"):
                family(name).build("optimized", preset="tiny", ranks=ranks, switches={switch: True})


def test_variables_of_torchrun_in_part_are_refused(monkeypatch):
    assert not join_ranks().is_parallel
    monkeypatch.setenv("RANK", "0")
    assert not join_ranks().is_parallel  # a scheduler may have it too
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match="LOCAL_RANK is not set, but RANK is; start the ranks with torchrun"):
        join_ranks()


@pytest.mark.parametrize(
    ("rank", "number"), [("5", "2"), ("2", "2"), ("-1", "2"), ("x", "2"), ("0", "0"), ("0", "two")]
)
def test_a_rank_that_cannot_be_is_refused_before_it_waits_for_others(rank, number, monkeypatch):
    given = {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"} | {"RANK": rank, "WORLD_SIZE": number}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=f"RANK is {rank} of {number}; start the ranks with torchrun"):
        join_ranks()


# -- the command line ----------------------------------------------------------------------------------------------

FAMILIES = {"tabular_regressor": "improved_model_best_model.pth", "text_to_image": "dcgan_last.safetensors"}
"""The families with a command line, and the checkpoint that each has after an epoch."""


def command(name, out, *more, epochs):
    arguments = ("--preset", "tiny", "--tier", "reference", "--epochs", str(epochs), "--out", str(out))
    return ("-m", "trainers", name, "train", *arguments, *more)


def wait_for(condition, seconds=torchrun.END_S):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def newest(folder):
    """Return the newest checkpoint."""
    found = [path for path in folder.iterdir() if path.suffix in {".pth", ".safetensors"}]
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def resume(name, path, out, num_ranks):
    """Continue for two epochs with some ranks from a checkpoint, which must be whole."""
    content = importlib.import_module(f"trainers.{name}.training").read_training(path)
    epochs = content["state"]["progress"]["epoch"] + 2
    done = torchrun.run(num_ranks, *command(name, out, "--resume", str(path), epochs=epochs))
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"epoch {epochs}/{epochs}" in done.stderr


@pytest.mark.parametrize("name", FAMILIES)
def test_one_rank_writes_the_files_and_the_lines(name, tmp_path):
    done = torchrun.run(2, *command(name, tmp_path / "two", epochs=2))
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("epoch ")] == [
        line for line in done.stderr.splitlines() if re.match("epoch [12]/2 ", line)
    ]
    assert torchrun.run(1, *command(name, tmp_path / "one", epochs=2)).returncode == 0
    one, two = ({path.name for path in (tmp_path / each).rglob("*")} for each in ("one", "two"))
    assert one == two
    resume(name, newest(tmp_path / "two"), tmp_path / "three", 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_signal_stops_all_ranks_at_one_step(name, tmp_path):
    with torchrun.started(2, *command(name, tmp_path, epochs=5000)) as process:
        wait_for((tmp_path / FAMILIES[name]).exists)
        (_, second) = torchrun.ranks_of(process.pid)
        os.kill(second, signal.SIGINT)  # the rank that writes nothing
        _, err = process.communicate(timeout=torchrun.END_S)
    assert process.returncode != 0
    lines = [one for one in err.splitlines() if one.startswith("interrupted: ")]
    assert len(lines) == 1, err[-3000:]
    saved = Path(lines[0].rpartition(" ")[2])
    assert saved == newest(tmp_path)
    assert "unexpected" not in err
    for num_ranks in (1, 2):
        resume(name, saved, tmp_path / f"resumed-{num_ranks}", num_ranks)


NUM_KILLS = int(os.environ.get("SPEEDCLAIMS_NUM_KILLS", "1"))
"""Of each family; `tox -e scaling` kills ten."""


@pytest.mark.parametrize("number", range(NUM_KILLS))
@pytest.mark.parametrize("name", FAMILIES)
def test_a_killed_rank_ends_the_others_and_leaves_a_whole_checkpoint(name, number, tmp_path):
    draw = random.Random(f"{name} {number}")  # noqa: S311 - it picks a moment
    with torchrun.started(2, *command(name, tmp_path / "run", epochs=5000)) as process:
        wait_for((tmp_path / "run" / FAMILIES[name]).exists)
        time.sleep(draw.uniform(0, 2))
        ranks = torchrun.ranks_of(process.pid)
        os.kill(draw.choice(ranks), signal.SIGKILL)
        process.communicate(timeout=torchrun.END_S)
    assert process.returncode != 0
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
    resume(name, newest(tmp_path / "run"), tmp_path / "resumed", 1 + number % 2)


def test_an_error_names_its_rank(monkeypatch, capsys):
    for rank, name in [("0", "error: "), ("1", "rank 1: error: ")]:
        monkeypatch.setenv("RANK", rank)
        assert main(["tabular_regressor", "train", "--switch", "masks"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(name)


def test_a_tier_that_cannot_is_one_line_of_a_rank(tmp_path):
    done = torchrun.run(2, "-m", "trainers", "tabular_regressor", "train", "--preset", "tiny", "--tier", "fastest",
                        "--out", str(tmp_path / "run"))  # fmt: skip
    assert done.returncode != 0
    lines = sorted(line for line in done.stderr.splitlines() if "fastest trains in one process only" in line)
    # torchrun ends a rank that has said nothing yet when another has failed
    ranks = [line.partition(": tier")[0] for line in lines]
    assert ranks in (["error", "rank 1: error"], ["error"], ["rank 1: error"])
    assert not (tmp_path / "run").exists()
