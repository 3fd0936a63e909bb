"""The Trossen WidowX AI as capsules and boxes: for places of its parts, for collisions and for pictures.

Axes, offsets and ranges are the follower's as its maker publishes them (trossen_arm_mujoco,
``wxai_follower.xml``, BSD-3-Clause); the shapes around them are our own. Base frame: x ahead, z up, at the
middle of the base's foot. The gripper's position is how far each of its two fingers is from closed, metres.
"""

from vla.arm import Body

__all__ = ["wxai_body"]

_MJCF = """
<mujoco model="wxai">
  <compiler angle="radian" autolimits="true"/>
  <default>
    <geom type="capsule" rgba="0.16 0.16 0.18 1"/>
    <site size="0.004" group="4"/>
  </default>
  <worldbody>
    <body name="base_link">
      <geom name="base" type="cylinder" size="0.04 0.03" pos="0 0 0.03"/>
      <body name="link_1" pos="0 0 0.05725">
        <joint name="joint_0" axis="0 0 1" range="-3.05433 3.05433"/>
        <geom name="shoulder" type="cylinder" size="0.036 0.018" pos="0 0 0.022"/>
        <body name="link_2" pos="0.02 0 0.04625">
          <joint name="joint_1" axis="0 1 0" range="0 3.14159"/>
          <geom name="upper_arm" size="0.026" fromto="-0.02 0 0 -0.264 0 0" rgba="0.3 0.3 0.33 1"/>
          <body name="link_3" pos="-0.264 0 0">
            <joint name="joint_2" axis="0 -1 0" range="0 2.35619"/>
            <site name="elbow"/>
            <geom name="elbow_link" size="0.026" fromto="0 0 0 0.03 0 0.055"/>
            <geom name="forearm" size="0.024" fromto="0.04 0 0.06 0.215 0 0.06" rgba="0.3 0.3 0.33 1"/>
            <body name="link_4" pos="0.245 0 0.06">
              <joint name="joint_3" axis="0 -1 0" range="-1.5708 1.5708"/>
              <geom name="wrist_1" size="0.026" fromto="0 0 0 0.05 0 0.04"/>
              <body name="link_5" pos="0.06775 0 0.0455">
                <joint name="joint_4" axis="0 0 -1" range="-1.5708 1.5708"/>
                <geom name="wrist_2" size="0.026" fromto="0 0 0 0 0 -0.04" rgba="0.3 0.3 0.33 1"/>
                <body name="link_6" pos="0.02895 0 -0.0455">
                  <joint name="joint_5" axis="1 0 0" range="-3.14159 3.14159"/>
                  <geom name="palm" type="box" size="0.03 0.05 0.03" pos="0.05 0 0"/>
                  <camera name="wrist" pos="0.03 0 0.08" xyaxes="0 -1 0 0.45 0 0.89" fovy="75"/>
                  <site name="tool" pos="0.156 0 0"/>
                  <body name="carriage_right" pos="0.0865 -0.023 0">
                    <joint name="right_carriage_joint" type="slide" axis="0 -1 0" range="0 0.044"/>
                    <geom name="right_finger" type="box" size="0.035 0.005 0.012" pos="0.034 0.018 0"
                      rgba="0.55 0.55 0.58 1"/>
                  </body>
                  <body name="carriage_left" pos="0.0865 0.023 0">
                    <joint name="left_carriage_joint" type="slide" axis="0 1 0" range="0 0.044"/>
                    <geom name="left_finger" type="box" size="0.035 0.005 0.012" pos="0.034 -0.018 0"
                      rgba="0.55 0.55 0.58 1"/>
                  </body>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <equality>
    <joint joint1="right_carriage_joint" joint2="left_carriage_joint" polycoef="0 1 0 0 0"/>
  </equality>
</mujoco>
"""


def wxai_body() -> Body:
    """The body. Arm's and model's units are the same."""
    joints = (*(f"joint_{index}" for index in range(6)), "left_carriage_joint")
    return Body(_MJCF, joints, (1.0,) * 7, (0.0,) * 7, points=("tool", "elbow"))
