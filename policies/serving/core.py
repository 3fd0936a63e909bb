"""A policy served to many clients, without a wire: sessions, a bounded queue, batches, typed refusals.

One worker thread alone calls the policy. Whoever asks gets a future at once, or a refusal at once: nothing
here waits for a client, and no client for another's connection. What is asked together is answered together:
the worker waits for a batch to fill, but no longer than `Limits.wait_ms`, and not for those that do not ask.

If the policy raises on a batch, each of it is asked again alone, so that one client's sentence with an
unknown word is only its own; from then on that session is alone until it is answered well.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from policies.base import Continuing, Policy, Seeded, Watcher
from policies.serving.batching import Job, Session, company, take
from policies.serving.errors import (
    BadObservation,
    Held,
    Late,
    Overloaded,
    PolicyFailed,
    Refusal,
    Stopping,
    UnknownSession,
)
from policies.serving.judging import facts_of, safe, told
from policies.serving.metrics import Metrics
from policies.serving.options import Limits
from vla.errors import BadInput, UndecodableChunk
from vla.interfaces import ActionChunk, InFlight, Observation

__all__ = ["Core"]

_LATELY = 1.0
"""Seconds for which a client that asked is expected to ask again soon."""
_LOOK = 0.5
"""Seconds between two looks at sessions that have gone silent."""


class Core:
    """Serves `policy` within `limits`. A context manager, which starts and ends its worker.

    All methods may be called from any thread and return at once. clock: seconds, for tests.
    """

    def __init__(
        self, policy: Policy, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.policy, self.limits, self._clock = policy, limits or Limits(), clock
        self.metrics = Metrics()
        self.facts = facts_of(policy)
        self._lock = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._sessions: set[Session] = set()
        self._lanes = deque(range(self.limits.sessions))
        self._seeds = itertools.count()
        self._stopping, self._ended = False, False
        self._busy_since: float | None = None
        self._worker = threading.Thread(target=self._work, name="serving", daemon=True)
        policy.reset(self.limits.sessions)

    # -- what clients ask -------------------------------------------------------------------------

    def open(self, protocol: str, seed: int | None = None) -> Session:
        """A session of its own lane. seed: of what the policy draws; None: a new one. Raises Overloaded."""
        with self._lock:
            self._end_silent()
            if self._stopping:
                raise Stopping("the server is stopping")
            if not self._lanes:
                raise Overloaded(f"all {self.limits.sessions} sessions are taken; close one, or come later")
            session = Session(self._lanes.popleft(), protocol, self._clock())
            self._sessions.add(session)
            self.metrics.sessions.set(len(self._sessions))
            self._put(Job("begin", session, self._clock(), seed=self._seed(seed)))
        return session

    def end(self, session: Session, why: str = "the session was ended") -> None:
        """Give its lane back; what it still waits for is refused."""
        with self._lock:
            if session.ended:
                return
            session.ended = why
            gone = [job for job in self._waiting if job.session is session]
            self._waiting = deque(job for job in self._waiting if job.session is not session)
            self._sessions.discard(session)
            self._lanes.append(session.lane)  # the longest unused lane is taken next
            self._put(Job("forget", session, self._clock()))
            self.metrics.sessions.set(len(self._sessions))
        self._refuse(gone, UnknownSession(why))

    def begin(self, session: Session, seed: int | None = None) -> "Future[None]":
        """A new episode: what was seen and drawn in the session is over."""
        return self._submit(Job("begin", session, self._clock(), seed=self._seed(seed)))

    def observe(self, session: Session, observation: Observation) -> "Future[None]":
        """Show the policy a control step for which no chunk is asked."""
        return self._submit(Job("observe", session, self._clock(), observation=observation))

    def act(
        self,
        session: Session,
        observation: Observation,
        in_flight: InFlight | None = None,
        *,
        seconds: float | None = None,
        watched: bool = False,
    ) -> "Future[ActionChunk]":
        """A chunk. seconds: for the answer; None: as `Limits.answer_s`. watched: see `Job`.

        Raises Overloaded, UnknownSession, Stopping; the future may raise those, Late, BadObservation and
        PolicyFailed.
        """
        now = self._clock()
        allowed = self.limits.answer_s if seconds is None else min(seconds, self.limits.answer_s)
        self.metrics.requests.labels(session.protocol).inc()
        job = Job("act", session, now, now + allowed, observation, in_flight, watched=watched)
        return self._submit(job)

    def refused(self, protocol: str, error: BadInput) -> None:
        """Count a refusal, once; a policy that holds is counted by itself."""
        if isinstance(error, Refusal):
            if error.counted or isinstance(error, Held):
                return
            error.counted = True
        kind = error.kind if isinstance(error, Refusal) else BadObservation.kind
        self.metrics.errors.labels(protocol, kind).inc()

    # -- its state --------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether no session is left."""
        return not self._lanes

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet, those in the policy's hands included."""
        with self._lock:
            return sum(session.waiting for session in self._sessions)

    def trouble(self) -> str:
        """Why it cannot serve now; empty where it can."""
        if not self._worker.is_alive():
            return "the worker has ended"
        if self._stopping:
            return "stopping"
        since = self._busy_since
        if since is not None and self._clock() - since > max(1.0, 2 * self.limits.answer_s):
            return f"the policy has not answered for {self._clock() - since:.0f} s"
        return ""

    def stop_asking(self) -> None:
        """From now on nothing new is accepted; what was accepted is answered."""
        with self._lock:
            self._stopping = True

    def start(self) -> "Core":
        """Start the worker."""
        self._worker.start()
        return self

    def close(self) -> None:
        """End the worker after what it is computing; what still waits is refused."""
        with self._lock:
            self._stopping = self._ended = True
            gone, self._waiting = list(self._waiting), deque()
            self._lock.notify_all()
        self._refuse(gone, Stopping("the server is stopping"))
        if self._worker.is_alive():
            self._worker.join()

    def __enter__(self) -> "Core":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the queue --------------------------------------------------------------------------------

    def _submit(self, job: Job) -> "Future[Any]":
        session = job.session
        try:
            with self._lock:
                if self._stopping:
                    raise Stopping("the server is stopping")
                if session.ended:
                    raise UnknownSession(session.ended)
                if session.waiting >= self.limits.one_waiting:
                    raise Overloaded(f"{session.waiting} requests of this session wait already; slow down")
                if len(self._waiting) >= self.limits.waiting:
                    raise Overloaded(f"{len(self._waiting)} requests wait already; ask again a little later")
                session.used = job.asked
                session.asked = job.asked if job.kind == "act" else session.asked
                self._put(job)
        except Refusal as error:
            self.refused(session.protocol, error)
            raise
        return job.future

    def _put(self, job: Job) -> None:
        job.session.waiting += 1
        self._waiting.append(job)
        self.metrics.queue.set(len(self._waiting))
        self._lock.notify_all()

    def _seed(self, seed: int | None) -> int:
        return next(self._seeds) if seed is None else seed

    def _end_silent(self) -> None:
        now, most = self._clock(), self.limits.idle_s
        for session in [s for s in self._sessions if not s.waiting and now - s.used > most]:
            self.end(session, f"the session was silent for {most:g} s and was ended; connect again")

    # -- the worker -------------------------------------------------------------------------------

    def _work(self) -> None:
        while (jobs := self._next()) is not None:
            now = self._clock()
            acts = []
            for job in jobs:
                if not job.future.set_running_or_notify_cancel():
                    self._finish(job)  # whoever asked is gone
                elif job.until < now:
                    self._answer(job, Late(f"no answer within {job.until - job.asked:.2f} s: too much to do"))
                elif self._prepare(job) and job.kind == "act":
                    acts.append(job)
            # In the order of their lanes, so that what the policy keeps of a row stays with its row.
            acts.sort(key=lambda job: job.session.lane)
            for job, result in zip(acts, self._infer(acts), strict=True):
                self._answer(job, result)
            self._busy_since = None

    def _next(self) -> list[Job] | None:
        """What to do now; None: nothing any more."""
        with self._lock:
            while not self._waiting and not self._ended:
                self._lock.wait(_LOOK)
                self._end_silent()
            until = time.monotonic() + self.limits.wait_ms / 1000
            while not self._ended and (left := until - time.monotonic()) > 0:
                since = self._clock() - _LATELY
                expected = sum(s.asked > since and not s.alone for s in self._sessions)
                if company(self._waiting) >= min(expected, self.limits.batch):
                    break
                self._lock.wait(left)
            if self._ended:
                return None
            self._busy_since = self._clock()
            jobs = take(self._waiting, self.limits.batch)
            self.metrics.queue.set(len(self._waiting))
            return jobs

    def _prepare(self, job: Job) -> bool:
        """Do what comes before the batch; whether the job may go on."""
        lane, policy = job.session.lane, self.policy
        try:
            if job.kind in ("begin", "forget"):
                if isinstance(policy, Watcher):
                    policy.forget(lane)
                if job.kind == "begin" and isinstance(policy, Seeded):
                    policy.begin(lane, job.seed)
            elif self.facts.watching and (job.kind == "observe" or job.watched):
                assert job.observation is not None and isinstance(policy, Watcher)
                policy.observe([job.observation], [lane])
        except Exception as error:
            self._answer(job, told(error))
            return False
        if job.kind != "act":
            self._answer(job, None)
        return True

    def _infer(self, jobs: Sequence[Job]) -> list[ActionChunk | Refusal]:
        """The policy's answer to each."""
        if not jobs:
            return []
        seen = [job.observation for job in jobs if job.observation is not None]
        lanes, plans = [job.session.lane for job in jobs], [job.in_flight for job in jobs]
        start = time.perf_counter()
        try:
            if self.facts.continues and any(plans) and isinstance(self.policy, Continuing):
                chunks = self.policy.act(seen, lanes, plans)
            else:
                chunks = self.policy.act(seen, lanes)
            if len(chunks) != len(jobs):
                raise RuntimeError(f"{len(chunks)} chunks for {len(jobs)} observations")
        except UndecodableChunk as error:
            if len(jobs) == 1:
                return [ActionChunk.holding(str(error), seen[0], self.facts.dim)]
        except Exception as error:
            if len(jobs) == 1:
                return [told(error)]
        else:
            self.metrics.inference.observe(time.perf_counter() - start)
            self.metrics.batch.observe(len(jobs))
            return [safe(chunk, o) for chunk, o in zip(chunks, seen, strict=True)]
        return [answer for job in jobs for answer in self._infer([job])]

    def _answer(self, job: Job, result: ActionChunk | Refusal | None) -> None:
        self._finish(job)
        session = job.session
        if isinstance(result, Refusal):
            session.alone = session.alone or isinstance(result, BadObservation | PolicyFailed)
            self.refused(session.protocol, result)
        elif result is not None:
            session.alone = False
            self.metrics.latency.labels(session.protocol).observe(self._clock() - job.asked)
            if result.hold:
                self.metrics.holds.labels(session.protocol).inc()
        if isinstance(result, Refusal):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)

    def _refuse(self, jobs: Sequence[Job], error: Refusal) -> None:
        for job in jobs:
            if job.future.set_running_or_notify_cancel():
                self._answer(job, type(error)(str(error)))
            else:
                self._finish(job)

    def _finish(self, job: Job) -> None:
        with self._lock:
            job.session.waiting -= 1
