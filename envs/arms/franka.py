"""The Franka FR3 with its hand through franky-control (libfranka), behind `vla.arm.Arm`.

Joints in radians; the gripper in metres, how far the hand is open. The driver runs the arm's thousand ticks a
second in a thread of its own. Each command is a new goal, to which it goes from its present motion within its
limits of speed, acceleration and jerk, and there it stops: where commands cease, the arm comes to rest at
the last one.

The hand takes whole movements, not set points, so a thread of its own starts one to the newest goal whenever
the last is over. The driver goes on telling the last positions for a while after the arm is gone: so the age
of the arm's own clock is watched here.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from envs.arms.body_fr3 import fr3_body
from envs.arms.franka_hand import Hand
from envs.arms.franka_model import position_limits
from envs.arms.twin import Twin, TwinCameras
from envs.arms.vendor import bounded, driver, one_line, wanted
from vla.arm import ArmFault, ArmSpec, Joint, Picture, Positions, Reading
from vla.errors import BadInput

__all__ = ["Franka", "FrankaArm"]


@dataclass(frozen=True)
class Franka:
    """address: of the arm's controller, in FCI mode. hz: commands a second. robot: what policies call it.

    speed, acceleration, jerk: shares of the driver's own limits. gripper: there is a hand. force: with which
    it closes on things and holds them, newtons. realtime: refuse a kernel that is not a real-time one, as the
    maker advises. connect_s: how long to wait for the controller. stale_s: positions older than this are no
    reading. cameras: pictures of a twin that follows the arm; null: none.
    """

    kind: Literal["franka"] = "franka"
    address: str = "172.16.0.2"
    hz: float = 50.0
    robot: str = "franka"
    speed: float = 0.5
    acceleration: float = 0.4
    jerk: float = 0.1
    gripper: bool = True
    force: float = 20.0
    realtime: bool = True
    connect_s: float = 5.0
    stale_s: float = 0.3
    cameras: Twin | None = None

    def __post_init__(self) -> None:
        shares = [(name, 1) for name in ("speed", "acceleration", "jerk")]
        for name, most in (("hz", 500), ("connect_s", 60), ("stale_s", 5), ("force", 70), *shares):
            if not 0 < getattr(self, name) <= most:
                raise BadInput(f"{name}={getattr(self, name)}: a number above 0, at most {most}, is needed")

    def build(self) -> "FrankaArm":
        """The arm, not connected."""
        return FrankaArm(self)


class FrankaArm:
    """See the module."""

    def __init__(self, options: Franka) -> None:
        self.options = options
        self._robot: Any = None
        self._franky: Any = None
        self._hand: Hand | None = None
        self._spec: ArmSpec | None = None
        self._twin: TwinCameras | None = None
        self._stamp, self._time = -1.0, 0.0

    @property
    def spec(self) -> ArmSpec:
        """See Arm."""
        if self._spec is None:
            raise ArmFault("the Franka arm is not connected; connect it first")
        return self._spec

    def connect(self) -> None:
        """See Arm. The controller holds the arm by itself until the first command."""
        if self._robot is not None:
            raise ArmFault("the Franka arm is connected already")
        options, franky = self.options, driver("franky", "franka")
        kernel = franky.RealtimeConfig.Enforce if options.realtime else franky.RealtimeConfig.Ignore
        where = f"the Franka arm at {options.address}"

        def open_() -> tuple[Any, str, Any]:
            robot = franky.Robot(options.address, realtime_config=kernel)
            return robot, robot.model_urdf, franky.Gripper(options.address) if options.gripper else None

        try:
            late = (
                f"{where} does not answer; is it on, unlocked and in FCI mode, and does no other control it?"
            )
            robot, urdf, gripper = bounded(open_, options.connect_s, late)
            if robot.has_errors:
                robot.recover_from_errors()
            lower, upper = position_limits(urdf)
            hand = None if gripper is None else Hand(gripper, options.force)
        except BadInput:
            raise
        except Exception as error:
            hint = "; robot.realtime=false does without" if "realtime" in str(error) else ""
            raise ArmFault(f"{where} cannot be connected: {one_line(error)}{hint}") from None
        self._franky, self._robot, self._hand = franky, robot, hand
        self._stamp, self._time = -1.0, time.monotonic()
        speed = options.speed * np.array(robot.joint_velocity_limit.get())
        acceleration = options.acceleration * np.array(robot.joint_acceleration_limit.get())
        jerk = options.jerk * np.array(robot.joint_jerk_limit.get())
        limits = zip(lower, upper, speed.tolist(), acceleration.tolist(), jerk.tolist(), strict=True)
        joints = [Joint(f"joint{number}", "rad", *each) for number, each in enumerate(limits, 1)]
        if hand is not None:
            joints.append(hand.joint)
        body = fr3_body(hand is not None)
        twin = None if options.cameras is None else TwinCameras(options.cameras, body)
        cameras = {} if twin is None else twin.sizes
        self._spec = ArmSpec(options.robot, tuple(joints), options.hz, tuple(cameras), cameras, body)
        if twin is not None:
            self._twin = twin
            twin.start(self.read().positions)

    def read(self) -> Reading:
        """See Arm: the arm's last message; of the hand, the last one of its own, slower thread."""
        try:
            state = self._connected.state
        except Exception as error:
            raise ArmFault(f"the Franka arm is lost: {one_line(error)}") from None
        now, stamp = time.monotonic(), state.time.to_sec()
        if stamp != self._stamp:
            self._stamp, self._time = stamp, now
        if now - self._time > self.options.stale_s:
            raise ArmFault(f"the Franka arm has sent nothing for {now - self._time:.2f} s; is it on?")
        positions = np.array(state.q, np.float64)
        if self._hand is not None:
            positions = np.append(positions, self._hand.width)
        if self._twin is not None:
            self._twin.follow(positions)
        return Reading(positions, self._time)

    def pictures(self) -> Mapping[str, Picture]:
        """See Arm."""
        return {} if self._twin is None else self._twin.pictures()

    def command(self, positions: Positions) -> None:
        """See Arm."""
        goal = wanted(positions, self.spec)
        motion = self._franky.JointMotion(goal[:7].tolist(), return_when_finished=False)
        self._move(motion)
        if self._hand is not None:
            self._hand.goal = float(goal[7])

    def hold(self) -> None:
        """See Arm: brake as hard as the driver's limits allow; the controller then holds it."""
        if self._hand is not None:
            self._hand.goal = None
        if self._robot is None:
            return
        try:
            self._move(self._franky.JointStopMotion())
        except ArmFault:  # it has stopped by itself, for a reason that has to be acknowledged
            try:
                bounded(self._robot.recover_from_errors, 2.0, "it does not answer")
            except Exception as error:
                raise ArmFault(f"the Franka arm cannot be held: {one_line(error)}") from None

    def _move(self, motion: Any) -> None:
        try:
            self._connected.move(motion, asynchronous=True)
        except Exception as error:
            raise ArmFault(f"the Franka arm takes no command: {one_line(error)}") from None

    def faults(self) -> Sequence[str]:
        """See Arm: the controller's errors, and the hand's."""
        try:
            errors = str(self._connected.state.current_errors) if self._connected.has_errors else ""
        except Exception as failure:
            return (f"lost: {one_line(failure)}",)
        trouble = "" if self._hand is None else self._hand.trouble
        return [line for line in (errors, trouble and f"hand: {trouble}") if line]

    def disconnect(self, release: bool = False) -> None:
        """See Arm. Whatever `release` says, its controller holds the arm; only its own lock lets go."""
        robot, self._robot = self._robot, None
        hand, self._hand = self._hand, None
        twin, self._twin = self._twin, None
        if twin is not None:
            twin.close()
        if hand is not None:
            hand.close()
        if robot is not None:
            with contextlib.suppress(Exception):  # of a motion that failed, which was told when it did
                robot.move(self._franky.JointStopMotion(), asynchronous=True)
                robot.join_motion(2.0)

    @property
    def _connected(self) -> Any:
        if self._robot is None:
            raise ArmFault("the Franka arm is not connected; connect it first")
        return self._robot
