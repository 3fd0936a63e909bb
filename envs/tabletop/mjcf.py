"""A `Scene` as a MuJoCo model."""

import numpy as np

from envs.tabletop.arm import (
    ArmModel,
    actuator_xml,
    arm_assets_xml,
    arm_body_xml,
    arm_defaults_xml,
)
from envs.tabletop.scene import CONTAINER_RADIUS, ZONE_HALF, Placed, Scene, rest_height
from envs.tabletop.solids import SOLIDS
from envs.tabletop.vocabulary import RGB

__all__ = ["PHYSICS_STEP", "scene_xml"]

PHYSICS_STEP = 0.005
"""Seconds; ten of them make one control step at 20 Hz."""

WALL_HEIGHT = 0.008
_FRONT_CAMERA = np.array([0.56, 0.0, 0.52])
_FRONT_TARGET = np.array([0.21, 0.0, 0.0])

_OBJECT_MASS = 0.02


def _rgba(color: str, shade: float) -> str:
    return " ".join(f"{min(1.0, c * shade):.4f}" for c in RGB[color]) + " 1"


def _object_xml(index: int, placed: Placed, shade: float) -> str:
    half = placed.yaw / 2
    solid = SOLIDS[placed.thing.kind]
    rgba = _rgba(placed.thing.color, shade)
    # The first part has the thing's name, further ones none.
    names = (f'name="object{index}" ', *[""] * (len(solid.geoms) - 1))
    mass = _OBJECT_MASS / len(solid.geoms)
    parts = "".join(
        f"""
      <geom {name}{shape} mass="{mass}" condim="6"
        friction="0.9 0.01 0.0015" solref="0.01 1" contype="1" conaffinity="1" group="0"
        rgba="{rgba}"/>"""
        for name, shape in zip(names, solid.geoms, strict=True)
    )
    return f"""
    <body name="object{index}" pos="{placed.x} {placed.y} {rest_height(placed.thing.kind) + 0.0005}"
      quat="{np.cos(half)} 0 0 {np.sin(half)}">
      <freejoint name="object{index}"/>{parts}
    </body>"""


def _fixture_xml(placed: Placed, shade: float) -> str:
    rgba = _rgba(placed.thing.color, shade)
    name = str(placed.thing).replace(" ", "_")
    head = f'<body name="{name}" pos="{placed.x} {placed.y} 0">'
    drawn = f'contype="0" conaffinity="0" group="0" rgba="{rgba}"'
    solid = f'contype="1" conaffinity="1" group="0" condim="4" friction="0.6 0.01 0.001" rgba="{rgba}"'
    if placed.thing.kind == "zone":
        return f'{head}<geom type="box" size="{ZONE_HALF} {ZONE_HALF} 0.0005" {drawn}/></body>'
    radius = CONTAINER_RADIUS
    parts = []
    if placed.thing.kind == "bowl":
        count = 12
        width = (radius + 0.003) * np.tan(np.pi / count) + 0.001
        parts.append(f'<geom type="cylinder" size="{radius} 0.001" pos="0 0 0.001" {drawn}/>')
        for k in range(count):
            angle = 2 * np.pi * k / count
            x, y = (radius + 0.003) * np.cos(angle), (radius + 0.003) * np.sin(angle)
            parts.append(
                f'<geom type="box" size="0.003 {width} {WALL_HEIGHT}" pos="{x} {y} {WALL_HEIGHT}"'
                f' euler="0 0 {angle}" {solid}/>'
            )
    else:
        parts.append(f'<geom type="box" size="{radius} {radius} 0.001" pos="0 0 0.001" {drawn}/>')
        for k in range(4):
            angle = np.pi * k / 2
            x, y = (radius + 0.003) * np.cos(angle), (radius + 0.003) * np.sin(angle)
            parts.append(
                f'<geom type="box" size="0.003 {radius + 0.006} {WALL_HEIGHT}" pos="{x} {y} {WALL_HEIGHT}"'
                f' euler="0 0 {angle}" {solid}/>'
            )
    return head + "".join(parts) + "</body>"


def _meshes_xml(scene: Scene) -> str:
    """The meshes that the scene's things draw, each once."""
    kinds = dict.fromkeys(placed.thing.kind for placed in scene.objects)
    return "".join(SOLIDS[kind].mesh for kind in kinds)


def _look_at(position: np.ndarray, target: np.ndarray) -> str:
    """MuJoCo's ``xyaxes`` for a camera at `position` looking at `target`, its picture upright."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    return " ".join(f"{v:.6f}" for v in (*right, *up))


def scene_xml(scene: Scene, arm_model: ArmModel = "primitive") -> str:
    """MJCF text of the whole world: arm, table, lamp, cameras ``front`` and ``wrist``, things."""
    look = scene.look
    camera = _FRONT_CAMERA + np.array(look.camera_shift)
    position = " ".join(map(str, camera))
    wrist = '<camera name="wrist" pos="0 0.055 -0.045" euler="-0.57 0 0" fovy="62"/>'
    ambient = 0.4
    return f"""
<mujoco model="tabletop">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{PHYSICS_STEP}" integrator="implicitfast" cone="elliptic" impratio="10"
    iterations="20" ls_iterations="20"/>
  <visual>
    <headlight diffuse="0.25 0.25 0.25" ambient="{ambient} {ambient} {ambient}" specular="0 0 0"/>
    <quality offsamples="0" shadowsize="512"/>
    <map znear="0.005" zfar="10"/>
    <global offwidth="1280" offheight="1280"/>
  </visual>
  <default>{arm_defaults_xml()}</default>
  <asset>{arm_assets_xml(arm_model)}{_meshes_xml(scene)}</asset>
  <worldbody>
    <light pos="{look.light_x} {look.light_y} 1.5" dir="{-look.light_x / 1.5} {-look.light_y / 1.5} -1"
      directional="true" diffuse="{look.light} {look.light} {look.light}" specular="0.1 0.1 0.1"/>
    <geom name="table" type="plane" size="0.7 0.7 0.1" pos="0.2 0 0" contype="1" conaffinity="1"
      friction="0.9 0.01 0.001" rgba="{" ".join(map(str, look.table))} 1"/>
    <camera name="front" pos="{position}" xyaxes="{_look_at(camera, _FRONT_TARGET)}" fovy="39"/>
    {arm_body_xml(arm_model, wrist)}
    {"".join(_fixture_xml(p, look.shade) for p in scene.fixtures)}
    {"".join(_object_xml(i, p, look.shade) for i, p in enumerate(scene.objects))}
  </worldbody>
  {actuator_xml()}
</mujoco>"""
