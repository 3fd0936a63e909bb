"""The scripted expert as a policy: the upper baseline, run through the same path as any other."""

from collections.abc import Sequence

import numpy as np

from policies.base import Expert
from vla.interfaces import ActionChunk, Observation

__all__ = ["ExpertPolicy"]


class ExpertPolicy:
    """Asks the world's expert at every step. It looks at the scene's true state, not at the pictures."""

    name = "expert"
    horizon = 1
    execute = 1

    def __init__(self) -> None:
        self._experts: dict[int, Expert] = {}

    def reset(self, count: int) -> None:
        """See Policy."""
        self._experts.clear()

    def attach(self, which: int, expert: Expert) -> None:
        """See Privileged."""
        self._experts[which] = expert

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """See Policy."""
        chunks = []
        for index in which:
            expert = self._experts[index]
            action = np.asarray(expert.act(), np.float32)[None]
            chunks.append(ActionChunk(action, info={"subtask": expert.subtask}))
        return chunks
