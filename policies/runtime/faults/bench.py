"""The parts of one run that a fault can lay hands on, and how they are put together anew for each trial."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from policies.base import Policy
from policies.runtime.chunking import Chunking
from policies.runtime.control import Control, ControlLoop, Watch
from policies.runtime.faults.recorder import Recorder
from policies.runtime.faults.sabotage import Sabotaged, Waving
from vla.arm import Arm

__all__ = ["ArmWithFaults", "Bench", "JumpingClock", "Make", "control_of", "put_together"]


class ArmWithFaults(Arm, Protocol):
    """An arm that can be given faults (`envs.arms.faulty`): `cause` one of them by name, `clear` all."""

    def cause(self, kind: str, **details: Any) -> None: ...

    def clear(self) -> None: ...


Make = Callable[[Callable[[], float]], ArmWithFaults]
"""A new arm, not connected yet, whose times are of the given clock."""


class JumpingClock:
    """``time.monotonic``, until it is made to jump."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def jump(self, seconds: float) -> None:
        """Be so much later from now on, or earlier."""
        self._ahead += seconds


@dataclass
class Bench:
    """One run, ready to begin.

    over: set to a sentence, the run ends as it was meant to. proxy, server: between policy and loop, in
    trials of a server. folder: of this trial. undo: called at the end, whatever happened. ended: the run has.
    """

    arm: ArmWithFaults
    recorder: Recorder
    policy: Sabotaged
    loop: ControlLoop
    stop: Any
    log: Any
    hz: float
    folder: Path
    clock: JumpingClock
    over: str = ""
    proxy: Any = None
    server: Any = None
    undo: list[Callable[[], None]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


def control_of(hz: float) -> Control:
    """The loop's settings of a trial: short times, so that a trial takes seconds, but for the watchdog, whose
    limits are those that a real arm has."""
    return Control(
        hz=hz, policy_hz=20.0, seconds=60.0, ramp=0.2, settle=0.3, brake=2.0, threads=None, watch=Watch()
    )


@contextlib.contextmanager
def put_together(
    make: Make,
    folder: Path,
    hz: float = 50.0,
    *,
    remote: Callable[[Policy], contextlib.AbstractContextManager[tuple[Any, Any, Any]]] | None = None,
    control: Control | None = None,
) -> Iterator[Bench]:
    """A whole run on a new arm: guarded, logged, with an emergency stop by file and socket.

    remote: puts a server between: (the policy to use, the proxy, the server).
    """
    from policies.runtime.log import LogOptions, RunLog
    from policies.runtime.safety import EmergencyStop, GuardedArm, Safety, StopSources

    stops = StopSources(keys="", file=folder / "stop", port=0)
    safety, control = Safety(stop=stops, ramp_seconds=0.2, following=0.04), control or control_of(hz)
    clock = JumpingClock()
    arm = make(clock)
    recorder = Recorder(arm)
    guarded = GuardedArm(recorder, safety, hz)
    guarded.connect()
    with contextlib.ExitStack() as stack:
        stack.callback(guarded.disconnect, False)
        policy: Any = Waving()
        proxy = server = None
        if remote is not None:
            policy, proxy, server = stack.enter_context(remote(policy))
        sabotaged = Sabotaged(policy)
        stack.callback(sabotaged.free)
        stop = stack.enter_context(EmergencyStop(stops))
        options = LogOptions(folder=folder, reserve_mb=0.0)
        log = RunLog(folder / "run", guarded.spec, "wave", 20.0, {"policy": "waving"}, options=options)
        bench: Bench
        loop = ControlLoop(
            guarded,
            sabotaged,
            Chunking(),
            control,
            "wave",
            stop=stop,
            log=log,
            until=lambda: bench.over,
            clock=clock,
        )
        bench = Bench(
            arm, recorder, sabotaged, loop, stop, log, hz, folder, clock, proxy=proxy, server=server
        )
        try:
            yield bench
        finally:
            for each in bench.undo:
                each()
            arm.clear()
