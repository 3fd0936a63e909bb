"""What can be asked for on the table: things, tasks, and the pairs no demonstration ever shows."""

from dataclasses import dataclass

__all__ = [
    "COLORS",
    "CONTAINERS",
    "HELD_OUT_PAIRS",
    "RELATIONS",
    "SHAPES",
    "SKILLS",
    "ZONE",
    "Task",
    "Thing",
]

SHAPES = ("cube", "ball", "cylinder", "brick")
CONTAINERS = ("bowl", "tray")
ZONE = "zone"
"""A flat coloured square marked on the table; things can be pushed onto it."""

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.78, 0.07, 0.07),
    "orange": (1.0, 0.45, 0.02),
    "yellow": (0.98, 0.86, 0.1),
    "green": (0.08, 0.55, 0.14),
    "blue": (0.08, 0.22, 0.85),
    "purple": (0.42, 0.1, 0.62),
    "pink": (1.0, 0.5, 0.72),
    "white": (0.95, 0.95, 0.95),
}
"""Colour name -> RGB in 0..1."""

SKILLS = ("touch", "lift", "put_into", "put_beside", "push", "stack", "put_both")
RELATIONS = ("left", "right", "front", "behind")
"""Directions as the front camera sees them: left and right in its picture, front towards it."""

HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {
        ("cube", "purple"),
        ("ball", "green"),
        ("cylinder", "orange"),
        ("brick", "blue"),
        ("ball", "white"),
        ("cube", "pink"),
    }
)
"""(shape, colour) pairs that appear in no demonstration, named or not."""


@dataclass(frozen=True)
class Thing:
    """A thing a sentence can name: kind is a shape, a container or ``zone``; colour a key of COLORS."""

    kind: str
    color: str

    def __str__(self) -> str:
        return f"{self.color} {self.kind}"


@dataclass(frozen=True)
class Task:
    """One instruction's meaning.

    skill: one of SKILLS. target: the thing to touch or move (a shape).
    reference: where to: the container (put_into, put_both), the zone (push), or the other shape
    (put_beside, stack); None for touch and lift. relation: for put_beside only, one of RELATIONS.
    second: for put_both only, the other thing to move.
    """

    skill: str
    target: Thing
    reference: Thing | None = None
    relation: str | None = None
    second: Thing | None = None
