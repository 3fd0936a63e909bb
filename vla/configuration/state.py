"""Settings of how the robot's own joints are felt."""

from dataclasses import dataclass

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["StateConfig"]


@dataclass(frozen=True)
class StateConfig:
    """Joint state -> one token; each joint also enters as sines and cosines of `frequencies` octaves.

    dim: the widest state; a robot with fewer joints leaves the rest masked. robots: names of the robots that
    one model serves, each with statistics of its own (none: a single robot that needs no name).
    """

    dim: int = 6
    frequencies: int = 4
    hidden: int = 128
    robots: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(self, 1, "dim", "hidden")
        at_least(self, 0, "frequencies")
        if len(set(self.robots)) != len(self.robots) or "" in self.robots:
            raise BadInput(f"state.robots needs different names that are not empty, not {list(self.robots)}")
