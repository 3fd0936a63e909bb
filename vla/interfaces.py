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
    "AUDIO",
    "AUDIO_RATE",
    "FRAME_INDEX",
    "HISTORY_PREFIX",
    "IMAGE_PREFIX",
    "ROBOT",
    "STATE",
    "TASK",
    "TIMESTAMP",
    "ActionChunk",
    "InFlight",
    "Observation",
]

IMAGE_PREFIX = "observation.images."
HISTORY_PREFIX = "observation.history."
STATE = "observation.state"
AUDIO = "observation.audio"
AUDIO_RATE = "observation.audio_rate"
ROBOT = "robot"
TASK = "task"
ACTION = "action"
TIMESTAMP = "timestamp"
FRAME_INDEX = "frame_index"

_HERTZ = 16000


@dataclass(frozen=True)
class Observation:
    """What the robot senses at one control step. A camera or a sound that is not there is left out.

    images: camera name (``front``, ``wrist``) -> uint8 ``[height, width, 3]`` RGB.
    state: float32 ``[state_dim]``, joint positions in the robot's units; empty where nothing is measured.
    task: the instruction, a sentence.
    audio: float32 ``[samples]`` in -1..1, mono, `audio_rate` samples a second.
    robot: LeRobot's ``robot_type``, for models that serve several robots.
    history: camera name -> uint8 ``[T, height, width, 3]``, its past pictures, the most recent first: entry t
    was seen t + 1 control steps before.
    timestamp: seconds since the episode began (or on any clock that only goes forwards). frame_index: number
    of the control step, from 0. Both come back in the chunk that answers.
    """

    images: Mapping[str, npt.NDArray[np.uint8]]
    state: npt.NDArray[np.float32]
    task: str
    audio: npt.NDArray[np.float32] | None = None
    audio_rate: int = _HERTZ
    robot: str = ""
    history: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    timestamp: float | None = None
    frame_index: int | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Observation":
        """Build from LeRobot-style keys and check everything. Raises BadInput, naming the key."""
        if TASK not in raw:
            raise BadInput(f"observation has no '{TASK}'; it holds: {', '.join(sorted(raw))}")
        observation = cls(
            images=_with_prefix(raw, IMAGE_PREFIX),
            state=np.asarray(raw.get(STATE, np.zeros(0, np.float32))),
            task=raw[TASK],
            audio=None if raw.get(AUDIO) is None else np.asarray(raw[AUDIO]),
            audio_rate=raw.get(AUDIO_RATE, _HERTZ),
            robot=raw.get(ROBOT, ""),
            history=_with_prefix(raw, HISTORY_PREFIX),
            timestamp=raw.get(TIMESTAMP),
            frame_index=raw.get(FRAME_INDEX),
        )
        observation.validate()
        return observation

    def to_dict(self) -> dict[str, Any]:
        """The same observation under LeRobot's keys; what is not there is left out."""
        out: dict[str, Any] = {IMAGE_PREFIX + name: image for name, image in self.images.items()}
        out |= {HISTORY_PREFIX + name: images for name, images in self.history.items()}
        out |= {STATE: self.state, TASK: self.task}
        if self.audio is not None:
            out |= {AUDIO: self.audio, AUDIO_RATE: self.audio_rate}
        if self.robot:
            out[ROBOT] = self.robot
        if self.timestamp is not None:
            out[TIMESTAMP] = self.timestamp
        if self.frame_index is not None:
            out[FRAME_INDEX] = self.frame_index
        return out

    def validate(self) -> None:
        """Raise BadInput with one line if any part cannot be what it claims to be."""
        for name, image in self.images.items():
            _check_pictures(image, f"'{IMAGE_PREFIX}{name}'", ("height", "width", "3"))
        for name, images in self.history.items():
            _check_pictures(images, f"'{HISTORY_PREFIX}{name}'", ("T", "height", "width", "3"))
        _check_vector(self.state, STATE)
        if self.audio is not None:
            _check_vector(self.audio, AUDIO)
            rate = self.audio_rate
            if not isinstance(rate, int | np.integer) or isinstance(rate, bool) or rate < 1:
                raise BadInput(f"'{AUDIO_RATE}' must be a whole number of samples a second, not {rate!r}")
        for key, text, what in ((TASK, self.task, "a sentence"), (ROBOT, self.robot, "a name")):
            if not isinstance(text, str):
                raise BadInput(f"'{key}' must be {what} (str), not {type(text).__name__}")
        when, number = self.timestamp, self.frame_index
        if when is not None and not (isinstance(when, float | int | np.number) and np.isfinite(when)):
            raise BadInput(f"'{TIMESTAMP}' must be a finite number of seconds, not {when!r}")
        if number is not None and (not isinstance(number, int | np.integer) or number < 0):
            raise BadInput(f"'{FRAME_INDEX}' must be a whole number from 0, not {number!r}")


def _with_prefix(raw: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in raw.items() if key.startswith(prefix)}


def _check_pictures(images: Any, where: str, axes: tuple[str, ...]) -> None:
    shape = f"[{', '.join(axes)}]"
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = getattr(images, "dtype", type(images).__name__)
        raise BadInput(f"{where} must be a uint8 array {shape}, not {kind}")
    if images.ndim != len(axes) or images.shape[-1] != 3 or 0 in images.shape[-3:]:
        raise BadInput(f"{where} must have shape {shape}, not {list(images.shape)}")


def _check_vector(values: Any, key: str) -> None:
    if not isinstance(values, np.ndarray):
        raise BadInput(f"'{key}' must be a float vector (numpy), not {type(values).__name__}")
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.floating):
        raise BadInput(f"'{key}' must be a float vector, not {values.dtype} {list(values.shape)}")
    finite = np.isfinite(values)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        found = values.tolist() if values.size <= 24 else values[bad[0]].item()
        raise BadInput(f"'{key}' is not finite at index {bad[:8].tolist()}: {found}")


@dataclass(frozen=True)
class ActionChunk:
    """A short plan: `actions` float32 ``[horizon, action_dim]`` in the robot's units, one row a control step.

    tokens: the discrete ids the actions were decoded from, int64 ``[n]``, where a model made them. info:
    anything a policy wants to tell beside it (numbers and strings only).
    observed_at, frame_index: of the observation that it answers, where that told them. timestamps: float64
    ``[horizon]``, when each action is due, seconds on the observation's clock; from 0 where it told no time,
    None where the policy does not know the control rate.
    uncertainty: float32 ``[horizon, action_dim]``, one standard deviation of what the policy could as well
    have answered, in the robot's units.
    hold: why there is no plan; then `actions` has no rows, and whoever runs the chunk keeps the arm still.
    """

    actions: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    observed_at: float | None = None
    frame_index: int | None = None
    timestamps: npt.NDArray[np.float64] | None = None
    uncertainty: npt.NDArray[np.float32] | None = None
    hold: str = ""

    @property
    def horizon(self) -> int:
        """Number of control steps the chunk covers."""
        return int(self.actions.shape[0])

    @property
    def valid(self) -> bool:
        """Whether there is a plan; else the arm must hold."""
        return not self.hold

    @classmethod
    def holding(cls, reason: str, observation: Observation, dim: int) -> "ActionChunk":
        """No plan, for `reason`, of `dim` joints."""
        nothing = np.zeros((0, dim), np.float32)
        return cls(
            nothing, observed_at=observation.timestamp, frame_index=observation.frame_index, hold=reason
        )


@dataclass(frozen=True)
class InFlight:
    """The plan that is being executed while the next chunk is computed, from the observation's step on.

    actions: float32 ``[n, action_dim]``, absolute, in the robot's units; row i is for the i-th control step
    after the observation (row 0: the step at which it was made). delay: the first so many rows will be
    executed whatever the answer is. weights: float32 ``[n]`` in 0..1, how firmly each row binds the answer: 1
    for the first `delay`, then falling.
    """

    actions: npt.NDArray[np.float32]
    delay: int
    weights: npt.NDArray[np.float32]

    def validate(self, action_dim: int) -> None:
        """Raise BadInput with one line if it cannot be a plan of a robot with `action_dim` joints."""
        shape = np.shape(self.actions)
        if len(shape) != 2 or shape[1] != action_dim:
            raise BadInput(f"a plan in flight must have shape [n, {action_dim}], not {list(shape)}")
        if not np.isfinite(self.actions).all():
            raise BadInput("a plan in flight has actions that are not finite")
        if np.shape(self.weights) != shape[:1]:
            raise BadInput(
                f"a plan in flight of {shape[0]} steps has weights of shape {list(np.shape(self.weights))}"
            )
        if not ((np.asarray(self.weights) >= 0) & (np.asarray(self.weights) <= 1)).all():
            raise BadInput("a plan in flight has weights outside 0 to 1")
        if not 0 <= self.delay <= shape[0]:
            raise BadInput(f"a plan in flight of {shape[0]} steps cannot have a delay of {self.delay}")
