"""Faults of all kinds, with the real safety filter: held or ended as configured, within all limits."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arms import Clock, PerfectArm, modest
from test_control_loop import Bench, Planner, quick

from envs.arms.faulty import Fault, FaultyArm
from policies.runtime.control import RunResult, Watch
from policies.runtime.log import RunLog
from policies.runtime.safety import GuardedArm, Safety
from vla.arm import Picture

HZ = 50.0
BEGINS, LASTS = 2.0, 1.5


class Seeing(PerfectArm):
    """Its camera takes 30 pictures a second; one that was taken stays as it is."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, modest(hz=HZ))
        self.clock = clock

    def pictures(self) -> dict[str, Picture]:
        number = int(self.clock() * 30 + 1e-6)
        return {"front": Picture(np.full((8, 8, 3), number % 251, np.uint8), number / 30)}


class Real(Bench):
    """The bench with the real filter, and an arm that can be made faulty."""

    def __init__(self, control: Any = None, **more: Any) -> None:
        super().__init__(control, **more)
        self.arm = Seeing(self.clock)
        self.faulty = FaultyArm(self.arm, clock=self.clock, sleep=self.clock.sleep)
        guard = GuardedArm(self.faulty, Safety(ramp_seconds=0.0), HZ)
        guard.connect()
        self.arm.threads.clear()
        self.loop._arm = guard

    def run_with(self, fault: Fault) -> RunResult:
        self.at(BEGINS, lambda: self.faulty.inject(fault))
        return self.run()

    def moves(self) -> tuple[np.ndarray, np.ndarray]:
        """Times of the commands since the first tick, and the commands."""
        began = self.loop._tally.began
        return np.array([at - began for at, _ in self.arm.commands]), np.array(
            [c for _, c in self.arm.commands]
        )


def within_limits(commands: np.ndarray) -> None:
    spec = modest()
    for order, what in ((1, "speed"), (2, "acceleration")):
        found = np.abs(np.diff(commands, n=order, axis=0)).max(0) * HZ**order
        assert (found <= spec.limits(what) * (1 + 1e-6)).all(), what  # type: ignore[arg-type]


HELD = {
    "camera_frozen": ("camera", 0.0),
    "camera_repeats": ("frozen", 0.0),
    "camera_black": ("frozen", 0.0),
    "camera_gone": ("camera", 0.0),
    "read_fails": ("bus", 0.0),
    "read_nan": ("state", 0.0),
    "read_jumps": ("jump", 120.0),
    "read_frozen": ("reading", 0.0),
    "bus_silent": ("bus", 60.0),
    "command_refused": ("command", 0.0),
    "joint_blocked": ("safety", 0.0),
}


@pytest.mark.parametrize("kind", HELD)
def test_it_is_held_and_then_goes_on(kind: str) -> None:
    name, amount = HELD[kind]
    watch = Watch(lost=5.0, moved=5.0, camera=0.3, frozen=0.4, frozen_motion=0.01)
    more = {"safety": {"joint_blocked": 0.02}}
    bench = Real(quick(seconds=5.2, watch=watch), policy=Planner(16, 0.0))
    if kind in more["safety"]:
        guard = GuardedArm(bench.faulty, Safety(ramp_seconds=0.0, following=0.02), HZ)
        guard.connect()
        bench.loop._arm, bench.arm.threads = guard, set()
    result = bench.run_with(Fault(kind, for_s=LASTS, amount=amount))  # type: ignore[arg-type]
    assert result.ending.kind == "done" and result.holds[name] >= 1
    times, commands = bench.moves()
    held_by = BEGINS + 0.9
    quiet = commands[(times > held_by) & (times < BEGINS + LASTS)]
    if len(quiet):
        assert np.ptp(quiet, axis=0).max() < (0.5 if name == "safety" else 1e-6)
    again = commands[times > BEGINS + LASTS + 1.0]
    assert np.ptp(again, axis=0).max() > 3
    # A refused command is missing, a silent bus makes ticks long, a blocked joint leaps when let go.
    if kind not in ("command_refused", "bus_silent", "joint_blocked"):
        within_limits(commands)


@pytest.mark.parametrize(
    ("kind", "amount", "ending", "line"),
    [
        ("connection_lost", 0.0, "lost", "the arm is lost, no reading for 1.0"),
        ("read_fails", 0.0, "lost", "checksum does not match"),
        ("bus_silent", 100.0, "lost", "no answer from the arm within 100 ms"),
        ("command_refused", 0.0, "lost", "it has taken no command for 1.0"),
        ("overload", 0.0, "trouble", "servo 'j0': overload"),
        ("hot", 0.0, "trouble", "servo 'j0': 75 degrees hot"),
        ("read_jumps", 40.0, "trouble", "the arm was moved by force, or its encoder or horn slipped"),
    ],
)
def test_it_ends_the_run(kind: str, amount: float, ending: str, line: str) -> None:
    bench = Real()
    result = bench.run_with(Fault(kind, amount=amount))  # type: ignore[arg-type]
    assert result.ending.kind == ending and line in result.ending.why
    assert BEGINS < result.seconds < BEGINS + 1.4
    times, commands = bench.moves()
    after = commands[times >= BEGINS + 0.5]
    assert kind in ("overload", "hot") or not len(after) or np.ptp(after, axis=0).max() < 1e-6
    assert bench.arm.events[-1] == "hold" or "could not be told to hold" in result.notes[0]


@pytest.mark.parametrize(
    ("kind", "amount"), [("camera_drops", 0.5), ("read_late", 30.0), ("read_fails_once", 0.0)]
)
def test_what_a_run_survives(kind: str, amount: float) -> None:
    bench = Real()
    result = bench.run_with(Fault(kind, for_s=LASTS, amount=amount))  # type: ignore[arg-type]
    assert result.well
    if kind == "read_late":
        assert result.periods.missed > 20 and not set(result.holds) - {"start"}
    if kind == "read_fails_once":
        assert result.holds["bus"] == 1
    _, commands = bench.moves()
    assert commands[-1][0] > 15


@pytest.mark.parametrize("amount", [40.0, -150.0])
def test_a_single_wrong_reading_is_held_for_and_costs_no_more_than_that(amount: float) -> None:
    """Under load an answer of the bus was once 40 degrees off, then right again: that is no end of a run."""
    bench = Real()
    result = bench.run_with(Fault("read_jumps", for_s=0.9 / HZ, amount=amount))
    assert result.ending.kind == "done" and result.holds["jump"] == 1 and result.holds["settle"] >= 1
    times, commands = bench.moves()
    within_limits(commands)
    assert np.ptp(commands[times > BEGINS + 1.0], axis=0).max() > 3, "it has gone on"


@pytest.mark.parametrize("value", [np.nan, np.inf, 400.0])
def test_what_a_policy_must_not_ask_for_never_reaches_the_arm(value: float) -> None:
    class Hostile(Planner):
        def act(self, *more: Any) -> Any:
            [chunk] = super().act(*more)
            if chunk.frame_index > 15:
                chunk.actions[3:] = value
            return [chunk]

    bench = Real(policy=Hostile())
    result = bench.run()
    _, commands = bench.moves()
    assert result.well and np.isfinite(commands).all()
    assert (np.abs(commands) <= 180).all()
    within_limits(commands)
    if not np.isfinite(value):
        assert result.holds["plan"] > 50 and commands.max() < 30


def test_a_real_log_records_the_run(tmp_path: Path) -> None:
    bench = Real(quick(seconds=2.0))
    with RunLog(tmp_path / "run", modest(hz=HZ), "do it", 10.0, {}) as log:
        bench.loop._log = log
        result = bench.run_with(Fault("read_nan", for_s=0.2))
    assert result.well
    told = (tmp_path / "run").rglob("*.parquet")
    assert list(told) and not log.trouble


def test_interrupting_a_real_run_leaves_the_arm_at_rest() -> None:
    """On the real clock, fast motion, the signal comes from another thread's time: braked, then held."""
    import os
    import signal
    import threading

    from arms import Button

    from policies.runtime.chunking import Chunking
    from policies.runtime.control import Control, ControlLoop

    arm = PerfectArm(arm_spec=modest(hz=100.0))
    guard = GuardedArm(arm, Safety(ramp_seconds=0.0), 100.0)
    guard.connect()
    control = Control(policy_hz=20.0, seconds=30.0, ramp=0.0, threads=None)
    loop = ControlLoop(guard, Planner(16), Chunking(execute=8), control, "x", stop=Button())

    def interrupt() -> None:
        while not arm.commands or arm.commands[-1][1][0] < 2:  # however long that takes on a busy machine
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    hand = threading.Thread(target=interrupt, daemon=True)
    hand.start()
    began = time.monotonic()
    result = loop.run()
    hand.join()
    assert result.ending.kind == "interrupted" and time.monotonic() - began < 20
    commands = np.array([command for _, command in arm.commands])
    assert np.ptp(commands[:, 0]) > 1 and np.abs(commands[-1] - commands[-2]).max() < 1e-6
    assert arm.events[-1] == "hold"
