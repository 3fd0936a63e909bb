"""How far a long work on a log is: nothing for one of a few seconds, then a line every few seconds."""

import sys
import time
from collections.abc import Callable

__all__ = ["Progress", "aside"]

_EVERY_S = 3.0


def aside(line: str) -> None:
    """Say it to people, not to what reads this program's output."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """say: told a line of ``what, 42 %`` whenever `at` is called and one is due."""

    def __init__(
        self, say: Callable[[str], None] = aside, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock, self._due = say, clock, clock() + _EVERY_S

    def at(self, what: str, done: float, of: float) -> None:
        """done of `of`, in any unit."""
        now = self._clock()
        if now >= self._due:
            self._due = now + _EVERY_S
            self._say(f"{what}, {100 * done / max(of, 1):.0f} %")
