"""Every sentence the table's robot is taught: nouns, prepositions, verbs and templates, as plain data.

A template is words and slots. ``{a}`` is the target, ``{b}`` the reference, ``{c}`` the second thing;
``{to}`` is a preposition of motion and ``{at}`` one of rest, both chosen by what the reference is; every
other slot is a list of synonyms in `VERBS` or `PHRASES`. Sentences are lower case and have no punctuation,
so that a word-level tokenizer meets one spelling of each word.
"""

import string
from functools import cache

from envs.tabletop.tasks import CONTAINERS, SKILLS, ZONE, Task, Thing
from envs.tabletop.vocabulary import vocabulary as words_of

__all__ = [
    "HELD_OUT_TEMPLATES",
    "NEW_NOUNS",
    "NOUNS",
    "TRAIN_TEMPLATES",
    "all_words",
    "choices",
    "noun_phrases",
    "nouns_of",
    "slots",
]

NOUNS: dict[str, tuple[str, ...]] = {
    "cube": ("cube", "block", "box"),
    "ball": ("ball", "sphere"),
    "cylinder": ("cylinder", "can"),
    "brick": ("brick", "bar"),
    "bowl": ("bowl", "dish"),
    "tray": ("tray", "plate"),
    "zone": ("zone", "area", "square", "patch"),
}
"""Kind -> its names, the usual one first."""

NEW_NOUNS: dict[str, tuple[str, ...]] = {
    "star": ("star",),
    "ring": ("ring", "donut"),
    "cross": ("cross", "plus"),
    "heart": ("heart",),
    "moon": ("moon", "crescent"),
}
"""The same for the shapes that the extended vocabulary adds."""

MOTION: dict[str, tuple[str, ...]] = {
    "bowl": ("in", "into", "inside"),
    "tray": ("on", "onto", "in", "into"),
    "zone": ("to", "onto", "into", "over to"),
    "stack": ("on", "onto", "on top of"),
    "left": ("to the left of", "left of", "on the left side of", "on the left of"),
    "right": ("to the right of", "right of", "on the right side of", "on the right of"),
    "front": ("in front of", "at the front of", "on the front side of"),
    "behind": ("behind", "at the back of", "on the back side of"),
}
"""Kind of reference, or relation -> the slot ``{to}``."""

REST: dict[str, tuple[str, ...]] = {
    **MOTION,
    "bowl": ("in", "inside"),
    "tray": ("on", "in"),
    "zone": ("on", "in", "inside"),
    "stack": ("on", "on top of"),
}
"""Kind of reference, or relation -> the slot ``{at}``."""

SIDE: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "on its left", "on the left side"),
    "right": ("on the right", "on its right", "on the right side"),
    "front": ("in front", "at the front", "on its front side"),
    "behind": ("behind it", "at the back", "on its back side"),
}
"""Relation -> the slot ``{side}``, which stands after "beside something"."""

PHRASES: dict[str, tuple[str, ...]] = {
    "ask": (
        "please",
        "could you",
        "can you",
        "could you please",
        "would you",
        "now",
        "robot",
        "hey robot",
        "i want you to",
        "i need you to",
        "i would like you to",
    ),
    "end": ("please", "now", "for me", "thanks"),
    "want": ("i want", "i need", "i would like"),
    "take": ("take", "grab", "pick up", "get"),
    "carry": ("move", "bring", "carry", "take"),
    "reach": ("reach for", "reach out to", "go to", "move to"),
    "grab": ("grab", "grasp", "take", "get"),
    "beside": ("beside", "next to"),
    "goes": ("goes", "should go", "belongs", "should be"),
    "go": ("go", "should go", "belong", "should be"),
    "together": ("and", "together with", "along with"),
}

VERBS: dict[str, tuple[str, ...]] = {
    "touch": ("touch", "tap", "poke"),
    "lift": ("lift", "raise", "pick up", "lift up"),
    "put_into": ("put", "place", "set", "drop"),
    "put_beside": ("put", "place", "set", "lay"),
    "push": ("push", "slide", "shove", "nudge"),
    "stack": ("stack", "put", "place", "set", "balance"),
    "put_both": ("put", "place", "set", "drop"),
}
"""Skill -> the slot ``{do}``."""

_GOAL_TRAIN = (
    "{do} {a} {to} {b}",
    "{ask} {do} {a} {to} {b}",
    "{do} {a} {to} {b} {end}",
    "{to} {b} {do} {a}",
    "{take} {a} and {do} it {to} {b}",
    "{a} {goes} {at} {b}",
    "{want} {a} {at} {b}",
    "{want} {a} to be {at} {b}",
    "get {a} {to} {b}",
    "find {a} and {do} it {to} {b}",
    "{do} {a} so that it is {at} {b}",
    "{at} {b} is where {a} {goes}",
    "use your gripper to {do} {a} {to} {b}",
    "{carry} {a} {to} {b}",
    "go to {a} and {do} it {to} {b}",
    "go and {do} {a} {to} {b}",
)
"""Shared by the four skills that bring one thing to a place."""

_GOAL_HELD_OUT = (
    "{ask} find {a} then {do} it {to} {b}",
    "with your gripper {do} {a} {to} {b}",
    "{to} {b} please {do} {a}",
    "{a} is the one to {do} {to} {b}",
)

TRAIN_TEMPLATES: dict[str, tuple[str, ...]] = {
    "touch": (
        "{do} {a}",
        "{ask} {do} {a}",
        "{do} {a} {end}",
        "{reach} {a}",
        "{ask} go to {a}",
        "go and {do} {a}",
        "make contact with {a}",
        "{ask} make contact with {a}",
        "{reach} {a} and {do} it",
        "reach out and {do} {a}",
        "find {a} and {do} it",
        "find {a} and make contact with it",
        "put your gripper on {a}",
        "bring your gripper to {a}",
        "use your gripper to {do} {a}",
        "{a} is the one to {do}",
        "just {do} {a}",
        "first find {a} and then {do} it",
    ),
    "lift": (
        "{do} {a}",
        "{ask} {do} {a}",
        "{do} {a} {end}",
        "pick {a} up",
        "lift {a} up",
        "{do} {a} off the table",
        "{grab} {a}",
        "{grab} {a} off the table",
        "{grab} {a} and lift it",
        "{grab} {a} and pick it up",
        "{ask} {grab} {a} and lift it up",
        "hold up {a}",
        "hold {a} in the air",
        "raise {a} into the air",
        "find {a} and pick it up",
        "go and {do} {a}",
        "use your gripper to {do} {a}",
        "just {do} {a}",
    ),
    "put_into": (
        *_GOAL_TRAIN,
        "fill {b} with {a}",
        "carry {a} over to {b} and drop it in",
        "pick {a} up and {do} it {to} {b}",
    ),
    "put_beside": (
        *_GOAL_TRAIN,
        "{do} {a} {beside} {b} {side}",
        "{beside} {b} {do} {a} {side}",
        "{want} {a} {beside} {b} {side}",
    ),
    "push": (
        *_GOAL_TRAIN,
        "{do} {a} until it is {at} {b}",
        "give {a} a push {to} {b}",
        "{do} {a} across the table {to} {b}",
    ),
    "stack": (
        *_GOAL_TRAIN,
        "make a tower with {a} {at} {b}",
        "top {b} with {a}",
        "pick {a} up and {do} it {to} {b}",
    ),
    "put_both": (
        "{do} {a} and {c} {to} {b}",
        "{ask} {do} {a} and {c} {to} {b}",
        "{do} {a} and {c} {to} {b} {end}",
        "{do} both {a} and {c} {to} {b}",
        "{do} {a} {together} {c} {to} {b}",
        "{to} {b} {do} {a} and {c}",
        "{take} {a} and {c} and {do} them {to} {b}",
        "{do} {a} {to} {b} and then {c} too",
        "first {do} {a} and then {c} {to} {b}",
        "{do} {a} {to} {b} then do the same with {c}",
        "{do} {a} {to} {b} and {do} {c} there too",
        "{a} and {c} {go} {at} {b}",
        "{want} {a} and {c} {at} {b}",
        "{want} both {a} and {c} to be {at} {b}",
        "{at} {b} is where {a} and {c} {go}",
        "fill {b} with {a} and {c}",
        "find {a} and {c} and {do} them {to} {b}",
        "{carry} {a} and {c} {to} {b}",
    ),
}
"""Skill -> the templates of every demonstration."""

HELD_OUT_TEMPLATES: dict[str, tuple[str, ...]] = {
    "touch": (
        "with your gripper {do} {a}",
        "{ask} reach for {a} then make contact with it",
        "go to {a} and just {do} it {end}",
        "{a} just {do} it",
    ),
    "lift": (
        "with your gripper {do} {a}",
        "off the table {do} {a}",
        "{ask} find {a} then hold it up in the air",
        "{a} is the one to {do} off the table",
    ),
    "put_into": (*_GOAL_HELD_OUT, "go and grab {a} then drop it {to} {b}"),
    "put_beside": (*_GOAL_HELD_OUT, "find {a} and {do} it {beside} {b} {side}"),
    "push": (*_GOAL_HELD_OUT, "until {a} is {at} {b} {do} it"),
    "stack": (*_GOAL_HELD_OUT, "use {a} to top {b}"),
    "put_both": (
        "{to} {b} please {do} {a} and then {c}",
        "with your gripper {do} both {a} and {c} {to} {b}",
        "{ask} take {a} {together} {c} and {do} them {to} {b}",
        "{a} {goes} {at} {b} and then {c} too",
    ),
}
"""Skill -> the templates of no demonstration: new structures, made of words that training has shown."""


def nouns_of(kind: str) -> tuple[str, ...]:
    """All names of a kind, the usual one first."""
    return NOUNS[kind] if kind in NOUNS else NEW_NOUNS[kind]


@cache
def noun_phrases(thing: Thing) -> tuple[str, ...]:
    """All names of a thing: each noun of its kind with "the", with "a" or "an", and bare."""
    article = "an" if thing.color[0] in "aeiou" else "a"
    names = [f"{thing.color} {noun}" for noun in nouns_of(thing.kind)]
    return tuple(f"{before}{name}" for name in names for before in ("the ", f"{article} ", ""))


@cache
def slots(template: str) -> tuple[str, ...]:
    """Names of the template's slots, in order; a slot used twice is named twice."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(template) if name is not None)


@cache
def choices(task: Task) -> dict[str, tuple[str, ...]]:
    """Slot -> everything that may fill it in a sentence that means `task`."""
    found = {**PHRASES, "do": VERBS[task.skill]}
    for slot, thing in (("a", task.target), ("b", task.reference), ("c", task.second)):
        if thing is not None:
            found[slot] = noun_phrases(thing)
    if task.reference is not None:
        kind = task.reference.kind
        place = kind if kind in (*CONTAINERS, ZONE) else "stack"
        place = task.relation or place
        found |= {"to": MOTION[place], "at": REST[place]}
    if task.relation is not None:
        found["side"] = SIDE[task.relation]
    return found


@cache
def all_words(vocabulary: str = "base") -> list[str]:
    """Every word that any template can produce about the vocabulary's things, sorted."""
    known = words_of(vocabulary)
    tables = (PHRASES, VERBS, MOTION, REST, SIDE)
    texts = [text for table in tables for options in table.values() for text in options]
    for skill in SKILLS:
        for template in TRAIN_TEMPLATES[skill] + HELD_OUT_TEMPLATES[skill]:
            texts += [literal for literal, _, _, _ in string.Formatter().parse(template)]
    for kind in (*known.shapes, *CONTAINERS, ZONE):
        texts += [phrase for color in known.colors for phrase in noun_phrases(Thing(kind, color))]
    return sorted({word for text in texts for word in text.split()})
