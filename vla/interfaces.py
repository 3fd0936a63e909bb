"""The nouns every layer speaks. Numpy only: a robot's own small computer can import this.

Keys and units follow LeRobot: images are uint8 ``[height, width, 3]`` RGB, the state is float32 in the
robot's own units (SO-101: five joints in degrees and the gripper from 0, closed, to 100, open), and an
action is a vector of joint targets in the same units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = [
    "ACTION",
    "IMAGE_PREFIX",
    "STATE",
    "TASK",
    "ActionChunk",
    "Observation",
]

IMAGE_PREFIX = "observation.images."
STATE = "observation.state"
TASK = "task"
ACTION = "action"


@dataclass(frozen=True)
class Observation:
    """What the robot senses at one control step.

    images: camera name (``front``, ``wrist``) -> uint8 ``[height, width, 3]`` RGB.
    state: float32 ``[state_dim]``, joint positions in the robot's units.
    task: the instruction, a sentence.
    """

    images: Mapping[str, npt.NDArray[np.uint8]]
    state: npt.NDArray[np.float32]
    task: str

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Observation":
        """Build from LeRobot-style keys and check everything. Raises BadInput, naming the key."""
        images = {k.removeprefix(IMAGE_PREFIX): v for k, v in raw.items() if k.startswith(IMAGE_PREFIX)}
        for required in (STATE, TASK):
            if required not in raw:
                raise BadInput(f"observation has no '{required}'; it holds: {', '.join(sorted(raw))}")
        observation = cls(images=images, state=np.asarray(raw[STATE]), task=raw[TASK])
        observation.validate()
        return observation

    def to_dict(self) -> dict[str, Any]:
        """The same observation under LeRobot's keys."""
        images = {IMAGE_PREFIX + name: image for name, image in self.images.items()}
        return {**images, STATE: self.state, TASK: self.task}

    def validate(self) -> None:
        """Raise BadInput with one line if any part cannot be what it claims to be."""
        for name, image in self.images.items():
            where = f"'{IMAGE_PREFIX}{name}'"
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
                kind = getattr(image, "dtype", type(image).__name__)
                raise BadInput(f"{where} must be a uint8 array [height, width, 3], not {kind}")
            if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise BadInput(f"{where} must have shape [height, width, 3], not {list(image.shape)}")
        if self.state.ndim != 1 or not np.issubdtype(self.state.dtype, np.floating):
            raise BadInput(
                f"'{STATE}' must be a float vector, not {self.state.dtype} {list(self.state.shape)}"
            )
        if not np.all(np.isfinite(self.state)):
            bad = np.flatnonzero(~np.isfinite(self.state)).tolist()
            raise BadInput(f"'{STATE}' is not finite at index {bad}: {self.state.tolist()}")
        if not isinstance(self.task, str):
            raise BadInput(f"'{TASK}' must be a sentence (str), not {type(self.task).__name__}")


@dataclass(frozen=True)
class ActionChunk:
    """A short plan: `actions` float32 ``[horizon, action_dim]`` in the robot's units, one row a control step.

    tokens: the discrete ids the actions were decoded from, int64 ``[horizon, action_dim]``, where a model
    made them. info: anything a policy wants to tell beside it (numbers and strings only).
    """

    actions: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def horizon(self) -> int:
        """Number of control steps the chunk covers."""
        return int(self.actions.shape[0])
