"""One demonstration: the expert acts on a scene, and what it saw and commanded is recorded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from policies.base import Policy
from policies.runtime.chunks import ChunkExecutor
from vla.interfaces import ACTION, IMAGE_PREFIX, STATE, Observation

__all__ = ["Demonstration", "Perturb", "attempt_seed", "demonstrate"]

Perturb = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Clean command -> the command that is executed, both float32 ``[action_dim]``."""


@dataclass
class Demonstration:
    """What one attempt gave. frames: feature -> one value a control step (see the dataset's features)."""

    task: str
    success: bool
    outcome: str
    frames: dict[str, list[Any]]
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of recorded control steps."""
        return len(self.frames[ACTION])


def attempt_seed(seed: int, *path: int) -> int:
    """A 31-bit seed determined by the run's seed and the place in the run (episode, attempt, ...)."""
    state = np.random.SeedSequence([seed, *path]).generate_state(1)
    return int(state[0]) & 0x7FFFFFFF


def demonstrate(
    env: gym.Env[Any, Any],
    seed: int,
    noise: Perturb | None = None,
    policy: Policy | None = None,
    driven: int = 0,
) -> Demonstration:
    """Run one episode on the scene of `seed`. The recorded action is always the expert's clean command.

    noise: what is executed instead of a clean command, so that the expert shows how to correct (DART).
    policy, driven: the policy moves the arm for the first `driven` steps, then the expert takes over from
    wherever that led (DAgger). Those frames get ``annotation.valid`` 0: the chunk that follows them in the
    recording is not what the expert would have gone on to do.
    """
    observation, info = env.reset(seed=seed)
    expert = env.unwrapped.expert()  # type: ignore[attr-defined]
    executor = ChunkExecutor(policy, 1) if policy is not None else None
    frames: dict[str, list[Any]] = {}
    step, done = 0, False
    outcome: dict[str, Any] = info
    while not done:
        points = expert.hints()["annotation.points"]
        clean = executed = expert.act()
        drives = executor is not None and step < driven
        if drives and executor is not None:
            if executor.watching:
                executor.observe([Observation.from_dict(observation)], [0])
            if executor.waiting([0]):
                executor.plan([Observation.from_dict(observation)], [0])
            executed, _ = executor.next(0)
        elif noise is not None:
            executed = noise(clean)
        row = {key: value for key, value in observation.items() if key.startswith(IMAGE_PREFIX)}
        row[STATE] = observation[STATE]
        row[ACTION] = np.asarray(clean, np.float32)
        row["subtask"] = expert.subtask
        row["annotation.points"] = np.asarray(points, np.float32).reshape(-1)
        row["annotation.valid"] = np.float32(not drives)
        for key, value in row.items():
            frames.setdefault(key, []).append(value)
        observation, _, terminated, truncated, outcome = env.step(executed)
        done = terminated or truncated
        step += 1
    return Demonstration(
        task=str(observation["task"]),
        success=bool(outcome["success"]) and step > driven,
        outcome=str(outcome["outcome"]),
        frames=frames,
        extra={"skill": str(info["skill"]), "seed": seed, "driven": driven},
    )
