"""Questions about a picture, each kind with answers as even as its picture allows.

A maker takes what is seen and draws one question of its kind, or None where nothing can be asked. It draws
the answer first and then looks for a question that has it, so that a model that never looks gains little.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from envs.gallery.captions import caption, name_of
from envs.gallery.colors import ANCHORS, COLOR_NOUNS
from envs.gallery.grammar import BOX, MORE, NUMBERS, PHRASES, RELATION_WORDS, SURFACES, article
from envs.gallery.limits import Limits
from envs.gallery.referring import Phrase, bare_phrases, phrases, related, say
from envs.gallery.relations import OPPOSITE, RELATIONS, bigger, holds
from envs.gallery.shapes import SHAPES, plural
from envs.gallery.sight import Seen, Sight
from envs.gallery.textures import PATTERNS

__all__ = ["MAKERS", "Asked"]


@dataclass(frozen=True)
class Asked:
    """slots: what fills the template's. about: the things spoken of, the one meant first."""

    answer: str
    slots: dict[str, str] = field(default_factory=dict)
    about: tuple[Seen, ...] = ()


type Maker = Callable[[Sight, np.random.Generator, Limits], Asked | None]


def _pick[T](options: list[T] | tuple[T, ...], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def _referred(
    sight: Sight, rng: np.random.Generator, *hide: str, among: list[Seen] | None = None
) -> tuple[Seen, Phrase] | None:
    """A thing with a phrase that names it without telling what is hidden."""
    pool = list(sight.things) if among is None else among
    for i in rng.permutation(len(pool)):
        options = phrases(pool[i], sight.things, rng, frozenset(hide))
        if options:
            return pool[i], _pick(options, rng)
    return None


def _sure_name(thing: Seen, sight: Sight, rng: np.random.Generator) -> str | None:
    """A phrase that gives away nothing of where a thing is or how big, if one names it alone."""
    options = bare_phrases(thing, sight.things, rng)
    return _pick(options, rng).text if options else None


def _color(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    found = _referred(sight, rng, "color")
    return found and Asked(found[0].color, {"x": found[1].text}, (found[0], *found[1].by))


def _shape(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    found = _referred(sight, rng, "shape")
    return found and Asked(SHAPES[found[0].shape].nouns[0], {"x": found[1].text}, (found[0], *found[1].by))


def _describe(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    found = _referred(sight, rng, "color", "shape", "pattern")
    return found and Asked(name_of(found[0], pattern=True), {"x": found[1].text}, (found[0], *found[1].by))


def _point(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    found = _referred(sight, rng)
    return found and Asked(BOX, {"x": found[1].text}, (found[0], *found[1].by))


_COUNTED = (0.07, 0.11, 0.27, 0.33, 0.38, 0.7, 1.0, 1.0)
"""How often a count of 0, 1, 2, ... is asked for, as small ones can be found in every picture."""


def _count(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    for _ in range(8):
        number = int(rng.integers(len(NUMBERS)))
        asked = _count_to(number, sight, rng, limits) if rng.random() < _COUNTED[number] else None
        if asked is not None:
            return asked
    return None


def _count_to(number: int, sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    for told in rng.permutation(["all", "shape", "color", "both"]):
        shape, color = _pick(limits.shapes, rng), _pick(limits.colors, rng)
        if number:
            like = _pick(sight.things, rng)
            shape, color = like.shape, like.color
        if told == "both" and not limits.allows(shape, color):
            continue
        matching = tuple(
            t
            for t in sight.things
            if (told not in ("shape", "both") or t.shape == shape)
            and (told not in ("color", "both") or t.color == color)
        )
        if len(matching) == number:
            noun = plural(say(SHAPES[shape].nouns if told in ("shape", "both") else PHRASES["thing"], rng))
            words = f"{say(COLOR_NOUNS[color], rng)} {noun}" if told in ("color", "both") else noun
            return Asked(NUMBERS[number], {"n": words}, matching)
    return None


def _exists(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    yes, told = bool(rng.random() < 0.5), _pick(("shape", "color", "both", "both"), rng)
    for _ in range(12):
        like = _pick(sight.things, rng)
        shape, color = like.shape, like.color
        if not yes:  # half the time the shape or the colour is there, on something else
            shape = shape if told == "both" and rng.random() < 0.4 else _pick(limits.shapes, rng)
            color = color if told == "both" and rng.random() < 0.4 else _pick(limits.colors, rng)
        about = tuple(
            t
            for t in sight.things
            if (told == "color" or t.shape == shape) and (told == "shape" or t.color == color)
        )
        if bool(about) != yes or (told == "both" and not limits.allows(shape, color)):
            continue
        noun = say(SHAPES[shape].nouns if told != "color" else PHRASES["thing"], rng)
        words = noun if told == "shape" else f"{say(COLOR_NOUNS[color], rng)} {noun}"
        return Asked("yes" if yes else "no", {"p": article(words)}, about)
    return None


def _pairs(sight: Sight, rng: np.random.Generator) -> list[tuple[Seen, Seen]]:
    """All ordered pairs, shuffled."""
    count = len(sight.things)
    pairs = [(a, b) for a in sight.things for b in sight.things if a is not b]
    return [pairs[i] for i in rng.permutation(count * (count - 1))]


def _which(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    tests: dict[str, Callable[[Seen, Seen], bool]] = {
        **RELATIONS,
        "big": bigger,
        "small": lambda a, b: bigger(b, a),
    }
    more = _pick(list(tests), rng)
    for a, b in _pairs(sight, rng):
        if not tests[more](a, b):
            continue
        one, two = _sure_name(a, sight, rng), _sure_name(b, sight, rng)
        if one and two:
            first, second = (one, two) if rng.random() < 0.5 else (two, one)
            return Asked(one, {"x": first, "y": second, "more": say(MORE[more], rng)}, (a, b))
    return None


def _what(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    for relation in rng.permutation([*RELATIONS, "on", "on"]):
        for i in rng.permutation(len(sight.things)):
            anchor = sight.things[i]
            meant = related(str(relation), anchor, list(sight.things))
            name = meant and _sure_name(anchor, sight, rng)
            if meant and name:
                words = say(RELATION_WORDS[str(relation)], rng)
                return Asked(name_of(meant), {"rel": words, "y": name}, (meant, anchor))
    return None


def _relation(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    yes, relation = bool(rng.random() < 0.5), _pick(list(RELATIONS), rng)
    for a, b in _pairs(sight, rng):
        if not holds(relation if yes else OPPOSITE[relation], a, b):
            continue
        one, two = _sure_name(a, sight, rng), _sure_name(b, sight, rng)
        if one and two:
            words = say(RELATION_WORDS[relation], rng)
            return Asked("yes" if yes else "no", {"x": one, "y": two, "rel": words}, (a, b))
    return None


def _attribute(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    found = _referred(sight, rng, "color")
    if found is None:
        return None
    thing, phrase = found
    colors = [c for c in limits.colors if c != thing.color and limits.allows(thing.shape, c)]
    yes = bool(rng.random() < 0.5)
    if not yes and not colors:
        return None
    color = thing.color if yes else _pick(colors, rng)
    slots = {"x": phrase.text, "c": say(COLOR_NOUNS[color], rng)}
    return Asked("yes" if yes else "no", slots, (thing, *phrase.by))


def _pattern(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    # Most things are plain: asked of each alike, "plain" would mean yes and "dotted" no.
    known = [t for t in sight.things if t.pattern and (t.pattern != "plain" or rng.random() < 0.15)]
    found = _referred(sight, rng, "pattern", among=known)
    if found is None:
        return None
    thing, phrase = found
    yes = bool(rng.random() < 0.5)
    word = thing.pattern if yes else _pick([w for w in _PATTERN_WORDS if w != thing.pattern], rng)
    return Asked("yes" if yes else "no", {"x": phrase.text, "c": word}, (thing, *phrase.by))


_PATTERN_WORDS = (*(p for p in PATTERNS if p != "rough"), "plain")


def _surfaces(sight: Sight) -> list[tuple[str, str]]:
    return [(s, words) for s, words in (("floor", sight.floor), ("wall", sight.wall)) if words]


def _surface_color(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    options = [(s, words) for s, words in _surfaces(sight) if words in ANCHORS]
    if not options:
        return None
    s, words = _pick(options, rng)
    return Asked(words, {"s": s})


def _material(sight: Sight, rng: np.random.Generator, limits: Limits) -> Asked | None:
    options = [(s, words) for s, words in _surfaces(sight) if words in SURFACES]
    if not options:
        return None
    s, words = _pick(options, rng)
    return Asked(SURFACES[words][1], {"s": s})


MAKERS: dict[str, Maker] = {
    "caption": lambda sight, rng, limits: Asked(caption(sight), about=sight.things),
    "color": _color,
    "shape": _shape,
    "count": _count,
    "exists": _exists,
    "which": _which,
    "what": _what,
    "relation": _relation,
    "attribute": _attribute,
    "describe": _describe,
    "point": _point,
    "pattern": _pattern,
    "surface": _surface_color,
    "material": _material,
}
"""Kind -> what makes a question of it."""
