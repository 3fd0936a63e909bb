"""Sample number -> frame, by counting: no state to save, the same for any batch size or worker count.

Pass e over the data visits the frames in the order of a permutation drawn from Philox(seed, e); with
weights, position k of that order becomes a stratified point of the cumulative weights, so that in each pass
a frame comes up as often as its weight says (within one), and exactly once where all weights are equal.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = ["CounterSampler", "in_validation"]


def in_validation(episodes: int, seed: int, fraction: float, name: str = "") -> npt.NDArray[np.bool_]:
    """bool [episodes]: which episodes are kept for validation, by a hash of (seed, name, episode number).

    Adding episodes to a dataset moves none of the old ones across.
    """
    draws = np.empty(episodes)
    for episode in range(episodes):
        digest = hashlib.blake2b(f"{seed}/{name}/{episode}".encode(), digest_size=8).digest()
        draws[episode] = int.from_bytes(digest, "little") / 2.0**64
    return draws < fraction


class CounterSampler:
    """Infinite, seeded, stateless sampling of `items` (int64 [N]) with optional `weights` (float [N] > 0)."""

    def __init__(
        self, items: npt.NDArray[np.int64], seed: int, weights: npt.NDArray[np.float64] | None = None
    ) -> None:
        if len(items) == 0:
            raise BadInput("no frame is left to sample from (all invalid, or all held for validation)")
        self.items = items
        self.seed = seed
        self.edges: npt.NDArray[np.float64] | None = None
        if weights is not None and not np.all(weights == weights[0]):
            cumulative = np.cumsum(weights, dtype=np.float64)
            self.edges = cumulative / cumulative[-1]
        self._pass = -1
        self._order: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def _order_of(self, number: int) -> npt.NDArray[np.int64]:
        if number != self._pass:
            size = len(self.items)
            rng = np.random.Generator(np.random.Philox(key=[self.seed, number]))
            order = rng.permutation(size)
            if self.edges is not None:
                points = (order + rng.random(size)) / size
                order = np.minimum(np.searchsorted(self.edges, points, side="right"), size - 1)
            self._order, self._pass = order, number
        return self._order

    def __call__(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """Items of the samples `start` .. `start + count - 1`: int64 [count]."""
        parts = []
        while count > 0:
            number, offset = divmod(start, len(self.items))
            taken = self._order_of(number)[offset : offset + count]
            parts.append(self.items[taken])
            start, count = start + len(taken), count - len(taken)
        return np.concatenate(parts)
