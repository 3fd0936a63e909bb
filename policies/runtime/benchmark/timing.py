"""Contenders timed side by side: in each round every one has its turn, in a new order, so that whatever else
the machine does hits all alike. Ratios are taken within rounds; a bootstrap over rounds gives their interval.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Contender", "Ratio", "Times", "interleave", "passes_of", "ratio", "time_calls"]

Times = list[list[float]]
"""Milliseconds of the calls of each round."""


@dataclass(frozen=True)
class Contender:
    """act: from a batch in memory to what was chosen. parameters: of the whole model. passes: through its
    trunk for a chunk, the prefix's included. codes: chosen for a chunk, None for a continuous answer.
    reference, ours: names of the contenders of equal size that it is compared with, "" for none."""

    name: str
    act: Callable[[], object]
    parameters: int
    passes: int
    codes: int | None
    reference: str = ""
    ours: str = ""


@dataclass(frozen=True)
class Ratio:
    """How many times as long one takes as another: the median over rounds, and its 95% interval."""

    median: float
    low: float
    high: float


def interleave(
    contenders: Sequence[Contender],
    rounds: int,
    seconds: float,
    wait: Callable[[], None],
    *,
    after_round: Callable[[int], None] = lambda done: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Name -> times. seconds: of a turn, in which a contender acts at least once. wait: returns when the
    device has done all that it was given. clock: in seconds."""
    found: dict[str, Times] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        order = list(contenders)
        random.Random(number).shuffle(order)
        for contender in order:
            before = found[contender.name]
            slow = bool(before) and min(before[-1]) > 1000 * seconds
            own = time_calls(contender.act, seconds, wait, warm=0 if slow else 1, clock=clock)
            found[contender.name].append(own)
        after_round(number + 1)
    return found


def time_calls(
    act: Callable[[], object],
    seconds: float,
    wait: Callable[[], None],
    *,
    warm: int = 1,
    least: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Milliseconds of each call, until `seconds` are over and `least` calls were made; after `warm` untimed
    calls, which bring the weights back into the caches that the others used."""
    for _ in range(warm):
        act()
    wait()
    times: list[float] = []
    end = clock() + seconds
    while len(times) < least or clock() < end:
        start = clock()
        act()
        wait()
        times.append(1000 * (clock() - start))
    return times


def ratio(slower: Times, faster: Times, seed: int = 0) -> Ratio:
    """Of the rounds' medians, `slower` over `faster`."""
    each = np.array([np.median(a) / np.median(b) for a, b in zip(slower, faster, strict=True)])
    drawn = np.random.default_rng(seed).choice(each, (2000, len(each)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Ratio(float(np.median(each)), float(low), float(high))


def passes_of(trunk: Any, act: Callable[[], object]) -> int:
    """How often `trunk.forward` runs while `act` does."""
    count, forward = 0, trunk.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return forward(*args, **kwargs)

    trunk.forward = counted
    try:
        act()
    finally:
        del trunk.forward  # the class's own is back
    return count
