"""The SO-101's model for the safety filter: the arm of the table, alone."""

import functools
import math

from envs.tabletop.arm import (
    GRIPPER_CLOSED_RAD,
    GRIPPER_OPEN_RAD,
    JOINT_NAMES,
    arm_body_xml,
    arm_defaults_xml,
)
from vla.arm import Body

__all__ = ["so101_body"]

POINTS = ("tip", "tcp", "moving_jaw", "gripper", "wrist", "lower_arm")
"""The tool's end and grasp point, the jaw's axis, the hand, the wrist and the elbow."""


@functools.cache
def so101_body() -> Body:
    """MuJoCo model of the arm, base at the origin, facing +x; LeRobot's units (degrees, gripper 0..100).

    Of links that the model gives no collision geoms the drawn ones count. That LeRobot's 0 degrees are the
    model's zero is true of an arm whose calibration went through each joint's whole range.
    """
    degree = math.pi / 180.0
    arm = len(JOINT_NAMES) - 1
    return Body(
        mjcf=f"""
<mujoco model="so101">
  <compiler angle="radian" autolimits="true"/>
  <default>{arm_defaults_xml()}</default>
  <worldbody>{arm_body_xml("primitive", "")}</worldbody>
</mujoco>""",
        joints=JOINT_NAMES,
        scale=(degree,) * arm + ((GRIPPER_OPEN_RAD - GRIPPER_CLOSED_RAD) / 100.0,),
        offset=(0.0,) * arm + (GRIPPER_CLOSED_RAD,),
        points=POINTS,
    )
