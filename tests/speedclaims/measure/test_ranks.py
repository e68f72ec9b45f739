"""Pairs of several ranks: all ranks start together, the slowest counts, and what fails on one of them is said."""

import json

import pytest

torch = pytest.importorskip("torch")

ONE = ("--speedup-max-time=2", "--speedup-processes=1", "--speedup-report=out")

TEST = """
import os, time
import pytest
import torch, torch.distributed as dist

@pytest.mark.speedup_ranks({ranks})
def test_it(pair, tmp_path):
    rank, number = dist.get_rank(), dist.get_world_size()
{body}
"""


@pytest.fixture
def run(project):
    def measured(body, *options, ranks=2):
        lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
        project.write(test_it_py=TEST.format(ranks=ranks, body=lines))
        return project.run(*ONE, *options)

    return measured


def row_of(project):
    (row,) = project.record()["speedclaims"]["pairs"]
    return row


def test_a_round_takes_as_long_as_its_slowest_rank(run, project):
    result = run(
        """
def before():
    time.sleep(0.004 + 0.012 * rank)
assert number in (1, 2)  # one in the process that hands the test on
pair(before, lambda: time.sleep(0.004), equivalent=lambda: number == 2)
"""
    )
    assert result.ret == 0, result.stdout.str()
    row = row_of(project)
    assert row["ranks"] == 2
    assert row["equivalence"] == "passed"
    assert row["before_s"] > 0.0155
    assert row["speedup"] > 2
    assert row["num_processes"] == 1
    assert "In 2 ranks of torchrun: test_it." in result.stdout.str()
    page = (project.path / "out" / "index.html").read_text()
    assert "cpu, 2 ranks" in page


def test_sides_and_setups_may_send_messages(run, project):
    result = run(
        """
def setup():
    dist.all_reduce(torch.ones(1))
def side():
    total = torch.full((3,), float(rank))
    dist.all_reduce(total)
    return total.tolist()
(tmp_path / "mine").touch(exist_ok=False)  # each rank has a folder for itself
pair(side, side, setup=setup, equivalent=lambda before, after: before == after == [1.0] * 3)
"""
    )
    assert result.ret == 0, result.stdout.str()
    assert row_of(project)["speedup"] is not None


WRONG = {
    "the check fails on one rank": (
        "pair(lambda: time.sleep(0.001), lambda: time.sleep(0.001), equivalent=lambda: rank == 0)",
        "speedup withheld, the equivalence check failed: rank 1",
    ),
    "a side raises on one rank": (
        "def before():\n    if rank:\n        raise ZeroDivisionError('no rows')\npair(before, before)",
        "ZeroDivisionError: no rows",
    ),
    "a rank ends": (
        "def before():\n    if rank:\n        os._exit(7)\npair(before, before)",
        "rank 1 ended with 7, and the others with it",
    ),
    "a rank is killed": (
        "def before():\n    if rank:\n        os.kill(os.getpid(), 9)\npair(before, before)",
        "rank 1 was killed by signal 9, and the others with it",
    ),
    "a side is a generator": (
        "pair(lambda: (one for one in range(3)), lambda: 1)",
        "nothing measured, the before side returns a generator",
    ),
    "a rank skips": (
        "if rank:\n    pytest.skip('not here')\npair(dist.barrier, dist.barrier)",
        "the test ended on this rank without calling pair",
    ),
    "stages": (
        "pair(lambda: 1, lambda: 1, stages={'load': (lambda: 1, lambda: 1)})",
        "stages are measured in one process: leave them out of a pair of several ranks",
    ),
}


@pytest.mark.parametrize(("body", "said"), WRONG.values(), ids=WRONG)
def test_what_goes_wrong_on_a_rank_is_said(run, body, said):
    result = run(body)
    assert result.ret == 1
    assert said in result.stdout.str()


def test_other_passes_are_not_run_and_say_so(run, project):
    result = run("pair(lambda: time.sleep(0.001), lambda: time.sleep(0.001))", "--speedup-passes=memory")
    assert result.ret == 0, result.stdout.str()
    assert "measured for its time alone" in json.dumps(row_of(project))


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("def test_it():\n    pass", "speedup_ranks is for a test with the pair fixture: leave it out"),
        ("def test_it(compare):\n    pass", "speedup_ranks is for a test with the pair fixture: leave it out"),
    ],
)
def test_a_test_without_a_pair_takes_no_ranks(project, test, said):
    project.write(test_it_py=f"import pytest\n\n@pytest.mark.speedup_ranks(2)\n{test}\n")
    result = project.run(*ONE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str() + result.stdout.str()


def test_more_ranks_than_a_machine_takes_are_refused(run):
    result = run("pair(lambda: 1, lambda: 1)", ranks=10**6)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "speedup_ranks names 1e+06 ranks, and this machine takes" in result.stderr.str() + result.stdout.str()


def test_a_torch_that_cannot_be_imported_is_one_line(run, project):
    (project.path / "torch").mkdir()
    (project.path / "torch" / "__init__.py").write_text("raise ImportError('no libtorch')")
    project.write(test_it_py="import pytest\n\n@pytest.mark.speedup_ranks(2)\ndef test_it(pair):\n    pair(int, int)\n")
    result = project.run_anew(*ONE)
    assert "nothing measured, the marker speedup_ranks needs PyTorch, which cannot be imported: no libtorch" in (
        result.stdout.str()
    )


@pytest.mark.parametrize("number", ["0", "1.5", "'two'", "", "2, 3"])
def test_a_wrong_number_of_ranks_is_refused_before_anything_is_measured(run, number):
    result = run("pair(lambda: 1, lambda: 1)", ranks=number)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "speedup_ranks takes one whole number of ranks, such as 2" in result.stderr.str() + result.stdout.str()


def test_without_measuring_the_sides_run_once_in_one_rank(run):
    result = run("pair(lambda: dist.barrier(), lambda: dist.barrier())", "--benchmark-disable")
    result.assert_outcomes(skipped=1)


def test_a_group_that_the_test_did_not_make_is_gone_after_it(project):
    project.write(
        test_it_py="""
import pytest
import torch.distributed as dist

@pytest.mark.speedup_ranks(2)
def test_one(pair):
    pair(lambda: dist.barrier(), lambda: dist.barrier())

def test_two():
    assert not dist.is_initialized()
"""
    )
    result = project.run(*ONE)
    assert result.ret == 0, result.stdout.str()
