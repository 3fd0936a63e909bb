"""Who is served and what waits: sessions with a lane each, and a bounded queue that gives out batches.

Whoever submits is let in or refused at once. `next`, for the one thread that works, waits for a batch to
fill, but no longer than `Limits.wait_ms`, and not for sessions that do not ask.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from policies.serving.batching import Job, Session, company, take
from policies.serving.errors import Overloaded, Stopping, UnknownSession
from policies.serving.metrics import Metrics
from policies.serving.options import Limits

__all__ = ["Queue"]

_LATELY = 1.0
"""Seconds for which a client that asked is expected to ask again soon."""
_LOOK = 0.5
"""Seconds between two looks at sessions that have gone silent."""


class Queue:
    """Sessions and their requests within `limits`. All methods may be called from any thread; `next` alone
    waits. clock: seconds. It never answers a request: what it takes out again it returns.
    """

    def __init__(self, limits: Limits, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._limits, self._metrics, self._clock = limits, metrics, clock
        self._lock = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._sessions: set[Session] = set()
        self._lanes = deque(range(limits.sessions))
        self._ended = False
        self.stopping = False

    def __len__(self) -> int:
        """Requests that wait for the policy."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no session is left."""
        return not self._lanes

    @property
    def unanswered(self) -> int:
        """Requests that are not answered yet, those in the policy's hands included."""
        with self._lock:
            return sum(session.waiting for session in self._sessions)

    # -- sessions -----------------------------------------------------------------------------------

    def open(self, protocol: str, seed: int) -> Session:
        """A session of its own lane, whose first request is to begin. Raises Overloaded, Stopping."""
        with self._lock:
            self._end_silent()
            if self.stopping:
                raise Stopping("the server is stopping")
            if not self._lanes:
                raise Overloaded(f"all {self._limits.sessions} sessions are taken; close one, or come later")
            session = Session(self._lanes.popleft(), protocol, self._clock())
            self._sessions.add(session)
            self._metrics.sessions.set(len(self._sessions))
            self._put(Job("begin", session, self._clock(), seed=seed))
        return session

    def end(self, session: Session, why: str) -> list[Job]:
        """Give its lane back; returns what it still waited for."""
        with self._lock:
            if session.ended:
                return []
            session.ended = why
            gone = [job for job in self._waiting if job.session is session]
            self._waiting = deque(job for job in self._waiting if job.session is not session)
            self._sessions.discard(session)
            self._lanes.append(session.lane)  # the longest unused lane is taken next
            self._put(Job("forget", session, self._clock()))
            self._metrics.sessions.set(len(self._sessions))
            return gone

    def _end_silent(self) -> None:
        now, most = self._clock(), self._limits.idle_s
        for session in [s for s in self._sessions if not s.waiting and now - s.used > most]:
            self.end(session, f"the session was silent for {most:g} s and was ended; connect again")

    # -- requests -----------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Have it wait for its turn. Raises Overloaded, UnknownSession, Stopping; nothing was queued then."""
        session = job.session
        with self._lock:
            if self.stopping:
                raise Stopping("the server is stopping")
            if session.ended:
                raise UnknownSession(session.ended)
            if session.waiting >= self._limits.one_waiting:
                raise Overloaded(f"{session.waiting} requests of this session wait already; slow down")
            if len(self._waiting) >= self._limits.waiting:
                raise Overloaded(f"{len(self._waiting)} requests wait already; ask again a little later")
            session.used = job.asked
            session.asked = job.asked if job.kind == "act" else session.asked
            self._put(job)

    def next(self) -> list[Job] | None:
        """What to do now; None: nothing any more."""
        with self._lock:
            while not self._waiting and not self._ended:
                self._lock.wait(_LOOK)
                self._end_silent()
            until = time.monotonic() + self._limits.wait_ms / 1000
            while not self._ended and (left := until - time.monotonic()) > 0:
                since = self._clock() - _LATELY
                expected = sum(s.asked > since and not s.alone for s in self._sessions)
                if company(self._waiting) >= min(expected, self._limits.batch):
                    break
                self._lock.wait(left)
            if self._ended:
                return None
            jobs = take(self._waiting, self._limits.batch)
            self._metrics.queue.set(len(self._waiting))
            return jobs

    def finished(self, job: Job) -> None:
        """It is answered, or given up."""
        with self._lock:
            job.session.waiting -= 1

    def close(self) -> list[Job]:
        """`next` gives nothing any more; returns what still waited."""
        with self._lock:
            self.stopping = self._ended = True
            gone, self._waiting = list(self._waiting), deque()
            self._lock.notify_all()
        return gone

    def _put(self, job: Job) -> None:
        job.session.waiting += 1
        self._waiting.append(job)
        self._metrics.queue.set(len(self._waiting))
        self._lock.notify_all()
