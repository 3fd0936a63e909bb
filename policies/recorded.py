"""A recorded episode as a policy: its actions again, at the rate at which they were recorded.

For a replay on an arm, or in simulation, of a demonstration or of an earlier run. It looks at no picture and
at no joint: whether what happens is what happened then depends on the arm standing where it stood.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla.data.episodes import EpisodeDataset
from vla.data.stats_check import names_of
from vla.errors import BadInput
from vla.interfaces import ACTION, ActionChunk, Observation

__all__ = ["RecordedPolicy"]

_HORIZON = 50
OVER = "the recording is over"


class RecordedPolicy:
    """Episode `episode` of the LeRobot v3 folder `data`.

    The step of an observation is its ``frame_index``; the chunk holds the actions recorded from that step on,
    fewer than `horizon` at the end, and then ``hold``. Where observations have none, steps are counted.

    fps: the rate of the recording; at another the arm would move faster or slower than it did. robot, names:
    whose joints they are, as the dataset says. length: recorded steps.
    Raises BadInput for a dataset without such an episode, or without actions.
    """

    def __init__(self, data: str | Path, episode: int = 0, horizon: int = _HORIZON) -> None:
        dataset = EpisodeDataset(data)
        if not 0 <= episode < dataset.num_episodes:
            last = dataset.num_episodes - 1
            raise BadInput(f"{data} has no episode {episode}: its episodes are 0 to {last}")
        first, end = dataset.episode_bounds[episode]
        actions = dataset.columns([ACTION])[ACTION]
        self.actions = np.asarray(actions, np.float32).reshape(len(actions), -1)[first:end]
        self.name = f"recorded:{Path(data).name}#{episode}"
        self.horizon, self.length = min(horizon, len(self.actions)), len(self.actions)
        self.execute = max(self.horizon // 2, 1)  # asked again well before the plan runs out
        self.fps = dataset.fps
        self.robot = str(dataset.info.get("robot_type") or "")
        self.names = tuple(name.removesuffix(".pos") for name in names_of(dataset, ACTION))
        self.task = dataset.tasks[int(dataset.columns(["task_index"])["task_index"].reshape(-1)[first])]
        self._next: dict[int, int] = {}

    @classmethod
    def named(cls, name: str) -> "RecordedPolicy":
        """From ``recorded:FOLDER`` or ``recorded:FOLDER#EPISODE``."""
        folder, mark, number = name.removeprefix("recorded:").partition("#")
        if not folder or (mark and not number.isdecimal()):
            raise BadInput(
                f"policy '{name}': write recorded:FOLDER#EPISODE, for instance recorded:data/mine#0"
            )
        return cls(folder, int(number or 0))

    @property
    def about(self) -> dict[str, Any]:
        """Whose it is, as the control loop asks before anything moves."""
        told: dict[str, Any] = {"action_dim": self.action_dim, "hz": float(self.fps), "joints": self.names}
        return told | ({"robots": (self.robot,)} if self.robot else {})

    @property
    def action_dim(self) -> int:
        """Numbers an action has."""
        return int(self.actions.shape[1])

    def reset(self, count: int) -> None:
        """See Policy."""
        self._next.clear()

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """See Policy."""
        return [self._chunk(seen, number) for seen, number in zip(observations, which, strict=True)]

    def _chunk(self, seen: Observation, which: int) -> ActionChunk:
        step = self._next.get(which, 0) if seen.frame_index is None else int(seen.frame_index)
        self._next[which] = step + self.execute
        rows = self.actions[step : step + self.horizon]
        if not len(rows):
            return ActionChunk.holding(OVER, seen, self.action_dim)
        begun = seen.timestamp or 0.0
        return ActionChunk(
            rows,
            observed_at=seen.timestamp,
            frame_index=seen.frame_index,
            timestamps=begun + np.arange(len(rows)) / self.fps,
        )
