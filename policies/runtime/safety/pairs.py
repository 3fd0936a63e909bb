"""Which parts of an arm's model are kept apart, and how far one joint can move any of them."""

from typing import Any, NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

__all__ = ["Gaps", "Pair", "pairs_of", "reaches"]


class Pair(NamedTuple):
    """Two geoms whose distance is watched, and what to call them."""

    one: int
    other: int
    names: tuple[str, str]


def pairs_of(
    model: Any, data: Any, obstacles: set[str], jaws: set[int], margin: float
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to watch, and pairs left out as they are nearer than `margin` in the model's rest pose.

    Watched are geoms that can move against each other, but not those of neighbouring links, whose joint keeps
    them together, nor the gripper's parts against each other, which are made to meet. Of a body the colliding
    geoms count; where it has none, all of its geoms. obstacles: names of geoms of the world that are never
    left out. jaws: bodies that only the gripper moves. data: after the kinematics of the rest pose.
    """
    watched, touching = list[Pair](), list[Pair]()
    geoms = [geom for body in range(model.nbody) for geom in _geoms(model, body)]
    for index, one in enumerate(geoms):
        for other in geoms[index + 1 :]:
            first, second = int(model.geom_bodyid[one]), int(model.geom_bodyid[other])
            if model.body_weldid[first] == model.body_weldid[second]:
                continue
            box = not obstacles.isdisjoint((model.geom(one).name, model.geom(other).name))
            if not box and (_neighbours(model, first, second) or (first in jaws and second in jaws)):
                continue
            pair = Pair(one, other, (_name(model, one), _name(model, other)))
            near = mujoco.mj_geomDistance(model, data, one, other, 1.0, None) < margin
            (touching if near and not box else watched).append(pair)
    return watched, touching


def _geoms(model: Any, body: int) -> list[int]:
    own = [int(model.body_geomadr[body]) + i for i in range(int(model.body_geomnum[body]))]
    solid = [geom for geom in own if model.geom_contype[geom] or model.geom_conaffinity[geom]]
    return solid or (own if body else [])  # what is only drawn in the world is scenery


def _neighbours(model: Any, first: int, second: int) -> bool:
    """Whether a joint links the two. Of a base that is fixed to the world only the very body counts."""
    for one, other in ((first, second), (second, first)):
        root = int(model.body_weldid[one])
        parent = int(model.body_parentid[root])
        welded = int(model.body_weldid[parent])
        if root and (other == parent or (welded and model.body_weldid[other] == welded)):
            return True
    return False


def _name(model: Any, geom: int) -> str:
    """The geom's name; without one its body's."""
    return model.geom(geom).name or model.body(model.geom_bodyid[geom]).name or "the world"


def reaches(model: Any) -> npt.NDArray[np.float64]:
    """How far from each joint's axis anything that it moves can be, ``[joints of the model]``.

    A turn of d radians then moves no geom and no site by more than that times d; a slide moves all by itself.
    The longest way through the chain, so that it holds in every pose.
    """
    span = np.zeros(model.nbody)  # from the body's own frame to the furthest thing on it and after it
    for geom in range(model.ngeom):
        size = np.linalg.norm(model.geom_pos[geom]) + model.geom_rbound[geom]
        span[model.geom_bodyid[geom]] = max(span[model.geom_bodyid[geom]], size)
    for site in range(model.nsite):
        size = np.linalg.norm(model.site_pos[site])
        span[model.site_bodyid[site]] = max(span[model.site_bodyid[site]], size)
    hinge = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    give = np.where(
        hinge, 2 * np.linalg.norm(model.jnt_pos, axis=1), np.abs(model.jnt_range).max(1, initial=0.0)
    )
    for body in range(model.nbody - 1, 0, -1):
        joints = np.flatnonzero(model.jnt_bodyid == body)
        whole = np.linalg.norm(model.body_pos[body]) + span[body] + give[joints].sum()
        parent = model.body_parentid[body]
        span[parent] = max(span[parent], whole)
    own = [span[body] + give[model.jnt_bodyid == body].sum() for body in model.jnt_bodyid]
    return np.where(hinge, own, 1.0)


class Gaps:
    """Distances of `pairs`, in metres: exact where they are below `far`, else a lower bound of at least that.

    The lower bounds are by bounding spheres, and to planes of the world by their normals.
    """

    def __init__(self, model: Any, data: Any, pairs: list[Pair], far: float) -> None:
        self._model, self._data, self._far = model, data, far
        plane = mujoco.mjtGeom.mjGEOM_PLANE
        self._pairs = [(one, other) for one, other, _ in pairs]
        self._one = np.array([one for one, _ in self._pairs], int)
        self._other = np.array([other for _, other in self._pairs], int)
        self._radii = model.geom_rbound[self._one] + model.geom_rbound[self._other]
        # Pairs with a plane, which MuJoCo always sorts to the front as the world's geoms come first.
        self._planes = np.flatnonzero(model.geom_type[self._one] == plane)
        mujoco.mj_kinematics(model, data)
        self._normals = data.geom_xmat[self._one[self._planes]][:, 2::3].copy()
        self._radii = np.where(model.geom_type[self._other] == plane, np.inf, self._radii)

    def now(self) -> npt.NDArray[np.float64]:
        """In the pose that the data were last computed for. ``[pairs]``."""
        model, data, far, places = self._model, self._data, self._far, self._data.geom_xpos
        apart = places[self._other] - places[self._one]
        gaps: npt.NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", apart, apart)) - self._radii
        if len(self._planes):
            heights = np.einsum("ij,ij->i", apart[self._planes], self._normals)
            gaps[self._planes] = heights - self._radii[self._planes]
        for index in (gaps < far).nonzero()[0].tolist():
            gaps[index] = mujoco.mj_geomDistance(model, data, *self._pairs[index], far, None)
        return gaps
