import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vla.configuration import StateConfig
from vla.encoders.state import StateEncoder

NAMED = StateConfig(dim=5, frequencies=3, hidden=16, robots=("a", "b"))
CONFIGS = (StateConfig(dim=5, frequencies=3, hidden=16), NAMED)


def test_without_names_there_are_no_more_weights_than_before() -> None:
    assert set(StateEncoder(StateConfig()).state_dict()) == {
        f"{layer}.{part}" for layer in ("up", "out") for part in ("weight", "bias")
    }


@pytest.mark.parametrize("config", CONFIGS)
def test_everything_there_is_as_no_mask(config: StateConfig) -> None:
    encoder, state = StateEncoder(config), torch.rand(4, 5)
    torch.testing.assert_close(encoder(state, torch.ones(4, 5, dtype=torch.bool)), encoder(state))
    assert encoder(state).shape == (4, 1, 16)


@pytest.mark.parametrize("config", CONFIGS)
@given(mask=st.lists(st.booleans(), min_size=5, max_size=5), seed=st.integers(0, 99))
def test_masked_joints_change_nothing_and_others_do(config: StateConfig, mask: list[bool], seed: int) -> None:
    torch.manual_seed(seed)
    encoder, state, robot = StateEncoder(config), torch.rand(2, 5), torch.tensor([0, 1])
    there = torch.tensor([mask, mask[::-1]])
    out = encoder(state, there, robot)
    for value in (7.0, -1e30, float("nan"), float("inf")):
        assert torch.equal(encoder(state.masked_fill(~there, value), there, robot), out)
    if any(mask):
        moved = encoder(torch.where(there, state + 0.3, state), there, robot)
        assert (moved - out).abs().amax((1, 2)).min() > 1e-6


def test_a_missing_joint_is_not_one_at_zero_and_robots_differ() -> None:
    for config in CONFIGS:
        encoder, state = StateEncoder(config), torch.zeros(1, 5)
        less = torch.tensor([[True, True, True, True, False]])
        assert (encoder(state, less) - encoder(state)).abs().max() > 1e-4
    one, other = (encoder(state, less, torch.tensor([i])) for i in (0, 1))
    assert (one - other).abs().max() > 1e-4


def test_a_robot_is_told_by_its_joints_alone_where_there_is_one() -> None:
    encoder = StateEncoder(StateConfig(dim=5, robots=("only",)))
    assert "joints.weight" in encoder.state_dict() and "robots.weight" not in encoder.state_dict()
    assert torch.equal(encoder(torch.ones(1, 5), None, torch.tensor([0])), encoder(torch.ones(1, 5)))
