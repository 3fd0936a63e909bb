"""Where an arm's parts are along a stop: in the workspace, above the table, off each other and off obstacles.

Each condition is a *clearance* in metres, at least 0 where it is kept: of each point to the faces of the
workspace and to the table, of each watched pair of parts its distance less the margin. In a pose that has the
least clearance c no condition breaks within a motion that moves no part by more than c, and joint j moves
none by more than its reach times its change (`pairs.reaches`). So far from everything one look covers many
ticks. Near something a stop is looked at where it begins and ends, and cut in half until each part of it is
known to be free, or one tick long, or no part moves more than `NEAR`. A stop that takes more looks than the
settings allow is refused: near things the arm moves slowly, as then its stops are short.

Where the arm stands so that a condition is broken already, it may not get worse.
"""

from typing import NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from policies.runtime.safety.body import compile_body, coupled, find, moved_by, point
from policies.runtime.safety.braking import Stop, along
from policies.runtime.safety.config import Safety
from policies.runtime.safety.decision import Kind
from policies.runtime.safety.pairs import Gaps, pairs_of, reaches
from vla.arm import ArmSpec, Body
from vla.errors import BadInput

__all__ = ["Places", "Violation"]

Array = npt.NDArray[np.float64]

FAR = 0.05
"""Metres: of pairs that are further apart than this only a lower bound of the distance is computed."""

NEAR = 1e-3
"""Metres: two poses of a stop between which no part moves further need nothing between them, as half of it is
kept in reserve."""

_ROUND = 1e-9
_AXES = ("x", "y", "z")


class Violation(NamedTuple):
    """What a stop would break. kind: workspace, table or collision."""

    kind: Kind
    detail: str


class _Look(NamedTuple):
    """A pose that was looked at: `tick` ticks into a stop; clear: by how much each condition is kept."""

    tick: int
    positions: Array
    clear: Array


class _Condition(NamedTuple):
    kind: Kind
    text: str  # with a place for the clearance, in millimetres


class Places:
    """The conditions of `safety` on the poses of `spec.body`. Raises BadInput for a body that is no model.

    notes: what is not checked, one line each.
    """

    def __init__(self, spec: ArmSpec, safety: Safety) -> None:
        assert spec.body is not None
        self._safety, body = safety, spec.body
        self._model = model = compile_body(body, safety)
        self._data = mujoco.MjData(model)
        used = [index for index, name in enumerate(body.joints) if name]
        self._used, names = np.array(used, int), [body.joints[index] for index in used]
        joints = [find(model.joint, name, [model.joint(i).name for i in range(model.njnt)]) for name in names]
        if any(
            model.jnt_type[j] not in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
            for j in joints
        ):
            raise BadInput("safety: the body's model has a joint of the arm that is neither hinge nor slide")
        self._address = model.jnt_qposadr[joints]
        self._scale, self._offset = np.array(body.scale)[used], np.array(body.offset)[used]
        self._coupled = coupled(model)
        followers = {int(one): int(other) for one, other, _ in self._coupled}
        lengths = np.zeros(len(spec.joints))
        reach = reaches(model)
        for at, joint, scale in zip(used, joints, self._scale, strict=True):
            lengths[at] = abs(scale) * reach[joint]
        for one, other, coefficients in self._coupled:
            if other in joints:
                at = joints.index(other)
                lengths[used[at]] += abs(self._scale[at] * coefficients[1]) * reach[one]
        self._lengths = lengths
        gripper = {j for at, j in zip(used, joints, strict=True) if spec.joints[at].gripper}
        gripper |= {one for one, other in followers.items() if other in gripper}
        self._watch(body, moved_by(model, gripper))
        self._floor: Array = np.zeros(max(len(self._conditions), 1))
        self._seen: tuple[Array, Array] | None = None

    def _watch(self, body: Body, jaws: set[int]) -> None:
        safety, model, data = self._safety, self._model, self._data
        notes, conditions = [], list[_Condition]()
        if not body.points and (safety.workspace is not None or safety.table is not None):
            notes.append("the arm's model names no points: workspace and table are not checked")
        points = [point(model, name) for name in body.points]
        self._sites = np.array([index for site, index in points if site], int)
        self._bodies = np.array([index for site, index in points if not site], int)
        points.sort(key=lambda point: not point[0])
        names = [(model.site if site else model.body)(index).name for site, index in points]
        if safety.workspace is not None:
            conditions += [
                _Condition("workspace", f"'{name}' would be {{}} {side} the box's {axis}={at:g} m")
                for side, box in (("below", safety.workspace.lower), ("above", safety.workspace.upper))
                for name in names
                for axis, at in zip(_AXES, box, strict=True)
            ]
        if safety.table is not None:
            where = f"the table's height z={safety.table:g} m"
            conditions += [_Condition("table", f"'{name}' would be {{}} below {where}") for name in names]
        self._gaps: Gaps | None = None
        if safety.margin is not None:
            mujoco.mj_kinematics(model, data)
            obstacles = {f"obstacle {each.name}" for each in safety.obstacles}
            pairs, touching = pairs_of(model, data, obstacles, jaws, safety.margin)
            if pairs:
                self._gaps = Gaps(model, data, pairs, safety.margin + FAR)
            conditions += [
                _Condition(
                    "collision",
                    f"'{pair.names[0]}' and '{pair.names[1]}' would be {{}} nearer than "
                    f"{1e3 * safety.margin:g} mm",
                )
                for pair in pairs
            ]
            if touching:
                apart = ", ".join(sorted({" and ".join(pair.names) for pair in touching}))
                notes.append(f"not kept apart, as they touch in the model's rest pose: {apart}")
        else:
            notes.append(
                "the arm's parts are not kept apart from each other or from obstacles: margin is null"
            )
        self.notes, self._conditions = tuple(notes), conditions

    @property
    def watches(self) -> bool:
        """Whether there is any condition."""
        return bool(self._conditions)

    def start(self, positions: Array) -> tuple[str, ...]:
        """The arm stands at `positions`: what is broken there may not get worse. Returns that, one a line."""
        clear = self._clearances(positions)
        self._floor = np.minimum(clear, 0.0)
        self._seen = positions, clear
        return tuple(self._violation(index, clear).detail for index in np.flatnonzero(clear < -NEAR / 2))

    def violation(self, command: Array, how: Stop, q: Array) -> Violation | None:
        """What the stop `how`, from `command` on, would break first; None: nothing. q: of the limiter."""
        low, high = command - how.down, command + how.up
        if self._seen is not None:
            positions, clear = self._seen
            apart = np.maximum(np.abs(high - positions), np.abs(positions - low))
            if self._lengths @ apart <= (clear - self._floor).min():
                return None
        ticks = int(how.ticks.max())
        turn = 2 * (self._lengths @ np.minimum(how.up, how.down))  # of joints that first go the other way

        def look(tick: int) -> _Look:
            positions = command + (along(how, q, float(tick)) if tick < ticks else how.end)
            return _Look(tick, positions, self._clearances(positions) - self._floor)

        looks = [look(ticks), look(0)]
        self._seen = looks[0].positions, looks[0].clear + self._floor
        last, ahead = looks[1], [looks[0]]
        while True:
            # From `last` on, the stretch to the nearest pose that was looked at; cut until it is known to be
            # free. A joint that has not turned is between its ends, so the way is no longer than this.
            for each in looks[-2:]:
                if each.clear.min() < -_ROUND:
                    return self._violation(int(each.clear.argmin()), each.clear + self._floor)
            way = self._lengths @ np.abs(ahead[-1].positions - last.positions) + turn
            tight = ahead[-1].tick - last.tick <= 1 or way <= NEAR
            if tight or (last.clear + ahead[-1].clear).min() >= way:
                last = ahead.pop()
                if not ahead:
                    break
                continue
            if len(looks) >= self._safety.poses:
                worst = np.minimum(last.clear, ahead[-1].clear) + self._floor
                return self._violation(int((worst - self._floor).argmin()), worst)
            ahead.append(look((last.tick + ahead[-1].tick) // 2))
            looks.append(ahead[-1])
        if (self._floor < 0).any():
            worst = np.min([each.clear for each in looks], axis=0) + self._floor
            self._floor = np.minimum(0.0, np.maximum(self._floor, worst))
        return None

    def _violation(self, index: int, clear: Array) -> Violation:
        kind, text = self._conditions[index]
        return Violation(kind, text.format(f"{1e3 * max(-clear[index] - NEAR / 2, 0.0):.1f} mm"))

    def _clearances(self, positions: Array) -> Array:
        """Of each condition, metres, in the pose `positions`, less the reserve."""
        model, data, safety = self._model, self._data, self._safety
        data.qpos[self._address] = self._scale * positions[self._used] + self._offset
        for one, other, coefficients in self._coupled:
            x = data.qpos[model.jnt_qposadr[other]] - model.qpos0[model.jnt_qposadr[other]]
            bent = np.polyval(coefficients[::-1], x)
            data.qpos[model.jnt_qposadr[one]] = model.qpos0[model.jnt_qposadr[one]] + bent
        mujoco.mj_kinematics(model, data)
        places = np.concatenate([data.site_xpos[self._sites], data.xpos[self._bodies]])
        out = []
        if safety.workspace is not None:
            out += [(places - safety.workspace.lower).ravel(), (safety.workspace.upper - places).ravel()]
        if safety.table is not None:
            out.append(places[:, 2] - safety.table)
        if self._gaps is not None:
            assert safety.margin is not None
            out.append(self._gaps.now() - safety.margin)
        return np.concatenate(out) - NEAR / 2 if out else np.full(1, np.inf)
