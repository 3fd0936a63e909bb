"""The demonstrator: a feedback law on the true state, so that it recovers from whatever happens.

At each step it looks where things are *now* and names a waypoint for the hand; nothing is planned ahead or
remembered. That makes its demonstrations a function of what the cameras show, which is what a policy can
learn, and lets it take over from any state, its own noise or a policy's mistake.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.tabletop.arm import ARM_JOINTS, STATE_HIGH, STATE_LOW, from_radians
from envs.tabletop.kinematics import ArmKinematics
from envs.tabletop.scene import PAN_AXIS, destination, rest_height
from envs.tabletop.sim import Simulation
from envs.tabletop.solids import SOLIDS
from envs.tabletop.success import Judge

__all__ = ["OPEN", "SUBTASKS", "Expert", "Noise"]

SUBTASKS = ("reach", "grasp", "lift", "carry", "release", "touch", "push", "retreat")
OPEN, CLOSED = 36.0, 2.0
"""Gripper commands, 0..100. OPEN leaves about 5 cm between the fingertips."""

HOVER = 0.06
FINGER_CLEARANCE = 0.017
"""Lowest the grasp point goes, metres: the tips of a leaning hand reach this far below it."""
STEP = 0.016
"""Metres the hand moves a control step at most (0.32 m/s)."""
MAX_JOINT_STEP = np.array([7.0, 7.0, 7.0, 7.0, 9.0, 9.0])
"""Degrees (gripper: units) a control step at most."""


@dataclass(frozen=True)
class Waypoint:
    """Where a site of the hand should go. position: metres; roll: radians; gripper: 0..100."""

    position: npt.NDArray[np.float64]
    roll: float
    gripper: float
    subtask: str
    site: str = "tcp"
    step: float = STEP


class Noise:
    """Bursts of slowly varying joint noise, added to what is executed but not to what is recorded (DART).

    scale: standard deviation in degrees while a burst lasts; rate: share of time inside bursts.
    """

    def __init__(self, rng: np.random.Generator, scale: float, rate: float = 0.35) -> None:
        self._rng, self._scale, self._rate = rng, scale, rate
        self._value: npt.NDArray[np.float64] = np.zeros(6)
        self._drift: npt.NDArray[np.float64] = np.zeros(6)
        self._left = 0
        self._on = False

    def __call__(self, command: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The command as it will be executed."""
        if self._left == 0:
            self._on = bool(self._rng.random() < self._rate)
            self._left = int(self._rng.integers(4, 14))
            drift = self._rng.normal(0, self._scale, 6) * [1.3, 1.0, 1.0, 1.0, 2.0, 1.0]
            self._drift = np.clip(drift, -4.0, 4.0)
        self._left -= 1
        goal = self._drift if self._on else np.zeros(6)
        self._value += 0.35 * (goal - self._value)
        return np.clip(command + self._value, STATE_LOW, STATE_HIGH).astype(np.float32)


def _toward(here: np.ndarray, there: np.ndarray, step: float) -> np.ndarray:
    way = there - here
    length = float(np.linalg.norm(way))
    return there if length <= step else here + way * (step / length)


class Expert:
    """Feedback demonstrator for one running episode."""

    def __init__(self, sim: Simulation, judge: Judge) -> None:
        self._sim, self._judge, self._scene = sim, judge, sim.scene
        self._kinematics = {site: ArmKinematics(site) for site in ("tcp", "tip")}
        self.subtask = "reach"

    def act(self) -> npt.NDArray[np.float32]:
        """The command for the present state, LeRobot units ``[6]``; sets `subtask`."""
        waypoint = self._waypoint()
        self.subtask = waypoint.subtask
        sim = self._sim
        here = sim.tcp if waypoint.site == "tcp" else sim.tip
        goal = _toward(here, waypoint.position, waypoint.step)
        angles = sim.data.qpos[:6].copy()
        reach = float(np.hypot(goal[0] - PAN_AXIS[0], goal[1] - PAN_AXIS[1]))
        # Lean outwards far from the base and high up, where the wrist could not point straight down.
        tilt = float(np.clip(0.1 + 3.0 * (reach - 0.15) + 3.0 * (goal[2] - 0.03), 0.05, 0.55))
        solved = self._kinematics[waypoint.site].solve(angles, goal, tilt, waypoint.roll)
        target = from_radians(np.append(solved, 0.0))
        target[ARM_JOINTS] = waypoint.gripper
        state = sim.state
        command = state + np.clip(target - state, -MAX_JOINT_STEP, MAX_JOINT_STEP)
        if waypoint.gripper == CLOSED:
            command[ARM_JOINTS] = max(CLOSED, state[ARM_JOINTS] - MAX_JOINT_STEP[ARM_JOINTS])
        return np.clip(command, STATE_LOW, STATE_HIGH).astype(np.float32)

    def intend(self) -> str:
        """The sub-task it would be at now, of SUBTASKS; moves nothing."""
        return self._waypoint().subtask

    @property
    def subject(self) -> int:
        """Which object is meant now: of two that are to be put away first the one, then the other; but always
        that which is in the hand."""
        task = self._scene.task
        target = self._scene.index(task.target)
        if task.second is None:
            return target
        second = self._scene.index(task.second)
        away = self._judge.placed(target) and not self.holding(target)
        return second if away or self.holding(second) else target

    def holding(self, index: int) -> bool:
        """Whether both fingers touch object `index`, and it is between them."""
        contacts = self._sim.finger_contacts()[index]
        near = np.linalg.norm(self._sim.tcp - self._sim.position(index)) < 0.03
        return bool(contacts.all() and near)

    # -- the task -------------------------------------------------------------------------------

    def _waypoint(self) -> Waypoint:
        task = self._scene.task
        target = self._scene.index(task.target)
        if task.skill == "touch":
            return self._touch(target)
        if task.skill == "push":
            return self._push(target)
        if task.skill == "lift":
            if self.holding(target):
                up = self._sim.tcp + np.array([0.0, 0.0, STEP])
                return Waypoint(up, self._present_roll(), CLOSED, "lift")
            return self._pick(target)
        moving = self.subject
        if self._judge.placed(moving) and not self.holding(moving):
            return self._retreat(OPEN)
        return self._carry(moving) if self.holding(moving) else self._pick(moving)

    def _retreat(self, gripper: float) -> Waypoint:
        hand = self._sim.tcp
        return Waypoint(np.append(hand[:2], min(hand[2] + STEP, 0.1)), np.pi / 2, gripper, "retreat")

    def goal(self, index: int) -> npt.NDArray[np.float64]:
        """Where object `index` should come to rest, (x, y, z) of its centre, metres."""
        task = self._scene.task
        kind = self._scene.objects[index].thing.kind
        here = self._sim.position(index)
        if task.reference is None:
            return here
        if task.skill in ("put_beside", "stack"):
            reference = self._sim.position(self._scene.index(task.reference))
            xy = destination(task, reference[:2])
            height = reference[2] + rest_height(task.reference.kind) if task.skill == "stack" else 0.0
            return np.append(xy, height + rest_height(kind))
        fixture = self._scene.fixture(task.reference)
        xy = fixture.xy.copy()
        if task.skill == "put_both":
            assert task.second is not None
            # Two things side by side, so that the second does not land on the first.
            side = -1.0 if index == self._scene.index(task.target) else 1.0
            xy += side * np.array([0.022, 0.0])
        return np.append(xy, 0.002 + rest_height(kind))

    # -- skills ---------------------------------------------------------------------------------

    def _present_roll(self) -> float:
        return float(self._sim.data.qpos[4])

    def _grasp_roll(self, index: int, at: np.ndarray) -> float:
        """Wrist roll that closes the fingers across the object's narrow side, near a quarter turn."""
        kind = self._scene.objects[index].thing.kind
        period = SOLIDS[kind].period
        if not period:
            return np.pi / 2
        axes = self._sim.rotation(index)
        along = axes[:, 0] if abs(axes[2, 0]) < 0.7 else axes[:, 1]
        heading = np.arctan2(at[1] - PAN_AXIS[1], at[0] - PAN_AXIS[0])
        turn = np.arctan2(along[1], along[0]) - heading
        turn = (turn + period / 2) % period - period / 2
        return float(np.pi / 2 + np.clip(turn, -1.1, 1.1))

    def _pick(self, index: int) -> Waypoint:
        sim = self._sim
        here, hand = sim.position(index), sim.tcp
        aside = float(np.hypot(*(hand[:2] - here[:2])))
        low = max(here[2], FINGER_CLEARANCE)
        roll = self._grasp_roll(index, here)
        turned = abs(self._present_roll() - roll)
        # A funnel: the less well the hand is placed (and turned, and opened), the higher it stays.
        badness = max(aside - 0.006, 0.04 * (turned - 0.12))
        shut = sim.gripper < OPEN - 8.0
        height = float(np.clip(3.5 * badness, 0.0, HOVER))
        in_place = aside < 0.01 and abs(hand[2] - low) < 0.008
        if in_place:
            return Waypoint(np.append(here[:2], low), roll, CLOSED, "grasp")
        if shut and hand[2] - low > 0.02:
            height = max(height, 0.045)
        position = np.append(here[:2], low + height)
        if hand[2] < low + 0.04 and aside > 0.03:
            # Low and off to the side: rise before travelling, so that nothing is swept away.
            position[:2] = hand[:2] + 0.3 * (here[:2] - hand[:2])
        return Waypoint(position, roll, OPEN, "reach")

    def _carry(self, index: int) -> Waypoint:
        sim = self._sim
        here, hand, goal = sim.position(index), sim.tcp, self.goal(index)
        aside = float(np.hypot(*(goal[:2] - here[:2])))
        skill = self._scene.task.skill
        drop = {"put_into": 0.012, "put_both": 0.02, "stack": 0.003}.get(skill, 0.004)
        clear = 0.055 if skill == "stack" else 0.05
        tolerance = 0.005 if skill == "stack" else 0.01
        height = goal[2] + drop + float(np.clip(3.5 * (aside - tolerance), 0.0, clear))
        settled = self._sim.speed(index) < 0.08
        if aside < 1.8 * tolerance and here[2] < goal[2] + drop + 0.005 and settled:
            return Waypoint(hand, self._present_roll(), OPEN, "release")
        object_in_hand = hand - here
        position = np.append(goal[:2], height) + object_in_hand
        if here[2] < height - 0.02:
            # Not high enough yet: mostly up.
            position[:2] = hand[:2] + (0.0 if here[2] < 0.045 else 0.15) * (position[:2] - hand[:2])
            return Waypoint(position, self._carry_roll(), CLOSED, "lift")
        return Waypoint(position, self._carry_roll(), CLOSED, "carry", step=0.014)

    def _carry_roll(self) -> float:
        return np.pi / 2 + 0.7 * (self._present_roll() - np.pi / 2)

    def _touch(self, index: int) -> Waypoint:
        here, tip = self._sim.position(index), self._sim.tip
        top = here[2] + rest_height(self._scene.objects[index].thing.kind)
        aside = float(np.hypot(*(tip[:2] - here[:2])))
        height = float(np.clip(3.5 * (aside - 0.006), 0.0, HOVER)) - 0.006
        position = np.append(here[:2], top + height)
        if tip[2] < top + 0.02 and aside > 0.03:
            position[:2] = tip[:2] + 0.3 * (here[:2] - tip[:2])
        return Waypoint(position, np.pi / 2, CLOSED, "touch" if aside < 0.01 else "reach", site="tip")

    def _push(self, index: int) -> Waypoint:
        sim = self._sim
        here, tip, goal = sim.position(index), sim.tip, self.goal(index)
        way = goal[:2] - here[:2]
        left = float(np.hypot(*way))
        if self._judge.placed(index) and left < 0.02:
            return self._retreat(CLOSED)
        along = way / max(left, 1e-6)
        half = 0.028 if self._scene.objects[index].thing.kind == "brick" else 0.022
        relative = tip[:2] - here[:2]
        ahead = float(relative @ along)
        side = relative - ahead * along
        off_line = float(np.hypot(*side))
        floor = 0.014
        if -0.075 < ahead < -0.004 and off_line < 0.014 and tip[2] < 0.028:
            position = np.append(tip[:2] + 0.012 * along - 0.6 * side, floor)
            return Waypoint(position, np.pi / 2, CLOSED, "push", site="tip", step=0.012)
        behind = here[:2] - (half + 0.022) * along
        aside = float(np.hypot(*(tip[:2] - behind)))
        height = float(np.clip(3.5 * (aside - 0.008), 0.0, HOVER))
        position = np.append(behind, floor + height)
        if tip[2] < 0.045 and aside > 0.03:
            position[:2] = tip[:2] + 0.25 * (behind - tip[:2])
        return Waypoint(position, np.pi / 2, CLOSED, "reach", site="tip")

    # -- what the cameras would show -----------------------------------------------------------------

    def hints(self) -> dict[str, npt.NDArray[np.float32]]:
        """``annotation.points`` float32 ``[4, 3]``: (x, y, visible) in 0..1 picture coordinates of the
        target in the front picture, its destination there, and both again in the wrist picture."""
        target = self.subject
        here = self._sim.position(target)
        there = self.goal(target)
        points = [self._sim.project(cam, p) for cam in ("front", "wrist") for p in (here, there)]
        return {"annotation.points": np.stack(points).astype(np.float32)}
