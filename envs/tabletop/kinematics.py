"""Inverse kinematics of the five-joint arm by damped least squares."""

from functools import cache

import mujoco
import numpy as np
import numpy.typing as npt

from envs.tabletop.arm import ARM_JOINTS, JOINT_LIMITS_RAD, JOINT_NAMES, arm_body_xml, arm_defaults_xml
from envs.tabletop.scene import PAN_AXIS

__all__ = ["ArmKinematics"]

_ROTATION_METRES = 0.04
"""One radian of orientation error weighs as much as this many metres of position error."""
_DAMPING = 1e-4
_STUCK = 0.004
"""Metres from the goal above which a solution counts as stuck."""
_BENT = (0.0, -0.38, 0.14, 1.4)
_MARGIN = np.deg2rad(1.0)


@cache
def _arm_model() -> mujoco.MjModel:
    xml = (
        f'<mujoco><compiler angle="radian" autolimits="true"/><default>{arm_defaults_xml()}</default>'
        f"<worldbody>{arm_body_xml('primitive', '')}</worldbody></mujoco>"
    )
    return mujoco.MjModel.from_xml_string(xml)


class ArmKinematics:
    """Solves joint angles that bring a site (``tcp`` or ``tip``) to a place, the hand tilted and turned.

    The hand's approach axis leans outwards by `tilt` radians from straight down, in the vertical plane
    through the shoulder pan axis; `roll` is the wrist roll joint itself, which is free to choose.
    """

    def __init__(self, site: str) -> None:
        self._model = _arm_model()
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site(site).id
        self._hand = self._model.body("gripper").id
        limits = np.array([JOINT_LIMITS_RAD[name] for name in JOINT_NAMES[:ARM_JOINTS]])
        self._low, self._high = limits[:, 0] + _MARGIN, limits[:, 1] - _MARGIN
        self._jacobian = np.zeros((3, self._model.nv))
        self._spin = np.zeros((3, self._model.nv))

    def solve(
        self,
        start: npt.NDArray[np.float64],
        position: npt.NDArray[np.float64],
        tilt: float,
        roll: float,
        *,
        iterations: int = 8,
    ) -> npt.NDArray[np.float64]:
        """Joint angles ``[5]`` (radians) near `start` ``[6]`` with the site at `position` (metres).

        Where the search from `start` gets stuck (against a joint limit), it is repeated from a bent-elbow
        posture that faces the goal.
        """
        angles, residual = self._descend(start, position, tilt, roll, iterations)
        if residual > _STUCK:
            bent = np.array([*_BENT, roll, 0.0])
            bent[0] = -np.arctan2(position[1], position[0] - PAN_AXIS[0])
            angles, _ = self._descend(bent, position, tilt, roll, 30)
        return angles

    def _descend(
        self,
        start: npt.NDArray[np.float64],
        position: npt.NDArray[np.float64],
        tilt: float,
        roll: float,
        iterations: int,
    ) -> tuple[npt.NDArray[np.float64], float]:
        data, model = self._data, self._model
        angles = np.asarray(start, dtype=np.float64).copy()
        angles[4] = np.clip(roll, self._low[4], self._high[4])
        for _ in range(iterations):
            data.qpos[:] = angles
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, self._jacobian, self._spin, self._site)
            offset = position - data.site_xpos[self._site]
            approach = -data.xmat[self._hand].reshape(3, 3)[:, 2]
            # In the plane of the arm only the tilt can be chosen; the pan joint decides the plane.
            heading = np.array([np.cos(-angles[0]), np.sin(-angles[0]), 0.0])
            lean = np.arctan2(approach @ heading, -approach[2])
            axis = np.cross(heading, [0.0, 0.0, 1.0])
            rows = np.vstack([self._jacobian[:, :4], _ROTATION_METRES * (axis @ self._spin[:, :4])])
            error = np.append(offset, _ROTATION_METRES * (tilt - lean))
            step = rows.T @ np.linalg.solve(rows @ rows.T + _DAMPING * np.eye(4), error)
            angles[:4] = np.clip(angles[:4] + np.clip(step, -0.3, 0.3), self._low[:4], self._high[:4])
            if np.abs(error).max() < 2e-4:
                break
        return angles[:ARM_JOINTS], float(np.linalg.norm(offset))
