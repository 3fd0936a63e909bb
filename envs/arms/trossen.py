"""The Trossen WidowX AI through its maker's driver, trossen-arm, behind `vla.arm.Arm`.

Joints in radians; the gripper in metres, how far each finger is from closed. The driver has a thread of its
own that talks to the arm's controller about a thousand times a second. A command gives it set points and the
time in which to be there; it goes from each to the next in a straight line. Without a command it stays.

The driver says nothing where the controller falls silent: it goes on telling the last positions. So the age
of what the controller sent is watched here.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from envs.arms.body_wxai import wxai_body
from envs.arms.twin import Twin, TwinCameras
from envs.arms.vendor import bounded, driver, one_line, wanted
from vla.arm import ArmFault, ArmSpec, Joint, Picture, Positions, Reading
from vla.errors import BadInput

__all__ = ["Trossen", "TrossenArm"]

NAMES = (*(f"joint_{index}" for index in range(6)), "left_carriage_joint")
"""As in LeRobot's and the maker's own data."""

MODEL, END = "wxai_v0", "wxai_v0_follower"


@dataclass(frozen=True)
class Trossen:
    """address: of the arm's controller. hz: commands a second. robot: what policies call it: the name in the
    maker's LeRobot plugin.

    speed: share of the driver's own limits. acceleration, jerk: of each arm joint, rad/s^2 and rad/s^3 (the
    driver has no such limits); of the gripper a tenth of that in m. connect_s: how long to wait for the
    controller. stale_s: positions older than this are no reading. hot_c: a motor hotter than this, in
    degrees Celsius, is a fault. cameras: pictures of a twin that follows the arm; null: none.
    """

    kind: Literal["trossen"] = "trossen"
    address: str = "192.168.1.2"
    hz: float = 50.0
    robot: str = "widowxai_follower_robot"
    speed: float = 0.5
    acceleration: float = 8.0
    jerk: float = 80.0
    connect_s: float = 5.0
    stale_s: float = 0.2
    hot_c: float = 75.0
    cameras: Twin | None = None

    def __post_init__(self) -> None:
        for name, most in (("hz", 500), ("speed", 1), ("connect_s", 60), ("stale_s", 5)):
            if not 0 < getattr(self, name) <= most:
                raise BadInput(f"{name}={getattr(self, name)}: a number above 0, at most {most}, is needed")

    def build(self) -> "TrossenArm":
        """The arm, not connected."""
        return TrossenArm(self)


class TrossenArm:
    """See the module."""

    def __init__(self, options: Trossen) -> None:
        self.options = options
        self._driver: Any = None
        self._spec: ArmSpec | None = None
        self._twin: TwinCameras | None = None
        self._stamp, self._time = -1, 0.0

    @property
    def spec(self) -> ArmSpec:
        """See Arm."""
        if self._spec is None:
            raise ArmFault("the WidowX AI is not connected; connect it first")
        return self._spec

    def connect(self) -> None:
        """See Arm. The arm changes to position mode where it stands."""
        if self._driver is not None:
            raise ArmFault("the WidowX AI is connected already")
        options, trossen = self.options, driver("trossen_arm", "trossen")
        # The driver writes to the terminal unless its logger has somebody else to write to.
        log = logging.getLogger(f"{MODEL}@{options.address}")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        arm = trossen.TrossenArmDriver()
        end = getattr(trossen.StandardEndEffector, END)

        def configure() -> list[Any]:
            arm.configure(trossen.Model.wxai_v0, end, options.address, False, options.connect_s)
            limits = list(arm.get_joint_limits())
            if len(limits) != len(NAMES):
                raise ArmFault(f"it has {len(limits)} joints, not {len(NAMES)}")
            arm.set_all_modes(trossen.Mode.position)
            return limits

        where = f"the WidowX AI at {options.address}"
        try:
            limits = bounded(configure, options.connect_s + 5, f"{where} does not answer")
        except Exception as error:
            busy = "; does another program control it?" if "read TCP" in str(error) else ""
            raise ArmFault(f"{where} cannot be connected: {one_line(error)}{busy}") from None
        self._driver, self._stamp, self._time = arm, -1, time.monotonic()
        joints = tuple(self._joint(name, limit) for name, limit in zip(NAMES, limits, strict=True))
        twin = None if options.cameras is None else TwinCameras(options.cameras, wxai_body())
        cameras = {} if twin is None else twin.sizes
        self._spec = ArmSpec(options.robot, joints, options.hz, tuple(cameras), cameras, wxai_body())
        if twin is not None:
            self._twin = twin
            twin.start(self.read().positions)

    def _joint(self, name: str, limit: Any) -> Joint:
        options, gripper = self.options, name == NAMES[-1]
        share = 0.1 if gripper else 1.0
        return Joint(
            name=name,
            unit="m" if gripper else "rad",
            lower=limit.position_min,
            upper=limit.position_max,
            speed=options.speed * limit.velocity_max,
            acceleration=share * options.acceleration,
            jerk=share * options.jerk,
            gripper=gripper,
        )

    def read(self) -> Reading:
        """See Arm: what the controller sent last."""
        try:
            output = self._connected.get_robot_output()
        except Exception as error:
            raise ArmFault(f"the WidowX AI is lost: {one_line(error)}") from None
        now = time.monotonic()
        if output.header.timestamp != self._stamp:
            self._stamp, self._time = output.header.timestamp, now
        if now - self._time > self.options.stale_s:
            raise ArmFault(f"the WidowX AI has sent nothing for {now - self._time:.2f} s; is it on?")
        positions = np.array(output.joint.all.positions, np.float64)
        if self._twin is not None:
            self._twin.follow(positions)
        return Reading(positions, self._time)

    def pictures(self) -> Mapping[str, Picture]:
        """See Arm."""
        return {} if self._twin is None else self._twin.pictures()

    def command(self, positions: Positions) -> None:
        """See Arm: be there when the next command is due."""
        self._go(wanted(positions, self.spec), 1 / self.options.hz)

    def hold(self) -> None:
        """See Arm: the goal becomes where it is."""
        if self._driver is not None:
            self._go(np.array(self._driver.get_all_positions()), 0.1)

    def _go(self, positions: Positions, seconds: float) -> None:
        try:
            self._connected.set_all_positions(positions.tolist(), seconds, False)
        except Exception as error:
            raise ArmFault(f"the WidowX AI takes no command: {one_line(error)}") from None

    def faults(self) -> Sequence[str]:
        """See Arm: the controller's error and hot motors."""
        try:
            joints = self._connected.get_robot_output().joint.all
            error = self._connected.get_error_information()
        except Exception as failure:
            return (f"lost: {one_line(failure)}",)
        heat = np.maximum(joints.rotor_temperatures, joints.driver_temperatures)
        hot = [
            f"{name} is at {celsius:.0f} degrees Celsius, above {self.options.hot_c:g}"
            for name, celsius in zip(NAMES, heat, strict=True)
            if celsius > self.options.hot_c
        ]
        return ([] if error.strip() in ("", "No error") else [error.strip().splitlines()[0]]) + hot

    def disconnect(self, release: bool = False) -> None:
        """See Arm. Whatever `release` says, its controller brakes the motors once the driver is gone."""
        arm, self._driver = self._driver, None
        twin, self._twin = self._twin, None
        if twin is not None:
            twin.close()
        if arm is not None:
            bounded(arm.cleanup, 10, "the WidowX AI's driver does not end")

    @property
    def _connected(self) -> Any:
        if self._driver is None:
            raise ArmFault("the WidowX AI is not connected; connect it first")
        return self._driver
