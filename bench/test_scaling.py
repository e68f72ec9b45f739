"""How training scales over ranks of torchrun: strong and weak scaling, DDP with one rank, and what messages cost.

A rank has a GPU, or without GPUs one thread. Both sides are measured in one job of all ranks, in alternation. While one
rank trains alone, the others wait.
"""

import pytest

from bench.harness.scaling import Scaling, has_torch, numbers_of_ranks, silent

pytestmark = [pytest.mark.scaling, pytest.mark.skipif(not has_torch(), reason="PyTorch is not installed")]

NAMES = ("tabular_regressor", "text_to_image", "dialogue_twin")
RANKS = [pytest.param(number, marks=pytest.mark.speedup_ranks(number), id=str(number)) for number in numbers_of_ranks()]


@pytest.fixture(params=NAMES)
def scaling(request, preset, device):
    """Builds the trainers of one family."""
    return Scaling(request.param, preset, device)


@pytest.fixture
def pair_labels(scaling):
    """Return the labels of a family's rows."""
    return {"family": scaling.name, "preset": scaling.preset, "device": scaling.device}


@pytest.fixture
def ranks():
    """Return the ranks of this job."""
    from trainers.pytorch.ranks import join_ranks  # noqa: PLC0415 - the bench is collected without PyTorch too

    return join_ranks()


def strong(pair, scaling, ranks, number, calls=(1, 1)):
    """Measure a step of the whole batch on one rank against one on all."""
    one, all_ = scaling.trainer(None), scaling.trainer(ranks)
    return pair(
        before=scaling.step_of(one, is_taken=ranks.is_first),
        after=scaling.step_of(all_),
        names=scaling.labels("one rank", f"{number} ranks"),
        equivalent=scaling.check(ranks),
        units=scaling.batch_size(),
        calls=calls,
        rounds=f"strong scaling of {scaling.name}, {number} ranks",
    )


@pytest.mark.parametrize("number", RANKS)
def test_strong_scaling(pair, scaling, ranks, number):
    """T1 / TN: a step of the same batch on one rank and on N."""
    strong(pair, scaling, ranks, number)


@pytest.mark.parametrize("number", RANKS)
def test_strong_scaling_efficiency(pair, scaling, ranks, number):
    """T1 / (N TN): the same, for each of the N ranks."""
    strong(pair, scaling, ranks, number, calls=(1, number))


@pytest.mark.parametrize("number", RANKS)
def test_weak_scaling_efficiency(pair, scaling, ranks, number):
    """T1 / TN: a step of a batch on one rank, and of one N times as large on N."""
    larger = {"batch_size": scaling.batch_size(number)}
    one, all_ = scaling.trainer(None), scaling.trainer(ranks, **larger)
    pair(
        before=scaling.step_of(one, is_taken=ranks.is_first),
        after=scaling.step_of(all_),
        names=scaling.labels("one rank", f"{number} ranks"),
        equivalent=lambda: f"the batch is {number} times as large on {number} ranks",
        work="different",
    )


@pytest.mark.speedup_ranks(1)
def test_ddp_with_one_rank(pair, scaling, ranks):
    """A step without DDP and with it, on one rank: what it costs where there is nobody to send anything to."""
    alone, wrapped = scaling.trainer(None), scaling.trainer(ranks)
    pair(
        before=scaling.step_of(alone),
        after=scaling.step_of(wrapped),
        names=scaling.labels("alone", "DDP, one rank"),
        equivalent=scaling.check(ranks),
        units=scaling.batch_size(),
    )


@pytest.mark.parametrize("number", RANKS)
def test_without_messages(pair, scaling, ranks, number):
    """A step with its messages against one whose ranks send nothing: 1 - 1 / speedup of the step is communication."""
    with_messages, without = scaling.trainer(ranks), scaling.trainer(silent(ranks))
    pair(
        before=scaling.step_of(with_messages),
        after=scaling.step_of(without),
        names=scaling.labels(f"{number} ranks", "no messages"),
        equivalent=lambda: "without messages the ranks train apart",
        work="different",
        units=scaling.batch_size(),
    )
