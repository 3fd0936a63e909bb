"""Why a chunk must not be run, before any of it is."""

import numpy as np
import numpy.typing as npt

from policies.runtime.chunking.stitcher import fault_in
from policies.runtime.safety.limits import Distances
from vla.arm import ArmSpec
from vla.interfaces import ActionChunk

__all__ = ["refusal"]


def refusal(chunk: ActionChunk, spec: ArmSpec, most: Distances, present: npt.NDArray[np.float64]) -> str:
    """The reason, with its joint and numbers; empty if nothing speaks against it. present: where the arm was
    last sent."""
    if chunk.hold:
        return f"the policy says hold: {chunk.hold}"
    fault = fault_in(chunk, len(spec.joints))
    if fault:
        return fault
    if chunk.uncertainty is not None:
        unsure = np.asarray(chunk.uncertainty, np.float64)
        if unsure.shape != chunk.actions.shape:
            return f"the chunk's uncertainty has shape {list(unsure.shape)}, not {list(chunk.actions.shape)}"
        if not np.isfinite(unsure).all():
            return "the chunk's uncertainty is not finite"
        excess = unsure / most.uncertainty
        row, joint = divmod(int(excess.argmax()), excess.shape[1])
        if excess[row, joint] > 1.0:
            return (
                f"the policy is unsure of {_of(spec, joint)} in row {row}: one standard deviation is "
                f"{unsure[row, joint]:.4g} {spec.joints[joint].unit}, at most "
                f"{most.uncertainty[joint]:.4g} is allowed"
            )
    away = np.abs(chunk.actions[0].astype(np.float64) - present)
    joint = int((away / most.jump).argmax())
    if away[joint] > most.jump[joint]:
        return (
            f"the chunk begins {away[joint]:.4g} {spec.joints[joint].unit} away from the present pose at "
            f"{_of(spec, joint)}, at most {most.jump[joint]:.4g} is allowed"
        )
    return ""


def _of(spec: ArmSpec, joint: int) -> str:
    return f"'{spec.joints[joint].name}'"
