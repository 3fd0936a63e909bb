"""Success and failure, decided from the physics alone, and which object was touched or moved."""

from dataclasses import dataclass, field

import numpy as np

from envs.tabletop.scene import CONTAINER_RADIUS, DIRECTIONS, ZONE_HALF, Scene, rest_height
from envs.tabletop.sim import Simulation
from envs.tabletop.tasks import Thing

__all__ = ["OUTCOMES", "Judge", "Verdict"]

OUTCOMES = ("running", "success", "wrong_object", "wrong_place", "dropped", "timeout")
"""wrong_object: another object was lifted, pushed away or (when touching) touched instead.
wrong_place: the target was let go and came to rest somewhere it does not belong (put, stack).
dropped: an object rolled out of the arm's world. timeout: none of these happened in time."""

TOUCH_STEPS = 3
STILL_STEPS = 4
STILL_SPEED = 0.02
TABLE_HALF = 0.55
LIFT_HEIGHT = 0.05
WRONG_LIFT = 0.025
WRONG_SHIFT = 0.04
WRONG_PLACE_STEPS = 30


@dataclass(frozen=True)
class Verdict:
    """outcome: one of OUTCOMES. first_touched, moved: names of things (``"red cube"``), in order."""

    outcome: str
    first_touched: str
    moved: tuple[str, ...]

    @property
    def ended(self) -> bool:
        return self.outcome != "running"


@dataclass
class Judge:
    """Watches one episode. Call `update` once a control step, after the physics."""

    scene: Scene
    sim: Simulation
    _touching: np.ndarray = field(init=False)
    _lifted: np.ndarray = field(init=False)
    _good: int = field(default=0, init=False)
    _resting: int = field(default=0, init=False)
    _first: str = field(default="", init=False)
    _moved: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        count = len(self.scene.objects)
        self._touching = np.zeros(count, dtype=int)
        self._lifted = np.zeros(count, dtype=bool)
        self._start = np.array([self.sim.position(i) for i in range(count)])
        task = self.scene.task
        self._targets = [self.scene.index(t) for t in (task.target, task.second) if t is not None]

    # -- what is true now ------------------------------------------------------------------------

    def placed(self, index: int) -> bool:
        """Whether object `index` is where the task wants it, whoever may still be holding it."""
        task = self.scene.task
        here = self.sim.position(index)
        low = here[2] < rest_height(self.scene.objects[index].thing.kind) + 0.012
        assert task.reference is not None
        if task.skill in ("put_into", "put_both"):
            offset = here[:2] - self.scene.fixture(task.reference).xy
            if task.reference.kind == "bowl":
                return bool(np.hypot(*offset) < CONTAINER_RADIUS and here[2] < 0.035)
            return bool(np.abs(offset).max() < CONTAINER_RADIUS and here[2] < 0.035)
        if task.skill == "push":
            offset = here[:2] - self.scene.fixture(task.reference).xy
            return bool(np.abs(offset).max() < ZONE_HALF and low)
        base = self.sim.position(self.scene.index(task.reference))
        if task.skill == "stack":
            kind = self.scene.objects[index].thing.kind
            height = rest_height(kind) + rest_height(task.reference.kind)
            on_top = abs(here[2] - base[2] - height) < 0.009
            return bool(on_top and np.hypot(*(here[:2] - base[:2])) < 0.02)
        assert task.relation is not None
        along = np.array(DIRECTIONS[task.relation])
        offset = here[:2] - base[:2]
        ahead, aside = offset @ along, abs(offset @ np.array([-along[1], along[0]]))
        return bool(low and 0.03 < ahead < 0.10 and aside < 0.7 * ahead)

    def was_lifted(self, index: int) -> bool:
        """Whether object `index` was ever in the air so far."""
        return bool(self._lifted[index])

    def _released(self, index: int) -> bool:
        return not self.sim.finger_contacts()[index].any()

    def _goal_met(self) -> bool:
        task = self.scene.task
        target = self._targets[0]
        if task.skill == "touch":
            return bool(self._touching[target] >= TOUCH_STEPS)
        if task.skill == "lift":
            return bool(self.sim.position(target)[2] - self._start[target, 2] > LIFT_HEIGHT)
        if task.skill == "push":
            return self.placed(target) and self.sim.speed(target) < STILL_SPEED
        return all(
            self.placed(i) and self._released(i) and self.sim.speed(i) < STILL_SPEED for i in self._targets
        )

    # -- over time -------------------------------------------------------------------------------

    def update(self) -> Verdict:
        """Judge the present state; call once a control step."""
        contacts = self.sim.finger_contacts().any(axis=1)
        self._touching = np.where(contacts, self._touching + 1, 0)
        positions = np.array([self.sim.position(i) for i in range(len(self.scene.objects))])
        if not self._first and (self._touching >= TOUCH_STEPS).any():
            self._first = self._name(int(np.argmax(self._touching)))
        lift = positions[:, 2] - self._start[:, 2]
        shift = np.linalg.norm(positions[:, :2] - self._start[:, :2], axis=1)
        self._lifted |= lift > WRONG_LIFT
        for i in np.flatnonzero((lift > WRONG_LIFT) | (shift > WRONG_SHIFT)):
            if self._name(int(i)) not in self._moved:
                self._moved.append(self._name(int(i)))
        return Verdict(self._outcome(positions), self._first, tuple(self._moved))

    def _outcome(self, positions: np.ndarray) -> str:
        task = self.scene.task
        self._good = self._good + 1 if self._goal_met() else 0
        allowed = {str(t) for t in (task.target, task.second) if t is not None}
        touched = task.skill == "touch" and self._first not in ("", str(task.target))
        if touched or any(name not in allowed for name in self._moved):
            return "wrong_object"
        if self._good >= (1 if task.skill == "touch" else STILL_STEPS):
            return "success"
        if (np.abs(positions[:, :2]) > TABLE_HALF).any():
            return "dropped"
        return "wrong_place" if self._misplaced(positions) else "running"

    def _misplaced(self, positions: np.ndarray) -> bool:
        """The target was carried, then lay untouched and still in the wrong place for 1.5 seconds."""
        if self.scene.task.skill not in ("put_into", "put_beside", "stack"):
            return False
        target = self._targets[0]
        alone = self._touching[target] == 0 and self.sim.speed(target) < STILL_SPEED
        near = float(np.linalg.norm(self.sim.tcp - positions[target])) < 0.05
        resting = bool(self._lifted[target]) and alone and not near and not self.placed(target)
        self._resting = self._resting + 1 if resting else 0
        return self._resting >= WRONG_PLACE_STEPS

    def _name(self, index: int) -> str:
        thing: Thing = self.scene.objects[index].thing
        return str(thing)
