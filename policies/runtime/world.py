"""Which world to run in: a Gymnasium id with its options, as a config group chooses it."""

import dataclasses
import importlib
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym

from vla.errors import BadInput, did_you_mean

__all__ = ["SKILLS", "Split", "World", "check_skill"]

Split = Literal[
    "train",
    "validation",
    "seen",
    "held_out_sentences",
    "held_out_objects",
    "unseen_colors",
    "unseen_shapes",
    "unseen_both",
]

SKILLS = ("touch", "lift", "put_into", "put_beside", "push", "stack", "put_both")


def check_skill(name: str) -> None:
    """Raise BadInput for a kind of task that there is not."""
    if name not in SKILLS:
        raise BadInput(f"unknown skill '{name}'{did_you_mean(name, SKILLS)}")


@dataclass(frozen=True)
class World:
    """A simulated world and its options (conf/env/*.yaml).

    id: Gymnasium id; ``module:`` before it names the package that registers it.
    image_size: pixels a side of each camera's square picture. skills: the kinds of task to draw from.
    vocabulary: which things there are; ``extended`` has the colours and shapes of the unseen_ splits.
    """

    id: str = "envs:vla/Tabletop-v0"
    name: str = "tabletop"
    image_size: int = 96
    skills: tuple[str, ...] = SKILLS
    visual_randomization: bool = False
    arm_model: Literal["primitive", "meshed"] = "primitive"
    vocabulary: Literal["base", "extended"] = "base"

    def __post_init__(self) -> None:
        for skill in self.skills:
            check_skill(skill)
        if not self.skills:
            raise BadInput("env.skills is empty; name at least one skill")

    def make(self, split: Split, **more: Any) -> gym.Env[Any, Any]:
        """The environment, for tasks of one split. `more` are further options of this world."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        options = {k: v for k, v in options.items() if k not in ("id", "name")}
        module, _, name = self.id.rpartition(":")
        try:
            if module:
                importlib.import_module(module)
            # The runners here never step an environment wrongly: Gymnasium's checks are left out for speed.
            return gym.make(name, disable_env_checker=True, split=split, **{**options, **more})
        except ModuleNotFoundError as error:
            if module and error.name in (module, module.split(".")[0]):
                raise BadInput(f"env.id={self.id}: there is no module '{module}'") from None
            raise
        except gym.error.UnregisteredEnv as error:
            raise BadInput(f"env.id={self.id}: {error}") from None
