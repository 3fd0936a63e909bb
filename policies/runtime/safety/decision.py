"""What the filter says it did: each intervention with its kind, its joint and a sentence with numbers."""

from typing import Literal, NamedTuple, get_args

from vla.arm import Positions

__all__ = ["KINDS", "Decision", "Intervention", "Kind"]

Kind = Literal[
    "not_finite",
    "width",
    "measured",
    "position",
    "speed",
    "acceleration",
    "jerk",
    "stopping",
    "ramp",
    "outside",
    "workspace",
    "table",
    "collision",
    "gripper",
    "following",
    "late",
]
"""Why a wanted command was not sent as it was, or the arm was held.

not_finite, width: the wanted command is no command for this arm. measured: the reading is none. position,
speed, acceleration, jerk: it breaks that limit. stopping: it keeps them, but from there the arm could not
stop within them. ramp: it keeps them, but not the smaller ones just after the start. outside: the joint is
still outside its limits, where it started, and comes back slowly. workspace, table, collision: the stop from
there would end in, or pass, a place where the arm must not be. gripper: it is blocked, and its command goes
no further. following: the joint is far from where it was sent. late: ticks were missed.
"""

KINDS: tuple[str, ...] = get_args(Kind)


class Intervention(NamedTuple):
    """One thing that the filter did. kind: of `KINDS`. joint: its name; empty: all of them. detail: a
    sentence with numbers and units."""

    kind: Kind
    joint: str
    detail: str


class Decision(NamedTuple):
    """What is sent this tick.

    command: float64 ``[joints]``, always finite and within all limits. held: the arm brakes, or stands,
    whatever was wanted. interventions: empty where the wanted command was sent bit for bit.
    """

    command: Positions
    held: bool
    interventions: tuple[Intervention, ...]
