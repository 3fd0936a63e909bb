"""The faults that every arm can be tried with. What each may do to a run is written beside it.

A hold takes as long as noticing takes (`Watch`) and braking within the limits after it. So the times allowed
here are the watchdog's limits and half a second on top.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

from policies.runtime.faults.bench import Bench
from policies.runtime.faults.sabotage import PolicyFault
from policies.runtime.faults.trial import Case, Expected

__all__ = ["BUS_CASES", "CASES"]

LOST = ("lost",)
HOLDS: tuple[Expected, ...] = ("holds, moves on",)
FAR, AFTER = {"amount": 90.0}, {"amount": 200.0}
ONCE = {"amount": 40.0}


JOINTS: dict[str, Any] = {"group": "joints"}
BLIND: dict[str, Any] = {"group": "joints", "blind": True}


def _arm(name: str, kind: str, expected: Expected, **settings: Any) -> Case:
    """A fault on the way to the arm; `details` go with it."""
    details = settings.pop("details", {})
    return Case(
        name,
        settings.pop("group", "arm"),
        lambda bench: bench.arm.cause(kind, **details),
        expected,
        lambda bench: bench.arm.clear(),
        **settings,
    )


def _policy(name: str, kind: PolicyFault, expected: Expected, **settings: Any) -> Case:
    def cause(bench: Bench) -> None:
        bench.policy.fault = kind

    return Case(name, "policy", cause, expected, lambda bench: bench.policy.free(), **settings)


def _camera(name: str, kind: str, expected: Expected, **settings: Any) -> Case:
    return _arm(name, kind, expected, group="camera", **settings)


def _interrupt(number: signal.Signals) -> Callable[[Bench], None]:
    return lambda bench: os.kill(os.getpid(), number)


def _touch(bench: Bench) -> None:
    (bench.folder / "stop").touch()


def _press(bench: Bench) -> None:
    bench.stop.press("key 'q'")


def _ring(bench: Bench) -> None:
    """Press the stop over its socket."""
    with socket.create_connection(("127.0.0.1", bench.stop.port), timeout=2.0) as line:
        line.sendall(b"stop\n")


def _suspend(bench: Bench) -> None:
    """Stand still as a whole for 0.8 s, as a machine that is suspended does."""
    pid = os.getpid()
    subprocess.Popen(["sh", "-c", f"kill -STOP {pid}; sleep 0.8; kill -CONT {pid}"]).wait()


def _full_disk(bench: Bench) -> None:
    """No file may grow any more: what is told then is what a full disk tells, under another name."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bench.undo.append(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
    largest = max((file.stat().st_size for file in bench.folder.rglob("*") if file.is_file()), default=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))


def _empty_disk(bench: Bench) -> None:
    while bench.undo:
        bench.undo.pop()()


def _busy(bench: Bench) -> None:
    """Something in this process keeps the interpreter to itself for half a second."""
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        sum(range(2_000_000))


CASES: tuple[Case, ...] = (
    _camera("camera freezes", "camera_frozen", "holds, moves on", within_s=1.2),
    _camera("last picture again as new", "camera_repeats", "holds, moves on", within_s=2.5, lasts_s=3.0),
    _camera("half of all pictures lost", "camera_drops", "moves on", details={"amount": 0.5}),
    _camera("all pictures lost", "camera_drops", "holds, moves on", within_s=1.2, details={"amount": 1.0}),
    _camera("black pictures", "camera_black", "holds, moves on", within_s=2.5, lasts_s=3.0),
    _camera("camera lost", "camera_gone", "holds, moves on", details={"camera": "wrist"}),
    _arm("one reading damaged", "read_fails_once", "moves on", **BLIND, also=HOLDS),
    _arm("each reading 5 ms late", "read_late", "moves on", **JOINTS, details={"amount": 5}),
    _arm("each reading 400 ms late", "read_late", "holds, moves on", **JOINTS, details={"amount": 400}),
    _arm("no reading for 0.6 s", "read_fails", "holds, moves on", **BLIND, lasts_s=0.6),
    _arm("no reading any more", "read_fails", "ends", **BLIND, lasts_s=3.0, endings=LOST),
    _arm("bus silent", "bus_silent", "ends", **BLIND, lasts_s=3.0, endings=LOST, details=AFTER),
    _arm("a joint reads NaN", "read_nan", "holds, moves on", **BLIND),
    _arm("one reading is 40 off", "read_jumps_once", "holds, moves on", **BLIND, details=ONCE),
    _arm("readings are 90 off and stay so", "read_jumps", "ends", **BLIND, details=FAR, lasts_s=3.0,
         within_s=1.0, endings=("trouble",)),
    _arm("old readings", "read_frozen", "holds, moves on", **JOINTS),
    _arm("commands refused for 0.6 s", "command_refused", "holds, moves on", lasts_s=0.6),
    _arm("arm disconnected", "connection_lost", "ends", lasts_s=3.0, within_s=1.5, endings=LOST),
    _arm("overload reported", "overload", "ends", lasts_s=3.0, within_s=1.7, endings=("trouble",)),
    _arm("over-temperature reported", "hot", "ends", lasts_s=3.0, within_s=1.7, endings=("trouble",)),
    _arm("joint blocked", "joint_blocked", "holds, moves on", lasts_s=2.5, within_s=2.0),
    _policy("NaN from the policy", "nan", "holds, moves on"),
    _policy("infinity from the policy", "infinite", "holds, moves on"),
    _policy("400 units away", "far", "holds, moves on"),
    _policy("from end to end at every step", "oscillating", "holds, moves on"),
    _policy("a joint missing from the chunk", "too_narrow", "holds, moves on"),
    _policy("undecodable chunk", "undecodable", "holds, moves on"),
    _policy("too uncertain chunk", "uncertain", "holds, moves on"),
    _policy("the policy says hold", "holding", "holds, moves on"),
    _policy("the policy raises", "raises", "ends", endings=("policy",)),
    _policy("the policy never answers again", "silent", "holds, moves on"),
    _policy("each answer takes 2 s", "slow", "holds, moves on", lasts_s=1.5),
    Case("emergency stop by file", "stop", _touch, "ends", endings=("emergency",)),
    Case("emergency stop by socket", "stop", _ring, "ends", endings=("emergency",)),
    Case("emergency stop by key", "stop", _press, "ends", endings=("emergency",)),
    Case("Ctrl-C", "stop", _interrupt(signal.SIGINT), "ends", endings=("interrupted",)),
    Case("SIGTERM", "stop", _interrupt(signal.SIGTERM), "ends", endings=("interrupted",)),
    Case("process suspended for 0.8 s", "machine", _suspend, "holds, moves on", within_s=1.8, blind=True),
    Case("disk full while logging", "machine", _full_disk, "ends", _empty_disk, lasts_s=3.0, within_s=1.7,
         endings=("trouble",)),
    Case("clock 3 s ahead", "machine", lambda bench: bench.clock.jump(3.0), "holds, moves on", blind=True),
    Case("clock 3 s back", "machine", lambda bench: bench.clock.jump(-3.0), "holds, moves on", blind=True),
    Case("interpreter busy for 0.5 s", "machine", _busy, "moves on", also=HOLDS),
)  # fmt: skip
"""In the order of the table."""


def _bus(name: str, kind: str, expected: Expected, **settings: Any) -> Case:
    return _arm(name, kind, expected, group="bus", blind=True, **settings)


BUS_CASES: tuple[Case, ...] = (
    _bus("a tenth of all answers damaged", "corrupt", "moves on", details={"share": 0.1}, also=HOLDS),
    _bus("a tenth of all answers lose a byte", "drop_bytes", "moves on", details={"share": 0.1}, also=HOLDS),
    _bus("every answer damaged", "corrupt", "ends", lasts_s=4.0, within_s=1.5, endings=LOST),
    _bus("a servo silent for 0.5 s", "silent", "holds, moves on", lasts_s=0.5, details={"servo": 2}),
    _bus("a servo silent", "silent", "ends", lasts_s=4.0, within_s=1.5, endings=LOST, details={"servo": 2}),
    _bus("a servo protects itself", "overload", "ends", lasts_s=4.0, within_s=2.0, details={"servo": 3}),
    _bus("a servo is too hot", "overheat", "ends", lasts_s=4.0, within_s=2.0, details={"servo": 3}),
    _bus("supply at 3.2 V", "voltage", "ends", lasts_s=4.0, within_s=2.0),
    _bus(
        "a servo loses power for a moment", "reboot", "ends", lasts_s=4.0, within_s=2.0, details={"servo": 3}
    ),
    _bus("serial port unplugged", "unplug", "ends", lasts_s=4.0, within_s=1.5, endings=LOST),
)
"""Faults of a servo bus: for the emulated SO-101 with LeRobot's driver."""
