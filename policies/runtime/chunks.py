"""Executing chunks in several environments side by side, with inference delays counted in control steps.

Nothing here waits: an answer is computed at once and kept back for as many control steps as a real one would
take, so that the same run gives the same numbers on any machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from policies.base import Continuing, Policy, Watcher
from policies.runtime.chunking import Chunking, Stitcher, build_stitcher
from vla.errors import UndecodableChunk
from vla.interfaces import ActionChunk, InFlight, Observation

__all__ = ["ChunkExecutor"]


@dataclass
class _Lane:
    """One environment's episode: its stitcher, its control step and the answers still on their way."""

    stitcher: Stitcher
    step: int = 0
    coming: list[tuple[int, int, ActionChunk]] = field(default_factory=list)  # due at, asked at, answer

    def receive(self) -> None:
        """Hand over the answers that are due by now."""
        while self.coming and self.coming[0][0] <= self.step:
            _, asked, chunk = self.coming.pop(0)
            self.stitcher.enter(chunk, asked, self.step)


class ChunkExecutor:
    """Gives one action a control step to each of several environments, asking the policy for chunks in time.

    At each control step: ``waiting``, ``plan`` for those, then ``next`` for every environment, once.
    chunking: how chunks are executed; None: a queue without delay. dim: numbers an action has; None: as many
    as the first chunk's. Raises BadInput for what the policy's chunks are too short for.
    """

    def __init__(
        self, policy: Policy, count: int, chunking: Chunking | None = None, dim: int | None = None
    ) -> None:
        self.policy, self._dim = policy, dim
        self.terms = (chunking or Chunking()).terms(policy)
        self._delay = self.terms.chunking.delay
        self._lanes = [self._fresh() for _ in range(count)]
        policy.reset(count)

    @property
    def watching(self) -> bool:
        """Whether the policy wants to be shown every control step."""
        return isinstance(self.policy, Watcher) and self.policy.watching

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        """Show a control step of the environments `which`, before any planning on it."""
        if isinstance(self.policy, Watcher):
            self.policy.observe(observations, which)

    def forget(self, which: int) -> None:
        """A new episode began in environment `which`: what was planned or seen there is void."""
        self._lanes[which] = self._fresh()
        if isinstance(self.policy, Watcher):
            self.policy.forget(which)

    def waiting(self, which: Sequence[int]) -> list[int]:
        """Those of the environments for which a chunk should be asked at this control step."""
        for index in which:
            self._lanes[index].receive()
        return [i for i in which if self._lanes[i].stitcher.wants(self._lanes[i].step, self._delay)]

    def plan(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        """Ask for new chunks for the environments `which`, in one batch; they arrive after the delay."""
        flights = []
        for observation, index in zip(observations, which, strict=True):
            lane = self._lanes[index]
            flights.append(lane.stitcher.ask(lane.step, self._delay, observation.state))
        chunks = self._act(observations, which, flights)
        for index, chunk in zip(which, chunks, strict=True):
            lane = self._lanes[index]
            lane.coming.append((lane.step + self._delay, lane.step, chunk))
            lane.receive()

    def next(self, which: int) -> tuple[npt.NDArray[np.float32], ActionChunk]:
        """The action of environment `which` at this control step, float32 ``[action_dim]``, and its chunk.

        Where there is no plan the last action is repeated, and the chunk says why (``hold``).
        """
        lane = self._lanes[which]
        lane.receive()
        command = lane.stitcher.command(lane.step)
        lane.step += 1
        return command.action, command.chunk

    def joins(self, which: int) -> tuple[int, ...]:
        """Control steps of this episode at which another chunk took over."""
        return tuple(self._lanes[which].stitcher.joins)

    def holds(self, which: int) -> tuple[int, ...]:
        """Control steps of this episode at which the arm was held for want of a plan."""
        return tuple(self._lanes[which].stitcher.holds)

    def _fresh(self) -> _Lane:
        return _Lane(build_stitcher(self.terms, self._dim))

    def _act(
        self,
        observations: Sequence[Observation],
        which: Sequence[int],
        flights: Sequence[InFlight | None],
    ) -> list[ActionChunk]:
        try:
            if self.terms.continues and isinstance(self.policy, Continuing):
                return self.policy.act(observations, which, flights)
            return self.policy.act(observations, which)
        except UndecodableChunk as error:  # no plan for the whole batch: every arm in it is held
            return [ActionChunk.holding(str(error), seen, self._dim or 0) for seen in observations]
