"""Hypothesis profiles, and what tests of every folder share."""

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.properties.controls import DEEP, FAST, THOROUGH

# Its assertions tell their values, as those of a test do.
pytest.register_assert_rewrite("tests.trainers.dialogue_gan.trainer_contract")

settings.register_profile("fast", max_examples=FAST, deadline=None)
settings.register_profile(
    "thorough", max_examples=THOROUGH, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# For the readers of files, whose examples take a millisecond.
settings.register_profile("deep", max_examples=DEEP, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For `tests/mutants`: the same cases in every run, and any counterexample instead of the smallest.
settings.register_profile(
    "mutants", max_examples=40, deadline=None, derandomize=True, database=None, phases=[Phase.generate]
)
# Derandomized, so that a red build is about the change and not about the draw.
settings.register_profile("ci", max_examples=FAST, deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "fast"))


# Whoever starts the tests, a shell in the background or a service, may have had signals ignored or blocked, which the
# tests and their children would inherit.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {_number})


@pytest.fixture(scope="module", autouse=True)
def _small_heap():
    """Hide from the garbage collector what is there before a file's tests: both frameworks, with a million objects.

    Trainers and recorders that collect garbage or look through all objects would go through them again and again.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def offline_cache(tmp_path_factory):
    """Folder in which the families keep their offline data during the tests."""
    return tmp_path_factory.mktemp("offline-cache")


@pytest.fixture(scope="module")
def private_cache(offline_cache):
    """Keep the offline data out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(offline_cache))
        yield offline_cache


@pytest.fixture(scope="module")
def one_thread():
    """Keep PyTorch to one thread: on a busy machine, threads that wait for each other make small steps crawl."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
