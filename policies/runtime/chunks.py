"""Receding-horizon execution: run the first steps of a chunk, then plan again from what is seen then."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from policies.base import Policy, Watcher
from vla.interfaces import ActionChunk, Observation

__all__ = ["ChunkExecutor"]


class ChunkExecutor:
    """Gives one action a control step to each of several environments, asking the policy when one runs out.

    execute: steps of each chunk to run, 1..horizon; None takes the policy's own choice.
    """

    def __init__(self, policy: Policy, count: int, execute: int | None = None) -> None:
        self.policy = policy
        self.execute = min(execute or getattr(policy, "execute", policy.horizon), policy.horizon)
        if self.execute < 1:
            raise ValueError(f"execute must be at least 1, not {execute}")
        self._chunks: list[ActionChunk | None] = [None] * count
        self._position = [0] * count
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
        self._chunks[which] = None
        if isinstance(self.policy, Watcher):
            self.policy.forget(which)

    def waiting(self, which: Sequence[int]) -> list[int]:
        """Those of the environments that need a new chunk before their next action."""
        return [i for i in which if self._chunks[i] is None or self._position[i] >= self._steps(i)]

    def plan(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        """Ask for new chunks for the environments `which`, in one batch."""
        for index, chunk in zip(which, self.policy.act(observations, which), strict=True):
            self._chunks[index], self._position[index] = chunk, 0

    def next(self, which: int) -> tuple[npt.NDArray[np.float32], ActionChunk]:
        """The next action of environment `which`, float32 ``[action_dim]``, and the chunk it is from."""
        chunk = self._chunks[which]
        if chunk is None or self._position[which] >= self._steps(which):
            raise RuntimeError(f"environment {which} has no planned action left")
        action = chunk.actions[self._position[which]]
        self._position[which] += 1
        return action, chunk

    def _steps(self, which: int) -> int:
        chunk = self._chunks[which]
        return 0 if chunk is None else min(self.execute, chunk.horizon)
