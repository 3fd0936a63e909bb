"""An arm in numpy that does just what it is told, a clock that only a test moves, and all around them."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vla.arm import ArmFault, ArmSpec, Joint, Picture, Positions, Reading
from vla.interfaces import ActionChunk, Observation

DIM = 3


def spec(cameras: Sequence[str] = ("front",), hz: float = 50.0, robot: str = "perfect") -> ArmSpec:
    joints = tuple(Joint(f"j{i}", "deg", -1e6, 1e6, 1e5, 1e7, 1e9) for i in range(DIM))
    return ArmSpec(robot, joints, hz, tuple(cameras))


def modest(cameras: Sequence[str] = ("front",), hz: float = 50.0) -> ArmSpec:
    """With limits such as real joints have."""
    joints = tuple(Joint(f"j{i}", "deg", -180, 180, 150, 1500, 30_000) for i in range(DIM))
    return ArmSpec("perfect", joints, hz, tuple(cameras))


class Clock:
    """Seconds that pass only when somebody sleeps, or a test says so."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now
        self.slept: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        time.sleep(0)  # other threads have a turn
        for each in self.slept:
            each()


class PerfectArm:
    """Is at once where it is told to be. Faults are set by attributes; `threads` is who has touched it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, arm_spec: ArmSpec | None = None) -> None:
        self.clock, self._spec = clock, arm_spec or spec()
        self.at: Positions = np.zeros(len(self._spec.joints))
        self.commands: list[tuple[float, Positions]] = []
        self.holds = 0
        self.events: list[str] = []
        self.threads: set[int] = set()
        self.on_read: Callable[[], None] = lambda: None
        self.unreadable = self.deaf = ""
        self.said: list[str] = []
        self.shift: Positions | float = 0.0
        self.age = self.picture_age = 0.0
        self.frozen = False
        self.gone: set[str] = set()
        self._count = 0

    @property
    def spec(self) -> ArmSpec:
        return self._spec

    def connect(self) -> None:
        self._touch()

    def read(self) -> Reading:
        self._touch()
        self.on_read()
        if self.unreadable:
            raise ArmFault(self.unreadable)
        return Reading(self.at + self.shift, self.clock() - self.age)

    def pictures(self) -> Mapping[str, Picture]:
        self._count += not self.frozen
        pixels = np.full((8, 8, 3), self._count % 251, np.uint8)
        found = {name: Picture(pixels, self.clock() - self.picture_age) for name in self._spec.cameras}
        return {name: picture for name, picture in found.items() if name not in self.gone}

    def command(self, positions: Positions) -> None:
        self._touch()
        if self.deaf:
            raise ArmFault(self.deaf)
        self.commands.append((self.clock(), positions.copy()))
        self.events.append("command")
        self.at = positions.copy()

    def hold(self) -> None:
        self._touch()
        self.events.append("hold")
        self.holds += 1

    def faults(self) -> Sequence[str]:
        self._touch()
        return tuple(self.said)

    def disconnect(self, release: bool = False) -> None:
        self._touch()

    def _touch(self) -> None:
        self.threads.add(threading.get_ident())


class Nothing(NamedTuple):
    kind: str
    joint: str
    detail: str


class Decided(NamedTuple):
    command: Positions
    held: bool
    interventions: tuple[Nothing, ...]


class Brakes:
    """Lets everything through; on a hold it halves the speed each tick, then stands."""

    def __init__(self) -> None:
        self.asked: list[tuple[Positions | None, int]] = []
        self.refused = ""

    def start(self, measured: Positions) -> None:
        self.at, self.speed = measured.copy(), np.zeros(len(measured))

    def refuse(self, chunk: ActionChunk) -> str:
        return self.refused

    def decide(self, wanted: Positions | None, measured: Positions, dt_steps: int = 1) -> Decided:
        self.asked.append((None if wanted is None else wanted.copy(), dt_steps))
        if wanted is None:
            self.speed = np.where(np.abs(self.speed) < 1e-3, 0.0, self.speed / 2)
            self.at = self.at + self.speed
        else:
            self.speed, self.at = wanted - self.at, wanted.copy()
        return Decided(self.at.copy(), wanted is None, ())


class Guarded:
    """A GuardedArm with those brakes."""

    def __init__(self, arm: PerfectArm) -> None:
        self.arm, self.filter = arm, Brakes()
        self.reasons: list[str] = []

    @property
    def spec(self) -> ArmSpec:
        return self.arm.spec

    def read(self) -> Reading:
        return self.arm.read()

    def pictures(self) -> Mapping[str, Picture]:
        return self.arm.pictures()

    def faults(self) -> Sequence[str]:
        return self.arm.faults()

    def hold(self, reason: str) -> None:
        self.reasons.append(reason)
        self.arm.hold()

    def act(self, wanted: Positions | None, reading: Reading, dt_steps: int = 1) -> Decided:
        decision = self.filter.decide(wanted, reading.positions, dt_steps)
        self.arm.command(decision.command)
        return decision


class Button:
    """An emergency stop."""

    pressed = ""


class Notes:
    """A RunLog that keeps what it is told."""

    def __init__(self) -> None:
        self.trouble = ""
        self.steps: list[int] = []
        self.ticks: list[tuple[Positions | None, object]] = []
        self.chunks: list[tuple[int, int]] = []
        self.events: list[tuple[str, str]] = []

    def step(
        self,
        number: int,
        observation: Observation,
        reading: Reading,
        wanted: Positions | None,
        decision: object,
    ) -> None:
        assert observation.frame_index == number
        self.steps.append(number)

    def tick(self, time: float, reading: Reading, wanted: Positions | None, decision: object) -> None:
        self.ticks.append((wanted, decision))

    def chunk(self, asked: int, answered: int, seconds: float, chunk: ActionChunk) -> None:
        self.chunks.append((asked, answered))

    def event(self, time: float, kind: str, text: str) -> None:
        self.events.append((kind, text))
