"""Worlds stepped on behalf of an arm: a control step as a whole, or in parts where the world allows it.

A Gymnasium world moves once a control step. An arm that is commanded and read faster than that needs the way
between: the table's physics can be run in parts of a control step, after which the environment looks and
judges as it always does. In one part it is exactly the plain environment.
"""

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from vla.arm import Joint, Positions
from vla.errors import BadInput, did_you_mean
from vla.interfaces import IMAGE_PREFIX, STATE, TASK

__all__ = ["STS3215", "Steps", "TableSteps", "open_world", "option_fault"]

STS3215 = {
    "deg": {"speed": 270.0, "acceleration": 6000.0, "jerk": 240e3},
    "percent": {"speed": 245.0, "acceleration": 5500.0, "jerk": 220e3},
}
"""What a joint of the SO-101 may do. 45 turns a minute is the servo's speed at 7.4 V; 6,000 deg/s2 is its
torque (2.94 Nm) on its own armature (0.028 kg m2), reached in 25 ms. The gripper's 100 percent are 110
degrees. The scripted expert and the shipped policy ask for less in 99% of their control steps (measured)."""


class Steps:
    """A world stepped once a control step. An episode's first end is remembered: the world goes on after it.

    info: of the last step of the episode. ended: whether it was over by then. count: its steps.
    """

    parts = 1

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.env = env
        self.control_hz = float(env.metadata.get("render_fps") or 20.0)
        self.info: Mapping[str, Any] = {}
        self.ended, self.count = False, 0
        self.observation: Mapping[str, Any] = {}

    @property
    def rate(self) -> float:
        """Ticks a second, of the world's time."""
        return self.control_hz * self.parts

    def reset(self, seed: int, options: Mapping[str, Any]) -> None:
        """Another episode. Raises BadInput for options that the world does not have."""
        seen, self.info = self.env.reset(seed=seed, options=dict(options))
        if not isinstance(seen, Mapping) or STATE not in seen:
            raise BadInput(f"this world is no arm: its observations have no '{STATE}'")
        self.observation, self.ended, self.count = seen, False, 0

    def tick(self, command: Positions) -> bool:
        """Move for 1/rate seconds towards `command`; whether there are new pictures."""
        self.observation, _, terminated, truncated, info = self.env.step(command.astype(np.float32))
        if not self.ended:
            self.count += 1
            self.info, self.ended = info, bool(terminated or truncated)
        return True

    @property
    def positions(self) -> Positions:
        """Where the joints are, float64 ``[joints]``."""
        return np.asarray(self.observation[STATE], np.float64)

    @property
    def pictures(self) -> dict[str, npt.NDArray[np.uint8]]:
        """What the cameras saw last."""
        seen = self.observation.items()
        return {key.removeprefix(IMAGE_PREFIX): it for key, it in seen if key.startswith(IMAGE_PREFIX)}

    @property
    def task(self) -> str:
        """The sentence of this episode."""
        return str(self.observation.get(TASK, ""))

    def joints(self) -> tuple[Joint, ...]:
        """Names, units and limits. Raises BadInput for a world whose actions are no joint positions."""
        space, size = self.env.action_space, len(self.positions)
        low, high = getattr(space, "low", np.zeros(0)), getattr(space, "high", np.zeros(0))
        if np.shape(low) != (size,) or not np.isfinite([low, high]).all():
            raise BadInput(f"this world is no arm: its actions are {space}, its state has {size} numbers")
        span = np.asarray(high, np.float64) - low
        return tuple(
            Joint(f"joint_{i}", "rad", float(low[i]), float(high[i]), s, 20 * s, 800 * s)
            for i, s in enumerate(span.tolist())
        )


class TableSteps(Steps):
    """The table, each control step in `parts` equal parts of whole physics steps.

    Raises BadInput where the physics cannot be divided so.
    """

    def __init__(self, env: gym.Env[Any, Any], hz: float) -> None:
        from envs.tabletop.mjcf import PHYSICS_STEP

        super().__init__(env)
        whole = round(1 / (self.control_hz * PHYSICS_STEP))
        fit = [parts for parts in range(1, whole + 1) if whole % parts == 0]
        self.parts = next((parts for parts in fit if parts * self.control_hz >= hz - 1e-9), fit[-1])
        self._physics_steps, self._timestep, self._part = whole // self.parts, PHYSICS_STEP, 0

    def reset(self, seed: int, options: Mapping[str, Any]) -> None:
        """See Steps."""
        super().reset(seed, options)
        self._part, self._sim = 0, self.env.unwrapped.sim  # type: ignore[attr-defined]
        if self.parts > 1:  # the environment's control step finds the physics done, looks and judges
            self._sim.step = lambda command: None

    def tick(self, command: Positions) -> bool:
        """See Steps."""
        if self.parts == 1:
            return super().tick(command)
        self._move(command)
        self._part = (self._part + 1) % self.parts
        return self._part == 0 and super().tick(command)

    @property
    def positions(self) -> Positions:
        """See Steps."""
        return np.asarray(self._sim.state, np.float64)

    def joints(self) -> tuple[Joint, ...]:
        """See Steps."""
        from envs.tabletop.arm import JOINT_LIMITS_DEG

        found = []
        for name, (low, high) in JOINT_LIMITS_DEG.items():
            unit = "percent" if name == "gripper" else "deg"
            found.append(Joint(name, unit, low, high, **STS3215[unit], gripper=name == "gripper"))  # type: ignore[arg-type]
        return tuple(found)

    def _move(self, command: Positions) -> None:
        """As the simulation's own control step does: the servo's goal goes no faster than a servo turns."""
        import mujoco

        from envs.tabletop.arm import STATE_HIGH, STATE_LOW, to_radians

        sim = self._sim
        if self._part == 0:
            sim.begin_step()
        goal = to_radians(np.clip(command.astype(np.float32), STATE_LOW, STATE_HIGH))
        reach = np.deg2rad(270.0) * self._timestep
        for _ in range(self._physics_steps):
            sim.data.ctrl[:] += np.clip(goal - sim.data.ctrl, -reach, reach)
            mujoco.mj_step(sim.model, sim.data)


def open_world(world: str, options: Mapping[str, Any], hz: float) -> Steps:
    """The Gymnasium id, ``module:`` before it names the package that registers it, made and ready to reset.

    hz: ticks a second that would be good to have. Raises BadInput for an id or options that there are not.
    """
    module, _, name = world.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        env = gym.make(name, disable_env_checker=True, **options)
    except ModuleNotFoundError as error:
        if module and error.name in (module, module.split(".", maxsplit=1)[0]):
            raise BadInput(f"world={world}: there is no module '{module}'") from None
        raise
    except (gym.error.UnregisteredEnv, gym.error.NameNotFound, gym.error.NamespaceNotFound) as error:
        raise BadInput(f"world={world}: {error}") from None
    except TypeError as error:
        raise BadInput(f"world={world}: {option_fault(name, error)}") from None
    return TableSteps(env, hz) if hasattr(env.unwrapped, "arm_model") else Steps(env)


def option_fault(name: str, error: TypeError) -> str:
    """Why the Gymnasium id cannot be made with its options: which one it does not have, and which it has."""
    reason = str(error).split(" was raised from")[0]
    found = re.search(r"unexpected keyword argument '(.+?)'", reason)
    entry = gym.spec(name).entry_point
    if found is None or entry is None:
        return reason
    creator: Any = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    known = [key for key in inspect.signature(creator).parameters if key != "self"]
    return f"it has no option '{found[1]}'{did_you_mean(found[1], known)}"
