"""Scenes of the extended vocabulary: four or five objects among which only both words tell the target.

Every scene is built alike, whatever the split, so that nothing but the novelty of words and things differs:
of the objects beside the target two share one of its words (its shape, say), one shares the other, and a
fifth is anything. In the splits with unseen targets the shared word is the one that is known, and those
beside the target are new in the same way or known. Who knows the known word alone has three candidates, who
picks the one new thing finds several, and a blind guess succeeds in 22.5% of scenes.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from envs.tabletop.sampling import lay_out, start_pose
from envs.tabletop.scene import Look, Scene
from envs.tabletop.tasks import HELD_OUT_PAIRS, Task, Thing
from envs.tabletop.vocabulary import NEW_COLORS, NEW_SHAPES, UNSEEN_SPLITS, VOCABULARIES
from vla.errors import BadInput

__all__ = ["LIFTED", "name_another", "sample_extended", "seen"]

LIFTED = ("cube", "ball", "cylinder", "brick", "star", "ring", "heart", "moon")
"""Shapes that the skill "lift" is asked of: those that the demonstrator lifts in at least 95% of scenes."""

_WORDS = VOCABULARIES["extended"]
_THINGS = tuple(Thing(kind, color) for kind in _WORDS.shapes for color in _WORDS.colors)


def seen(thing: Thing) -> bool:
    """Whether demonstrations show it: neither word is new, and the pair is not held out."""
    known = thing.kind not in NEW_SHAPES and thing.color not in NEW_COLORS
    return known and (thing.kind, thing.color) not in HELD_OUT_PAIRS


def sample_extended(
    rng: np.random.Generator,
    skill: str,
    split: str,
    *,
    task: Task | None = None,
    visual_randomization: bool = False,
) -> Scene:
    """Draw a scene for a skill, or for a given task about one thing. Raises BadInput for other tasks.

    split: one of UNSEEN_SPLITS draws such targets, ``held_out_objects`` pairs that are held out of
    demonstrations; in all others everything on the table is seen.
    """
    if task is not None:
        _check(task)
        skill = task.skill
    for _ in range(400):
        target = _target(skill, split, rng) if task is None else task.target
        objects = [target, *_others(target, rng)]
        placed = lay_out(objects, rng)
        if placed is None:
            continue
        order = rng.permutation(len(placed))
        start = start_pose(rng)
        look = Look.random(rng.spawn(1)[0]) if visual_randomization else Look()
        return Scene(Task(skill, target), tuple(placed[i] for i in order), (), start, look)
    raise BadInput(f"no room on the table for: {task if task is not None else skill}")


def name_another(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same table with the sentence about another of its objects (the swap test)."""
    task = scene.task
    others = [p.thing for p in scene.objects if p.thing != task.target and _can(task.skill, p.thing)]
    if not others:
        raise BadInput(f"no other object on this table can be asked to: {task.skill}")
    return replace(scene, task=replace(task, target=_pick(others, rng)))


def _check(task: Task) -> None:
    if task.skill not in _WORDS.skills:
        raise BadInput(f"vocabulary=extended has no '{task.skill}'; its skills: {', '.join(_WORDS.skills)}")
    if not _can(task.skill, task.target):
        raise BadInput(f"the {task.target} cannot be lifted; name a {', '.join(LIFTED)}")


def _can(skill: str, thing: Thing) -> bool:
    return skill != "lift" or thing.kind in LIFTED


def _pick(options: list[Thing], rng: np.random.Generator) -> Thing:
    return options[int(rng.integers(len(options)))]


def _target(skill: str, split: str, rng: np.random.Generator) -> Thing:
    if split in UNSEEN_SPLITS:
        novelty = UNSEEN_SPLITS[split]
        options = [t for t in _THINGS if (t.color in NEW_COLORS, t.kind in NEW_SHAPES) == novelty]
    elif split == "held_out_objects":
        options = [Thing(*pair) for pair in sorted(HELD_OUT_PAIRS)]
    else:
        options = [t for t in _THINGS if seen(t)]
    return _pick([t for t in options if _can(skill, t)], rng)


def _others(target: Thing, rng: np.random.Generator) -> list[Thing]:
    """Three or four things beside the target, see above."""
    new_color, new_shape = target.color in NEW_COLORS, target.kind in NEW_SHAPES
    novel = new_color or new_shape
    pool = [
        t
        for t in _THINGS
        if (t.kind, t.color) not in HELD_OUT_PAIRS
        and (new_color or t.color not in NEW_COLORS)
        and (new_shape or t.kind not in NEW_SHAPES)
    ]
    by_shape = not new_shape  # the word that is shared: the known one
    if new_color == new_shape:
        by_shape = bool(rng.random() < 0.5)
    same, other = (_kind, _color) if by_shape else (_color, _kind)
    found: list[Thing] = []

    def add(allowed: Callable[[Thing], bool]) -> None:
        options = [t for t in pool if t != target and t not in found and allowed(t)]
        found.append(_pick(options, rng))

    # One whose other word is new as well (where new things stand on the table), one whose other word is not.
    add(lambda t: same(t) == same(target) and (not novel or _new(other(t))))
    add(lambda t: same(t) == same(target) and not _new(other(t)))
    add(lambda t: other(t) == other(target))
    if rng.random() < 0.5:
        add(lambda t: True)
    return found


def _kind(thing: Thing) -> str:
    return thing.kind


def _color(thing: Thing) -> str:
    return thing.color


def _new(word: str) -> bool:
    return word in NEW_COLORS or word in NEW_SHAPES
