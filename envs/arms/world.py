"""The thread that owns a simulated world and its GL context, and lets it live on the wall clock.

What it publishes (the newest reading, the newest pictures) is replaced as a whole, and what it is told (the
newest command) likewise, so that nobody waits for anybody. Everything else is asked of it: a function is put
in a queue, and run where the environment lives.

A world that is late catches up, several steps at once. So what it publishes has the time that it is of, not
that at which it was computed: seen by these times nothing ever moves faster than the world's own physics.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import Any

from envs.arms.stepping import Steps
from vla.arm import ArmFault, Picture, Positions, Reading
from vla.errors import BadInput

__all__ = ["LiveWorld"]

CATCH_UP_S = 0.25
"""A world that is later than this lets the time go: its seconds are then longer than the wall's."""

_NOTHING = object()
_Request = tuple[Callable[[Steps], Any], "Future[Any]"]


class LiveWorld:
    """A world that `make` makes, in its thread.

    lockstep: it moves when `tick` is asked of it, and at no other time. patience_s: without an answer for so
    long it counts as dead. catch_up_s: how late it may be and still make up for it. wanted: the newest
    command; None: stay. began: whether time passes in it. reading, pictures: the newest. failure: why it
    died, if it did. slipped_s: seconds it fell behind.
    """

    def __init__(
        self,
        make: Callable[[], Steps],
        lockstep: bool,
        patience_s: float,
        clock: Callable[[], float],
        catch_up_s: float = CATCH_UP_S,
    ) -> None:
        self._make, self._lockstep, self._patience_s, self._clock = make, lockstep, patience_s, clock
        self._catch_up_s, self._due = catch_up_s, clock()
        self.wanted: Positions | None = None
        self.began = False
        self.reading: Reading
        self.pictures: Mapping[str, Picture] = {}
        self.failure, self.slipped_s, self._looks = "", 0.0, 0
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, name="world", daemon=True)

    # -- for others -------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the world; returns when it lives. Raises what making it raised."""
        self._thread.start()
        self._wait(self._opened)

    def stop(self) -> None:
        """End it, and wait until its environment is closed."""
        self._requests.put(None)
        if self._thread.is_alive():
            self._thread.join(self._patience_s)

    def ask(self, function: Callable[[Steps], Any]) -> Any:
        """What the function says, run between two ticks. Raises what it raises, and ArmFault if the world is
        dead or does not answer."""
        future: Future[Any] = Future()
        self._requests.put((function, future))
        return self._wait(future)

    def tick(self, steps: Steps) -> None:
        """Let the world move once (in its thread: to be asked)."""
        wanted = self.wanted
        looked = steps.tick(steps.positions if wanted is None else wanted)
        self._publish(steps, looked, self._clock() if self._lockstep else self._due)

    def lay(self, steps: Steps) -> None:
        """Another table lies there (in its thread: to be asked): nothing is to be made up for."""
        self._due = self._clock()
        self._publish(steps, True, self._due)

    def _publish(self, steps: Steps, looked: bool, when: float) -> None:
        """Make known where the joints are at `when`; looked: and what the cameras saw, another picture though
        it may look the same."""
        if looked:
            self._looks += 1
            number = None if self._lockstep else self._looks
            self.pictures = {name: Picture(it, when, number) for name, it in steps.pictures.items()}
        self.reading = Reading(steps.positions, when)

    def _wait(self, future: "Future[Any]") -> Any:
        end = time.monotonic() + self._patience_s
        while time.monotonic() < end:
            try:
                return future.result(timeout=0.1)
            except NotInTime:
                if not self._thread.is_alive() and not future.done():
                    raise ArmFault(self.failure or "the simulated world is closed") from None
        raise ArmFault(f"the simulated world did not answer in {self._patience_s:g} s")

    # -- the thread -------------------------------------------------------------------------------

    def _live(self) -> None:
        steps: Steps | None = None
        try:
            steps = self._make()
            self.lay(steps)
            self._opened.set_result(None)
            self._run(steps)
        except BaseException as error:
            self.failure = f"the simulated world died: {type(error).__name__}: {error}"
            if not self._opened.done():
                self._opened.set_exception(error)
        finally:
            if steps is not None:
                steps.env.close()

    def _run(self, steps: Steps) -> None:
        period = 1.0 / steps.rate
        while True:
            request = self._next(None if self._lockstep else max(self._due - self._clock(), 0.0))
            if request is None:
                return
            if request is not _NOTHING:
                _serve(request, steps)
                continue
            if self.began:
                self.tick(steps)
            else:
                self._publish(steps, True, self._due)
            self._due += period
            late = self._clock() - self._due
            if late > self._catch_up_s or late < -2 * period:  # or the clock was set back
                self.slipped_s += abs(late)
                self._due += late

    def _next(self, timeout: float | None) -> Any:
        try:
            return self._requests.get(timeout=timeout)
        except queue.Empty:
            return _NOTHING


def _serve(request: _Request, steps: Steps) -> None:
    """Answer it. A mistake is the asker's, and the world goes on; anything else is the end of it."""
    function, future = request
    try:
        future.set_result(function(steps))
    except BadInput as error:
        future.set_exception(error)
    except Exception as error:
        future.set_exception(ArmFault(f"the simulated world died: {type(error).__name__}: {error}"))
        raise
