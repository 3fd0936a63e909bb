"""A policy that says back what it was shown: to try a client with, and to find crossed answers."""

import time
import zlib
from collections.abc import Sequence

import numpy as np

from vla.interfaces import ActionChunk, Observation

__all__ = ["EchoPolicy", "echo"]


class EchoPolicy:
    """A chunk's first row is what `echo` makes of the observation; row i has i added to each number.

    call_s, each_s: seconds that a call takes, and more for each observation in it, asleep as if a GPU worked.
    """

    name = "echo"

    def __init__(self, horizon: int = 4, call_s: float = 0.0, each_s: float = 0.0) -> None:
        self.horizon, self._call_s, self._each_s = horizon, call_s, each_s

    def reset(self, count: int) -> None:
        """See Policy."""

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """See Policy."""
        if self._call_s or self._each_s:
            time.sleep(self._call_s + self._each_s * len(observations))
        steps = np.arange(self.horizon, dtype=np.float32)[:, None]
        return [
            ActionChunk(echo(o) + steps, observed_at=o.timestamp, frame_index=o.frame_index)
            for o in observations
        ]


def echo(observation: Observation) -> np.ndarray:
    """Float32 ``[state_dim + 2]``: the state, then a checksum of pictures and sentence in two halves, each
    of which float32 holds exactly."""
    check = zlib.crc32(observation.task.encode())
    for name in sorted(observation.images):
        image = observation.images[name]
        check = zlib.crc32(repr((name, image.shape)).encode() + image.tobytes(), check)
    return np.concatenate([observation.state, [check & 0xFFFF, check >> 16]]).astype(np.float32)
