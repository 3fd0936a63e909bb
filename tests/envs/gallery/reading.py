"""Reads a phrase as a person would, from the segments alone: none of the generator's own geometry is used."""

import re

import numpy as np

from envs.gallery.colors import COLOR_NOUNS
from envs.gallery.grammar import PLACES, RELATION_WORDS
from envs.gallery.shapes import SHAPES
from envs.gallery.sight import Seen, Sight
from envs.gallery.textures import PATTERNS


def either(words: list[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


COLOR = {word: name for name, words in COLOR_NOUNS.items() for word in words}
NOUN = {word: name for name, shape in SHAPES.items() for word in shape.nouns}
RELATION = {words: name for name, options in RELATION_WORDS.items() for words in options}
PLACE = {words: name for name, options in PLACES.items() for words in options}
THING = (
    rf"(?:(?P<size>biggest|smallest|big|large|small|little) )?(?:(?P<pattern>{either(list(PATTERNS))}) )?"
    rf"(?:(?P<color>{either(list(COLOR))}) )?(?P<noun>{either([*NOUN, 'thing', 'object'])})"
)
PHRASE = re.compile(
    rf"the {THING}(?: (?P<place>{either(list(PLACE))})"
    rf"| (?P<relation>{either(list(RELATION))}) (?P<other>the .*))?$"
)

_ONE = re.sub(r"\?P<\w+>", "?:", THING)
ANY_PHRASE = rf"the {_ONE}(?: (?:{either(list(PLACE))})| (?:{either(list(RELATION))}) the {_ONE})?"
"""As `PHRASE`, without groups."""


class Eye:
    """What can be measured in the picture: for each thing its pixels' middle and number."""

    def __init__(self, sight: Sight) -> None:
        self.sight = sight
        self.middle, self.area = {}, {}
        for thing in sight.things:
            rows, columns = np.nonzero(sight.shown == thing.number)
            self.middle[thing.number] = (columns.mean() / len(sight.shown), rows.mean() / len(sight.shown))
            self.area[thing.number] = thing.extent

    def so(self, relation: str, a: Seen, b: Seen) -> bool:
        """Whether a is left of, ... b, by the middles of their pixels; depth from the scene."""
        (ax, ay), (bx, by) = self.middle[a.number], self.middle[b.number]
        items, view = self.sight.scene.items, self.sight.scene.view
        far, near = (float(view.axes[2] @ items[t.number].place) for t in (a, b))
        return {
            "left": ax < bx,
            "right": ax > bx,
            "above": ay < by,
            "below": ay > by,
            "behind": far > near,
            "front": far < near,
            "on": items[a.number].on == b.number,
        }[relation]

    def named(self, color: str | None, noun: str, pattern: str | None = None) -> list[Seen]:
        """All things that the words fit, or may fit."""
        return [
            t
            for t in self.sight.things
            if (color is None or t.color == COLOR[color])
            and (noun not in NOUN or t.shape == NOUN[noun])
            and (pattern is None or t.pattern in ("", pattern))
        ]

    def meant(self, phrase: str) -> list[Seen]:
        """All things a definite phrase can mean: one, if it is a good one."""
        found = PHRASE.match(phrase)
        assert found, phrase
        fits = self.named(found["color"], found["noun"], found["pattern"])
        if found["relation"]:
            (other,) = self.meant(found["other"])
            fits = [t for t in fits if t is not other and self.so(RELATION[found["relation"]], t, other)]
        if found["place"]:
            place = PLACE[found["place"]]
            fits = [t for t in fits if all(t is o or self.so(place, t, o) for o in fits)]
        if found["size"]:
            sign = 1 if found["size"] in ("big", "large", "biggest") else -1
            fits = [max(fits, key=lambda t: sign * self.area[t.number])]
        return fits
