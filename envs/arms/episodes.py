"""Episodes of a simulated arm: a real table has to be laid by hand, a simulated one can be asked to.

Nothing of this is part of `vla.arm.Arm`: whoever evaluates asks the simulated arm itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Episode", "SceneExpert", "Verdict"]


@dataclass(frozen=True)
class Episode:
    """What to lay on the table. None: as the world was made.

    split, skill: which kind of tasks to draw from. sentence: instead of a drawn task. options: further ones
    of the world's reset.
    """

    seed: int = 0
    split: str | None = None
    skill: str | None = None
    sentence: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """How an episode stands. ended: it is over, and the rest is of the step at which it was.

    steps: control steps of the world since the first command. info: as the world's step gives it.
    """

    ended: bool
    success: bool
    outcome: str
    steps: int
    info: Mapping[str, Any]


class SceneExpert:
    """The world's scripted expert, asked from any thread (`policies.base.Expert`): `ask` runs a function of
    the environment where the environment lives."""

    subtask = ""

    def __init__(self, ask: Callable[[Callable[[Any], Any]], Any]) -> None:
        self._ask = ask

    def act(self) -> object:
        """The command for the present state, float32 ``[action_dim]``."""

        def asked(env: Any) -> tuple[Any, str]:
            expert = env.unwrapped.expert()
            return expert.act(), str(expert.subtask)

        command, self.subtask = self._ask(asked)
        return command
