"""The policy server for minutes under what goes wrong: clients that die, messages that are damaged.

Clients of all protocols ask an echoing policy without a pause; now and then one of them sends noise, half a
message, or one that announces more than it holds. Beside them, a process that asks as fast as it can is
killed with SIGKILL every few seconds, wherever it then is, and a new one takes its place.

What must come out: every question that was asked whole is answered, by the answer to that question
(`crossed` and `lost` are 0); nothing damaged is answered by a chunk (`believed` is 0); the memory of the
server's process stays where it was.
"""

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from policies.runtime.benchmark.dialects import PROTOCOLS, Protocol, say
from policies.runtime.benchmark.kept import Kept
from policies.runtime.benchmark.serving import PATIENCE, Load, Tally, look, metric, right
from policies.runtime.benchmark.serving_report import soak_lines
from policies.serving.options import Limits
from policies.serving.server import Address
from vla.checks import at_least

__all__ = ["Soak", "soak_serving"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Soak:
    """minutes: how long. clients: at once, the protocols in turn. kill_s: seconds from one SIGKILL to the
    next. damaged: share of messages that are. load: what is asked, and what a call of the policy takes.
    """

    minutes: float = 10.0
    clients: int = 16
    kill_s: float = 3.0
    damaged: float = 0.05
    load: Load = field(default_factory=lambda: Load(call_ms=2.0, each_ms=0.2, side=64))

    def __post_init__(self) -> None:
        at_least(self, 0.01, "minutes", "kill_s")
        at_least(self, 1, "clients")
        at_least(self, 0, "damaged")


def soak_serving(options: Soak, say: Say, kept: Kept | None = None) -> dict[str, Any]:
    """Run it, say what came of it; as `Kept` gives it."""
    from policies.runtime.benchmark.serving_clients import serving

    kept, load = kept or Kept(), options.load
    settings = {"measure": "soak", **asdict(options)}
    cell = kept.get(settings)
    if cell is not None:
        say(f"  kept, of {cell['at']}")
    else:
        limits = Limits(sessions=options.clients + 16, idle_s=60.0, message_bytes=2**20)
        with serving("echo", limits, load.call_ms, load.each_ms) as (address, process):
            cell = kept.put(settings, asyncio.run(_soak(options, address, process, say)))
    for each in soak_lines(cell["found"]):
        say(f"  {each}")
    return cell


async def _soak(options: Soak, address: Address, process: int, say: Say) -> dict[str, Any]:
    from policies.runtime.benchmark.serving_clients import rss_mib

    before = rss_mib(process)
    end = time.perf_counter() + 60 * options.minutes
    tally, memory, damage = Tally(), list[float](), _Damage()
    clients = [_client(options, address, i, end, (tally, damage)) for i in range(options.clients)]
    everyone = asyncio.gather(*clients)
    killed, told = 0, time.monotonic()
    with _victims(options, address) as victims:
        while time.perf_counter() < end:
            await asyncio.sleep(min(1.0, options.kill_s))
            memory.append(round(rss_mib(process), 2))
            killed = await asyncio.to_thread(victims.next)
            if time.monotonic() - told >= 30:
                told, gone = time.monotonic(), 60 * options.minutes - (end - time.perf_counter())
                say(
                    f"  {gone:.0f} s: {len(tally.seconds)} answers, {tally.lost} lost, "
                    f"{tally.crossed} crossed, server {memory[-1]:.0f} MiB"
                )
        await everyone
    await asyncio.sleep(1.5)  # what the last victim left is put away
    memory.append(round(rss_mib(process), 2))
    settled = memory[len(memory) // 5 :]
    p50, p99 = np.percentile(1000 * np.array(tally.seconds or [np.nan]), [50, 99])
    return {
        "seconds": round(60 * options.minutes, 1),
        "answers": len(tally.seconds),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "lost": tally.lost,
        "crossed": tally.crossed,
        "refused": dict(tally.refused),
        "damaged": damage.sent,
        "believed": damage.believed,
        "killed": killed,
        "sessions_left": int(await asyncio.to_thread(metric, address, "vla_sessions")),
        "memory_start_mib": round(before, 2),
        "memory_first_mib": settled[0],
        "memory_last_mib": settled[-1],
        "memory_most_mib": max(memory),
        "memory_slope_mib_a_minute": _slope(settled),
        "memory_mib": memory[:: max(1, len(memory) // 200)],
    }


@dataclass
class _Damage:
    """Messages that were damaged, and those of them that got a chunk."""

    sent: int = 0
    believed: int = 0


async def _client(
    options: Soak, address: Address, number: int, end: float, met: tuple[Tally, _Damage]
) -> None:
    """One that comes back whenever its connection was closed for what it sent."""
    from policies.runtime.benchmark.serving_clients import connected

    tally, damage = met
    protocol = PROTOCOLS[number % len(PROTOCOLS)]
    rng = np.random.default_rng(number)
    asked = 0
    while time.perf_counter() < end:
        spoilt = False
        try:
            async with asyncio.timeout(PATIENCE) as patience, connected(address, protocol) as client:
                while time.perf_counter() < end:
                    patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
                    asked += 1
                    seen = look(options.load, rng, number, asked)
                    spoilt = bool(rng.random() < options.damaged)
                    if spoilt:
                        damage.sent += 1
                        heard = await client.raw(_damaged(rng, say(protocol, seen, asked)))
                        damage.believed += heard.first is not None
                        continue
                    began = time.perf_counter()
                    heard = await client.ask(seen, asked)
                    if heard.first is None:
                        tally.refused[heard.kind] += 1
                        continue
                    tally.seconds.append(time.perf_counter() - began)
                    tally.crossed += not right(heard.first, seen) or heard.number not in (None, asked)
        except (OSError, EOFError, TimeoutError):
            tally.lost += not spoilt  # a connection may be closed for what is no message


def _damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """What no protocol takes for an observation."""
    kind = int(rng.integers(4))
    if kind == 0:
        return rng.bytes(int(rng.integers(1, 200)))
    if kind == 1:
        return data[: int(rng.integers(1, len(data) - 1))]
    if kind == 2:
        return b"\x81\xa1x" + b"\xdd\x00\x00\x04\x00" * int(rng.integers(1, 2000))  # nested, announced lists
    return bytes(2**20 + 1)  # more than is read


class _Victims:
    """A process that asks, until it is killed and another takes its place."""

    def __init__(self, options: Soak, address: Address) -> None:
        self._options, self._address = options, address
        self._spawn = multiprocessing.get_context("spawn")
        self._killed, self._process, self._since = -1, None, 0.0  # type: int, Any, float

    def next(self) -> int:
        """Kill the present one if its time has come; how many were."""
        if self._process is None or time.monotonic() - self._since > self._options.kill_s:
            self.kill()
            protocol = PROTOCOLS[self._killed % len(PROTOCOLS)]
            arguments = (self._address.host, self._address.port, protocol, self._options.load)
            self._process = self._spawn.Process(target=_victim, args=arguments, daemon=True)
            self._process.start()
            self._since = time.monotonic()
        return self._killed

    def kill(self) -> None:
        """End the present one, wherever it is."""
        self._killed += 1
        if self._process is not None:
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def _victims(options: Soak, address: Address) -> Iterator[_Victims]:
    victims = _Victims(options, address)
    try:
        yield victims
    finally:
        victims.kill()


def _victim(host: str, port: int, protocol: Protocol, load: Load) -> None:
    from policies.runtime.benchmark.serving_clients import connected

    async def ask() -> None:
        rng = np.random.default_rng()
        async with connected(Address(host, port, tls=False), protocol) as client:
            for number in range(10**9):
                await client.ask(look(load, rng, 10**6, number), number)

    asyncio.run(ask())


def _slope(memory: list[float]) -> float | None:
    """MiB a minute, of samples a second apart; None where they are of less than a minute."""
    if len(memory) < 60:
        return None
    return round(60 * float(np.polyfit(np.arange(len(memory)), memory, 1)[0]), 3)
