"""What each training sample is: a frame of some robot, or a turn about some picture. By counting alone.

`Interleave` says which source a sample comes from and which of that source's draws it is; `CounterSampler`
says which frame or record that draw is. So a run that is stopped anywhere, or cut among any number of
processes, goes through the same samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.data.interleave import Interleave
from vla.data.sampler import CounterSampler
from vla.data.web_draws import WebDraws

__all__ = ["Drawn", "Mixture"]

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """Samples of one batch. frames: int64 [R], of robots. web: (source, which of its draws) of the others."""

    frames: _Ints
    web: list[tuple[int, int]]


class Mixture:
    """Robots' frames, and with web sources those too, `robot_share` of the samples being robots'.

    shares: float [web sources], how often each is drawn relative to the others.
    """

    def __init__(
        self,
        robots: CounterSampler,
        web: Sequence[WebDraws] = (),
        shares: Sequence[float] = (),
        robot_share: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.robots, self.web = robots, list(web)
        share = robot_share if self.web else 1.0
        total = sum(shares) or 1.0
        self.interleave = Interleave([share, *((1 - share) * each / total for each in shares)], seed)

    def __call__(self, start: int, count: int) -> Drawn:
        """The samples `start` .. `start + count - 1`."""
        if not self.web:
            return Drawn(self.robots(start, count), [])
        sources, numbers = self.interleave(start, count)
        own = numbers[sources == 0]
        frames = self.robots(int(own[0]), len(own)) if len(own) else np.zeros(0, np.int64)
        others = sources > 0
        pairs = zip((sources[others] - 1).tolist(), numbers[others].tolist(), strict=True)
        return Drawn(frames, list(pairs))

    def account(self, samples: int, names: Sequence[str], source_of: _Ints) -> list[tuple[str, int, float]]:
        """What the first `samples` were: (source, samples, times each of its frames or records came up).

        names: of the robots' data sets. source_of: int64 [all frames], whose frame it is.
        """
        drawn = self.interleave.drawn(samples) if self.web else np.array([samples])
        frames = np.zeros(len(names), np.int64)
        step = 1_000_000
        for first in range(0, int(drawn[0]), step):
            chosen = self.robots(first, min(step, int(drawn[0]) - first))
            frames += np.bincount(source_of[chosen], minlength=len(names))
        usable = np.bincount(source_of[self.robots.items], minlength=len(names))
        rows = [(n, int(c), c / max(1, u)) for n, c, u in zip(names, frames, usable, strict=True)]
        web = zip(self.web, drawn[1:], strict=True)
        return rows + [(each.name, int(count), count / len(each)) for each, count in web]
