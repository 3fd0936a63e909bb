"""What is true at one control step, read off the simulation: no words yet."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.tabletop.expert import Expert
from envs.tabletop.scene import CONTAINER_RADIUS, DIRECTIONS, ZONE_HALF
from envs.tabletop.sim import Simulation
from envs.tabletop.solids import SOLIDS
from envs.tabletop.success import Judge
from envs.tabletop.tasks import CONTAINERS, ZONE, Task, Thing

__all__ = ["Moment", "Relation", "look"]

NEAR = 0.25
"""Metres: of what is farther off nobody would say that something stands beside it."""
CLEAR = 0.03
"""Metres between centres from which one side can be told from another."""
ASIDE = 0.6
"""How far off a direction's line a thing may stand, as a share of how far along it: between two directions
neither word is right."""
FALLS = 0.03
"""Metres aside of its goal, within which a thing that was let go is on its way there."""
ONTO = 0.02
"""Metres: within this, and higher, a thing is on the other."""


@dataclass(frozen=True)
class Relation:
    """`one` stands `side` (left, right, front, behind, as the front camera sees it; on, or in) of `other`."""

    one: Thing
    side: str
    other: Thing


@dataclass(frozen=True)
class Moment:
    """subtask: of `expert.SUBTASKS`, what the expert would do now. subject: the thing that is meant now (of
    two that are to be put away, first the one, then the other). box: left, top, right, bottom of its corners
    in the front picture, in 0..1; None where none of it can be in the picture. others: what else stands
    there. relation: of the subject to its nearest neighbour; None where no word fits, and while it is held,
    when it stands nowhere. held: the fingers hold the subject. lost: it was carried and is not held now, nor
    where it belongs."""

    task: Task
    subtask: str
    subject: Thing
    box: tuple[float, float, float, float] | None
    others: tuple[Thing, ...]
    relation: Relation | None
    held: bool
    lost: bool


def look(sim: Simulation, judge: Judge, expert: Expert) -> Moment:
    """The present moment. Asks the expert what it would do now."""
    scene = sim.scene
    index = expert.subject
    lost, subtask = _let_go(sim, judge, expert, index, expert.intend())
    subject = scene.objects[index].thing
    held = expert.holding(index)
    others = [placed.thing for placed in scene.objects if placed.thing != subject]
    others += [placed.thing for placed in scene.fixtures]
    return Moment(
        task=scene.task,
        subtask=subtask,
        subject=subject,
        box=_box(sim, index),
        others=tuple(others),
        relation=None if held else _nearest(sim, index),
        held=held,
        lost=lost,
    )


def _let_go(sim: Simulation, judge: Judge, expert: Expert, index: int, subtask: str) -> tuple[bool, str]:
    """Whether the subject was lost, and the sub-task: the expert, who remembers nothing, would grasp what is
    still falling into its place."""
    if not judge.was_lifted(index) or expert.holding(index) or subtask not in ("reach", "grasp"):
        return False, subtask
    aside = np.hypot(*(expert.goal(index) - sim.position(index))[:2])
    if sim.scene.task.skill != "lift" and aside < FALLS:
        return False, "release"
    return True, subtask


def _box(sim: Simulation, index: int) -> tuple[float, float, float, float] | None:
    """Of the corners of the block that the thing fills, as the front camera would see them if nothing stood
    before it."""
    kind = sim.scene.objects[index].thing.kind
    solid = SOLIDS[kind]
    across = {"brick": (0.025, 0.0135)}.get(kind, (min(solid.footprint, 0.016),) * 2)
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * [*across, solid.rest]
    world = corners @ sim.rotation(index).T + sim.position(index)
    seen = np.stack([sim.project("front", point) for point in world])
    shown = seen[seen[:, 2] > 0]
    if not len(shown):
        return None
    (left, top), (right, bottom) = shown[:, :2].min(0), shown[:, :2].max(0)
    return float(left), float(top), float(right), float(bottom)


def _nearest(sim: Simulation, index: int) -> Relation | None:
    scene, here = sim.scene, sim.position(index)
    places: list[tuple[Thing, npt.NDArray[np.float64]]] = [
        (placed.thing, sim.position(i)) for i, placed in enumerate(scene.objects) if i != index
    ]
    places += [(placed.thing, np.append(placed.xy, 0.0)) for placed in scene.fixtures]
    places.sort(key=lambda each: float(np.hypot(*(each[1] - here)[:2])))
    for other, there in places:
        side = "in" if _inside(here, there, other) else _side(here - there)
        if side is not None:
            return Relation(scene.objects[index].thing, side, other)
    return None


def _inside(here: npt.NDArray[np.float64], there: npt.NDArray[np.float64], other: Thing) -> bool:
    reach = {**dict.fromkeys(CONTAINERS, CONTAINER_RADIUS), ZONE: ZONE_HALF}.get(other.kind, 0.0)
    return float(np.hypot(*(here - there)[:2])) < reach


def _side(offset: npt.NDArray[np.float64]) -> str | None:
    """On which side a thing stands that is `offset` [3] metres from another; None where no word fits."""
    flat = float(np.hypot(*offset[:2]))
    if flat < ONTO and offset[2] > 0.005:
        return "on"
    if not CLEAR <= flat <= NEAR:
        return None
    for name, way in DIRECTIONS.items():
        along = float(offset[:2] @ np.array(way))
        aside = abs(float(offset[0] * way[1] - offset[1] * way[0]))
        if along > 0 and aside <= ASIDE * along:
            return name
    return None
