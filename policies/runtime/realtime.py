"""Chunks on a real clock: inference in a thread of its own, commands at control rate from the caller's.

The stitching is that of simulated delays. What differs is that the delay is measured, and forecast from the
last few answers, rather than given. Only the caller's thread touches the plan and only the worker's touches
the policy; questions and answers pass between them in two queues, so nobody ever waits for a lock.
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


class RealTimeRunner:
    """Commands for one robot from one policy, without the robot ever waiting for the policy.

    Call ``action(observation)`` once a control step, `hz` times a second. chunking.delay is the forecast
    until an answer has been timed. dim: numbers an action has; None: as many as the first chunk's. seed: of
    what the policy draws in the first episode.
    Where there is no plan the last command is repeated (before any: the observed state). If the policy fails,
    the arm is held for good; ``error`` has what was raised, and ``close`` raises it.
    The runner is a context manager, which closes it. clock: seconds, for tests.
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
        self._stitcher = build_stitcher(self.terms, dim)
        policy.reset(1)
        self._begin(seed)
        self._worker = threading.Thread(target=self._work, name="inference", daemon=True)
        self._worker.start()

    # -- the caller's side ------------------------------------------------------------------------

    def action(self, observation: Observation) -> tuple[npt.NDArray[np.float32], str]:
        """The command of this control step, float32 ``[action_dim]``, and why the arm is held; empty where it
        is not. It is held before the first answer, when a chunk is used up, when the policy itself says so
        (`ActionChunk.hold`), when its answers take longer than its chunks last, and after it failed.

        An observation without a time and a number gets them. Raises BadInput after ``close``, and where the
        arm is to be held before its first command by a state that is no action.
        """
        if self._closed:
            raise BadInput("the runner is closed; make a new one")
        step, self._step = self._step, self._step + 1
        seen = self._stamped(observation, step)
        self._stitcher.see(seen.state)
        self._receive(step)
        delay = self.delay
        if self._error is None and self._stitcher.wants(step, delay):
            in_flight = self._stitcher.ask(step, delay, seen.state)
            self._jobs.put(_Job(self._episode, self._clock(), step, seen, in_flight, acts=True))
        elif self._watching:
            self._jobs.put(_Job(self._episode, self._clock(), step, seen))
        action, chunk = self._stitcher.command(step)
        return action, chunk.hold and (_failure(self._error) if self._error else chunk.hold)

    def new_episode(self, seed: int | None = None) -> None:
        """What was planned and seen is void, and answers still to come are dropped. A failure stays one.

        seed: of what the policy draws in it; None: the one after the last episode's.
        """
        self._episode += 1
        self._seed = self._seed + 1 if seed is None else seed
        self._step, self._began = 0, self._clock()
        self._stitcher = build_stitcher(self.terms, self._dim)
        self._jobs.put(_Job(self._episode, self._clock(), seed=self._seed))

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if error is None and self._error is not None:
            raise self._error

    def _end(self) -> None:
        self._closed = True
        self._jobs.put(None)
        self._worker.join()
        self._receive(self._step)

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
            chunk = self._judged(answer.result)
            if answer.episode == self._episode:
                self._stitcher.enter(chunk, answer.step, step)

    def _judged(self, result: ActionChunk | Exception) -> ActionChunk:
        """The chunk; one that holds the arm where the policy failed, now or before, or made none."""
        if isinstance(result, Exception) and not isinstance(result, UndecodableChunk):
            self._error = self._error or result
        fault = self._error or result
        if isinstance(fault, ActionChunk):
            return fault
        nothing = np.zeros((0, self._dim or 0), np.float32)
        return ActionChunk(nothing, hold=_failure(fault))

    # -- the worker's side ------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                result: ActionChunk | Exception | None = self._do(job)
            except Exception as error:  # whatever it is, the caller must learn of it and the arm be held
                result = error
            if result is not None:
                self._answers.put(_Answer(job.episode, job.step, result, self._clock() - job.asked))

    def _do(self, job: _Job) -> ActionChunk | None:
        if job.observation is None:
            if isinstance(self.policy, Watcher):
                self.policy.forget(0)
            self._begin(job.seed)
            return None
        if self._watching and isinstance(self.policy, Watcher):
            self.policy.observe([job.observation], [0])
        if not job.acts:
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
