"""An arm's body as a MuJoCo model: compiled with what the settings add, and asked for its parts by name."""

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from policies.runtime.safety.config import Safety
from vla.arm import Body
from vla.errors import BadInput, did_you_mean

__all__ = ["compile_body", "coupled", "find", "moved_by", "point"]

Array = npt.NDArray[np.float64]


def compile_body(body: Body, safety: Safety) -> Any:
    """The model of `body` with the obstacles of `safety` in its world."""
    try:
        spec = mujoco.MjSpec.from_string(body.mjcf, assets=dict(body.assets))
        for obstacle in safety.obstacles:
            half = np.deg2rad(obstacle.yaw) / 2
            spec.worldbody.add_geom(
                name=f"obstacle {obstacle.name}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=obstacle.centre,
                size=[length / 2 for length in obstacle.size],
                quat=[np.cos(half), 0, 0, np.sin(half)],
            )
        return spec.compile()
    except ValueError as error:
        raise BadInput(f"safety: the arm's MuJoCo model: {str(error).splitlines()[0]}") from None


def find(get: Any, name: str, known: list[str]) -> int:
    """The number of what is called `name`. Raises BadInput, with the nearest of `known`."""
    if name not in known:
        raise BadInput(f"safety: the arm's MuJoCo model has no '{name}'{did_you_mean(name, known)}")
    return int(get(name).id)


def point(model: Any, name: str) -> tuple[bool, int]:
    """Whether a point is a site (else a body), and its number."""
    sites = [model.site(i).name for i in range(model.nsite)]
    if name in sites:
        return True, int(model.site(name).id)
    return False, find(model.body, name, [*sites, *(model.body(i).name for i in range(1, model.nbody))])


def coupled(model: Any) -> list[tuple[int, int, Array]]:
    """Joints that an equality of the model makes follow another: (follower, leader, polynomial)."""
    joint = mujoco.mjtEq.mjEQ_JOINT
    return [
        (int(model.eq_obj1id[i]), int(model.eq_obj2id[i]), np.array(model.eq_data[i, :5]))
        for i in range(model.neq)
        if model.eq_type[i] == joint and model.eq_obj2id[i] >= 0 and model.eq_active0[i]
    ]


def moved_by(model: Any, joints: set[int]) -> set[int]:
    """Bodies whose own joints are all of `joints`, and what is fixed to them: the gripper's jaws."""
    roots = {int(model.jnt_bodyid[joint]) for joint in joints}
    return {body for body in range(model.nbody) if int(model.body_weldid[body]) in roots}
