"""What a policy that looks back keeps of each environment: the pictures of its last control steps."""

from collections import deque
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from vla.interfaces import Observation

__all__ = ["PictureMemory"]

Pictures = Mapping[str, npt.NDArray[np.uint8]]


class PictureMemory:
    """The pictures of the present and of `steps` control steps before it, in each of several environments."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._seen: dict[int, deque[Pictures]] = {}

    def clear(self) -> None:
        """Forget all environments."""
        self._seen.clear()

    def forget(self, which: int) -> None:
        """A new episode began in environment `which`."""
        self._seen.pop(which, None)

    def add(self, observation: Observation, which: int) -> None:
        """Of one control step; a world may draw its next picture into the same array, so it is copied."""
        pictures = {name: picture.copy() for name, picture in observation.images.items()}
        self._seen.setdefault(which, deque(maxlen=self.steps + 1)).appendleft(pictures)

    def history(self, which: int) -> dict[str, npt.NDArray[np.uint8]]:
        """Camera -> uint8 [T, height, width, 3], as in `Observation.history`: what was seen before the
        picture added last, back to the first step or to where the camera was absent."""
        out: dict[str, npt.NDArray[np.uint8]] = {}
        past = list(self._seen.get(which, ()))[1:]
        for name in past[0] if past else ():
            end = next((i for i, pictures in enumerate(past) if name not in pictures), len(past))
            out[name] = np.stack([pictures[name] for pictures in past[:end]])
        return out
