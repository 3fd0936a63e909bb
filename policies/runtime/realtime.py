"""Chunks on a real clock: inference in a thread of its own, commands at control rate from the caller's.

The stitching is that of simulated delays. What differs is that the delay is measured, and forecast from the
last few answers, rather than given. Only the caller's thread touches the plan and only the worker's touches
the policy; questions and answers pass between them in two queues, so nobody ever waits for a lock.

Rows are due by the number of the control step. Whoever keeps time says that number, so that a step which was
missed skips its row and does not shift the plan.
"""

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from policies.base import Continuing, Policy, Seeded, Watcher
from policies.runtime.chunking import Chunking, build_stitcher
from vla.errors import BadInput, UndecodableChunk
from vla.interfaces import ActionChunk, InFlight, Observation

__all__ = ["RealTimeRunner"]

REMEMBERED = 5
"""Answers whose latency the forecast looks at: it takes the slowest, as too short a delay costs more."""


@dataclass(frozen=True)
class _Job:
    """Something for the worker, in order. observation: None begins a new episode, the one of `seed`. acts:
    whether to answer.

    asked: when it was put in the queue, in which it may have to wait.
    """

    episode: int
    asked: float
    step: int = 0
    observation: Observation | None = None
    in_flight: InFlight | None = None
    acts: bool = False
    seed: int = 0


@dataclass(frozen=True)
class _Answer:
    episode: int
    step: int
    result: ActionChunk | Exception
    seconds: float  # from the question to the answer
    frame_index: int | None = None  # of the observation that was asked about


class RealTimeRunner:
    """Commands for one robot from one policy, without the robot ever waiting for the policy.

    Call ``action(observation)`` once a control step, `hz` times a second. chunking.delay is the forecast
    until an answer has been timed. dim: numbers an action has; None: as many as the first chunk's. seed: of
    what the policy draws in the first episode.
    Where there is no plan the last command is repeated (before any: the observed state). If the policy fails,
    the arm is held for good; ``error`` has what was raised, and ``close`` raises it.
    The runner is a context manager, which closes it. clock: seconds, for tests.
    refuse: why a chunk must not be executed, "" if it may; the arm is then held. answered: told of every
    answer that is not out of date, with the step asked about, the present one, and the seconds it took.
    Both are called from the caller's thread.
    """

    def __init__(
        self,
        policy: Policy,
        chunking: Chunking,
        hz: float,
        dim: int | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        seed: int = 0,
        refuse: Callable[[ActionChunk], str] = lambda chunk: "",
        answered: Callable[[int, int, float, ActionChunk], None] = lambda *answer: None,
    ) -> None:
        if not (math.isfinite(hz) and hz > 0):
            raise BadInput(f"hz={hz}: a control rate above 0 is needed")
        self.policy, self.hz, self._dim, self._clock = policy, hz, dim, clock
        self.terms = chunking.terms(policy)
        self._watching = isinstance(policy, Watcher) and policy.watching
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._episode, self._seed, self._closed = 0, seed, False
        self._step, self._began = 0, clock()
        self._refuse, self._answered = refuse, answered
        self._asked: float | None = None  # when the question was asked that waits for its answer
        self._working: float | None = None  # since when the policy has been computing; the worker's
        self._stitcher = build_stitcher(self.terms, dim)
        policy.reset(1)
        self._begin(seed)
        self._worker = threading.Thread(target=self._work, name="inference", daemon=True)
        self._worker.start()

    # -- the caller's side ------------------------------------------------------------------------

    def action(
        self, observation: Observation, step: int | None = None
    ) -> tuple[npt.NDArray[np.float32], str]:
        """The command of this control step, float32 ``[action_dim]``, and why the arm is held; empty where it
        is not. It is held before the first answer, when a chunk is used up, when the policy itself says so
        (`ActionChunk.hold`), when its answers take longer than its chunks last, and after it failed.

        step: its number in the episode, if the caller keeps time; None: one more than the last. The rows of
        steps that were passed over are never executed. An observation without a time and a number gets them.
        Raises BadInput after ``close``, for a step that is over, and where the arm is to be held before its
        first command by a state that is no action.
        """
        step = self._step if step is None else step
        self._begin_step(step)
        seen = self._stamped(observation, step)
        self._stitcher.see(seen.state)
        self._receive(step)
        delay = self.delay
        if self._error is None and self._stitcher.wants(step, delay):
            in_flight = self._stitcher.ask(step, delay, seen.state)
            self._asked = self._clock()
            self._jobs.put(_Job(self._episode, self._asked, step, seen, in_flight, acts=True))
        elif self._watching:
            self._jobs.put(_Job(self._episode, self._clock(), step, seen))
        action, chunk = self._stitcher.command(step)
        return action, chunk.hold and (_failure(self._error) if self._error else chunk.hold)

    def watch(self, observation: Observation, step: int) -> None:
        """This is seen at control step `step`, at which no command is wanted, as the arm is held: only a
        policy that looks back is told of it. Steps that nobody saw need not be told: it goes by their
        numbers. Raises BadInput as ``action`` does."""
        self._begin_step(step)
        if self._watching:
            self._jobs.put(_Job(self._episode, self._clock(), step, self._stamped(observation, step)))

    def new_episode(self, seed: int | None = None) -> None:
        """What was planned and seen is void, and answers still to come are dropped. A failure stays one.

        seed: of what the policy draws in it; None: the one after the last episode's.
        """
        self._episode += 1
        self._seed = self._seed + 1 if seed is None else seed
        self._step, self._began, self._asked = 0, self._clock(), None
        self._stitcher = build_stitcher(self.terms, self._dim)
        self._jobs.put(_Job(self._episode, self._clock(), seed=self._seed))

    def drop(self) -> None:
        """What was planned is void, and so is the answer to come: what they were made from cannot be trusted.

        The episode goes on; the next ``action`` asks anew, and holds until it is answered.
        """
        self._episode, self._asked = self._episode + 1, None
        fresh = build_stitcher(self.terms, self._dim)
        fresh.joins, fresh.holds = self._stitcher.joins, self._stitcher.holds
        self._stitcher = fresh

    def upcoming(self, count: int) -> npt.NDArray[np.float32]:
        """The rows that the plan has for the steps after the last, float32 ``[n, action_dim]``, n <=
        `count`."""
        return self._stitcher.upcoming(self._step, count)

    @property
    def source(self) -> int | None:
        """The step of the observation that the last command which was not a hold is from."""
        return self._stitcher.source

    @property
    def waiting(self) -> float:
        """Seconds for which the policy has owed an answer, be it one that nobody wants any more; else 0."""
        since = self._asked if self._working is None else self._working
        return 0.0 if since is None else self._clock() - since

    @property
    def delay(self) -> int:
        """Control steps that the next answer is expected to take, within what the chunks allow."""
        most = self.terms.horizon - 1
        if self.terms.chunking.kind == "real_time":
            most = min(most, self.terms.horizon - self.terms.execute)
        given = self.terms.chunking.delay
        wanted = math.ceil(max(self._seconds) * self.hz) if self._seconds else given
        return min(wanted, most)

    @property
    def latency(self) -> float | None:
        """Seconds that the slowest of the last few answers took; None before the first."""
        return max(self._seconds, default=None)

    @property
    def error(self) -> Exception | None:
        """What the policy raised, if it failed."""
        return self._error

    @property
    def joins(self) -> tuple[int, ...]:
        """Control steps of this episode at which another chunk took over."""
        return tuple(self._stitcher.joins)

    @property
    def holds(self) -> tuple[int, ...]:
        """Control steps of this episode at which the arm was held."""
        return tuple(self._stitcher.holds)

    def close(self) -> None:
        """End the worker, after what it is computing. Raises what the policy raised, if it failed."""
        self._end()
        if self._error is not None:
            raise self._error

    def stop(self, patience: float) -> bool:
        """As ``close``, but waits no longer than `patience` seconds for a policy that may never come back,
        and raises nothing. Whether the worker has ended."""
        self._end(patience)
        return not self._worker.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if error is None and self._error is not None:
            raise self._error

    def _end(self, patience: float | None = None) -> None:
        self._closed = True
        self._jobs.put(None)
        self._worker.join(patience)
        self._receive(self._step)

    def _begin_step(self, step: int) -> None:
        if self._closed:
            raise BadInput("the runner is closed; make a new one")
        if step < self._step:
            raise BadInput(f"control step {step} is over: the next is {self._step}")
        self._step = step + 1

    def _stamped(self, observation: Observation, step: int) -> Observation:
        when, number = observation.timestamp, observation.frame_index
        return replace(
            observation,
            timestamp=self._clock() - self._began if when is None else when,
            frame_index=step if number is None else number,
        )

    def _receive(self, step: int) -> None:
        """Take in what the worker has answered by now."""
        while True:
            try:
                answer = self._answers.get_nowait()
            except queue.Empty:
                return
            self._seconds.append(answer.seconds)
            chunk = self._judged(answer)
            if answer.episode == self._episode:
                self._asked = None
                self._stitcher.enter(chunk, answer.step, step)
                self._answered(answer.step, step, answer.seconds, chunk)

    def _judged(self, answer: _Answer) -> ActionChunk:
        """The chunk; one that holds the arm where the policy failed, now or before, made none, or made one
        that must not be executed."""
        result = answer.result
        if isinstance(result, Exception) and not isinstance(result, UndecodableChunk):
            self._error = self._error or result
        fault = self._error or result
        if isinstance(fault, Exception):
            return self._holding(_failure(fault))
        if None not in (fault.frame_index, answer.frame_index) and fault.frame_index != answer.frame_index:
            asked, found = answer.frame_index, fault.frame_index
            return self._holding(f"the answer to the observation of step {asked} says it is for step {found}")
        refused = "" if fault.hold else self._refuse(fault)
        return self._holding(refused) if refused else fault

    def _holding(self, reason: str) -> ActionChunk:
        return ActionChunk(np.zeros((0, self._dim or 0), np.float32), hold=reason)

    # -- the worker's side ------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._working = self._clock()
            try:
                result: ActionChunk | Exception | None = self._do(job)
            except Exception as error:  # whatever it is, the caller must learn of it and the arm be held
                result = error
            self._working = None
            if result is not None:
                number = None if job.observation is None else job.observation.frame_index
                seconds = self._clock() - job.asked
                self._answers.put(_Answer(job.episode, job.step, result, seconds, number))

    def _do(self, job: _Job) -> ActionChunk | None:
        if job.observation is None:
            if isinstance(self.policy, Watcher):
                self.policy.forget(0)
            self._begin(job.seed)
            return None
        if self._watching and isinstance(self.policy, Watcher):
            self.policy.observe([job.observation], [0])
        if not job.acts or job.episode != self._episode:  # nobody waits for the answer any more
            return None
        if self.terms.continues and isinstance(self.policy, Continuing):
            [chunk] = self.policy.act([job.observation], [0], [job.in_flight])
        else:
            [chunk] = self.policy.act([job.observation], [0])
        return chunk

    def _begin(self, seed: int) -> None:
        """Tell a policy that draws whose numbers are the episode's."""
        if isinstance(self.policy, Seeded):
            self.policy.begin(0, seed)


def _failure(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
