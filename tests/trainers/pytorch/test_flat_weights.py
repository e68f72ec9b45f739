"""Weights in one buffer: the network sees every change, and an optimizer's state converts both ways."""

import pytest
import torch
from torch import nn

from tests.states import assert_same_tree
from trainers.contract import BadInput
from trainers.pytorch.flat_weights import FlatWeights

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS_BF = torch.linspace(-1, 1, 30).reshape(5, 6)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 1))


def twin_of(network):
    twin = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    twin.load_state_dict(network.state_dict())
    return twin


def train(network, optimizer, flat=None, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (
            network(ROWS_BF).square().sum()
            if flat is None
            else torch.func.functional_call(network, flat.views(flat.buffer_W), (ROWS_BF,)).square().sum()
        )
        loss.backward()
        optimizer.step()


def test_the_networks_weights_keep_their_values_and_are_the_buffer(network):
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    flat = FlatWeights(network)
    assert_same_tree(dict(network.state_dict()), before)
    assert flat.buffer_W.shape == (6 * 4 + 4 + 4 + 4 + 4 + 1,)
    with torch.no_grad():
        flat.buffer_W.fill_(2.0)
    assert all(bool((weight == 2).all()) for weight in network.parameters())
    network.load_state_dict(before)
    assert torch.equal(flat.buffer_W.detach(), torch.cat([value.reshape(-1) for value in before.values()]))


def test_training_the_buffer_is_training_the_weights_and_the_state_says_the_same(network):
    twin = twin_of(network)
    flat = FlatWeights(network)
    ours, theirs = torch.optim.AdamW([flat.buffer_W]), torch.optim.AdamW(twin.parameters())
    train(network, ours, flat)
    train(twin, theirs)
    for weight, expected in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weight, expected)
    spread, expected = flat.spread(ours.state_dict()), theirs.state_dict()
    assert spread["param_groups"] == expected["param_groups"]
    torch.testing.assert_close(spread["state"], expected["state"])
    assert_same_tree(flat.gathered(spread), ours.state_dict())


def test_a_state_may_be_loaded_into_the_other(network):
    flat = FlatWeights(network)
    ours = torch.optim.AdamW([flat.buffer_W])
    train(network, ours, flat)
    twin = twin_of(network)
    theirs = torch.optim.AdamW(twin.parameters())
    theirs.load_state_dict(flat.spread(ours.state_dict()))
    train(network, ours, flat)
    train(twin, theirs)
    for weight, expected in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weight, expected)


def test_what_is_spread_is_a_copy(network):
    flat = FlatWeights(network)
    optimizer = torch.optim.AdamW([flat.buffer_W])
    train(network, optimizer, flat)
    moment = optimizer.state_dict()["state"][0]["exp_avg"]
    before = moment.clone()
    for slot in flat.spread(optimizer.state_dict())["state"].values():
        slot["exp_avg"].fill_(7.0)
    assert torch.equal(moment, before)


def test_an_optimizer_that_has_not_begun_has_nothing_to_spread(network):
    flat = FlatWeights(network)
    spread = flat.spread(torch.optim.AdamW([flat.buffer_W]).state_dict())
    assert (spread["state"], spread["param_groups"][0]["params"]) == ({}, list(range(6)))
    assert flat.gathered(spread)["state"] == {}


def lose_one(slots):
    del slots[3]


def age_one(slots):
    slots[3]["step"] += 1


@pytest.mark.parametrize("spoil", [lose_one, age_one])
def test_a_state_of_unequal_steps_is_refused(network, spoil):
    optimizer = torch.optim.AdamW(network.parameters())
    train(network, optimizer)
    state = optimizer.state_dict()
    spoil(state["state"])
    with pytest.raises(BadInput, match="different numbers of steps"):
        FlatWeights(network).gathered(state)


def test_weights_of_two_types_have_no_common_buffer(network):
    network[0].to(torch.bfloat16)
    with pytest.raises(ValueError, match="one dtype"):
        FlatWeights(network)
