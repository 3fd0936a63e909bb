"""The physics of one table: stepping, reading joints, contacts and poses, projecting into pictures."""

from collections.abc import Iterable

import mujoco
import numpy as np
import numpy.typing as npt

from envs.tabletop.arm import (
    ARM_JOINTS,
    JOINT_NAMES,
    STATE_HIGH,
    STATE_LOW,
    ArmModel,
    from_radians,
    to_radians,
)
from envs.tabletop.mjcf import PHYSICS_STEP, scene_xml
from envs.tabletop.scene import Scene

__all__ = ["CONTROL_HZ", "Simulation"]

CONTROL_HZ = 20
_SUBSTEPS = round(1.0 / (CONTROL_HZ * PHYSICS_STEP))
_MAX_SPEED = np.deg2rad(270.0)
"""Radians a second: an STS3215 at 7.4 V turns about 45 times a minute without load."""


class Simulation:
    """One scene being simulated. The arm's joints are the first six of qpos and of ctrl."""

    def __init__(self, scene: Scene, arm_model: ArmModel = "primitive") -> None:
        self.scene = scene
        self.model = mujoco.MjModel.from_xml_string(scene_xml(scene, arm_model))
        self.data = mujoco.MjData(self.model)
        geom_bodies = self.model.geom_bodyid
        self._fixed_jaw = self._geom_mask(("palm", "fixed_tip", "fixed_pad", "fixed_finger"))
        self._moving_jaw = self._geom_mask(("moving_knuckle", "moving_tip", "moving_pad"))
        self._object_of_geom = np.full(self.model.ngeom, -1)
        for i in range(len(scene.objects)):
            self._object_of_geom[geom_bodies == self.model.body(f"object{i}").id] = i
        self._bodies = [self.model.body(f"object{i}").id for i in range(len(scene.objects))]
        self._tcp, self._tip = self.model.site("tcp").id, self.model.site("tip").id
        self.data.qpos[: len(JOINT_NAMES)] = to_radians(scene.start)
        self.data.ctrl[:] = to_radians(scene.start)
        mujoco.mj_forward(self.model, self.data)
        self.begin_step()

    def _geom_mask(self, names: Iterable[str]) -> npt.NDArray[np.bool_]:
        mask = np.zeros(self.model.ngeom, dtype=bool)
        mask[[self.model.geom(name).id for name in names]] = True
        return mask

    def step(self, command: npt.NDArray[np.floating]) -> None:
        """One control step (50 ms) towards joint targets in LeRobot units ``[6]``, clipped to the limits.

        The servo's goal moves no faster than the real servo turns.
        """
        goal = to_radians(np.clip(command, STATE_LOW, STATE_HIGH))
        reach = _MAX_SPEED * PHYSICS_STEP
        self.begin_step()
        for _ in range(_SUBSTEPS):
            self.data.ctrl[:] += np.clip(goal - self.data.ctrl, -reach, reach)
            mujoco.mj_step(self.model, self.data)

    def begin_step(self) -> None:
        """A control step begins: what `speed` is measured from. For who runs the physics in parts of one."""
        self._before = self.data.xpos[self._bodies].copy()

    @property
    def state(self) -> npt.NDArray[np.float32]:
        """Joint positions ``[6]`` in LeRobot units."""
        return from_radians(self.data.qpos[: len(JOINT_NAMES)]).astype(np.float32)

    @property
    def tcp(self) -> npt.NDArray[np.float64]:
        """The grasp point between the fingertips, metres ``[3]``."""
        return self.data.site_xpos[self._tcp].copy()

    @property
    def tip(self) -> npt.NDArray[np.float64]:
        """The end of the closed fingers, metres ``[3]``."""
        return self.data.site_xpos[self._tip].copy()

    @property
    def gripper(self) -> float:
        """Opening, 0 to 100."""
        return float(self.state[ARM_JOINTS])

    def position(self, index: int) -> npt.NDArray[np.float64]:
        """Centre of object `index`, metres ``[3]``."""
        return self.data.xpos[self._bodies[index]].copy()

    def rotation(self, index: int) -> npt.NDArray[np.float64]:
        """Orientation of object `index`, ``[3, 3]``, columns its axes in the world."""
        return self.data.xmat[self._bodies[index]].reshape(3, 3).copy()

    def speed(self, index: int) -> float:
        """Mean speed of object `index` over the last control step, metres a second.

        The instantaneous velocity would not do: at rest a cylinder trembles at 2 cm/s without moving.
        """
        way = self.data.xpos[self._bodies[index]] - self._before[index]
        return float(np.linalg.norm(way)) * CONTROL_HZ

    def finger_contacts(self) -> npt.NDArray[np.bool_]:
        """``[objects, 2]``: whether each object touches the fixed and the moving jaw."""
        touching = np.zeros((len(self._bodies), 2), dtype=bool)
        pairs = self.data.contact.geom
        if len(pairs) == 0:
            return touching
        for one, other in ((pairs[:, 0], pairs[:, 1]), (pairs[:, 1], pairs[:, 0])):
            objects = self._object_of_geom[one]
            for jaw, mask in enumerate((self._fixed_jaw, self._moving_jaw)):
                touching[objects[(objects >= 0) & mask[other]], jaw] = True
        return touching

    def project(self, camera: str, point: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """World point -> (x, y, visible) in a square picture: x right, y down, 0..1; visible 0 or 1."""
        cam = self.model.camera(camera).id
        axes = self.data.cam_xmat[cam].reshape(3, 3)
        x, y, z = axes.T @ (np.asarray(point) - self.data.cam_xpos[cam])
        if z > -1e-3:
            return np.zeros(3, dtype=np.float32)
        scale = 0.5 / np.tan(np.deg2rad(float(self.model.cam_fovy[cam])) / 2)
        u, v = 0.5 + scale * x / -z, 0.5 - scale * y / -z
        visible = 0.0 <= u <= 1.0 and 0.0 <= v <= 1.0
        return np.array([u, v, 1.0] if visible else [0.0, 0.0, 0.0], dtype=np.float32)
