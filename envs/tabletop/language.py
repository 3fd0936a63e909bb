"""Sentences for tasks and tasks for sentences. The words are in grammar.py, the understanding in parsing.py.

`say` and `parse` are inverse: ``parse(say(task, rng, split)) == task`` for every task, template and synonym.
`parse` knows exactly the words that templates can produce, so a word-level tokenizer that knows `all_words`
knows every sentence that `parse` lets through.
"""

import numpy as np

from envs.tabletop import grammar
from envs.tabletop.grammar import HELD_OUT_TEMPLATES, nouns_of
from envs.tabletop.parsing import parse
from envs.tabletop.tasks import COLORS, CONTAINERS, RELATIONS, SHAPES, SKILLS, ZONE, Task, Thing
from vla.errors import BadInput, did_you_mean

__all__ = [
    "HELD_OUT_TEMPLATES",
    "all_sentences_sample",
    "all_words",
    "parse",
    "say",
    "templates",
]

_SPLITS = ("train", "seen", "held_out")


def templates(skill: str, split: str = "train") -> tuple[str, ...]:
    """The sentence templates of a skill: those of demonstrations ("train", "seen") or the "held_out" ones."""
    if skill not in SKILLS:
        raise BadInput(f"unknown skill '{skill}'{did_you_mean(skill, SKILLS)}")
    if split not in _SPLITS:
        raise BadInput(f"unknown language split '{split}'{did_you_mean(split, _SPLITS)}")
    return (HELD_OUT_TEMPLATES if split == "held_out" else grammar.TRAIN_TEMPLATES)[skill]


def say(task: Task, rng: np.random.Generator, split: str = "train") -> str:
    """One sentence, lower case and without punctuation, that means `task`; template and synonyms by `rng`."""
    options = templates(task.skill, split)
    template = options[rng.integers(len(options))]
    choices = grammar.choices(task)
    things = {"a": task.target, "b": task.reference, "c": task.second}
    said: dict[str, str] = {}
    for slot in dict.fromkeys(grammar.slots(template)):
        if slot not in choices:
            raise BadInput(f"cannot say {task}: a '{task.skill}' task needs more than that")
        thing = things.get(slot)
        said[slot] = _name(thing, rng) if thing else choices[slot][rng.integers(len(choices[slot]))]
    return template.format(**said)


def _name(thing: Thing, rng: np.random.Generator) -> str:
    """A noun phrase; half the time the usual noun, four times in five with "the"."""
    nouns = nouns_of(thing.kind)
    noun = nouns[0] if rng.random() < 0.5 else nouns[rng.integers(len(nouns))]
    definite = rng.random() < 0.8
    article = "the " if definite else ("", "an " if thing.color[0] in "aeiou" else "a ")[rng.integers(2)]
    return f"{article}{thing.color} {noun}"


def all_words(vocabulary: str = "base") -> list[str]:
    """Every word that any template, held-out ones included, can say of a vocabulary's things, sorted."""
    return list(grammar.all_words(vocabulary))


def all_sentences_sample(n: int, seed: int) -> list[str]:
    """n sentences for random tasks, training templates only: held-out structures never reach a tokenizer."""
    rng = np.random.default_rng(seed)
    return [say(_random_task(rng), rng) for _ in range(n)]


def _random_task(rng: np.random.Generator) -> Task:
    """Any task that can be said, every skill alike."""

    def draw(kinds: tuple[str, ...]) -> Thing:
        return Thing(kinds[rng.integers(len(kinds))], list(COLORS)[rng.integers(len(COLORS))])

    skill = SKILLS[rng.integers(len(SKILLS))]
    target = second = draw(SHAPES)
    while second == target:
        second = draw(SHAPES)
    if skill in ("put_into", "put_both"):
        return Task(skill, target, draw(CONTAINERS), second=second if skill == "put_both" else None)
    if skill == "push":
        return Task(skill, target, draw((ZONE,)))
    if skill in ("put_beside", "stack"):
        relation = RELATIONS[rng.integers(len(RELATIONS))] if skill == "put_beside" else None
        return Task(skill, target, second, relation)
    return Task(skill, target)
