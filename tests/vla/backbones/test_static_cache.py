"""A cache with its room from the start gives what a growing one gives, in all families; and is used again."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from families import EVERY, tiny
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vla.attention import prefix_lm_mask
from vla.backbones.attending import KVCache, StaticCache, attend
from vla.backbones.base import Backbone
from vla.backbones.prefix import PrefixCache, leading, version_of
from vla.backbones.small import SmallBackbone
from vla.configuration import SmallConfig

P, A = 6, 5
T = P + A
OWN = ["plain", "llama", "grouped"]


def own(kind: str) -> SmallBackbone:
    torch.manual_seed(0)
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "llama": {"block": "llama"},
        "grouped": {"block": "llama", "kv_heads": 2},
    }
    return SmallBackbone(SmallConfig(width=32, layers=3, heads=4, mlp=48, **kinds[kind])).eval()


def backbone_of(name: str) -> Backbone:
    return own(name) if name in OWN else tiny(name)


def inputs(backbone: Backbone, rows: int = 2, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, T, backbone.width, generator=generator) * 0.3


def with_cache(backbone: Backbone, x: Tensor, mask: Tensor, cache: Any, start: int = 0) -> Tensor:
    """The prefix (from `start`) at once, then token by token."""
    steps = [(start, P), *((i, i + 1) for i in range(P, T))]
    return torch.cat([backbone(x[:, a:b], mask[..., a:b, :b], cache) for a, b in steps], 1)


def close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() < 1e-5 * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("whole", [False, True], ids=["views", "whole"])
@pytest.mark.parametrize("name", [*OWN, *EVERY])
@torch.no_grad()
def test_static_equals_growing_and_no_cache(name: str, whole: bool) -> None:
    backbone = backbone_of(name)
    if whole:
        backbone.fixed = backbone._stack  # type: ignore[operator, assignment]
    x, mask = inputs(backbone), prefix_lm_mask(P, A, block=1)
    absent = mask.repeat(2, 1, 1, 1)
    absent[1, :, :, 2] = False  # a token of the second row is not there; it looks at itself
    absent[1, :, 2, 2] = True
    for seen in (mask, absent):
        wanted = backbone(x, seen)
        cache = backbone.new_cache(batch=2, length=T + 3, like=x)
        found = with_cache(backbone, x, seen, cache)
        growing = with_cache(backbone, x, seen, backbone.new_cache())
        assert cache.length == T
        assert close(found, wanted) and close(found, growing)
        kept = cache.layers
        assert all(k.shape[2] == v.shape[2] == T for k, v in kept)
        cache.rewind(P)  # another answer to the same prefix, in the same memory
        again = torch.cat(
            [backbone(x[:, i : i + 1], seen[..., i : i + 1, : i + 1], cache) for i in range(P, T)], 1
        )
        assert torch.equal(again, found[:, P:])


@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_nothing_is_allocated_at_a_second_answer(name: str) -> None:
    backbone, mask = own(name), prefix_lm_mask(P, A, block=1)
    caches, one, two = PrefixCache(), inputs(own(name)), inputs(own(name), seed=2)
    cache, _ = caches.take(0, backbone, one[:, :P], T)
    with_cache(backbone, one, mask, cache)
    before = [k.data_ptr() for k, _ in cache.layers]
    cache, done = caches.take(0, backbone, two[:, :P], T)
    assert done == cache.length == 0 and len(caches) == 1
    assert close(with_cache(backbone, two, mask, cache), backbone(two, mask))
    assert [k.data_ptr() for k, _ in cache.layers] == before
    other, _ = caches.take(0, backbone, two[:1, :P], T)
    assert other is not cache  # another number of rows


@torch.no_grad()
def test_numbers_that_are_not_finite_do_not_outlive_their_answer() -> None:
    """Hidden by a mask they would still show: 0 * nan is nan."""
    backbone = own("plain")
    backbone.fixed = backbone._stack
    x, mask = inputs(backbone), prefix_lm_mask(P, A, block=1)
    cache = backbone.new_cache(batch=2, length=T, like=x)
    with_cache(backbone, x * float("nan"), mask, cache)
    cache.rewind(0)
    assert close(with_cache(backbone, x, mask, cache), backbone(x, mask))


@torch.no_grad()
def test_memory_made_in_inference_mode_serves_elsewhere() -> None:
    backbone, mask = own("llama"), prefix_lm_mask(P, A, block=1)
    x = inputs(backbone)
    cache = backbone.new_cache(batch=2, length=T, like=x)
    with torch.inference_mode():
        with_cache(backbone, x, mask, cache)
    cache.rewind(0)
    assert close(with_cache(backbone, x, mask, cache), backbone(x, mask))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 12))
def test_a_cache_is_what_was_written_and_not_rewound(pieces: list[int], back: int) -> None:
    static, growing = StaticCache(40), KVCache()
    for count in pieces:
        k, v = torch.randn(2, 1, 2, count, 3)
        one, two = static.extend(0, k, v), growing.extend(0, k, v)
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    for cache in (static, growing):
        cache.rewind(back)
    assert static.length == growing.length == min(back, sum(pieces))
    k, v = torch.randn(2, 1, 2, 1, 3)
    one, two = static.extend(0, k, v), growing.extend(0, k, v)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_shared_keys_are_as_if_repeated(kept: int, share: int, t: int, keys: int, masked: bool) -> None:
    q, k, v = torch.randn(2, kept * share, t, 4), torch.randn(2, kept, keys, 4), torch.randn(2, kept, keys, 6)
    mask = torch.rand(2, 1, t, keys) < 0.7 if masked else None
    if mask is not None:
        mask[..., 0] = True
    repeated = [each.repeat_interleave(share, 1) for each in (k, v)]
    wanted = F.scaled_dot_product_attention(q, *repeated, attn_mask=mask)
    assert torch.allclose(attend(q, k, v, mask), wanted, atol=1e-5)


# -- what a sequence begins with ---------------------------------------------------------------------


def test_leading_senses() -> None:
    names = [("bos", 1), ("text", 7), ("audio", 5), ("front", 9), ("state", 1)]
    assert leading(names) == 13
    assert leading(names[3:]) == leading([]) == 0
    assert leading([("front", 9), ("text", 7)]) == 0


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "qwen2_vl", "grouped"])
@torch.no_grad()
def test_a_sentence_is_read_once(name: str) -> None:
    backbone, caches, lead = backbone_of(name), PrefixCache(), 4
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    places = torch.arange(T)[None].expand(2, T)

    def read(x: Tensor, places: Tensor = places) -> tuple[Tensor, int]:
        first = (x[:, :lead], places[:, :lead])
        cache, done = caches.take(0, backbone, x[:, :P], T, first)
        assert cache.length == done
        return with_cache(backbone, x, mask, cache, done), done

    one, other = inputs(backbone), inputs(backbone, seed=2)
    changed = torch.cat([one[:, :lead], other[:, lead:]], 1)  # the same sentence, another picture
    assert read(one)[1] == 0
    found, done = read(changed)
    assert done == lead and close(found, backbone(changed, mask)[:, lead:])
    assert read(other)[1] == 0  # another sentence
    assert read(other)[1] == lead
    assert read(other, places + 1)[1] == 0  # at other places
    assert read(other, places + 1)[1] == lead
    next(backbone.parameters()).mul_(1.0)  # weights were written
    found, done = read(other)
    assert done == 0 and close(found, backbone(other, mask))


@torch.no_grad()
def test_an_interrupted_reading_is_begun_again() -> None:
    backbone, caches, x = own("grouped"), PrefixCache(), inputs(own("grouped"))
    mask = torch.ones(T, T, dtype=torch.bool).tril()

    def stop(h: Tensor) -> Tensor:
        raise KeyboardInterrupt

    cache, _ = caches.take(0, backbone, x[:, :P], T, (x[:, :4],))
    with pytest.raises(KeyboardInterrupt):
        backbone(x[:, :P], mask[:P, :P], cache, before={1: stop})
    cache, done = caches.take(0, backbone, x[:, :P], T, (x[:, :4],))
    assert done == 0 and close(with_cache(backbone, x, mask, cache), backbone(x, mask))


def test_version_changes_with_the_weights() -> None:
    module = torch.nn.Linear(3, 3)
    seen = {version_of(module)}
    with torch.no_grad():
        module.weight.add_(1.0)
    seen.add(version_of(module))
    module.load_state_dict(module.state_dict())
    seen.add(version_of(module))
    module.double()
    seen.add(version_of(module))
    assert len(seen) == 4
    assert version_of(module) in seen
