"""From what is seen to what is said: several turns of prompt and answer about one picture."""

import string
from dataclasses import dataclass
from typing import Literal

import numpy as np

from envs.gallery.grammar import HELD_OUT_TEMPLATES, KINDS, MOST_WORDS, PHRASES, TRAIN_TEMPLATES
from envs.gallery.limits import Limits
from envs.gallery.questions import MAKERS
from envs.gallery.referring import say
from envs.gallery.sight import Sight

__all__ = ["WEIGHTS", "Said", "Split", "converse"]

type Split = Literal["train", "validation"]

WEIGHTS: dict[str, float] = {
    "caption": 1.0,
    "color": 1.0,
    "shape": 1.0,
    "count": 2.0,
    "exists": 1.0,
    "which": 1.0,
    "what": 1.0,
    "relation": 1.0,
    "attribute": 0.5,
    "describe": 0.7,
    "point": 2.0,
    "pattern": 0.5,
    "surface": 0.3,
    "material": 0.3,
}
"""Kind -> how often it is tried first; pointing most, as it is what a hand needs."""


@dataclass(frozen=True)
class Said:
    """One turn. boxes: (left, top, right, bottom) in 0..1 of what is spoken of, the thing meant first; all of
    them for a caption, a count or "is there". kind: one of `KINDS`. answer: `grammar.BOX` for pointing, to be
    replaced by the location words of the first box."""

    prompt: str
    answer: str
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    kind: str = ""


def converse(
    sight: Sight, rng: np.random.Generator, limits: Limits, split: Split, turns: int, *, pointing: int = 0
) -> tuple[Said, ...]:
    """Up to `turns` turns of different kinds, in random order; prompts from the split's templates.

    pointing: up to so many turns of kind ``point`` more, each with another prompt.
    """
    # Weighted order without replacement (Efraimidis and Spirakis, 2006): the smallest waiting times.
    waits = {kind: rng.exponential() / WEIGHTS[kind] for kind in KINDS}
    said: list[Said] = []
    for kind in sorted(KINDS, key=waits.__getitem__):
        turn = _say(kind, sight, rng, limits, split)
        if turn is not None:
            said.append(turn)
        if len(said) == turns:
            break
    for _ in range(pointing):
        turn = _say("point", sight, rng, limits, split)
        if turn is not None and turn.prompt not in {other.prompt for other in said}:
            said.append(turn)
    return tuple(said)


def _say(kind: str, sight: Sight, rng: np.random.Generator, limits: Limits, split: Split) -> Said | None:
    asked = MAKERS[kind](sight, rng, limits)
    if asked is None:
        return None
    templates = (TRAIN_TEMPLATES if split == "train" else HELD_OUT_TEMPLATES)[kind]
    template = templates[rng.integers(len(templates))]
    filled = dict(asked.slots)
    for _, slot, _, _ in string.Formatter().parse(template):
        if slot is not None and slot not in filled:
            filled[slot] = say(PHRASES[slot], rng)
    prompt = template.format(**filled)
    if max(len(prompt.split()), len(asked.answer.split())) > MOST_WORDS:
        return None
    return Said(prompt, asked.answer, tuple(thing.box for thing in asked.about), kind)
