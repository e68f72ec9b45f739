"""Which pairs get further processes when a gated run has ended."""

import pytest

from speedclaims.gate.compare import Change, Gate
from speedclaims.gate.slowdown import Loss
from speedclaims.gating import NUM_LOOKS, BaseGating
from speedclaims.measure.interleave import Measurement
from speedclaims.measure.processes import Measured


class Session:
    """A run whose pairs were measured in five processes of two seconds each."""

    seconds_left = float("inf")

    def __init__(self, names):
        self.extensible = {name: self.measured() for name in names}

    def measured(self, number=5):
        found = Measured([Measurement()] * number, list(range(1, number + 1)), ("not_checked", []), 1.5, 2.0 * number)
        found.more = lambda seeds, _: Measured(
            [Measurement()] * len(seeds), list(seeds), ("", []), 1.5, 2.0 * len(seeds)
        )
        return found

    def changed(self):
        pass


@pytest.fixture
def gating(monkeypatch):
    """A run of two pairs whose verdicts are always ambiguous."""
    made = BaseGating.__new__(BaseGating)
    made._session, made._failed, made._most_s, made.gate = Session("ab"), [], 60.0, None
    made.base = {"speedclaims": {"pairs": [{"nodeid": name, "hash_seeds": [1, 2, 3, 4, 5]} for name in "ab"]}}
    made.num_compared = 0
    changes = tuple(Change(name, name, "ambiguous", 5.0, loss=Loss(0.03, -0.01, 0.07, 0.99)) for name in "ab")

    def compare():
        made.num_compared += 1
        made.gate = Gate("base", changes, (), (), (), None, None)

    monkeypatch.setattr(made, "_compare", compare)
    return made


def test_every_ambiguous_pair_gets_processes_at_each_look_until_its_time_is_up(gating):
    gating.decide()
    assert gating.num_compared == NUM_LOOKS
    for measured in gating._session.extensible.values():
        assert len(measured.measurements) == 30  # 5, 10, 20, and in the seconds that are left 10 more
        assert measured.spent_s == 60
        assert measured.seeds == [1, 2, 3, 4, 5] * 6


def test_without_the_option_nothing_is_added(gating):
    gating._most_s = None
    gating.decide()
    assert gating.num_compared == 1
    assert {len(measured.measurements) for measured in gating._session.extensible.values()} == {5}


def test_processes_replace_what_the_tests_own_process_measured(gating):
    here = gating._session.measured(1)
    here.is_here, here.seeds = True, [None]
    gating._session.extensible["a"] = here
    gating.decide()
    assert None not in here.seeds
    assert here.num_processes == len(here.measurements) == len(here.seeds)
    assert here.seeds[:5] == [1, 2, 3, 4, 5][: len(here.seeds)]
