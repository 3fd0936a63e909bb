"""For the tests of the safety filter: an arm's specification, a body of three links, an arm that records."""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from vla.arm import ArmFault, ArmSpec, Body, Joint, Picture, Positions, Reading

PLANAR = """
<mujoco>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 0.1"/>
    <body name="base" pos="0 0 0.3">
      <geom name="stand" type="cylinder" size="0.03 0.05"/>
      <body name="upper">
        <joint name="one" axis="0 -1 0"/>
        <geom name="upper" type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/>
        <body name="fore" pos="0.3 0 0">
          <joint name="two" axis="0 -1 0"/>
          <geom name="fore" type="capsule" fromto="0 0 0 0.25 0 0" size="0.02"/>
          <body name="hand" pos="0.25 0 0">
            <joint name="three" axis="0 -1 0"/>
            <geom name="hand" type="box" size="0.05 0.02 0.02" pos="0.05 0 0"/>
            <site name="tip" pos="0.1 0 0"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>"""
"""Three links in the plane y = 0, along x in the rest pose, at a height of 0.3 m."""

JOINTS = ("one", "two", "three")


def planar(body: bool = True, speed: float = 120.0) -> ArmSpec:
    """The arm of `PLANAR` and a gripper, in degrees and percent."""
    joints = tuple(Joint(name, "deg", -170, 170, speed, 900, 9000) for name in JOINTS)
    gripper = Joint("gripper", "percent", 0, 100, 200, 2000, 20000, gripper=True)
    scale = float(np.deg2rad(1))
    model = Body(PLANAR, (*JOINTS, ""), (scale, scale, scale, 0.0), (0.0,) * 4, ("tip", "fore"))
    return ArmSpec("planar", (*joints, gripper), 100, body=model if body else None)


class Recorder:
    """An arm that follows at once and keeps what it was told. fails: raised by all but ``hold``."""

    def __init__(self, spec: ArmSpec, at: Positions | None = None) -> None:
        self.spec = spec
        self.at = np.zeros(len(spec.joints)) if at is None else at
        self.sent: list[Positions] = []
        self.calls: list[str] = []
        self.fails = ""

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if self.fails:
            raise ArmFault(self.fails)

    def connect(self) -> None:
        self._do("connect")

    def read(self) -> Reading:
        self._do("read")
        return Reading(self.at.copy(), time.monotonic())

    def pictures(self) -> Mapping[str, Picture]:
        return {}

    def command(self, positions: Positions) -> None:
        self._do("command")
        self.sent.append(positions)
        self.at = positions.copy()

    def hold(self) -> None:
        self.calls.append("hold")

    def faults(self) -> Sequence[str]:
        return ("too hot",)

    def disconnect(self, release: bool = False) -> None:
        self.calls.append(f"disconnect {release}")
