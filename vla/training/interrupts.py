"""SIGINT and SIGTERM ask a training to save and leave, at the end of a step."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["Interrupts"]


class Interrupts:
    """`asked` is the signal that came, 0 while none has. A second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt("stopped at once; the last checkpoint is whole")
        self.asked = number

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take both signals within."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)
