"""Switches: the ladder, leaving one out, refusals, and the weakest parity."""

import pytest

from trainers.contract import BadInput
from trainers.switches import Switch, ladder, leave_one_out, resolve, weakest_parity

SWITCHES = (
    Switch("cached_dataset", "a"),
    Switch("fused_optimizer", "b", parity="close"),
    Switch("wide", "c", work="less", default=False),
)


def test_the_ladder_starts_with_everything_off_and_adds_one_switch_a_row():
    assert ladder(SWITCHES) == (
        ("restructured", {"cached_dataset": False, "fused_optimizer": False, "wide": False}),
        ("+cached_dataset", {"cached_dataset": True, "fused_optimizer": False, "wide": False}),
        ("+fused_optimizer", {"cached_dataset": True, "fused_optimizer": True, "wide": False}),
        ("+wide", {"cached_dataset": True, "fused_optimizer": True, "wide": True}),
    )


def test_leave_one_out_turns_off_each_switch_once():
    rows = leave_one_out(SWITCHES)
    assert [label for label, _ in rows] == ["-cached_dataset", "-fused_optimizer", "-wide"]
    assert [[name for name, on in row.items() if not on] for _, row in rows] == [
        ["cached_dataset"],
        ["fused_optimizer"],
        ["wide"],
    ]


def test_k_switches_cost_2k_and_2_rows_with_the_reference():
    assert 1 + len(ladder(SWITCHES)) + len(leave_one_out(SWITCHES)) == 2 * len(SWITCHES) + 2


def test_no_switches_make_a_ladder_of_one_row():
    assert ladder(()) == (("restructured", {}),)
    assert leave_one_out(()) == ()


def test_resolve_fills_in_what_was_not_chosen():
    assert resolve(SWITCHES, {"wide": False}) == {
        "cached_dataset": True,
        "fused_optimizer": True,
        "wide": False,
    }


@pytest.mark.parametrize(
    ("chosen", "named"), [({"fast": True}, "fast"), ({"wide": 1}, "wide"), ({"wide": "on"}, "wide")]
)
def test_resolve_names_what_it_refuses(chosen, named):
    with pytest.raises(BadInput, match=named):
        resolve(SWITCHES, chosen)


def test_the_weakest_parity_decides():
    assert weakest_parity(()) == "bitwise"
    assert weakest_parity(SWITCHES) == "close"
    assert weakest_parity([*SWITCHES, Switch("d", "d", parity="statistical")]) == "statistical"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": "two words", "description": ""}, "two words"),
        ({"name": "a", "description": "", "parity": "roughly"}, "roughly"),
        ({"name": "a", "description": "", "work": "more"}, "more"),
    ],
)
def test_a_switch_that_tables_cannot_spell_is_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        Switch(**arguments)
