"""The flow decoder: what it looks at, what it learns, how it takes a plan in flight."""

import functools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent / "backbones"))

from families import LANGUAGE

from vla.backbones.base import Backbone
from vla.backbones.hf import TransformersBackbone
from vla.backbones.llama import rotary, turned
from vla.backbones.small import SmallBackbone
from vla.configuration import FlowConfig, SmallConfig, TransformersConfig
from vla.decoders.flow import FlowDecoder, Past, remember
from vla.decoders.guidance import Plan

WIDTH, ROWS, JOINTS, PREFIX = 32, 6, 2, 5
OWN = ("plain", "llama", "grouped")
ALL = (*OWN, "qwen2", "gemma3_text", "gpt_neox")
CONFIG = FlowConfig(horizon=ROWS, dim=JOINTS, width=24, mlp=48, steps=4)


@functools.cache
def backbone(kind: str) -> Backbone:
    torch.manual_seed(0)
    if kind not in OWN:
        return TransformersBackbone(TransformersConfig(config=LANGUAGE[kind])).eval()
    block, kept = ("plain", None) if kind == "plain" else ("llama", 2 if kind == "grouped" else None)
    config = SmallConfig(width=WIDTH, layers=2, heads=4, mlp=48, block=block, kv_heads=kept)  # type: ignore[arg-type]
    return SmallBackbone(config).eval()


def expert(kind: str = "grouped", **settings: Any) -> FlowDecoder:
    """With weights large enough that everything it looks at shows in its velocity."""
    decoder = FlowDecoder(replace(CONFIG, **settings), backbone(kind))
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return decoder.eval()


def past_of(trunk: Backbone, x: Tensor, there: Tensor | None = None, shift: int = 0) -> Past:
    places = torch.arange(x.shape[1])[None] if there is None else (there.long().cumsum(1) - 1).clamp(min=0)
    mask = None
    if there is not None:
        mask = (there[:, None] | torch.eye(x.shape[1], dtype=torch.bool))[:, None]
    with torch.no_grad():
        return remember(trunk, x, mask, there, places + shift)


def prefix(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, PREFIX, WIDTH, generator=torch.Generator().manual_seed(seed))


def noise(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, ROWS, JOINTS, generator=torch.Generator().manual_seed(seed))


def plan_of(chunk: Tensor, weights: Any, delay: int = 0) -> Plan:
    weights_BH = torch.as_tensor(weights, dtype=torch.float32).expand(chunk.shape[:2])
    return Plan(chunk, weights_BH, torch.full((len(chunk),), delay))


# -- what it looks at ----------------------------------------------------------------------------------------


def test_untrained_it_leaves_the_noise_where_it_is() -> None:
    decoder = FlowDecoder(CONFIG, backbone("plain"))
    assert torch.equal(decoder.sample(past_of(backbone("plain"), prefix()), noise()), noise())


@pytest.mark.parametrize("kind", ALL)
def test_equal_noise_gives_equal_chunks_on_every_backbone(kind: str) -> None:
    decoder, past = expert(kind), past_of(backbone(kind), prefix())
    one, other = decoder.sample(past, noise()), decoder.sample(past, noise())
    assert one.shape == (3, ROWS, JOINTS)
    assert one.dtype == torch.float32
    assert torch.equal(one, other)
    assert not torch.allclose(one, decoder.sample(past, noise(seed=1)), atol=0.01)
    assert not torch.allclose(
        one, decoder.sample(past_of(backbone(kind), prefix(seed=1)), noise()), atol=1e-4
    )


@pytest.mark.parametrize("kind", OWN)
def test_the_cached_prefix_equals_the_uncached(kind: str) -> None:
    """Keys and values computed again from each block's input, without any cache."""
    trunk, x = backbone(kind), prefix()
    assert isinstance(trunk, SmallBackbone)
    inputs: list[Tensor] = []
    hooks = [b.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for b in trunk.blocks]
    with torch.no_grad():
        trunk(x)
        for hook in hooks:
            hook.remove()
        layers = []
        for each, h in zip(trunk.blocks, inputs, strict=True):
            block: Any = each
            if kind == "plain":
                layers.append(block._split(block.qkv(block.norm_1(h)), 3)[1:])
            else:
                k, v = (block._split(f(block.norm_1(h)), block.kv_heads) for f in (block.key, block.value))
                layers.append((turned(k, rotary(torch.arange(PREFIX)[None], WIDTH // 4)), v))
    whole = Past(layers, None, torch.tensor([PREFIX]))
    decoder = expert(kind)
    torch.testing.assert_close(
        decoder.sample(past_of(trunk, x), noise()), decoder.sample(whole, noise()), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("kind", ALL)
def test_absent_tokens_change_nothing(kind: str) -> None:
    decoder, x = expert(kind), prefix()
    there = torch.tensor([[True, False, True, True, False]]).expand(3, -1)
    other = torch.where(there[..., None], x, 10 * torch.randn_like(x))
    one, two = (decoder.sample(past_of(backbone(kind), each, there), noise()) for each in (x, other))
    assert torch.equal(one, two)
    left_out = past_of(backbone(kind), x[:, there[0]])
    torch.testing.assert_close(decoder.sample(left_out, noise()), one, atol=1e-5, rtol=0)
    assert not torch.allclose(one, decoder.sample(past_of(backbone(kind), x), noise()), atol=1e-4)


@pytest.mark.parametrize("kind", ALL)
def test_only_the_distance_to_the_prefix_matters(kind: str) -> None:
    decoder, trunk = expert(kind), backbone(kind)
    past = past_of(trunk, prefix())
    here = decoder.sample(past, noise())
    torch.testing.assert_close(
        decoder.sample(past_of(trunk, prefix(), shift=9), noise()), here, atol=1e-4, rtol=0
    )
    farther = decoder.sample(replace(past, place=past.place + 9), noise())
    assert torch.allclose(farther, here, atol=1e-4) == (kind == "plain")


def test_the_answer_follows_the_farthest_place_of_a_plane() -> None:
    trunk, places = backbone("qwen2"), torch.tensor([[0, 1, 1, 1, 2], [0, 1, 2, 3, 2]])
    assert remember(trunk, prefix(2), None, None, places).place.tolist() == [3, 4]


def test_a_row_sees_the_rows_after_it() -> None:
    decoder, past = expert(), past_of(backbone("grouped"), prefix())
    time, other = torch.full((3, ROWS), 0.3), noise()
    other[:, -1] += 1
    one, two = decoder.velocity(noise(), time, past), decoder.velocity(other, time, past)
    assert ((one - two).abs().amax((0, 2)) > 1e-4).all()


# -- its loss ------------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_square_over_what_is_real() -> None:
    decoder, past = FlowDecoder(CONFIG, backbone("plain")), past_of(backbone("plain"), prefix())
    chunk, mask = noise(seed=3), torch.rand(3, ROWS, JOINTS) > 0.4
    forced = torch.tensor([0, 2, 5])
    loss, scalars = decoder.loss(past, chunk, mask, forced, torch.Generator().manual_seed(7))
    e = torch.randn(chunk.shape, generator=torch.Generator().manual_seed(7))
    counts = mask & (torch.arange(ROWS) >= forced[:, None])[..., None]
    torch.testing.assert_close(loss, (chunk - e).square()[counts].mean())  # untrained, the velocity is 0
    assert set(scalars) == {"action_error"}
    nothing, _ = decoder.loss(past, chunk, torch.zeros_like(mask))
    assert nothing == 0


def test_forced_rows_are_seen_clean_at_time_one_and_noisy_times_are_frequent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder, past = expert(), past_of(backbone("grouped"), prefix(1).expand(2000, -1, -1))
    seen: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(decoder, "velocity", lambda x, time, _: seen.append((x, time)) or torch.zeros_like(x))
    chunk, forced = noise(2000), torch.arange(2000) % 3
    decoder.loss(past, chunk, torch.ones_like(chunk, dtype=torch.bool), forced)
    (x, time) = seen[0]
    given = torch.arange(ROWS) < forced[:, None]
    assert torch.equal(x[given], chunk[given])
    assert (time[given] == 1).all()
    free = time[:, -1]
    assert torch.equal(free, time[:, -2])  # one time for all free rows
    assert (free >= 0).all()
    assert (free < 0.999).all()
    # (s - t) / s is Beta(1.5, 1): its mean is 0.6, and 0.5^1.5 of it lies below one half
    assert free.mean().item() == pytest.approx(0.999 * 0.4, abs=0.02)
    assert (free > 0.999 / 2).float().mean().item() == pytest.approx(0.5**1.5, abs=0.03)


@pytest.mark.parametrize("kind", ["grouped", "gemma3_text"])
def test_the_backbone_learns_from_it(kind: str) -> None:
    trunk, decoder = backbone(kind), expert(kind)
    past = remember(trunk, prefix(), None, None, torch.arange(PREFIX)[None])
    loss, _ = decoder.loss(past, noise(), torch.ones(3, ROWS, JOINTS, dtype=torch.bool))
    loss.backward()
    keys = [p for name, p in trunk.layer_list[0].named_parameters() if "k" in name and p.ndim == 2]
    assert keys[0].grad is not None
    assert keys[0].grad.abs().sum() > 0
    assert all(p.grad is not None for p in decoder.parameters())
    trunk.zero_grad()


# -- what it learns ------------------------------------------------------------------------------------------


class Toy:
    """Chunks that rise or fall as the prefix says, from a level it says nothing of."""

    slope = 0.1

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.trunk = SmallBackbone(SmallConfig(width=WIDTH, layers=2, heads=2, mlp=32))
        self.decoder = FlowDecoder(replace(CONFIG, width=32, mlp=64, forced=2, steps=5), self.trunk)
        self.words = torch.randn(2, 1, WIDTH)
        weights = [*self.trunk.parameters(), *self.decoder.parameters()]
        optimizer = torch.optim.AdamW(weights, lr=5e-3, fused=True)
        count, steps = 64, 300
        mask = torch.ones(count, ROWS, JOINTS, dtype=torch.bool)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
            which, forced = torch.randint(0, 2, (count,)), torch.randint(0, 3, (count,))
            loss, _ = self.decoder.loss(self.past(which), self.chunk(which), mask, forced)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.decoder.eval()

    def past(self, which: Tensor) -> Past:
        return remember(self.trunk, self.words[which], None, None, torch.zeros(1, 1, dtype=torch.int64))

    def chunk(self, which: Tensor, level: Tensor | None = None) -> Tensor:
        level = torch.rand(len(which)) - 0.5 if level is None else level
        rise = self.slope * torch.arange(ROWS) * (2 * which[:, None] - 1)
        return (level[:, None] + rise)[..., None].expand(-1, -1, JOINTS)

    def sample(self, which: Tensor, plan: Plan | None = None, seed: int = 0) -> Tensor:
        return self.decoder.sample(self.past(which), noise(len(which), seed), plan)


@pytest.fixture(scope="module")
def toy() -> Iterator[Toy]:
    yield Toy()


def test_it_learns_what_the_prefix_says(toy: Toy) -> None:
    which = torch.arange(100) % 2
    slope = toy.sample(which).diff(dim=1)
    assert torch.equal(slope.mean((1, 2)) > 0, which == 1)
    wanted = toy.slope * (2 * which - 1).float()
    assert (slope.mean((1, 2)) - wanted).abs().mean() < 0.02


def test_what_the_prefix_leaves_open_stays_various(toy: Toy) -> None:
    level = toy.sample(torch.ones(200, dtype=torch.int64))[:, 0, 0]
    assert level.std().item() == pytest.approx(12**-0.5, rel=0.35)  # of the uniform distribution


def test_forced_rows_come_back_exactly_and_the_rest_goes_on_from_them(toy: Toy) -> None:
    which = torch.arange(40) % 2
    flown = toy.chunk(which)
    plan = Plan(flown, (torch.arange(ROWS) < 2).float().expand(40, -1), torch.full((40,), 2))
    made = toy.sample(which, plan)
    assert torch.equal(made[:, :2], flown[:, :2])
    assert torch.equal(made, toy.sample(which, plan_of(flown, 0.0, delay=2)))  # they guide nothing beside
    assert (made - flown).abs().mean() < 0.05
    assert (toy.sample(which) - flown).abs().mean() > 0.15


def test_only_as_many_rows_are_forced_as_it_has_learned(toy: Toy) -> None:
    which = torch.zeros(10, dtype=torch.int64)
    flown = toy.chunk(which)
    made = toy.sample(which, plan_of(flown, (torch.arange(ROWS) < 4).float(), delay=4))
    assert torch.equal(made[:, :2], flown[:, :2])
    assert not torch.equal(made[:, 2:4], flown[:, 2:4])
    assert (made[:, 2:4] - flown[:, 2:4]).abs().mean() < 0.05


def test_a_plan_of_weight_one_pulls_and_the_free_rows_follow(toy: Toy) -> None:
    which = torch.arange(40) % 2
    flown = toy.chunk(which)
    plan = plan_of(flown, (torch.arange(ROWS) < 3).float())  # none is forced: guidance alone
    guided, free = toy.sample(which, plan), toy.sample(which)
    off, free_off = ((each - flown).abs().mean((0, 2)) for each in (guided, free))
    assert (off[:3] < 0.35 * free_off[:3]).all()
    # The free rows have no error of their own: they are moved by that of the others.
    assert (off[3:] < 0.5 * free_off[3:]).all()
    assert not torch.equal(guided[:, :3], flown[:, :3])


def test_weights_of_zero_are_no_plan_also_beside_a_row_that_has_one(toy: Toy) -> None:
    which = torch.arange(4) % 2
    free, flown = toy.sample(which), toy.chunk(which)
    assert torch.equal(toy.sample(which, plan_of(flown, 0.0)), free)
    weights = torch.zeros(4, ROWS)
    weights[2] = 1
    mixed = toy.sample(which, replace(plan_of(flown, 0.0), weights=weights))
    assert torch.equal(mixed[[0, 1, 3]], free[[0, 1, 3]])
    assert not torch.allclose(mixed[2], free[2], atol=0.01)


def test_it_is_guided_within_inference_mode_and_in_bfloat16(toy: Toy) -> None:
    which = torch.arange(4) % 2
    plan = plan_of(toy.chunk(which), (torch.arange(ROWS) < 3).float(), delay=1)
    wanted, free = toy.sample(which, plan), toy.sample(which)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert (toy.sample(which) - free).abs().max() < 0.1
        made = toy.sample(which, plan)
        again = toy.sample(which, plan)
    assert made.dtype == torch.float32
    assert torch.equal(made, again)
    assert (made - wanted).abs().max() < 0.1
