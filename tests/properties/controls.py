"""A property is a check and the cases it holds for; its negative control is a fault under which it must fail."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st


def holds(check, *drawn, max_examples=None):
    """Turn a check into a property: a function that runs it on drawn cases, given what shall have the property.

    `check(subject, *case)` raises AssertionError where the subject does not have it. `max_examples` caps the profile's.
    """

    def run(subject, *, control=False):
        @given(case=st.tuples(*drawn))
        def cases(case):
            check(subject, *case)

        profile = settings()
        most = profile.max_examples if max_examples is None else min(max_examples, profile.max_examples)
        if control:
            # A control needs any counterexample, the same one in every run, and not the smallest.
            how = {
                "derandomize": True,
                "database": None,
                "phases": [Phase.generate],
                "max_examples": max_examples or 200,
            }
        else:
            how = {"max_examples": most}
        settings(deadline=None, suppress_health_check=list(HealthCheck), **how)(cases)()

    return run


def fails(prop, faulty):
    """Whether a property notices a planted fault."""
    with pytest.raises(AssertionError):
        prop(faulty, control=True)
    return True
