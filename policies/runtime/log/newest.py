"""A log that also remembers what was decided last, for whoever shows it; it logs only if there is a log."""

from typing import TYPE_CHECKING

from policies.runtime.log.runlog import RunLog
from vla.arm import Positions, Reading
from vla.interfaces import ActionChunk, Observation

if TYPE_CHECKING:
    from policies.runtime.safety import Decision

__all__ = ["NewestTick"]


class NewestTick:
    """Passes all on to `log`. newest: measured, wanted (None: hold) and sent; None before the first."""

    def __init__(self, log: RunLog | None) -> None:
        self._log = log
        self.newest: tuple[Positions, Positions | None, Positions] | None = None

    @property
    def trouble(self) -> str:
        """See RunLog."""
        return "" if self._log is None else self._log.trouble

    def step(
        self,
        number: int,
        observation: Observation,
        reading: Reading,
        wanted: Positions | None,
        decision: "Decision",
    ) -> None:
        """See RunLog."""
        if self._log is not None:
            self._log.step(number, observation, reading, wanted, decision)

    def tick(self, time: float, reading: Reading, wanted: Positions | None, decision: "Decision") -> None:
        """See RunLog."""
        self.newest = reading.positions, wanted, decision.command
        if self._log is not None:
            self._log.tick(time, reading, wanted, decision)

    def chunk(self, asked: int, answered: int, seconds: float, chunk: ActionChunk) -> None:
        """See RunLog."""
        if self._log is not None:
            self._log.chunk(asked, answered, seconds, chunk)

    def event(self, time: float, kind: str, text: str) -> None:
        """See RunLog."""
        if self._log is not None:
            self._log.event(time, kind, text)
