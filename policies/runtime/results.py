"""What one episode gave: the noun that the runner, the metrics and the page share."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["EpisodeResult"]


@dataclass
class EpisodeResult:
    """One finished episode.

    index: its number in the run. seed: what its scene was made from. swapped: the second half of a swap pair.
    outcome: ``success``, ``wrong_object``, ... as the world names it.
    target: the named thing; first_touched: the thing the hand touched first, or moved (empty: none).
    control_hz: control steps a second that the policy's answers allow (its waiting time alone is counted).
    actions, states: float32 ``[steps, action_dim]`` in the robot's units. video: file name, if one was made.
    joins: control steps at which another chunk took over. holds: those at which the last command was repeated
    for want of a plan. hz: control steps a second.
    """

    index: int
    seed: int
    skill: str
    task: str
    outcome: str
    success: bool
    steps: int
    control_hz: float
    target: str = ""
    first_touched: str = ""
    swapped: bool = False
    video: str | None = None
    actions: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 6), np.float32))
    states: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 6), np.float32))
    joins: tuple[int, ...] = ()
    holds: tuple[int, ...] = ()
    hz: float = 20.0

    @property
    def went_to_target(self) -> bool:
        """Whether the arm went to what the sentence named: it succeeded, or touched that first."""
        return self.success or (self.target != "" and self.first_touched == self.target)
