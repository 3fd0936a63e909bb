"""Which words a collection of pictures may use, so that an experiment can withhold some of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from envs.gallery.colors import ANCHORS
from envs.gallery.shapes import SHAPES
from vla.errors import BadInput, did_you_mean

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """shapes, colors: those that are shown and named (all by default; floors and walls keep to them too).
    avoid: (shape, colour) pairs that are never shown, nor named in one breath.

    Raises BadInput for an unknown name, and if nothing is left to show.
    """

    shapes: tuple[str, ...] = tuple(SHAPES)
    colors: tuple[str, ...] = tuple(ANCHORS)
    avoid: frozenset[tuple[str, str]] = frozenset()

    def __post_init__(self) -> None:
        named: list[tuple[str, str, Iterable[str]]] = [
            ("shape", s, SHAPES) for s in (*self.shapes, *(a for a, _ in self.avoid))
        ]
        named += [("colour", c, ANCHORS) for c in (*self.colors, *(b for _, b in self.avoid))]
        for what, name, known in named:
            if name not in known:
                raise BadInput(f"gallery: no {what} is called {name!r}{did_you_mean(name, known)}")
        if len(self.pairs()) < 2:
            raise BadInput("gallery: shapes, colors and avoid leave fewer than two different things to show")

    def allows(self, shape: str, color: str) -> bool:
        """Whether the pair may be shown and named."""
        return shape in self.shapes and color in self.colors and (shape, color) not in self.avoid

    def pairs(self) -> list[tuple[str, str]]:
        """All that may be shown."""
        return [(s, c) for s in self.shapes for c in self.colors if (s, c) not in self.avoid]
