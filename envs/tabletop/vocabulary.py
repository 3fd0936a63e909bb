"""Which things there are: the table's own eight colours and four shapes, or more of both.

The extended vocabulary is for the transfer experiment: demonstrations show and name the first eight colours
and four shapes alone, and the further ones are known from elsewhere or not at all. Its things can be touched,
and lifted where the demonstrator succeeds at that; the other skills keep to the base vocabulary.
"""

from dataclasses import dataclass

from envs.gallery.colors import ANCHORS
from envs.tabletop.tasks import COLORS, SHAPES, SKILLS
from vla.errors import BadInput, did_you_mean

__all__ = ["NEW_COLORS", "NEW_SHAPES", "RGB", "UNSEEN_SPLITS", "VOCABULARIES", "Vocabulary", "vocabulary"]

NEW_COLORS: dict[str, tuple[float, float, float]] = {
    name: ANCHORS[name] for name in ("brown", "black", "teal", "lime")
}
"""Colour name -> RGB in 0..1, of colours that no demonstration shows."""

NEW_SHAPES = ("star", "ring", "cross", "heart", "moon")

RGB: dict[str, tuple[float, float, float]] = {**COLORS, **NEW_COLORS}

UNSEEN_SPLITS: dict[str, tuple[bool, bool]] = {
    "unseen_colors": (True, False),
    "unseen_shapes": (False, True),
    "unseen_both": (True, True),
}
"""Split -> whether the target's colour, and whether its shape, is one that no demonstration shows."""


@dataclass(frozen=True)
class Vocabulary:
    """The shapes and colours that sentences may name, and the skills that are asked for."""

    shapes: tuple[str, ...]
    colors: tuple[str, ...]
    skills: tuple[str, ...]


VOCABULARIES: dict[str, Vocabulary] = {
    "base": Vocabulary(SHAPES, tuple(COLORS), SKILLS),
    "extended": Vocabulary((*SHAPES, *NEW_SHAPES), tuple(RGB), ("touch", "lift")),
}


def vocabulary(name: str) -> Vocabulary:
    """The vocabulary of that name. Raises BadInput where there is none."""
    if name not in VOCABULARIES:
        raise BadInput(f"unknown vocabulary {name!r}{did_you_mean(name, VOCABULARIES)}")
    return VOCABULARIES[name]
