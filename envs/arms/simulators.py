"""The vendors' own simulators of their arms' controllers, each started by one call, on loopback.

Their ports are fixed by the vendors' protocols, so each simulator gets a loopback address of its own
(127.x.y.z, all of which are this machine on Linux): any number of them run side by side. They live in
environments of their own, as they clash with ours: ``scripts/peers trossen franka`` makes those.
"""

import contextlib
import ctypes
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vla.arm import ArmFault
from vla.errors import BadInput, did_you_mean

__all__ = ["SIMULATORS", "Running", "installed", "simulator"]


class Simulator(NamedTuple):
    """How to start one. command: program of its environment, then words; {address} is filled in. port: TCP.

    ready: what it writes when it listens.
    """

    peer: str
    command: tuple[str, ...]
    port: int
    ready: str


SIMULATORS = {
    "trossen": Simulator(
        "trossen", ("trossen-arm-sim", "--host", "{address}"), 50001, "Collision stream listening"
    ),
    "franka": Simulator(
        "franka", ("franky-sim", "--simulator", "mujoco", "--hostname", "{address}"), 1337, "Press Ctrl+C"
    ),
}
"""Arm (as `kind` says in conf/robot) -> its simulator."""


class Running(NamedTuple):
    """A simulator that runs. address: where its arm's driver finds it. log: the file it writes to."""

    address: str
    process: "subprocess.Popen[bytes]"
    log: Path


def installed(name: str) -> bool:
    """Whether its environment is made."""
    return _program(name).is_file()


def _program(name: str) -> Path:
    known = SIMULATORS.get(name)
    if known is None:
        raise BadInput(f"there is no simulator '{name}'{did_you_mean(name, SIMULATORS)}")
    root = Path(__file__).resolve().parents[2]
    return root / ".peers" / known.peer / "bin" / known.command[0]


@contextlib.contextmanager
def simulator(name: str, address: str | None = None, seconds: float = 90.0) -> Iterator[Running]:
    """Run the simulator of `name`, wait until it listens, end it at last.

    address: of loopback; None: one that nobody uses. Raises BadInput where its environment is not made or the
    address is taken, ArmFault where it is not ready after `seconds`.
    """
    program = _program(name)
    if not program.is_file():
        raise BadInput(f"the simulator '{name}' is not installed; run: scripts/peers {SIMULATORS[name].peer}")
    port = SIMULATORS[name].port
    address = _free(port) if address is None else address
    if not address.startswith("127.") or _taken(address, port):
        raise BadInput(f"address={address}: a free loopback address is needed (127.x.y.z); port {port}")
    words = [word.format(address=address) for word in SIMULATORS[name].command[1:]]
    python = program.with_name("python")
    with tempfile.NamedTemporaryFile(prefix=f"{name}-simulator-", suffix=".log") as log:
        process = subprocess.Popen(
            [str(python), "-u", str(program), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us to pass on
            preexec_fn=_end_with_us if sys.platform == "linux" else None,  # noqa: PLW1509 (it takes no lock)
        )
        try:
            _wait(name, process, seconds, Path(log.name))
            yield Running(address, process, Path(log.name))
        finally:
            _end(process)


_LIBRARY = ctypes.CDLL(None)


def _end_with_us() -> None:
    """Between fork and exec: the simulator is told to end when the thread that started it dies, however."""
    _LIBRARY.prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG


def _wait(name: str, process: "subprocess.Popen[bytes]", seconds: float, log: Path) -> None:
    """Until it says that it listens. No client of ours tries: some serve a single one."""
    until = time.monotonic() + seconds
    while SIMULATORS[name].ready not in (said := log.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > until:
            last = (said.strip().splitlines() or ["nothing"])[-1]
            how = "ended" if process.poll() is not None else f"is not ready after {seconds:g} s"
            raise ArmFault(f"the simulator '{name}' {how}; it said last: {last[:200]}")
        time.sleep(0.1)


def _taken(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return True
        return False


def _free(port: int) -> str:
    """A loopback address of which the port is free; at random, as others look for one, too."""
    draw = random.SystemRandom()
    for _ in range(64):
        address = f"127.{draw.randint(16, 254)}.{draw.randint(1, 254)}.{draw.randint(1, 254)}"
        if not _taken(address, port):
            return address
    raise ArmFault(f"no loopback address has a free port {port}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
