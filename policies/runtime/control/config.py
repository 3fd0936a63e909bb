"""The settings of the control loop (conf/control/*.yaml), torch-free."""

import math
import typing
from dataclasses import dataclass, field
from typing import Literal

from policies.runtime.control.interpolation import KINDS, Interpolation
from vla.checks import at_least, at_most
from vla.errors import BadInput, did_you_mean

__all__ = ["Control", "Kind", "Watch"]

Kind = Literal[
    "bus", "command", "reading", "state", "jump", "camera", "frozen", "answer", "fault", "clock", "log"
]


@dataclass(frozen=True)
class Watch:
    """What the watchdog takes for trouble. Times in seconds.

    reading: age of a joint reading. lost: time without any reading, or command taken: the arm is lost, which
    ends the run. jump: how many times its speed limit a joint may seem to move from one reading to the next.
    moved: how long readings must agree on a place that could not be reached so, until that is taken for
    true, which ends the run. camera: age of a camera's newest picture, and how long one that it counts may
    be repeated. frozen, frozen_motion: how long pictures that are not counted, or of one colour alone, may
    stay identical to the last pixel while a joint moves by that part of its range. answer: how long a
    question to the policy may be unanswered. faults: how often the arm is asked for its own faults. clock:
    how long the loop may stand still. final: the kinds of trouble that end the run; after any other the arm
    goes on once it is over.
    """

    reading: float = 0.25
    lost: float = 1.0
    jump: float = 1.5
    moved: float = 0.5
    camera: float = 0.5
    frozen: float = 1.0
    frozen_motion: float = 0.05
    answer: float = 3.0
    faults: float = 1.0
    clock: float = 0.5
    final: tuple[Kind, ...] = ("fault", "log")

    def __post_init__(self) -> None:
        times = ("reading", "lost", "moved", "camera", "frozen", "answer", "faults", "clock")
        at_least(self, 0.001, *times)
        at_least(self, 1.0, "jump")
        at_least(self, 0.0, "frozen_motion")
        for name in self.final:
            known = typing.get_args(Kind)
            if name not in known:
                raise BadInput(f"final cannot hold {name!r}{did_you_mean(name, known)}")


@dataclass(frozen=True)
class Control:
    """How an arm is run. Times in seconds.

    hz: commands a second; None: what the arm's adapter says suits it. policy_hz: control steps a second of
    the policy's plans; None: what it was trained with. seconds, steps: when to end; None: never.
    interpolation: see `Interpolator`. ramp: how long the first motion, and any after trouble, is faded in.
    settle: how long all must be well before the arm goes on after trouble. brake: the longest that braking
    within the limits may take at the end, before the arm is told to hold. release: let go of the torque at
    the end; else the arm stays where it is. dry_run: all as usual, but nothing is sent to the arm. seed: of
    what the policy draws. inference: in a ``thread`` of this process, or in a ``process`` of its own.
    threads: of torch; None: as they are. spin: see `Ticker`. priority: real-time priority of the control
    thread (1 to 99, where the system permits it); None: an ordinary thread. first_picture: how long cameras
    may take to give their first.
    """

    hz: float | None = None
    policy_hz: float | None = None
    seconds: float | None = 60.0
    steps: int | None = None
    interpolation: Interpolation = "linear"
    ramp: float = 1.0
    settle: float = 0.5
    brake: float = 2.0
    release: bool = False
    dry_run: bool = False
    seed: int = 0
    inference: Literal["thread", "process"] = "thread"
    threads: int | None = 1
    spin: float = 0.0
    priority: int | None = None
    first_picture: float = 10.0
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        if self.interpolation not in KINDS:
            known = did_you_mean(str(self.interpolation), KINDS)
            raise BadInput(f"interpolation cannot be {self.interpolation!r}{known}")
        if self.inference not in ("thread", "process"):
            raise BadInput(f"inference cannot be {self.inference!r}: thread or process")
        for name in ("hz", "policy_hz"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1000:
                raise BadInput(f"{name}={value}: a rate above 0 and up to 1000 is needed")
        if None not in (self.hz, self.policy_hz) and (self.policy_hz or 0) > (self.hz or math.inf):
            raise BadInput(
                f"policy_hz={self.policy_hz} is above hz={self.hz}: a step needs at least one command"
            )
        at_least(self, 0.0, "seconds", "ramp", "settle", "brake", "spin", "seed", "first_picture")
        at_least(self, 1, "steps", "threads", "priority")
        at_most(self, 99, "priority")
        at_most(self, 0.01, "spin")
