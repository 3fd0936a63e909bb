"""What a policy that looks back keeps of each environment: the pictures of its last control steps.

Steps go by their numbers where observations have one. At steps that were passed over (a tick was missed, the
arm was held) the picture before them was the newest there was, and stands in their place, so that what was
seen k steps ago stays where a model looks for it. A gap longer than what is kept is a new beginning.
"""

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
        self._numbers: dict[int, int | None] = {}  # of the step seen last

    def clear(self) -> None:
        """Forget all environments."""
        self._seen.clear()
        self._numbers.clear()

    def forget(self, which: int) -> None:
        """A new episode began in environment `which`."""
        self._seen.pop(which, None)
        self._numbers.pop(which, None)

    def add(self, observation: Observation, which: int) -> None:
        """Of one control step; a world may draw its next picture into the same array, so it is copied."""
        pictures = {name: picture.copy() for name, picture in observation.images.items()}
        last, number = self._numbers.get(which), observation.frame_index
        passed = 0 if last is None or number is None else number - last - 1
        if passed > self.steps:
            self.forget(which)
        seen = self._seen.setdefault(which, deque(maxlen=self.steps + 1))
        if seen:
            seen.extendleft([seen[0]] * passed)
        seen.appendleft(pictures)
        self._numbers[which] = number

    def history(self, which: int) -> dict[str, npt.NDArray[np.uint8]]:
        """Camera -> uint8 [T, height, width, 3], as in `Observation.history`: what was seen before the
        picture added last, back to the first step or to where the camera was absent."""
        out: dict[str, npt.NDArray[np.uint8]] = {}
        past = list(self._seen.get(which, ()))[1:]
        for name in past[0] if past else ():
            end = next((i for i, pictures in enumerate(past) if name not in pictures), len(past))
            out[name] = np.stack([pictures[name] for pictures in past[:end]])
        return out
