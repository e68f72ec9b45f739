"""A property is a check and the cases it holds for; its negative control is a fault under which it must fail."""

import contextlib

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FAST, THOROUGH, DEEP = 20, 200, 10_000
"""Examples of the profiles `fast` (and `ci`), `thorough` and `deep`; see `tests/conftest.py`."""


def holds(check, *drawn, max_examples=None):
    """Turn a check into a property: a function that runs it on drawn cases, given what shall have the property.

    `check(subject, *case)` raises AssertionError where the subject does not have it. `max_examples` caps the profile
    `fast`'s; `thorough` has ten times as many of it too.
    """

    def run(subject, *, control=False):
        @given(case=st.tuples(*drawn))
        def cases(case):
            try:
                check(subject, *case)
            except AssertionError as error:
                if not control:
                    raise
                raise _Noticed(error) from error

        profile = settings()
        most = profile.max_examples
        if max_examples is not None:
            most = min(max_examples, most) * (THOROUGH // FAST if most == THOROUGH else 1)
        if control:
            # A control needs any counterexample, the same one in every run, and not the smallest.
            how = {
                "derandomize": True,
                "database": None,
                "phases": [Phase.generate],
                "max_examples": max(max_examples, FAST) if max_examples else 200,
            }
        else:
            how = {"max_examples": most}
        try:
            settings(deadline=None, suppress_health_check=list(HealthCheck), **how)(cases)()
        except _Noticed as noticed:
            raise noticed.error from None

    return run


class _Noticed(BaseException):
    """A control's counterexample, which ends its cases at once.

    Hypothesis takes no such exception for a failing case: it would draw the case again and ask that it fails twice, but
    TensorFlow in one process does not repeat itself to the bit.
    """

    def __init__(self, error):
        super().__init__(error)
        self.error = error


def fails(prop, faulty):
    """Whether a property notices a planted fault."""
    with pytest.raises(AssertionError):
        prop(faulty, control=True)
    return True


@contextlib.contextmanager
def error_at(owner, name, error, *, skip=0, times=1, after=False):
    """Let calls of a method raise: after `skip` that go well the next `times`, instead of doing it or `after` it."""
    real, good, left = getattr(owner, name), [skip], [times]

    def failing(*arguments, **options):
        if good[0]:
            good[0] -= 1
        elif left[0]:
            left[0] -= 1
            if after:
                real(*arguments, **options)
            raise error
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, failing)
        yield
    assert left == [0], "the step never came to the point"


def memory_runs_out(trainer, point, times=1, *, after=False):
    """Let memory run out the next `times` times that a step comes to `point`, or comes `after` it."""
    import torch  # controls of other families do without

    owner, name = {
        "forward": (trainer.model, "forward"),
        "backward": (torch.Tensor, "backward"),
        "unscale": (torch.amp.GradScaler, "unscale_"),
        "step": (trainer.optimizer, "step"),
    }[point]
    error = torch.cuda.OutOfMemoryError(f"CUDA out of memory in {point}")
    return error_at(owner, name, error, times=times, after=after)


def build_faulty(build, kind, plant=lambda trainer: None):
    """Return a `build` whose optimized tier has a fault: it is of `kind`, and `plant` is done to it."""

    def faulty(tier, **arguments):
        trainer = build(tier, **arguments)
        if tier == "optimized":
            trainer.__class__ = kind
            plant(trainer)
        return trainer

    return faulty


def forgetting(base, *parts):
    """Return a kind of trainer that loads everything but some parts of a state."""

    class Forgetting(base):
        def load_state(self, state):
            own = self.state()
            super().load_state({**state, **{part: own[part] for part in parts if part in own}})

    return Forgetting
