"""The stock room: one MuJoCo model with every shape and texture, compiled once for all pictures.

Compiling a model for each picture would cost more than drawing it. So the model holds the meshes, textures,
lamps and a camera, and no geom at all; `Studio` hangs the geoms of a picture into MuJoCo's abstract scene.
"""

from dataclasses import dataclass
from functools import cache

import mujoco
import numpy as np
import numpy.typing as npt

from envs.gallery.meshes import Soup, lathe
from envs.gallery.shapes import SHAPES, soup
from envs.gallery.textures import SIDE, TEXTURES, picture

__all__ = ["REPEATS", "Stock", "stock"]

REPEATS = (8, 16, 32)
"""Tiles of a floor's texture along half its edge: there is a sheet for each."""

type Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stock:
    """mesh: name -> (number for a geom, place ``[3]`` and rotation ``[3, 3]`` that undo MuJoCo's own
    centring). material: texture name -> number."""

    model: mujoco.MjModel
    mesh: dict[str, tuple[int, Array, Array]]
    material: dict[str, int]


def _numbers(values: Array) -> str:
    return " ".join(f"{v:.6f}" for v in values.ravel())  # no exponents: the reader refuses 1e-320


def _on_texture(solid: Soup) -> Array:
    """A place on a flat texture for every corner ``[T, 3, 2]``: seen along each triangle's main axis."""
    across = np.cross(solid.corners[:, 1] - solid.corners[:, 0], solid.corners[:, 2] - solid.corners[:, 0])
    main = np.abs(across).argmax(axis=1)
    others = np.array([[1, 2], [0, 2], [0, 1]])[main]
    return np.take_along_axis(solid.corners, others[:, None, :].repeat(3, axis=1), axis=2)


def _mesh_xml(name: str, solid: Soup, places: Array) -> str:
    face = np.arange(len(solid.corners) * 3)
    return (
        f'<mesh name="{name}" inertia="shell" vertex="{_numbers(solid.corners)}"'
        f' normal="{_numbers(solid.normals)}" texcoord="{_numbers(places)}"'
        f' face="{" ".join(map(str, face))}"/>'
    )


def _sheet(repeat: int) -> tuple[Soup, Array]:
    """A square of half-edge 1 facing +z, with a back side a little below (a solid must have a volume)."""
    top = np.array([[[-1, -1, 0], [1, -1, 0], [1, 1, 0]], [[-1, -1, 0], [1, 1, 0], [-1, 1, 0]]], float)
    below = top[:, ::-1] - [0, 0, 0.01]
    normals = np.zeros((4, 3, 3))
    normals[:2, :, 2], normals[2:, :, 2] = 1, -1
    solid = Soup(np.concatenate([top, below]), normals)
    return solid, solid.corners[..., :2] * repeat


def _xml() -> str:
    meshes = [_mesh_xml(name.replace(" ", "_"), soup(name), _on_texture(soup(name))) for name in SHAPES]
    meshes += [_mesh_xml(f"sheet{r}", *_sheet(r)) for r in REPEATS]
    shadow = lathe([(1, 0), (0.99, 0.01), (0, 0.01)], 24, sharp=True)
    meshes.append(_mesh_xml("shadow", shadow, _on_texture(shadow)))
    textures = [
        f'<texture name="{name}" type="2d" builtin="flat" width="{SIDE}" height="{SIDE}"/>'
        f'<material name="{name}" texture="{name}"/>'
        for name in TEXTURES
    ]
    return f"""
<mujoco model="gallery">
  <visual>
    <quality offsamples="0" shadowsize="512"/>
    <map znear="0.05" zfar="150"/>
  </visual>
  <statistic extent="1" center="0 0 0"/>
  <asset>{"".join(textures)}{"".join(meshes)}</asset>
  <worldbody>
    <camera name="view"/>
    <light name="sun0" directional="true" ambient="0 0 0" castshadow="false"/>
    <light name="sun1" directional="true" ambient="0 0 0" castshadow="false"/>
  </worldbody>
</mujoco>"""


@cache
def stock() -> Stock:
    """The model, compiled on the first call of a process."""
    model = mujoco.MjModel.from_xml_string(_xml())
    for name in TEXTURES:
        texture = model.texture(name)
        start = int(texture.adr[0])
        model.tex_data[start : start + 3 * SIDE * SIDE] = picture(name).ravel()
    meshes: dict[str, tuple[int, Array, Array]] = {}
    for number in range(model.nmesh):
        rotation: Array = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.mesh_quat[number])
        name = model.mesh(number).name.replace("_", " ")
        meshes[name] = (2 * number, model.mesh_pos[number].copy(), rotation.reshape(3, 3))
    return Stock(model, meshes, {name: model.material(name).id for name in TEXTURES})
