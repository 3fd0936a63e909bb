"""The Franka FR3 with its hand as capsules and boxes: for places of its parts, collisions and pictures.

Axes, offsets and ranges are those of the FR3's datasheet (frankarobotics/franka_description, Apache-2.0); the
shapes around them are our own, about the arm's thickness. Base frame: x ahead, z up, at the middle of the
foot. The gripper's position is the hand's opening width, metres; each finger goes half of it.
"""

from vla.arm import Body

__all__ = ["fr3_body"]

_MJCF = """
<mujoco model="fr3">
  <compiler angle="radian" autolimits="true"/>
  <default>
    <geom type="capsule" rgba="0.92 0.92 0.94 1"/>
    <site size="0.004" group="4"/>
  </default>
  <worldbody>
    <body name="link0">
      <geom name="foot" size="0.08" fromto="-0.09 0 0.081 0 0 0.081" rgba="0.3 0.3 0.33 1"/>
      <body name="link1" pos="0 0 0.333">
        <joint name="joint1" axis="0 0 1" range="-2.7437 2.7437"/>
        <geom name="shoulder_1" size="0.06" fromto="0 0 -0.11 0 0 -0.06"/>
        <body name="link2" quat="1 -1 0 0">
          <joint name="joint2" axis="0 0 1" range="-1.7837 1.7837"/>
          <geom name="shoulder_2" size="0.06" fromto="0 0 -0.06 0 0 0.06" rgba="0.3 0.3 0.33 1"/>
          <body name="link3" pos="0 -0.316 0" quat="1 1 0 0">
            <joint name="joint3" axis="0 0 1" range="-2.9007 2.9007"/>
            <geom name="upper_arm" size="0.06" fromto="0 0 -0.2 0 0 -0.07"/>
            <body name="link4" pos="0.0825 0 0" quat="1 1 0 0">
              <joint name="joint4" axis="0 0 1" range="-3.0421 -0.1518"/>
              <site name="elbow"/>
              <geom name="elbow_link" size="0.055" fromto="0 0 -0.06 0 0 0.06" rgba="0.3 0.3 0.33 1"/>
              <body name="link5" pos="-0.0825 0.384 0" quat="1 -1 0 0">
                <joint name="joint5" axis="0 0 1" range="-2.8065 2.8065"/>
                <geom name="forearm" size="0.055" fromto="0 0 -0.27 0 0.01 -0.16"/>
                <geom name="forearm_end" size="0.04" fromto="0 0.08 -0.13 0 0.06 -0.02"/>
                <body name="link6" quat="1 1 0 0">
                  <joint name="joint6" axis="0 0 1" range="0.5445 4.5169"/>
                  <geom name="wrist_1" size="0.05" fromto="0 0 -0.07 0 0 0.01" rgba="0.3 0.3 0.33 1"/>
                  <body name="link7" pos="0.088 0 0" quat="1 1 0 0">
                    <joint name="joint7" axis="0 0 1" range="-3.0159 3.0159"/>
                    <geom name="flange" size="0.045" fromto="0 0 -0.01 0 0 0.05"/>
                    <body name="hand" pos="0 0 0.107" quat="0.9238795 0 0 -0.3826834">
                      <geom name="palm" type="box" size="0.025 0.1 0.033" pos="0 0 0.03"/>
                      <camera name="wrist" pos="0.09 0 0.0" xyaxes="0 1 0 0.87 0 0.5" fovy="75"/>
                      <site name="tool" pos="0 0 0.1034"/>
                      <body name="left_finger" pos="0 0 0.0584">
                        <joint name="finger_joint1" type="slide" axis="0 1 0" range="0 0.04"/>
                        <geom name="left_finger" type="box" size="0.01 0.006 0.026" pos="0 0.007 0.028"
                          rgba="0.35 0.35 0.38 1"/>
                      </body>
                      <body name="right_finger" pos="0 0 0.0584">
                        <joint name="finger_joint2" type="slide" axis="0 -1 0" range="0 0.04"/>
                        <geom name="right_finger" type="box" size="0.01 0.006 0.026" pos="0 -0.007 0.028"
                          rgba="0.35 0.35 0.38 1"/>
                      </body>
                    </body>
                  </body>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <equality><joint joint1="finger_joint2" joint2="finger_joint1" polycoef="0 1 0 0 0"/></equality>
</mujoco>
"""


def fr3_body(gripper: bool = True) -> Body:
    """The body. gripper: the arm has a position for its hand."""
    joints = tuple(f"joint{index}" for index in range(1, 8))
    scale: tuple[float, ...] = (1.0,) * len(joints)
    if gripper:
        joints, scale = (*joints, "finger_joint1"), (*scale, 0.5)
    return Body(_MJCF, joints, scale, (0.0,) * len(joints), points=("tool", "hand", "elbow"))
