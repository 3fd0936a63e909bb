"""A policy server in a process of its own, which can be killed, with a proxy before it.

``python -m policies.runtime.faults.served`` serves `Waving` on a free port of the loopback and prints it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

from policies.base import Policy
from policies.runtime.faults.bench import Bench
from policies.runtime.faults.proxy import Proxy
from policies.runtime.faults.sabotage import Waving
from policies.runtime.faults.trial import Case, Expected
from vla.errors import BadInput

__all__ = ["REMOTE_CASES", "WavingServer", "served"]


class WavingServer:
    """A server of `Waving`. port: where it listens."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, or another one in its place; returns when it listens."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "policies.runtime.faults.served"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        if not told:
            raise BadInput("the policy server did not start; see above")
        self.port = int(told)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def served(policy: Policy) -> Iterator[tuple[Any, Proxy, WavingServer]]:
    """The policy as served by another process, through a proxy. (`policy` itself is the one served.)"""
    from policies.remote import RemotePolicy

    del policy
    server = WavingServer()
    try:
        with Proxy(server.port) as proxy:
            remote = RemotePolicy(f"ws://127.0.0.1:{proxy.port}", timeout=1.0, lost="hold")
            try:
                yield remote, proxy, server
            finally:
                remote.close()
    finally:
        server.kill()


# -- what can happen to it --------------------------------------------------------------------------


def _kill_mid_chunk(bench: Bench) -> None:
    bench.proxy.asked.clear()
    bench.proxy.asked.wait(2.0)
    bench.proxy.shut()  # first, so that nobody is let in who would find nothing behind the door
    bench.server.kill()


def _start_again(bench: Bench) -> None:
    if bench.server.port == bench.proxy.target:
        bench.server.start()
        bench.proxy.open(bench.server.port)


def _delay(seconds: float) -> Any:
    def cause(bench: Bench) -> None:
        bench.proxy.delay_s = seconds / 2

    return cause


def _silent(bench: Bench) -> None:
    bench.proxy.silent = True


def _gone(bench: Bench) -> None:
    bench.proxy.shut()


def _cut(bench: Bench) -> None:
    bench.proxy.cut()


def _well(bench: Bench) -> None:
    bench.proxy.delay_s, bench.proxy.silent = 0.0, False
    bench.proxy.open()


def _slow(seconds: float, expected: Expected, also: tuple[Expected, ...] = ()) -> Case:
    name = f"network delay {seconds * 1000:.0f} ms there and back"
    return Case(name, "server", _delay(seconds), expected, _well, lasts_s=2.0, also=also, remote=True)


HOLDS: tuple[Expected, ...] = ("holds, moves on",)

REMOTE_CASES: tuple[Case, ...] = (
    Case("server killed mid-chunk", "server", _kill_mid_chunk, "holds, moves on", _start_again, remote=True),
    Case("connection cut", "server", _cut, "moves on", _well, also=HOLDS, remote=True),
    Case("server unreachable for 1.2 s", "server", _gone, "holds, moves on", _well, remote=True),
    Case("network silent for 2 s", "server", _silent, "holds, moves on", _well, lasts_s=2.0, remote=True),
    _slow(0.0, "moves on"),
    _slow(0.1, "moves on", also=HOLDS),
    _slow(0.2, "moves on", also=HOLDS),
    _slow(0.5, "holds, moves on"),
)  # fmt: skip


def _main() -> None:
    from policies.serving.options import Limits, Serving
    from policies.serving.protocol import Facts
    from policies.serving.server import Address, serve

    def outlive_nobody() -> None:
        sys.stdin.read()  # ends when whoever started this is gone
        os._exit(0)

    threading.Thread(target=outlive_nobody, daemon=True).start()
    limits = Limits(batch=1, wait_ms=0.0)

    def ready(address: Address, facts: Facts) -> None:
        print(address.port, flush=True)

    serve(Waving(), Serving(port=0, limits=limits), ready)


if __name__ == "__main__":
    _main()
