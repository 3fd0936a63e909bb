"""What the loop takes in at a tick, with the watchdog looking on: nothing unjudged gets past here."""

from collections.abc import Callable, Mapping

from policies.runtime.control.parts import Guard
from policies.runtime.control.watchdog import Watchdog
from vla.arm import ArmFault, Picture, Reading

__all__ = ["Senses"]


class Senses:
    """Of one arm. faults_every: seconds between two questions for its own faults."""

    def __init__(self, arm: Guard, dog: Watchdog, faults_every: float, clock: Callable[[], float]) -> None:
        self._arm, self._dog, self._clock = arm, dog, clock
        self._every, self._asked = faults_every, -float("inf")

    def read(self) -> Reading | None:
        """Where the joints are, if that can be believed."""
        asked = self._clock()
        try:
            reading = self._arm.read()
        except ArmFault as error:
            self._dog.unread(str(error), self._clock())
            return None
        self._dog.reading(reading, self._clock(), asked)
        return reading if self._dog.trusted is reading else None

    def look(self) -> Mapping[str, Picture]:
        """What the cameras show."""
        pictures = self._arm.pictures()
        self._dog.pictures(pictures, self._clock())
        return pictures

    def ask_faults(self, now: float) -> None:
        """Once in a while: what the arm says of itself."""
        if now - self._asked < self._every:
            return
        self._asked = now
        try:
            self._dog.faults(self._arm.faults())
        except ArmFault as error:
            self._dog.unread(str(error), self._clock())
