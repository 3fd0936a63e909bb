"""What a policy is: observations in, action chunks out, for several environments side by side."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from vla.interfaces import ActionChunk, InFlight, Observation

__all__ = ["Continuing", "Expert", "Policy", "Privileged", "Seeded", "Watcher"]


@runtime_checkable
class Policy(Protocol):
    """Turns observations into action chunks.

    name: as metrics and pages show it. horizon: control steps a chunk covers.
    A policy may have ``execute``: the steps of a chunk it likes to be run before planning again, 1..horizon.
    """

    name: str
    horizon: int

    def reset(self, count: int) -> None:
        """Forget everything; from now on `count` environments run side by side, numbered from 0."""

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """One chunk for each observation; ``which[i]`` is the number of the environment it came from."""


class Expert(Protocol):
    """A scripted expert that a world offers: it sees the true state of the scene."""

    subtask: str

    def act(self) -> object:
        """Clean command for the present state, float32 ``[action_dim]``."""


@runtime_checkable
class Privileged(Protocol):
    """A policy that needs more than an observation: the runner gives it the world's own expert."""

    def attach(self, which: int, expert: Expert) -> None:
        """A new episode began in environment `which`; `expert` knows its scene."""


@runtime_checkable
class Seeded(Protocol):
    """A policy that draws random numbers: each episode's are determined by the episode's seed."""

    def begin(self, which: int, seed: int) -> None:
        """A new episode, the one of `seed`, began in environment `which`."""


@runtime_checkable
class Watcher(Protocol):
    """A policy that looks back: it is shown every control step, also those between two chunks.

    watching: whether it wants to be (a model without a history does not).
    """

    watching: bool

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        """What is seen at this control step; comes before `act` is asked about the same step."""

    def forget(self, which: int) -> None:
        """A new episode begins in environment `which`: what was seen there is over."""


@runtime_checkable
class Continuing(Protocol):
    """A policy that can make its answer go on from the plan that is executed while it is computed.

    continues: whether it can (a model without such a decoder cannot).
    """

    continues: bool

    def act(
        self,
        observations: Sequence[Observation],
        which: Sequence[int],
        in_flight: Sequence[InFlight | None] | None = None,
    ) -> list[ActionChunk]:
        """As Policy's; ``in_flight[i]`` is the plan of environment ``which[i]``, None where there is none.

        Row 0 of an answer is for the step of its observation, as is row 0 of the plan.
        """
