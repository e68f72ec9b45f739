"""A signal that arrives where nothing can be raised."""

import signal
import sys

import pytest

from trainers.common.interruption import SharedStopSignals, StopSignals, interrupting_immediately


class Finalized:
    """Does something when it is thrown away, as a loader ends its workers."""

    def __init__(self, action):
        self.action = action

    def __del__(self):
        self.action()


@pytest.fixture
def told(monkeypatch):
    """What Python tells the terminal of errors that nobody can catch."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: found.append(what.exc_type))
    return found


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_a_signal_in_a_finalizer_is_known_and_not_told_to_the_terminal(told):
    with StopSignals() as stop:
        with interrupting_immediately():
            Finalized(interrupt)
        received, stop.received = stop.received, None
    assert received is signal.SIGINT
    assert told == []


def test_another_error_in_a_finalizer_is_told(told):
    with StopSignals(), interrupting_immediately():
        Finalized(lambda: 1 / 0)
    assert told == [ZeroDivisionError]


def test_afterwards_a_signal_in_a_finalizer_is_told_again(told):
    with interrupting_immediately():
        pass
    with pytest.raises(KeyboardInterrupt):
        raise KeyboardInterrupt
    Finalized(interrupt)
    assert told == [KeyboardInterrupt]


def twice(stop, number):
    """Return whether a process goes on after a signal that comes twice, to where it looks for one."""
    went_on = False
    try:
        with stop:
            signal.raise_signal(number)
            signal.raise_signal(number)
            went_on = True
            stop.check()
    except KeyboardInterrupt:
        return went_on
    pytest.fail("nothing stopped it")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_breaks_into_a_process_alone_and_not_into_one_of_several(number):
    assert not twice(StopSignals(signal.SIGTERM), number)
    assert not twice(SharedStopSignals(lambda own: own, signal.SIGTERM, is_alone=True), number)
    several = SharedStopSignals(lambda own: own, signal.SIGTERM, is_alone=False)
    assert twice(several, number)
    assert (several.received, several.agreed) == (number, number)
