"""Joint targets that wander at random: the lower baseline."""

from collections.abc import Sequence

import numpy as np

from vla.interfaces import ActionChunk, Observation

__all__ = ["RandomPolicy"]


class RandomPolicy:
    """A chunk of small random steps from the present joint positions, clipped to the gripper's 0..100.

    Each environment draws from its own stream, so results do not depend on how many run side by side.
    """

    name = "random"
    horizon = 8
    execute = 8

    def __init__(self, seed: int = 0, step: float = 6.0) -> None:
        self._seed, self._step = seed, step
        self._streams: dict[int, np.random.Generator] = {}

    def reset(self, count: int) -> None:
        """See Policy."""
        self._streams = {index: np.random.default_rng([self._seed, index]) for index in range(count)}

    def begin(self, which: int, seed: int) -> None:
        """A new episode, determined by `seed`, began in environment `which`."""
        self._streams[which] = np.random.default_rng([self._seed, seed])

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """See Policy."""
        chunks = []
        for observation, index in zip(observations, which, strict=True):
            size = (self.horizon, len(observation.state))
            steps = self._streams[index].normal(0.0, self._step, size)
            actions = (observation.state + np.cumsum(steps, axis=0)).astype(np.float32)
            actions[:, -1] = actions[:, -1].clip(0.0, 100.0)
            chunks.append(ActionChunk(actions))
        return chunks
