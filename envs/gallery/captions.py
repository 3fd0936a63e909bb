"""The whole of a picture in one line."""

from envs.gallery.grammar import MOST_WORDS, NUMBERS, SURFACES, article
from envs.gallery.shapes import SHAPES, plural
from envs.gallery.sight import Seen, Sight

__all__ = ["caption", "name_of"]


def name_of(thing: Seen, pattern: bool = False) -> str:
    """Its usual name: "red cube", "striped red cube"."""
    words = (
        thing.pattern if pattern and thing.pattern != "plain" else "",
        thing.color,
        SHAPES[thing.shape].nouns[0],
    )
    return " ".join(word for word in words if word)


def caption(sight: Sight) -> str:
    """All that is there, from left to right, alike things together, and what they stand on."""
    groups: dict[str, int] = {}
    for thing in sorted(sight.things, key=lambda t: t.centre):
        name = name_of(thing, pattern=len(sight.things) <= 2)
        groups[name] = groups.get(name, 0) + 1
    parts = [article(n) if k == 1 else f"{NUMBERS[k]} {_many(n)}" for n, k in groups.items()]
    if len(parts) > 4:
        rest = sum(list(groups.values())[3:])
        parts = [*parts[:3], f"{NUMBERS[rest]} other things"]
    text = " and ".join(parts)
    behind = f" in front of {_surface(sight.wall)} wall" if sight.wall else ""
    if sight.floor:
        behind = f" {'on' if sight.standing else 'above'} {_surface(sight.floor)} floor"
    return text if len((text + behind).split()) > MOST_WORDS else text + behind


def _many(name: str) -> str:
    """The plural of a colour, or pattern, and a noun; nouns may have two words."""
    words = name.split()
    return " ".join([*words[:-1], plural(words[-1])])


def _surface(words: str) -> str:
    return SURFACES[words][0] if words in SURFACES else article(words)
