"""Where the hand goes next, in one word, from where it is and where it will be."""

import numpy as np
import numpy.typing as npt

__all__ = ["MOTIONS", "motion"]

MOTIONS = ("left", "right", "forward", "back", "up", "down", "open", "close", "stay")
"""As the front camera sees it, which faces the robot: left and right in its picture, forward towards it.
open, close: the gripper, where the hand itself hardly moves."""

LEAST = 0.008
"""Metres: a hand that moves less stays where it is."""
TURN = 6.0
"""Units of the gripper, of 100."""
_WAYS = {"left": (1, -1), "right": (1, 1), "forward": (0, 1), "back": (0, -1), "up": (2, 1), "down": (2, -1)}


def motion(
    hand: npt.NDArray[np.floating], later: npt.NDArray[np.floating], gripper: float, gripper_later: float
) -> str:
    """Of MOTIONS, the word for the largest part of the way from `hand` to `later`, metres ``[3]``, world.

    gripper, gripper_later: opening then and now, 0..100.
    """
    way = np.asarray(later, float) - np.asarray(hand, float)
    axis = int(np.abs(way).argmax())
    if abs(way[axis]) >= LEAST:
        sign = 1 if way[axis] > 0 else -1
        return next(word for word, part in _WAYS.items() if part == (axis, sign))
    if abs(gripper_later - gripper) >= TURN:
        return "open" if gripper_later > gripper else "close"
    return "stay"
