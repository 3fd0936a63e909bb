from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vla.configuration import HistoryConfig
from vla.encoders.video import History, key_frames

B, N, C = 3, 4, 10


def history(frames: int = 5, seed: int = 0, **more: Any) -> History:
    torch.manual_seed(seed)
    made = History(HistoryConfig(frames=frames, stride=2, **more), C)
    torch.nn.init.normal_(made.learned)
    return made


def tokens(frames: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(B, frames, N, C, generator=torch.Generator().manual_seed(seed))


def test_the_present_alone_passes_as_it_is() -> None:
    for config in (HistoryConfig(frames=1), HistoryConfig(frames=3)):
        x = tokens(1)
        out = History(config, C)(x)
        assert torch.equal(out.x, x[:, 0]) and out.mask is None


@pytest.mark.parametrize(("how", "count"), [({}, 5), ({"reduce": "pool", "keep": 2}, 3)])
def test_shapes_and_the_present_is_whole(how: dict[str, Any], count: int) -> None:
    made, x = history(**how), tokens()
    mask = torch.ones(B, 5, dtype=torch.bool)
    mask[1, 3:] = False
    for given_mask in (None, mask):
        out = made(x, given_mask)
        assert made.frames_out == count and out.x.shape == (B, count * N, C)
        assert torch.equal(out.x[:, :N], x[:, 0])
        assert (out.mask is None) == (given_mask is None)
    assert out.mask is not None and out.mask.shape == (B, count * N)
    assert out.mask[0].all() and out.mask[1].sum() == (3 if count == 5 else 2) * N


def test_keyframes_come_as_they_were_chosen() -> None:
    made = history(reduce="keyframes", keep=2)
    assert made.frames_out == 3
    ages = torch.tensor([[0, 1, 4], [0, 2, 3], [0, 3, 4]])
    x = tokens()
    chosen = x[torch.arange(B)[:, None], ages]
    out = made(chosen, None, ages).x.view(B, 3, N, C)
    whole = history()(x).x.view(B, 5, N, C)  # the same weights, all frames
    assert torch.equal(out, whole[torch.arange(B)[:, None], ages])


def test_order_is_told_by_age() -> None:
    """Past frames in another order, with their ages, are the same tokens in that order."""
    made, x = history(), tokens()
    order = torch.tensor([0, 3, 1, 4, 2])
    moved = made(x[:, order], None, order.expand(B, 5)).x.view(B, 5, N, C)
    assert torch.equal(moved, made(x).x.view(B, 5, N, C)[:, order])
    places = made.place(torch.arange(5))
    assert not places[0].any()
    assert torch.cdist(places, places).fill_diagonal_(9).min() > 0.1


def test_pooling_equal_frames_gives_that_frame() -> None:
    made = history(reduce="pool", keep=2)
    x = tokens(1).expand(B, 5, N, C)
    out = made(x).x.view(B, 3, N, C)
    for group, ages in ((1, [1, 2]), (2, [3, 4])):
        wanted = x[:, 0] + made.place(torch.tensor(ages)).mean(0)
        torch.testing.assert_close(out[:, group], wanted)


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.sampled_from(["none", "pool"]))
def test_masked_frames_change_nothing(past: list[bool], reduce: str) -> None:
    made, x = history(reduce=reduce, keep=2 if reduce == "pool" else 1), tokens()
    mask = torch.tensor([True, *past]).expand(B, 5)
    out, other = made(x, mask), made(torch.where(mask[..., None, None], x, x + 100), mask)
    assert out.mask is not None and other.mask is not None and torch.equal(out.mask, other.mask)
    assert torch.equal(out.x[out.mask], other.x[out.mask])
    assert torch.isfinite(out.x).all()


# -- key frames ------------------------------------------------------------------------------------


def sequence(jumps: list[float], seed: int = 0) -> torch.Tensor:
    """[1, V, 16, 16, 3] in 0..1: frame a differs by jumps[a - 1] from frame a - 1, which came after it."""
    brightness = torch.tensor([0.0, *jumps]).cumsum(0)
    return (0.2 + brightness)[None, :, None, None, None].expand(1, -1, 16, 16, 3)


@given(st.permutations([0.0, 0.01, 0.02, 0.05, 0.1, 0.2]), st.integers(1, 6))
def test_the_greatest_changes_are_found_in_order(jumps: list[float], keep: int) -> None:
    views, mask, ages = key_frames(sequence(jumps), None, keep)
    largest = sorted(range(6), key=lambda i: -jumps[i])[:keep]
    assert ages.tolist() == [[0, *sorted(i + 1 for i in largest)]]
    assert mask is None
    assert torch.equal(views, sequence(jumps)[:, ages[0]])


def test_each_sample_has_its_own_and_bytes_do_as_well() -> None:
    one, other = sequence([0.1, 0.0, 0.0]), sequence([0.0, 0.0, 0.3])
    both = (torch.cat([one, other]) * 255).byte()
    views, _, ages = key_frames(both, None, 1)
    assert ages.tolist() == [[0, 1], [0, 3]] and views.dtype == torch.uint8


def test_frames_that_are_not_there_are_chosen_last_and_seen_by_nobody() -> None:
    views = sequence([0.01, 0.02, 0.3, 0.3])
    mask = torch.tensor([[True, True, True, False, False]])
    found, there, ages = key_frames(views, mask, 2)
    assert ages.tolist() == [[0, 1, 2]] and there is not None and there.all()
    spoilt = torch.where(mask[..., None, None, None], views, 50.0)
    again, _, same = key_frames(spoilt, mask, 2)
    assert torch.equal(same, ages) and torch.equal(again, found)
    _, there, _ = key_frames(views, mask, 3)
    assert there is not None and there.tolist() == [[True, True, True, False]]


def test_of_equal_changes_the_younger_are_kept() -> None:
    assert key_frames(sequence([0.0] * 5), None, 2)[2].tolist() == [[0, 1, 2]]
