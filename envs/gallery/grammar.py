"""Every sentence about a picture: nouns, phrases and templates, as plain data.

Lower case and without punctuation. ``{x}`` and ``{y}`` are definite phrases that name one thing each, ``{n}``
a noun in the plural, ``{p}`` an indefinite phrase; every other slot is a list of synonyms in `PHRASES`.
An answer uses the usual noun alone; prompts use all of them.
"""

import string

from envs.gallery.colors import COLOR_NOUNS
from envs.gallery.shapes import SHAPES, plural
from envs.gallery.textures import MATERIALS, PATTERNS

__all__ = [
    "ADJECTIVES",
    "BOX",
    "HELD_OUT_TEMPLATES",
    "KINDS",
    "MORE",
    "MOST_WORDS",
    "NUMBERS",
    "PHRASES",
    "PLACES",
    "RELATION_WORDS",
    "SURFACES",
    "TRAIN_TEMPLATES",
    "all_words",
    "article",
]

MOST_WORDS = 20
"""Of a prompt, and of an answer."""

BOX = "{box}"
"""The whole answer of a pointing question: whoever writes the text down puts the location words there."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")

PHRASES: dict[str, tuple[str, ...]] = {
    "thing": ("thing", "object"),
    "things": ("things", "objects"),
    "color": ("color", "colour"),
    "picture": ("picture", "image", "scene"),
    "there": ("are there", "are in the picture", "do you see", "can you see", "can be seen"),
}
"""Slots that say the same in several ways."""

RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of", "on the left of"),
    "right": ("right of", "to the right of", "on the right of"),
    "above": ("above", "higher up than"),
    "below": ("below", "lower down than"),
    "behind": ("behind", "at the back of"),
    "front": ("in front of", "before"),
    "on": ("on", "on top of"),
}
"""Relation -> how it is said; ``{rel}`` in a template."""

PLACES: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "furthest left", "on the left side"),
    "right": ("on the right", "furthest right", "on the right side"),
    "above": ("at the top", "highest up"),
    "below": ("at the bottom", "lowest down"),
}
"""The outermost of several."""

SURFACES: dict[str, tuple[str, str]] = {
    "wooden": ("a wooden", "wood"),
    "grass": ("a grass", "grass"),
    "brick": ("a brick", "bricks"),
    "tiled": ("a tiled", "tiles"),
    "sand": ("a sand", "sand"),
}
"""Material -> before "floor", and as an answer to what it is made of."""

_FIND = ("find {x}", "look at {x}", "look for {x}", "show me {x}", "spot {x}", "locate {x}")

TRAIN_TEMPLATES: dict[str, tuple[str, ...]] = {
    "caption": (
        "describe the {picture}",
        "what is in the {picture}",
        "what do you see",
        "tell me what is in the {picture}",
        "what does the {picture} show",
        "say what you see",
    ),
    "color": (
        "what {color} is {x}",
        "which {color} is {x}",
        "what is the {color} of {x}",
        "tell me the {color} of {x}",
        "{x} is what {color}",
        "which {color} does {x} have",
    ),
    "shape": (
        "what shape is {x}",
        "what is the shape of {x}",
        "which shape does {x} have",
        "what kind of {thing} is {x}",
        "name the shape of {x}",
        "{x} is what shape",
    ),
    "count": (
        "how many {n} {there}",
        "count the {n}",
        "how many {n} are in the {picture}",
        "what is the number of {n}",
        "tell me how many {n} {there}",
    ),
    "exists": (
        "is there {p}",
        "is there {p} in the {picture}",
        "do you see {p}",
        "can you see {p}",
        "does the {picture} show {p}",
    ),
    "which": (
        "which is {more} {x} or {y}",
        "which one is {more} {x} or {y}",
        "what is {more} {x} or {y}",
        "{x} or {y} which is {more}",
    ),
    "what": (
        "what is {rel} {y}",
        "which {thing} is {rel} {y}",
        "what do you see {rel} {y}",
        "name the {thing} {rel} {y}",
        "tell me what is {rel} {y}",
    ),
    "relation": (
        "is {x} {rel} {y}",
        "do you see {x} {rel} {y}",
        "is it true that {x} is {rel} {y}",
        "can you see that {x} is {rel} {y}",
    ),
    "attribute": (
        "is {x} {c}",
        "is the {color} of {x} {c}",
        "does {x} have the {color} {c}",
        "is it true that {x} is {c}",
    ),
    "describe": (
        "describe {x}",
        "what is {x}",
        "tell me what {x} is",
        "say what {x} is",
        "name {x}",
    ),
    "point": (
        "where is {x}",
        "point to {x}",
        "point at {x}",
        "where do you see {x}",
        "where in the {picture} is {x}",
        "tell me where {x} is",
        *_FIND,
    ),
    "pattern": (
        "is {x} {c}",
        "do you see that {x} is {c}",
        "is it true that {x} is {c}",
    ),
    "surface": (
        "what {color} is the {s}",
        "which {color} does the {s} have",
        "what is the {color} of the {s}",
    ),
    "material": (
        "what is the {s} made of",
        "which material is the {s}",
        "tell me what the {s} is made of",
    ),
}
"""Kind -> the prompts of training."""

HELD_OUT_TEMPLATES: dict[str, tuple[str, ...]] = {
    "caption": ("tell me what you see in the {picture}", "name what the {picture} does show"),
    "color": ("the {color} of {x} is what", "name the {color} of {x}", "what {color} does {x} have"),
    "shape": ("tell me the shape of {x}", "{x} is which kind of {thing}"),
    "count": ("in the {picture} how many {n} {there}", "say how many {n} {there}"),
    "exists": ("in the {picture} is there {p}", "is it true that there is {p}"),
    "which": ("of {x} and {y} which is {more}", "tell me which is {more} {x} or {y}"),
    "what": ("{rel} {y} what do you see", "say what is {rel} {y}"),
    "relation": ("can you see {x} {rel} {y}", "{x} is {rel} {y} is it true"),
    "attribute": ("{x} is {c} is it true", "do you see that {x} is {c}"),
    "describe": ("tell me {x} is what", "say in the {picture} what {x} is"),
    "point": ("in the {picture} where is {x}", "look where {x} is", "find where {x} is"),
    "pattern": ("{x} is {c} is it true", "can you see that {x} is {c}"),
    "surface": ("tell me the {color} of the {s}", "the {s} is what {color}"),
    "material": ("the {s} is made of what", "tell me which material the {s} is"),
}
"""Kind -> the prompts of validation: new structures, made of words that training has shown."""

KINDS = tuple(TRAIN_TEMPLATES)

MORE: dict[str, tuple[str, ...]] = {
    "left": ("further left", "further to the left"),
    "right": ("further right", "further to the right"),
    "above": ("higher up", "further up"),
    "below": ("lower down", "further down"),
    "behind": ("further away", "further back"),
    "front": ("closer", "nearer"),
    "big": ("bigger", "larger"),
    "small": ("smaller",),
}
"""Comparison -> the slot ``{more}``."""

ADJECTIVES: dict[str, tuple[str, ...]] = {"big": ("big", "large"), "small": ("small", "little")}

EXTRA = ("yes no a an the and or of more this to be on in front above floor wall grass wood bricks tiles "
         "sand plain biggest smallest other").split()  # fmt: skip
"""Words of answers and phrases that stand in no table."""


def article(phrase: str) -> str:
    """With "a" or "an" before it."""
    vowel = phrase[0] in "aeio" or phrase.startswith("l shape")
    return f"{'an' if vowel else 'a'} {phrase}"


def all_words() -> list[str]:
    """Every word that a picture's texts can hold (`BOX` aside), sorted."""
    nouns = [noun for shape in SHAPES.values() for noun in shape.nouns]
    texts = [*EXTRA, *NUMBERS, *nouns, *map(plural, nouns), *PATTERNS, *MATERIALS]
    tables = (PHRASES, RELATION_WORDS, PLACES, MORE, ADJECTIVES, COLOR_NOUNS)
    texts += [text for table in tables for options in table.values() for text in options]
    for templates in (*TRAIN_TEMPLATES.values(), *HELD_OUT_TEMPLATES.values()):
        texts += [
            literal for template in templates for literal, _, _, _ in string.Formatter().parse(template)
        ]
    return sorted({word for text in texts for word in text.split()} - {"rough"})
