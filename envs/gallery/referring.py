"""Phrases that name exactly one thing of a picture: by shape, colour, pattern, size, place or neighbour."""

from dataclasses import dataclass

import numpy as np

from envs.gallery.colors import COLOR_NOUNS
from envs.gallery.grammar import ADJECTIVES, PHRASES, PLACES, RELATION_WORDS
from envs.gallery.relations import OPPOSITE, RELATIONS, bigger, extreme, holds
from envs.gallery.shapes import SHAPES
from envs.gallery.sight import Seen

__all__ = ["Phrase", "bare_phrases", "phrases", "related", "say"]


@dataclass(frozen=True)
class Phrase:
    """text: "the red ball". tells: which of shape, color, pattern it gives away. by: the things it mentions
    beside the one it means."""

    text: str
    tells: frozenset[str]
    by: tuple[Seen, ...] = ()


def say(words: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of several ways; the usual one half the time."""
    return words[0] if rng.random() < 0.5 else words[rng.integers(len(words))]


def _nouns(thing: Seen, told: tuple[str, ...], rng: np.random.Generator) -> str:
    words = [thing.pattern] if "pattern" in told else []
    words += [say(COLOR_NOUNS[thing.color], rng)] if "color" in told else []
    words.append(say(SHAPES[thing.shape].nouns if "shape" in told else PHRASES["thing"], rng))
    return " ".join(words)


def _alike(thing: Seen, told: tuple[str, ...], things: tuple[Seen, ...]) -> list[Seen]:
    """All things that the same words fit, or may fit: a pattern that cannot be told may be any."""

    shape, color, pattern = "shape" in told, "color" in told, "pattern" in told
    return [
        other
        for other in things
        if not (shape and other.shape != thing.shape)
        and not (color and other.color != thing.color)
        and not (pattern and other.pattern not in ("", thing.pattern))
    ]


_TOLD: tuple[tuple[str, ...], ...] = (
    ("shape",),
    ("color", "shape"),
    ("color",),
    ("pattern", "shape"),
    ("pattern",),
    ("pattern", "color", "shape"),
)


def phrases(
    thing: Seen, things: tuple[Seen, ...], rng: np.random.Generator, hide: frozenset[str] = frozenset()
) -> list[Phrase]:
    """Unambiguous phrases for a thing that do not tell what is in `hide` (shape, color, pattern)."""
    found = []
    for told in _TOLD:
        if hide & set(told) or ("pattern" in told and thing.pattern in ("", "plain")):
            continue
        alike = _alike(thing, told, things)
        noun, tells = _nouns(thing, told, rng), frozenset(told)
        if len(alike) == 1:
            found.append(Phrase(f"the {noun}", tells))
            continue
        found += _by_place(thing, alike, noun, tells, rng)
        found += _by_size(thing, alike, noun, tells, rng)
    # All things, when there is no word for this one alone.
    if len(things) > 1:
        found += _by_place(thing, list(things), say(PHRASES["thing"], rng), frozenset(), rng)
        found += _by_size(thing, list(things), say(PHRASES["thing"], rng), frozenset(), rng)
    elif not found or hide:
        found.append(Phrase(f"the {say(PHRASES['thing'], rng)}", frozenset()))
    if found and rng.random() < 0.65:
        return found
    return _by_neighbour(thing, things, rng, hide) or found


def bare_phrases(thing: Seen, things: tuple[Seen, ...], rng: np.random.Generator) -> list[Phrase]:
    """Those of shape and colour alone: they say nothing of where the thing is or how big."""
    alone = [told for told in _TOLD[:3] if len(_alike(thing, told, things)) == 1]
    return [Phrase(f"the {_nouns(thing, told, rng)}", frozenset(told)) for told in alone]


def _by_place(
    thing: Seen, alike: list[Seen], noun: str, tells: frozenset[str], rng: np.random.Generator
) -> list[Phrase]:
    sides = [side for side in PLACES if extreme(alike, side) is thing]
    return [Phrase(f"the {noun} {say(PLACES[side], rng)}", tells) for side in sides]


def _by_size(
    thing: Seen, alike: list[Seen], noun: str, tells: frozenset[str], rng: np.random.Generator
) -> list[Phrase]:
    others = [other for other in alike if other is not thing]
    if all(bigger(thing, other) for other in others):
        return [Phrase(f"the {say(ADJECTIVES['big'], rng) if len(others) == 1 else 'biggest'} {noun}", tells)]
    if all(bigger(other, thing) for other in others):
        return [
            Phrase(f"the {say(ADJECTIVES['small'], rng) if len(others) == 1 else 'smallest'} {noun}", tells)
        ]
    return []


def related(relation: str, anchor: Seen, things: list[Seen]) -> Seen | None:
    """The only thing that is so to the anchor, if every other thing is plainly otherwise."""
    others = [thing for thing in things if thing is not anchor]
    if relation == "on":
        above = [thing for thing in others if thing.on == anchor.number]
        return above[0] if len(above) == 1 else None
    so = [thing for thing in others if holds(relation, thing, anchor)]
    if len(so) != 1:
        return None
    rest = [thing for thing in others if thing is not so[0]]
    return so[0] if all(holds(OPPOSITE[relation], thing, anchor) for thing in rest) else None


def _by_neighbour(
    thing: Seen, things: tuple[Seen, ...], rng: np.random.Generator, hide: frozenset[str]
) -> list[Phrase]:
    """ "the ball left of the red cube", where the cube has a short name of its own."""
    told = ("shape",) if "shape" not in hide else ("color",) if "color" not in hide else ()
    found = []
    for anchor in things:
        short = [
            t for t in (("shape",), ("color", "shape"), ("color",)) if len(_alike(anchor, t, things)) == 1
        ]
        if anchor is thing or not short:
            continue
        alike = _alike(thing, told, things)
        for relation in (*RELATIONS, "on"):
            if related(relation, anchor, alike) is thing:
                name = _nouns(anchor, short[rng.integers(len(short))], rng)
                text = f"the {_nouns(thing, told, rng)} {say(RELATION_WORDS[relation], rng)} the {name}"
                found.append(Phrase(text, frozenset(told), (anchor,)))
    return found
