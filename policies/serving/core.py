"""A policy served to many clients, without a wire: sessions, a bounded queue, batches, typed refusals.

One worker thread alone calls the policy (`asking`). Whoever asks gets a future at once, or a refusal at once
(`queue`): nothing here waits for a client, and no client for another's connection. What is asked together is
answered together.

Where the policy raised on what one session asked, that session is alone in its batches until it is answered
well.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from policies.base import Policy
from policies.serving.asking import Asker
from policies.serving.batching import Job, Session
from policies.serving.errors import (
    BadObservation,
    Held,
    Late,
    PolicyFailed,
    Refusal,
    Stopping,
    UnknownSession,
)
from policies.serving.judging import facts_of
from policies.serving.metrics import Metrics
from policies.serving.options import Limits
from policies.serving.queue import Queue
from vla.errors import BadInput
from vla.interfaces import ActionChunk, InFlight, Observation

__all__ = ["Core"]


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
        self._queue = Queue(self.limits, self.metrics, clock)
        self._asker = Asker(policy, self.facts, self.metrics)
        self._seeds = itertools.count()
        self._busy_since: float | None = None
        self._worker = threading.Thread(target=self._work, name="serving", daemon=True)
        policy.reset(self.limits.sessions)

    # -- what clients ask -------------------------------------------------------------------------

    def open(self, protocol: str, seed: int | None = None) -> Session:
        """A session of its own lane. seed: of what the policy draws; None: a new one. Raises Overloaded."""
        return self._queue.open(protocol, self._seed(seed))

    def end(self, session: Session, why: str = "the session was ended") -> None:
        """Give its lane back; what it still waits for is refused."""
        self._refuse(self._queue.end(session, why), UnknownSession(why))

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
        return self._queue.full

    @property
    def waiting(self) -> int:
        """Requests that are not answered yet, those in the policy's hands included."""
        return self._queue.unanswered

    def trouble(self) -> str:
        """Why it cannot serve now; empty where it can."""
        if not self._worker.is_alive():
            return "the worker has ended"
        if self._queue.stopping:
            return "stopping"
        since = self._busy_since
        if since is not None and self._clock() - since > max(1.0, 2 * self.limits.answer_s):
            return f"the policy has not answered for {self._clock() - since:.0f} s"
        return ""

    def stop_asking(self) -> None:
        """From now on nothing new is accepted; what was accepted is answered."""
        self._queue.stopping = True

    def start(self) -> "Core":
        """Start the worker."""
        self._worker.start()
        return self

    def close(self) -> None:
        """End the worker after what it is computing; what still waits is refused."""
        self._refuse(self._queue.close(), Stopping("the server is stopping"))
        if self._worker.is_alive():
            self._worker.join()

    def __enter__(self) -> "Core":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the worker -------------------------------------------------------------------------------

    def _submit(self, job: Job) -> "Future[Any]":
        try:
            self._queue.submit(job)
        except Refusal as error:
            self.refused(job.session.protocol, error)
            raise
        return job.future

    def _seed(self, seed: int | None) -> int:
        return next(self._seeds) if seed is None else seed

    def _work(self) -> None:
        while (jobs := self._queue.next()) is not None:
            now = self._busy_since = self._clock()
            acts = []
            for job in jobs:
                if not job.future.set_running_or_notify_cancel():
                    self._queue.finished(job)  # whoever asked is gone
                elif job.until < now:
                    self._answer(job, Late(f"no answer within {job.until - job.asked:.2f} s: too much to do"))
                elif (error := self._asker.prepare(job)) is not None or job.kind != "act":
                    self._answer(job, error)
                else:
                    acts.append(job)
            # In the order of their lanes, so that what the policy keeps of a row stays with its row.
            acts.sort(key=lambda job: job.session.lane)
            for job, result in zip(acts, self._asker.infer(acts), strict=True):
                self._answer(job, result)
            self._busy_since = None

    def _answer(self, job: Job, result: ActionChunk | Refusal | None) -> None:
        self._queue.finished(job)
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
                self._queue.finished(job)
