"""The SO-101 arm: joints, units and MuJoCo body tree.

Kinematics, inertias, joint ranges, servo gains and finger collision boxes are those of the MuJoCo
Menagerie model ``robotstudio_so101`` (Apache-2.0), as distributed with the package ``so101-nexus``. The
links are drawn with primitive geoms, which render about thirty times faster on a CPU than the 348k mesh
triangles; ``arm_model="meshed"`` draws the meshes instead. Both share every joint, inertia and collision
geom, so both behave the same.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = [
    "ARM_JOINTS",
    "JOINT_LIMITS_DEG",
    "JOINT_NAMES",
    "STATE_HIGH",
    "STATE_LOW",
    "ArmModel",
    "actuator_xml",
    "arm_assets_xml",
    "arm_body_xml",
    "arm_defaults_xml",
    "from_radians",
    "to_radians",
]

ArmModel = Literal["primitive", "meshed"]

JOINT_NAMES = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
ARM_JOINTS = 5
"""The first five joints are in degrees; the sixth, the gripper, runs from 0 (closed) to 100 (open)."""

JOINT_LIMITS_RAD: dict[str, tuple[float, float]] = {
    "shoulder_pan": (-1.91986, 1.91986),
    "shoulder_lift": (-1.74533, 1.74533),
    "elbow_flex": (-1.69, 1.69),
    "wrist_flex": (-1.65806, 1.65806),
    "wrist_roll": (-2.74385, 2.74385),
    "gripper": (-0.174533, 1.7453292),
}
GRIPPER_CLOSED_RAD, GRIPPER_OPEN_RAD = JOINT_LIMITS_RAD["gripper"]
JOINT_LIMITS_DEG: dict[str, tuple[float, float]] = {
    **{
        name: (float(np.rad2deg(low)), float(np.rad2deg(high)))
        for name, (low, high) in JOINT_LIMITS_RAD.items()
    },
    "gripper": (0.0, 100.0),
}
"""Limits in LeRobot's units for ``so101_follower``."""

STATE_LOW = np.array([JOINT_LIMITS_DEG[name][0] for name in JOINT_NAMES], dtype=np.float32)
STATE_HIGH = np.array([JOINT_LIMITS_DEG[name][1] for name in JOINT_NAMES], dtype=np.float32)

SERVO_TORQUE_NM = 2.94
GRIPPER_TORQUE_NM = 0.74
"""LeRobot sets the gripper servo's overload torque to 25% so that it does not burn out on a held object."""

Vector = npt.NDArray[np.float64]


def to_radians(command: npt.NDArray[np.floating]) -> Vector:
    """LeRobot units ``[6]`` (degrees, gripper 0..100) -> joint angles in radians ``[6]``."""
    radians = np.deg2rad(np.asarray(command, dtype=np.float64))
    share = float(command[ARM_JOINTS]) / 100.0
    radians[ARM_JOINTS] = GRIPPER_CLOSED_RAD + share * (GRIPPER_OPEN_RAD - GRIPPER_CLOSED_RAD)
    return radians


def from_radians(angles: npt.NDArray[np.floating]) -> Vector:
    """Joint angles in radians ``[6]`` -> LeRobot units ``[6]``."""
    state = np.rad2deg(np.asarray(angles, dtype=np.float64))
    span = GRIPPER_OPEN_RAD - GRIPPER_CLOSED_RAD
    state[ARM_JOINTS] = 100.0 * (float(angles[ARM_JOINTS]) - GRIPPER_CLOSED_RAD) / span
    return state


def arm_defaults_xml() -> str:
    """Default classes: the STS3215 servo, drawn parts and finger contacts."""
    return f"""
    <default class="sts3215">
      <joint damping="0.60" frictionloss="0.052" armature="0.028"/>
      <position kp="998.22" kv="2.731" forcerange="-{SERVO_TORQUE_NM} {SERVO_TORQUE_NM}"/>
    </default>
    <default class="drawn">
      <geom contype="0" conaffinity="0" group="1" mass="0" rgba="0.16 0.16 0.18 1"/>
    </default>
    <default class="finger">
      <geom group="3" condim="4" friction="1.2 0.02 0.001" solref="0.01 1" priority="1" mass="0"
        contype="2" conaffinity="1"/>
    </default>"""


_MESHES = (
    "base_motor_holder_so101_v1 base_so101_v2 sts3215_03a_v1 waveshare_mounting_plate_so101_v2 "
    "motor_holder_so101_base_v1 rotation_pitch_so101_v1 upper_arm_so101_v1 under_arm_so101_v1 "
    "motor_holder_so101_wrist_v1 sts3215_03a_no_horn_v1 wrist_roll_pitch_so101_v2 "
    "wrist_roll_follower_so101_v1 moving_jaw_so101_v1"
).split()

# (mesh, position, quaternion) of every printed part, by body, in the body's frame (metres; w x y z).
_PARTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "base": (
        ("base_motor_holder_so101_v1", "-0.006365 -9.9e-05 -0.0024", "1 1 1 1"),
        ("base_so101_v2", "-0.006365 0 -0.0024", "1 1 1 1"),
        ("sts3215_03a_v1", "0.0263353 0 0.0437", "1 0 0 0"),
        ("waveshare_mounting_plate_so101_v2", "-0.0309827 -0.000199 0.0474", "1 1 1 1"),
    ),
    "shoulder": (
        ("sts3215_03a_v1", "-0.030399 0.000422 -0.0417", "1 1 1 -1"),
        ("motor_holder_so101_base_v1", "-0.067599 -0.0001778 0.01585", "1 1 -1 1"),
        ("rotation_pitch_so101_v1", "0.012201 2.2e-05 0.0464", "1 -1 0 0"),
    ),
    "upper_arm": (
        ("sts3215_03a_v1", "-0.11257 -0.0155 0.0187", "0 -1 1 0"),
        ("upper_arm_so101_v1", "-0.065085 0.012 0.0182", "0 1 0 0"),
    ),
    "lower_arm": (
        ("under_arm_so101_v1", "-0.06485 -0.032 0.0182", "0 1 0 0"),
        ("motor_holder_so101_wrist_v1", "-0.06485 -0.032 0.018", "0 -1 0 0"),
        ("sts3215_03a_v1", "-0.1224 0.0052 0.0187", "0 0 1 0"),
    ),
    "wrist": (
        ("sts3215_03a_no_horn_v1", "0 -0.0424 0.0306", "1 1 1 -1"),
        ("wrist_roll_pitch_so101_v2", "0 -0.028 0.0181", "1 -1 -1 -1"),
    ),
    "gripper": (
        ("sts3215_03a_v1", "0.0077 0.0001 -0.0234", "1 -1 0 0"),
        ("wrist_roll_follower_so101_v1", "0 -0.000218 0.00095", "0 1 0 0"),
    ),
    "moving_jaw": (("moving_jaw_so101_v1", "0 0 0.0189", "1 0 0 0"),),
}

# The same parts as a few boxes and capsules (metres, in the body's frame).
_PRIMITIVES: dict[str, str] = {
    "base": """
      <geom class="drawn" type="box" pos="0 0 0.02" size="0.045 0.035 0.02"/>
      <geom class="drawn" type="cylinder" pos="0.0388 0 0.045" size="0.026 0.012"/>""",
    "shoulder": """
      <geom class="drawn" type="box" pos="-0.025 0 -0.02" size="0.03 0.022 0.03" rgba="0.3 0.3 0.33 1"/>""",
    "upper_arm": """
      <geom class="drawn" type="capsule" fromto="0 0 0.018 -0.11257 0 0.018" size="0.019"/>
      <geom class="drawn" type="capsule" fromto="-0.11257 0 0.018 -0.11257 -0.028 0.018" size="0.017"/>""",
    "lower_arm": """
      <geom class="drawn" type="capsule" fromto="0 0 0.018 -0.1349 0.0052 0.018" size="0.016"
        rgba="0.3 0.3 0.33 1"/>""",
    "wrist": """
      <geom class="drawn" type="box" pos="0 -0.03 0.02" size="0.02 0.03 0.017"/>""",
    "gripper": """
      <geom class="drawn" type="box" pos="-0.002 0 -0.022" size="0.028 0.014 0.018" rgba="0.3 0.3 0.33 1"/>
      <geom class="drawn" type="box" pos="-0.0135 0 -0.07" size="0.003 0.010 0.033" rgba="0.55 0.57 0.6 1"/>
      <geom class="drawn" type="box" pos="0 0.042 -0.038" size="0.012 0.02 0.003"/>""",
    "moving_jaw": """
      <geom class="drawn" type="box" pos="-0.005 -0.04 0.0189" size="0.003 0.04 0.009" euler="0 0 -0.12"
        rgba="0.55 0.57 0.6 1"/>""",
}


def mesh_folder() -> Path:
    """Folder of the SO-101 meshes in the optional package ``so101-nexus``. Raises BadInput if missing."""
    spec = find_spec("so101_nexus")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            "arm_model=meshed needs the optional meshes; install them with: pip install '.[meshed]'"
        )
    return Path(spec.submodule_search_locations[0]) / "assets" / "SO101_menagerie" / "assets"


def arm_assets_xml(model: ArmModel) -> str:
    """Mesh assets (none for the primitive arm)."""
    if model == "primitive":
        return ""
    folder = mesh_folder()
    return "\n".join(f'<mesh name="{name}" file="{folder / name}.stl"/>' for name in _MESHES)


def _drawn(body: str, model: ArmModel) -> str:
    if model == "primitive":
        return _PRIMITIVES[body]
    return "\n".join(
        f'<geom class="drawn" type="mesh" mesh="{mesh}" pos="{pos}" quat="{quat}"'
        f' rgba="{"0.1 0.1 0.1 1" if mesh.startswith("sts") else "0.2 0.2 0.22 1"}"/>'
        for mesh, pos, quat in _PARTS[body]
    )


def _joint(name: str) -> str:
    low, high = JOINT_LIMITS_RAD[name]
    return f'<joint name="{name}" class="sts3215" type="hinge" axis="0 0 1" range="{low} {high}"/>'


def arm_body_xml(model: ArmModel, wrist_camera: str) -> str:
    """The arm's body tree, base at the world's origin, facing +x. `wrist_camera` is the camera's XML tag.

    Sites: ``tcp``, midway between the open fingertips where an object is grasped; ``tip``, the end of the
    closed fingers, used to touch and push.
    """
    return f"""
    <body name="base">
      <inertial pos="0.0137179 -5.19711e-05 0.0334843" mass="0.147"
        fullinertia="0.000114686 0.000136117 0.000130364 -4.59787e-07 4.97151e-06 9.75275e-08"/>
      {_drawn("base", model)}
      <body name="shoulder" pos="0.0388353 0 0.0624" quat="0 0 -1 0">
        {_joint("shoulder_pan")}
        <inertial pos="-0.0307604 -1.7e-05 -0.0252713" mass="0.100006"
          fullinertia="8.3759e-05 8.10403e-05 2.39783e-05 7.55525e-08 -1.16342e-06 1.54663e-07"/>
        {_drawn("shoulder", model)}
        <body name="upper_arm" pos="-0.0303992 -0.0182778 -0.0542" quat="1 -1 -1 -1">
          {_joint("shoulder_lift")}
          <inertial pos="-0.089847 -0.008382 0.018409" mass="0.103"
            fullinertia="4.08002e-05 0.000147318 0.000142487 -1.97819e-05 -4.03016e-08 8.97326e-09"/>
          {_drawn("upper_arm", model)}
          <body name="lower_arm" pos="-0.11257 -0.028 0" quat="1 0 0 1">
            {_joint("elbow_flex")}
            <inertial pos="-0.098070 0.0032438 0.018283" mass="0.104"
              fullinertia="2.87438e-05 0.000159844 0.00014529 7.41152e-06 1.26409e-06 -4.90188e-08"/>
            {_drawn("lower_arm", model)}
            <body name="wrist" pos="-0.1349 0.0052 0" quat="1 0 0 -1">
              {_joint("wrist_flex")}
              <inertial pos="-0.000103312 -0.0386143 0.0281156" mass="0.079"
                fullinertia="3.68263e-05 2.5391e-05 2.1e-05 1.7893e-08 -5.28128e-08 3.6412e-06"/>
              {_drawn("wrist", model)}
              <body name="gripper" pos="5.55112e-17 -0.0611 0.0181"
                quat="0.0172091 -0.0172091 0.706897 0.706897">
                {_joint("wrist_roll")}
                <inertial pos="0.000214 0.000245 -0.025187" mass="0.099"
                  fullinertia="2.75087e-05 4.33657e-05 3.45059e-05 -3.35241e-07 -5.7352e-06 -5.17847e-08"/>
                {_drawn("gripper", model)}
                <geom name="palm" class="finger" type="box" pos="-0.0025 0 -0.022" size="0.0325 0.015 0.015"/>
                <geom name="fixed_tip" class="finger" type="box" pos="-0.009 0 -0.0982"
                  size="0.001 0.004 0.005"/>
                <geom name="fixed_pad" class="finger" type="box" pos="-0.0108 0 -0.0905"
                  size="0.001 0.005 0.006"/>
                <geom name="fixed_finger" class="finger" type="box" pos="-0.0125 0 -0.0727"
                  size="0.001 0.009 0.014"/>
                <site name="tcp" pos="0.009 0 -0.094" group="4"/>
                <site name="tip" pos="-0.004 0 -0.1" group="4"/>
                {wrist_camera}
                <body name="moving_jaw" pos="0.0202 0.0188 -0.0234" quat="1 1 0 0">
                  {_joint("gripper")}
                  <inertial pos="-0.001575 -0.0300244 0.0192755" mass="0.012"
                    fullinertia="6.61427e-06 1.89032e-06 5.28738e-06 -3.19807e-07 -5.90717e-09 -1.09945e-07"/>
                  {_drawn("moving_jaw", model)}
                  <geom name="moving_knuckle" class="finger" type="box" pos="0 -0.013 0.019"
                    size="0.01 0.01 0.015"/>
                  <geom name="moving_tip" class="finger" type="box" pos="-0.0113 -0.076 0.01875"
                    size="0.001 0.004 0.005"/>
                  <geom name="moving_pad" class="finger" type="box" pos="-0.0093 -0.067 0.01875"
                    size="0.001 0.005 0.006"/>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""


def actuator_xml() -> str:
    """Position servos, one a joint, with the joint's own range."""
    lines = []
    for name in JOINT_NAMES:
        low, high = JOINT_LIMITS_RAD[name]
        force = (
            f' forcerange="-{GRIPPER_TORQUE_NM} {GRIPPER_TORQUE_NM}" kp="60" kv="1.0"'
            if name == "gripper"
            else ""
        )
        lines.append(
            f'<position name="{name}" class="sts3215" joint="{name}" ctrlrange="{low} {high}"{force}/>'
        )
    return "<actuator>" + "".join(lines) + "</actuator>"
