"""Drawing scenes: from random numbers to a table on which the task can be done."""

from dataclasses import replace

import numpy as np

from envs.tabletop.arm import STATE_HIGH, STATE_LOW
from envs.tabletop.scene import HOME, PAN_AXIS, Look, Placed, Scene, destination
from envs.tabletop.solids import SOLIDS
from envs.tabletop.tasks import COLORS, CONTAINERS, HELD_OUT_PAIRS, RELATIONS, SHAPES, ZONE, Task, Thing
from vla.errors import BadInput

__all__ = ["lay_out", "sample_scene", "start_pose", "swap_target"]

REACH = (0.15, 0.285)
SECTOR = np.deg2rad(46.0)
GAP = 0.02
"""Free space kept between things, so that a finger fits."""


_FOOTPRINT = {
    **{kind: solid.footprint for kind, solid in SOLIDS.items()},
    "bowl": 0.062,
    "tray": 0.07,
    "zone": 0.055,
}
_USABLE = {"stack": ("cube", "cylinder", "brick"), "push": ("cube", "cylinder", "brick")}
"""Shapes a skill can be asked of; all of them where it is not named. A ball rolls off whatever it is
pushed over or put upon."""


def _in_reach(xy: np.ndarray) -> bool:
    offset = xy - np.array(PAN_AXIS)
    radius, angle = np.hypot(*offset), np.arctan2(offset[1], offset[0])
    return bool(REACH[0] <= radius <= REACH[1] and abs(angle) <= SECTOR)


def _sample_xy(rng: np.random.Generator) -> np.ndarray:
    radius = np.sqrt(rng.uniform(REACH[0] ** 2, REACH[1] ** 2))
    angle = rng.uniform(-SECTOR, SECTOR)
    return np.array(PAN_AXIS) + radius * np.array([np.cos(angle), np.sin(angle)])


def _yaw(kind: str, xy: np.ndarray, rng: np.random.Generator) -> float:
    """Objects stand roughly square to the arm (within 35 degrees), as a person would lay them out."""
    if kind in (ZONE, *CONTAINERS):
        return 0.0
    radial = np.arctan2(xy[1] - PAN_AXIS[1], xy[0] - PAN_AXIS[0])
    turn = np.deg2rad(35.0)
    return float(radial + rng.uniform(-turn, turn))


def _allowed(kind: str, held_out: bool) -> list[Thing]:
    pairs = [(kind, c) for c in COLORS]
    return [Thing(k, c) for k, c in pairs if ((k, c) in HELD_OUT_PAIRS) == held_out]


def _pick(options: list[Thing], rng: np.random.Generator) -> Thing:
    return options[int(rng.integers(len(options)))]


def _sample_target(skill: str, held_out: bool, rng: np.random.Generator) -> Thing:
    return _pick([t for s in _USABLE.get(skill, SHAPES) for t in _allowed(s, held_out)], rng)


def _distractor(like: Thing, taken: set[Thing], rng: np.random.Generator) -> Thing:
    """Another object, most often one that shares the colour or the shape, never a held-out pair."""
    everything = [t for s in SHAPES for t in _allowed(s, False) if t not in taken]
    similar = [t for t in everything if t.kind == like.kind or t.color == like.color]
    return _pick(similar if similar and rng.random() < 0.75 else everything, rng)


def _sample_things(
    skill: str, held_out: bool, rng: np.random.Generator
) -> tuple[Task, list[Thing], list[Thing]]:
    """A task with the movable objects and the fixtures it needs, and distractors beside them."""
    target = _sample_target(skill, held_out, rng)
    objects, fixtures = [target], []
    reference: Thing | None = None
    relation: str | None = None
    second: Thing | None = None
    if skill in ("put_into", "put_both"):
        reference = Thing(CONTAINERS[int(rng.integers(2))], _color(rng))
        fixtures.append(reference)
        if skill == "put_into" and rng.random() < 0.5:
            fixtures.append(_other_container(reference, rng))
    elif skill == "push":
        reference = Thing(ZONE, _color(rng))
        fixtures.append(reference)
    elif skill in ("put_beside", "stack"):
        shapes = _USABLE.get(skill, SHAPES)
        options = [t for s in shapes for t in _allowed(s, False) if t != target]
        reference = _pick(options, rng)
        objects.append(reference)
        relation = RELATIONS[int(rng.integers(4))] if skill == "put_beside" else None
    if skill == "put_both":
        second = _distractor(target, {target}, rng)
        objects.append(second)
    most = 5 if not fixtures else 4
    # put_beside and stack name two objects; a third gives a swapped sentence something to name.
    least = 3 if skill in ("put_beside", "stack") else 2
    for _ in range(int(rng.integers(least, most + 1)) - len(objects)):
        objects.append(_distractor(target, set(objects), rng))
    # Other skills see containers and zones too, so that their presence does not give the task away.
    if not fixtures and rng.random() < 0.35 and len(objects) <= 4:
        kind = (*CONTAINERS, ZONE)[int(rng.integers(3))]
        fixtures.append(Thing(kind, _color(rng)))
    return Task(skill, target, reference, relation, second), objects, fixtures


def _color(rng: np.random.Generator) -> str:
    return list(COLORS)[int(rng.integers(len(COLORS)))]


def _other_container(first: Thing, rng: np.random.Generator) -> Thing:
    if rng.random() < 0.5:
        kind = CONTAINERS[1 - CONTAINERS.index(first.kind)]
        return Thing(kind, first.color if rng.random() < 0.5 else _color(rng))
    return Thing(first.kind, _pick([Thing(first.kind, c) for c in COLORS if c != first.color], rng).color)


def lay_out(things: list[Thing], rng: np.random.Generator) -> list[Placed] | None:
    """Places for the things, in their order, with room for a finger between them; None: no luck."""
    placed: list[Placed] = []
    for thing in things:
        for _ in range(60):
            xy = _sample_xy(rng)
            near = (
                np.hypot(p.x - xy[0], p.y - xy[1]) < _FOOTPRINT[p.thing.kind] + _FOOTPRINT[thing.kind] + GAP
                for p in placed
            )
            if not any(near):
                placed.append(Placed(thing, float(xy[0]), float(xy[1]), _yaw(thing.kind, xy, rng)))
                break
        else:
            return None
    return placed


def _feasible(task: Task, objects: tuple[Placed, ...], fixtures: tuple[Placed, ...]) -> bool:
    """Whether the goal can be reached: free room beside the reference, a free lane to push along."""
    at = {p.thing: p for p in (*objects, *fixtures)}
    target = at[task.target]
    if task.skill == "put_beside":
        assert task.reference is not None
        goal = destination(task, at[task.reference].xy)
        others = [p for p in (*objects, *fixtures) if p.thing != task.target]
        room = (np.hypot(*(p.xy - goal)) > _FOOTPRINT[p.thing.kind] + 0.03 for p in others)
        return _in_reach(goal) and all(room) and float(np.hypot(*(target.xy - goal))) > 0.06
    if task.skill == "push":
        assert task.reference is not None
        goal = at[task.reference].xy
        way = goal - target.xy
        length = float(np.hypot(*way))
        along = way / length
        behind = target.xy - 0.05 * along
        lane = (
            float(np.hypot(*(p.xy - behind - np.clip((p.xy - behind) @ along, 0, length) * along)))
            > _FOOTPRINT[p.thing.kind] + 0.03
            for p in objects
            if p.thing != task.target
        )
        return _in_reach(behind) and 0.08 < length < 0.2 and all(lane)
    return True


def start_pose(rng: np.random.Generator) -> np.ndarray:
    """A start pose about HOME, LeRobot units ``[6]``."""
    return np.clip(HOME + rng.normal(0, [8, 4, 4, 3, 6, 3]), STATE_LOW + 1.0, STATE_HIGH - 1.0)


def sample_scene(
    rng: np.random.Generator,
    skill: str,
    *,
    held_out: bool = False,
    task: Task | None = None,
    visual_randomization: bool = False,
) -> Scene:
    """Draw a feasible scene for a skill, or for a given task (the things it names, and distractors).

    held_out: the target is one of HELD_OUT_PAIRS; distractors never are.
    Raises BadInput when the task cannot be laid out on this table.
    """
    for _ in range(400):
        if task is None:
            drawn, objects, fixtures = _sample_things(skill, held_out, rng)
        else:
            drawn, objects, fixtures = _things_for(task, rng)
        placed = lay_out([*fixtures, *objects], rng)
        if placed is None:
            continue
        fixed, movable = tuple(placed[: len(fixtures)]), placed[len(fixtures) :]
        order = rng.permutation(len(movable))
        scene_objects = tuple(movable[i] for i in order)
        if not _feasible(drawn, scene_objects, fixed):
            continue
        start = start_pose(rng)
        # A stream of its own, so that the same seed gives the same sentence with and without.
        look = Look.random(rng.spawn(1)[0]) if visual_randomization else Look()
        return Scene(drawn, scene_objects, fixed, start, look)
    raise BadInput(f"no room on the table for: {task if task is not None else skill}")


def _things_for(task: Task, rng: np.random.Generator) -> tuple[Task, list[Thing], list[Thing]]:
    usable = _USABLE.get(task.skill, SHAPES)
    wrong = [t for t in (task.target, task.reference) if t and t.kind in SHAPES and t.kind not in usable]
    if wrong:
        deed = {"stack": "stack", "push": "push"}[task.skill]
        raise BadInput(f"cannot {deed} with the {wrong[0]}: it rolls off; name a {', '.join(usable)}")
    named = [t for t in (task.target, task.second, task.reference) if t is not None]
    objects = [t for t in named if t.kind in SHAPES]
    fixtures = [t for t in named if t.kind not in SHAPES]
    if len(set(named)) != len(named):
        raise BadInput(f"the sentence names the same thing twice: {', '.join(map(str, named))}")
    while len(objects) < 3:
        objects.append(_distractor(task.target, set(objects), rng))
    return task, objects, fixtures


def swap_target(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same table with the sentence to be about another of its objects (the swap test)."""
    task = scene.task
    taken = {task.target, task.reference, task.second}
    shapes = _USABLE.get(task.skill, SHAPES)
    others = [p.thing for p in scene.objects if p.thing not in taken and p.thing.kind in shapes]
    swapped = [replace(task, target=t) for t in others]
    feasible = [t for t in swapped if _feasible(t, scene.objects, scene.fixtures)]
    if not feasible:
        raise BadInput(f"no other object on this table can be asked to: {task.skill}")
    return replace(scene, task=feasible[int(rng.integers(len(feasible)))])
