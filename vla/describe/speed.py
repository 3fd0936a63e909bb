"""How much faster the ways of `vla.acceleration` and the caches make a backbone: measured here and now.

What is compared runs in turns, so that whatever else the machine does slows all of it alike; each result is
the median. Ratios say how often as fast as the plain way (float32 weights, a growing cache, everything
encoded).

Shapes: B batch, T tokens, W width.
"""

import copy
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from vla.acceleration import compile_backbone
from vla.attention import prefix_lm_mask
from vla.backbones.base import Backbone
from vla.backbones.int8 import int8_weights
from vla.backbones.prefix import PrefixCache
from vla.backbones.small import SmallBackbone
from vla.configuration import SmallConfig
from vla.instructions import InstructionCache
from vla.senses import Senses

__all__ = ["SIZES", "alternating", "cache_speed", "compile_speed", "instruction_speed", "weight_speed"]

SIZES: Mapping[str, tuple[int, int, int]] = {
    "2M": (192, 4, 6),
    "5M": (256, 6, 4),
    "28M": (512, 9, 8),
    "113M": (768, 16, 12),
    "510M": (1536, 18, 24),
}
"""Name -> width, layers, heads of plain blocks; the first is the backbone of `tabletop-small`."""

Numbers = dict[str, float]


def alternating(ways: Mapping[str, Callable[[], Any]], seconds: float) -> Numbers:
    """Each way run in turn until `seconds` are over, at least three times after a first that does not count
    -> the median seconds of each."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(found.values()))) < 3:
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            found[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in found.items()}


def backbone_of(size: str) -> SmallBackbone:
    """A plain backbone of random weights."""
    width, layers, heads = SIZES[size]
    torch.manual_seed(0)
    return SmallBackbone(SmallConfig(width=width, layers=layers, heads=heads, mlp=4 * width)).eval()


@torch.no_grad()
def cache_speed(size: str, prefix: int = 32, steps: int = 60, seconds: float = 5.0) -> Numbers:
    """One answer of `steps` tokens, token by token after a prefix, at batch 1: milliseconds with a growing
    cache (`growing_ms`), with a static one whose memory is used again (`static_ms`), with its whole room
    under a mask (`whole_ms`), and the ratios to the first."""
    backbone = backbone_of(size)
    whole = copy.deepcopy(backbone)
    whole.fixed = whole._stack
    caches, x = (PrefixCache(), PrefixCache()), torch.randn(1, prefix + steps, backbone.width) * 0.3
    ways = {
        "growing": lambda: _answer(backbone, x, prefix, backbone.new_cache()),
        "static": lambda: _answer(backbone, x, prefix, _taken(caches[0], backbone, x)),
        "whole": lambda: _answer(whole, x, prefix, _taken(caches[1], whole, x)),
    }
    return _ratios(alternating(ways, seconds), "growing")


@torch.no_grad()
def weight_speed(size: str, rows: int = 1, past: int = 96, seconds: float = 5.0) -> Numbers:
    """One pass of `rows` tokens after `past` others, at batch 1: milliseconds with weights in float32,
    bfloat16 and both kinds of int8 (see `vla.backbones.int8`), their ratios to the first, and the relative
    error of each one's output (`..._error`)."""
    backbone = backbone_of(size)
    kinds: dict[str, Any] = {"float32": backbone, "bfloat16": copy.deepcopy(backbone).bfloat16()}
    kinds["int8"] = int8_weights(copy.deepcopy(backbone))
    kinds["int8_both"] = int8_weights(copy.deepcopy(backbone), "int8")
    x, ways, found = torch.randn(1, past + rows, backbone.width) * 0.3, {}, {}
    for name, made in kinds.items():
        own = x.bfloat16() if name == "bfloat16" else x
        cache = made.new_cache(batch=1, length=past + rows, like=own)
        if past:
            made(own[:, :past], cache=cache)

        def run(made: Any = made, own: Tensor = own, cache: Any = cache) -> Tensor:
            cache.rewind(past)
            return made(own[:, past:], cache=cache)

        ways[name], found[name] = run, run().float()
    wanted = found["float32"]
    errors = {f"{name}_error": float((each - wanted).norm() / wanted.norm()) for name, each in found.items()}
    return _ratios(alternating(ways, seconds), "float32") | errors


@torch.no_grad()
def compile_speed(backbone: Backbone, prefix: int = 32, answers: int = 10, seconds: float = 5.0) -> Numbers:
    """A prefix and then all answers in one pass (parallel decoding), at batch 1: milliseconds plain, and
    compiled by inductor, which takes minutes to begin with; the ratio, and the seconds of compiling."""
    compiled = copy.deepcopy(backbone)
    compile_backbone(compiled)
    kept = PrefixCache(), PrefixCache()
    x = torch.randn(1, prefix + answers, backbone.width, device=next(backbone.parameters()).device) * 0.3

    def run(each: Backbone, caches: PrefixCache) -> Tensor:
        cache = _taken(caches, each, x)
        each(x[:, :prefix], cache=cache)
        return each(x[:, prefix:], cache=cache)

    start = time.perf_counter()
    for _ in range(2):
        run(compiled, kept[1])
    compiling = time.perf_counter() - start
    ways = {"plain": lambda: run(backbone, kept[0]), "compiled": lambda: run(compiled, kept[1])}
    return _ratios(alternating(ways, seconds), "plain") | {"compiling_s": compiling}


@torch.no_grad()
def instruction_speed(senses: Senses, batch: dict[str, Any], seconds: float = 5.0) -> Numbers:
    """A batch's senses encoded: milliseconds with everything encoded, and with an `InstructionCache` that has
    heard the instruction."""
    cache = InstructionCache()
    ways = {"encoded": lambda: senses(batch), "kept": lambda: senses(batch, cache)}
    return _ratios(alternating(ways, seconds), "encoded")


def _taken(caches: PrefixCache, backbone: Backbone, x: Tensor) -> Any:
    return caches.take(0, backbone, x, x.shape[1])[0]


def _answer(backbone: nn.Module, x: Tensor, prefix: int, cache: Any) -> None:
    mask = prefix_lm_mask(prefix, 0, block=1)
    backbone(x[:, :prefix], mask, cache)
    for i in range(prefix, x.shape[1]):
        backbone(x[:, i : i + 1], None, cache)


def _ratios(times: Numbers, plain: str) -> Numbers:
    found = {f"{name}_ms": 1000 * each for name, each in times.items()}
    return found | {f"{name}_ratio": times[plain] / each for name, each in times.items() if name != plain}
