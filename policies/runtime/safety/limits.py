"""From an arm's limits and the settings to the limits that are kept: the tighter of both, joint by joint."""

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from policies.runtime.safety.config import JointLimits, Safety
from policies.runtime.safety.limiter import Box
from vla.arm import ArmSpec, Joint
from vla.errors import BadInput, did_you_mean

__all__ = ["Distances", "box_of", "distances_of"]

Array = npt.NDArray[np.float64]


def box_of(spec: ArmSpec, safety: Safety) -> Box:
    """Limits of position, speed, acceleration and jerk, one number a joint.

    Raises BadInput for a joint that the arm does not have, and for limits wider than the arm's own.
    """
    for name in safety.joints:
        if name not in spec.names:
            raise BadInput(f"safety: the arm has no joint '{name}'{did_you_mean(name, spec.names)}")
    rows = [_joint(joint, safety) for joint in spec.joints]
    return Box(*np.array(rows, np.float64).T)


def _joint(joint: Joint, safety: Safety) -> tuple[float, ...]:
    own = safety.joints.get(joint.name, JointLimits())
    lower = joint.lower if own.lower is None else own.lower
    upper = joint.upper if own.upper is None else own.upper
    if not joint.lower <= lower < upper <= joint.upper:
        raise BadInput(
            f"safety: joint '{joint.name}' cannot be limited to {lower:g} .. {upper:g} {joint.unit}: the "
            f"arm's own limits are {joint.lower:g} .. {joint.upper:g}"
        )
    values = [lower, upper]
    for what in ("speed", "acceleration", "jerk"):
        most, asked = getattr(joint, what), getattr(own, what)
        if asked is not None and asked > most:
            raise BadInput(
                f"safety: joint '{joint.name}': {what}={asked:g} is above the arm's own limit, {most:g} "
                f"(in {joint.unit} and seconds)"
            )
        scaled = most * getattr(safety, f"{what}_scale")
        values.append(scaled if asked is None else min(asked, scaled))
    return tuple(values)


class Distances(NamedTuple):
    """One number a joint, in its unit, inf where there is no limit; see `JointLimits`."""

    following: Array
    jump: Array
    uncertainty: Array


def distances_of(spec: ArmSpec, safety: Safety) -> Distances:
    """How far measured from sent, a chunk from the pose, and a policy from being sure, may be.

    A gripper is meant to be blocked by what it holds: it has no `following` unless its own is given.
    """

    def of(what: Literal["following", "jump", "uncertainty"]) -> Array:
        values = []
        for joint in spec.joints:
            own = getattr(safety.joints.get(joint.name, JointLimits()), what)
            share = getattr(safety, what)
            if own is None:
                free = share is None or (joint.gripper and what != "uncertainty")
                own = math.inf if free else share * (joint.upper - joint.lower)
            values.append(own)
        return np.array(values, np.float64)

    return Distances(of("following"), of("jump"), of("uncertainty"))
