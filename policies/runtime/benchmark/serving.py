"""The policy server under load: how many requests a second, how late, with and without batches.

The server is a process of its own; clients ask again as soon as they are answered. An echoing policy answers
with what it was shown, so that each answer is checked to be the one to its question.
"""

import asyncio
import contextlib
import dataclasses
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from policies.runtime.benchmark.dialects import PROTOCOLS, Protocol
from policies.runtime.benchmark.kept import Kept
from policies.runtime.benchmark.serving_report import line, load_table
from policies.serving.echo import echo
from policies.serving.options import Limits
from policies.serving.server import Address
from vla.checks import at_least
from vla.errors import BadInput
from vla.interfaces import Observation

if TYPE_CHECKING:
    from policies.runtime.benchmark.serving_clients import Client

__all__ = ["PATIENCE", "Load", "Tally", "look", "measure_serving", "metric", "right"]

Say = Callable[[str], None]
PATIENCE = 20.0
"""Seconds after which a question counts as lost."""


@dataclass(frozen=True)
class Load:
    """policy: that is served: ``echo``, whose every answer is checked, or as `policies.load`.

    clients: how many at once. batches: `Limits.batch` of the server; 1 is without batching. wait_ms: its
    `Limits.wait_ms`. protocols: which. seconds: of each measurement, after `warm` seconds. side, state:
    pixels of the two square pictures, numbers of the state. call_ms, each_ms: what a call of the echoing
    policy takes, and more for each observation in it. task: the sentence.
    """

    policy: str = "echo"
    clients: tuple[int, ...] = (1, 8, 64)
    batches: tuple[int, ...] = (1, 16)
    wait_ms: float = 5.0
    protocols: tuple[Protocol, ...] = PROTOCOLS
    seconds: float = 5.0
    warm: float = 0.5
    side: int = 96
    state: int = 6
    call_ms: float = 10.0
    each_ms: float = 0.5
    task: str = "touch the red cube"

    def __post_init__(self) -> None:
        at_least(self, 1, "side", "state")
        at_least(self, 0, "wait_ms", "warm", "call_ms", "each_ms")
        at_least(self, 0.1, "seconds")
        for name in ("clients", "batches", "protocols"):
            values: Sequence[Any] = getattr(self, name)
            if not values or (name != "protocols" and min(values) < 1):
                raise BadInput(f"{name} must name at least one, from 1 on")


@dataclass
class Tally:
    """What clients met. seconds: of each answer. refused: by kind. crossed: answers to another question.
    lost: questions without an answer within PATIENCE, or whose connection was lost; that client is done."""

    seconds: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    crossed: int = 0
    lost: int = 0


def measure_serving(options: Load, say: Say, kept: Kept | None = None) -> list[dict[str, Any]]:
    """Every protocol with every number of clients, without batching and with: as `Kept` gives them. What is
    kept is not measured again; a server is started only where something is to be measured."""
    from policies.runtime.benchmark.serving_clients import serving

    kept, cells = kept or Kept(), []
    for batch in options.batches:
        # All that an answer's time depends on, and nothing of what else is measured beside it.
        limits = Limits(batch=batch, wait_ms=options.wait_ms, sessions=max(128, max(options.clients) + 8))
        with contextlib.ExitStack() as stack:
            server: tuple[Address, int] | None = None
            for protocol in options.protocols:
                for clients in options.clients:
                    settings = _settings(options, protocol, clients, batch)
                    cell = kept.get(settings)
                    if cell is None:
                        if server is None:
                            context = serving(options.policy, limits, options.call_ms, options.each_ms)
                            server = stack.enter_context(context)
                        found = asyncio.run(_measured(options, server, protocol, clients, batch))
                        cell = kept.put(settings, found)
                        say(f"  {line(cell['found'])}")
                    else:
                        say(f"  {line(cell['found'])} (kept, of {cell['at']})")
                    cells.append(cell)
    say(load_table([cell["found"] for cell in cells]))
    return cells


def _settings(options: Load, protocol: Protocol, clients: int, batch: int) -> dict[str, Any]:
    shared = dataclasses.asdict(options)
    for several in ("clients", "batches", "protocols"):
        del shared[several]
    return {"measure": "load", "protocol": protocol, "clients": clients, "batch": batch, **shared}


async def _measured(
    options: Load, server: tuple[Address, int], protocol: Protocol, clients: int, batch: int
) -> dict[str, Any]:
    from policies.runtime.benchmark.serving_clients import connected, rss_mib

    tally, (address, process) = Tally(), server
    memory = [round(rss_mib(process), 1)]
    async with contextlib.AsyncExitStack() as stack:
        everyone = [await stack.enter_async_context(connected(address, protocol)) for _ in range(clients)]
        before = await asyncio.to_thread(_batches, address)
        start = time.perf_counter() + options.warm
        await asyncio.gather(*(_ask(options, each, i, start, tally) for i, each in enumerate(everyone)))
    memory.append(round(rss_mib(process), 1))
    calls, observations = np.subtract(await asyncio.to_thread(_batches, address), before)
    p50, p99 = np.percentile(1000 * np.array(tally.seconds or [np.nan]), [50, 99])
    return {
        "protocol": protocol,
        "batch": batch,
        "clients": clients,
        "requests": len(tally.seconds),
        "requests_per_s": round(len(tally.seconds) / options.seconds, 1),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "mean_batch": round(float(observations / calls), 2) if calls else None,
        "refused": dict(tally.refused),
        "crossed": tally.crossed,
        "lost": tally.lost,
        "memory_mib": memory,
    }


async def _ask(options: Load, client: "Client", number: int, start: float, tally: Tally) -> None:
    """Ask until the time is over. Counted is what is answered between `start` and then."""
    rng = np.random.default_rng(number)
    asked, end = 0, start + options.seconds
    try:
        while time.perf_counter() < end:
            asked += 1
            seen = look(options, rng, number, asked)
            began = time.perf_counter()
            async with asyncio.timeout(PATIENCE):
                heard = await client.ask(seen, asked)
            now = time.perf_counter()
            if heard.first is None:
                tally.refused[heard.kind] += 1
                continue
            tally.crossed += options.policy == "echo" and not right(heard.first, seen)
            tally.crossed += heard.number not in (None, asked)
            if start <= now <= end:
                tally.seconds.append(now - began)
    except (OSError, EOFError):  # TimeoutError is an OSError
        tally.lost += 1


def look(options: Load, rng: np.random.Generator, client: int, number: int) -> Observation:
    """An observation that no other client has, nor any other question of this one."""
    side = options.side
    front = np.full((side, side, 3), number % 256, np.uint8)
    front[0, : min(side, 4)] = rng.integers(0, 256, (min(side, 4), 3))
    state = np.zeros(options.state, np.float32)
    state[0] = number % 2**20
    if options.policy == "echo" and options.state > 1:
        state[1] = client
    return Observation({"front": front, "wrist": front[::-1].copy()}, state, options.task)


def right(first: np.ndarray, seen: Observation) -> bool:
    """Whether an echoing policy said this of that."""
    return bool(np.array_equal(first, echo(seen)))


def metric(address: Address, name: str) -> float:
    """A number that the server tells of itself."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.closing(opener.open(address.url("http", "/metrics"), timeout=30)) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def _batches(address: Address) -> tuple[float, float]:
    """Calls of the policy so far, and observations in them."""
    return metric(address, "vla_batch_size_count"), metric(address, "vla_batch_size_sum")
