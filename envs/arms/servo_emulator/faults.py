"""What can go wrong with a bus of servos, on command: on its wires, in a servo, at its plug."""

import math
import random
import threading
import time
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from vla.errors import BadInput, did_you_mean

__all__ = ["BusFault", "BusFaultKind", "BusFaults"]

BusFaultKind = Literal[
    "drop_bytes",  # an answer loses one of its bytes
    "corrupt",  # an answer has a wrong checksum
    "silent",  # no answer
    "late",  # an answer comes `amount` milliseconds late
    "garbage",  # bytes that mean nothing before and after an answer
    "overload",  # the servo protects itself: its torque falls to a fifth
    "overheat",  # the servo is `amount` degrees hot, and lets go
    "voltage",  # the supply has `amount` volts; of all servos
    "reboot",  # the servo loses power for a moment: its torque is off
    "unplug",  # the port is gone, until the fault is over
]
USUAL = {"late": 80.0, "overheat": 85.0, "voltage": 3.2}
"""Amounts where none is given."""


@dataclass(frozen=True)
class BusFault:
    """servo: its number; 0: each. for_s: how long it lasts. amount: see BusFaultKind.
    share: of the answers that it strikes. count: so many answers are struck, then it is over; 0: no such end.
    """

    kind: BusFaultKind
    servo: int = 0
    for_s: float = math.inf
    amount: float | None = None
    share: float = 1.0
    count: int = 0

    def __post_init__(self) -> None:
        kinds = typing.get_args(BusFaultKind)
        if self.kind not in kinds:
            raise BadInput(f"there is no fault '{self.kind}'{did_you_mean(str(self.kind), kinds)}")
        if not (self.for_s > 0 and 0 < self.share <= 1 and self.count >= 0 and self.servo >= 0):
            raise BadInput(f"fault '{self.kind}': for_s and share must be above 0, share at most 1: {self}")

    @property
    def size(self) -> float:
        """The amount, or what is usual for the kind."""
        return USUAL.get(self.kind, 0.0) if self.amount is None else self.amount


@dataclass
class _Active:
    fault: BusFault
    ends: float
    struck: int = 0


class BusFaults:
    """The faults that are on. Thread-safe. numbers: of the servos on the bus."""

    def __init__(
        self, numbers: Iterable[int], seed: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._numbers, self._clock, self._random = tuple(numbers), clock, random.Random(seed)
        self._active: list[_Active] = []
        self._lock = threading.Lock()

    def inject(self, fault: BusFault) -> None:
        """Let it begin. Raises BadInput for a servo that there is not."""
        if fault.servo and fault.servo not in self._numbers:
            known = ", ".join(map(str, self._numbers))
            raise BadInput(f"there is no servo {fault.servo} on the bus (there are: {known})")
        with self._lock:
            self._active.append(_Active(fault, self._clock() + fault.for_s))

    def clear(self) -> None:
        """All of them are over."""
        with self._lock:
            self._active = []

    def on(self, kind: BusFaultKind, servo: int = 0) -> BusFault | None:
        """The fault of this kind that is on (for this servo)."""
        with self._lock:
            for active in self._now():
                if active.fault.kind == kind and active.fault.servo in (0, servo):
                    return active.fault
        return None

    def take(self, kind: BusFaultKind) -> set[int]:
        """The servos that a fault of this kind strikes, which thereby is over."""
        with self._lock:
            found = [active for active in self._now() if active.fault.kind == kind]
            self._active = [active for active in self._active if active not in found]
        return {number for it in found for number in ([it.fault.servo] if it.fault.servo else self._numbers)}

    def strike(self, servo: int, answer: bytes) -> tuple[float, bytes]:
        """What becomes of a servo's answer on the wires: seconds that it is late, and its bytes."""
        late = 0.0
        with self._lock:
            for active in self._now():
                fault = active.fault
                fits = fault.servo in (0, servo) and self._random.random() < fault.share
                if not fits or fault.kind not in ("drop_bytes", "corrupt", "silent", "late", "garbage"):
                    continue
                active.struck += 1
                if fault.kind == "late":
                    late += fault.size / 1000
                else:
                    answer = self._spoil(fault.kind, answer)
            self._active = [it for it in self._active if not it.fault.count or it.struck < it.fault.count]
        return late, answer

    def _now(self) -> list[_Active]:
        now = self._clock()
        self._active = [active for active in self._active if active.ends > now]
        return self._active[:]

    def _spoil(self, kind: str, answer: bytes) -> bytes:
        if kind == "silent" or not answer:
            return b""
        if kind == "corrupt":
            return answer[:-1] + bytes((answer[-1] ^ (1 << self._random.randrange(8)),))
        if kind == "drop_bytes":
            lost = self._random.randrange(len(answer))
            return answer[:lost] + answer[lost + 1 :]
        return self._random.randbytes(self._random.randint(1, 8)) + answer + self._random.randbytes(3)
