"""How the servos sit in the twin: which joint each drives, and where its encoder's zero came to lie.

Whoever screws an arm together mounts each horn as it happens to be, which is what homing offsets are for. The
offsets below are as good as any, and differ so that a calibration of another arm does not fit.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from envs.arms.servo_emulator.servo import STEPS
from envs.tabletop.arm import JOINT_LIMITS_RAD, JOINT_NAMES

__all__ = ["NUMBERS", "calibration", "to_angles", "to_radians", "write_calibration"]

NUMBERS = {name: number for number, name in enumerate(JOINT_NAMES, 1)}
"""Joint -> the number of its servo on the bus, as LeRobot numbers the SO-101."""
_OFFSETS = np.array([87, -412, 655, -230, 1019, -768])
_CENTRES = np.array([math.fsum(JOINT_LIMITS_RAD[name]) / 2 for name in JOINT_NAMES])
_PER_RADIAN = STEPS / (2 * math.pi)

Array = npt.NDArray[np.float64]


def to_angles(radians: Array) -> Array:
    """Joint angles in radians ``[6]`` -> encoder steps ``[6]``, not rounded, homing offset not taken off.

    The middle of a joint's range is half a turn, 2048 steps, beyond the homing offset.
    """
    return (radians - _CENTRES) * _PER_RADIAN + STEPS / 2 + _OFFSETS


def to_radians(angles: Array) -> Array:
    """The inverse of `to_angles`."""
    return (angles - STEPS / 2 - _OFFSETS) / _PER_RADIAN + _CENTRES


def calibration() -> dict[str, dict[str, int]]:
    """The twin's calibration as LeRobot writes it: joint -> id, drive_mode, homing_offset, range_min, _max.

    In it the middle of each range is LeRobot's 0 degrees, which is the model's zero; and no range is wider
    than the joint can go.
    """
    found = {}
    for at, name in enumerate(JOINT_NAMES):
        low, high = JOINT_LIMITS_RAD[name]
        half = math.floor((high - low) / 2 * _PER_RADIAN)
        found[name] = {
            "id": NUMBERS[name],
            "drive_mode": 0,
            "homing_offset": int(_OFFSETS[at]),
            "range_min": STEPS // 2 - half,
            "range_max": STEPS // 2 + half,
        }
    return found


def write_calibration(folder: Path, name: str) -> Path:
    """Write the twin's calibration for LeRobot's ``calibration_dir=folder, id=name``; the file."""
    path = folder / f"{name}.json"
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(calibration(), indent=4) + "\n", encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path
