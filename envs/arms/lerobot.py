"""Any arm that LeRobot drives over a serial bus (SO-101, SO-100, Koch, ...), with LeRobot's cameras.

LeRobot's own driver does the talking, and is kept from what makes it unsafe: it writes any target it is
given, raises on NaN when part of the work is done, asks questions on stdin, lets the arm jump to an old
goal when torque comes on, and takes an answer that is late for the answer to the next question. Limits come
from the calibration file, never from a model.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from envs.arms.lerobot_bus import Line
from envs.arms.lerobot_setup import check_calibration, check_port, check_servos, joints_of, make_robot
from vla.arm import ArmFault, ArmSpec, Body, Picture, Positions, Reading
from vla.errors import BadInput

__all__ = ["LeRobot", "LeRobotArm"]

_AGE_MS = 10**9
"""LeRobot's cameras refuse old pictures; here whoever asks judges their age by their time."""


@dataclass(frozen=True)
class LeRobot:
    """type: LeRobot's name of the robot. port, id, calibration_dir: as LeRobot has them (None: its folder).

    cameras: name -> LeRobot's config of it, ``{type: opencv, index_or_path: 0, width: 640, height: 480,
    fps: 30}``. options: further ones of LeRobot's config of the robot. hz: commands a second that suit it.
    speed, acceleration, jerk: the most that a joint may do, in degrees (a gripper: of its motor); what an
    STS3215 at 7.4 V can. retries: of an exchange that failed.
    """

    kind: Literal["lerobot"] = "lerobot"
    type: str = "so101_follower"
    port: str = "/dev/ttyACM0"
    id: str = "arm"
    calibration_dir: Path | None = None
    cameras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    hz: float = 50.0
    speed: float = 270.0
    acceleration: float = 6000.0
    jerk: float = 240e3
    retries: int = 2

    def __post_init__(self) -> None:
        for name in ("hz", "speed", "acceleration", "jerk"):
            if not 0 < getattr(self, name) < np.inf:
                raise BadInput(f"{name}={getattr(self, name)}: a number above 0 is needed")
        if not 0 <= self.retries <= 20:
            raise BadInput(f"retries={self.retries}: 0 to 20")

    def build(self) -> "LeRobotArm":
        """The arm, not connected."""
        return LeRobotArm(self)


class LeRobotArm:
    """See the module."""

    def __init__(self, options: LeRobot) -> None:
        self.options = options
        self._spec: ArmSpec | None = None
        self._line: Line | None = None
        self._robot: Any = None  # LeRobot's disconnects, and lets go of the arm, when nobody refers to it
        self._cameras: Mapping[str, Any] = {}

    @property
    def spec(self) -> ArmSpec:
        """See Arm."""
        if self._spec is None:
            raise ArmFault("the arm is not connected; connect it first")
        return self._spec

    def connect(self) -> None:
        """See Arm. Whatever is wrong is told before torque comes on, and nothing stays open then."""
        if self._line is not None:
            raise ArmFault("the arm is connected already")
        check_port(self.options.port)
        robot = make_robot(self.options)
        joints = joints_of(robot, self.options)
        self._robot = robot
        line = self._line = Line(robot.bus, self.options.port, self.options.retries)
        try:
            line.open()
            check_servos(line)
            check_calibration(line, robot, self.options.type)
            self._connect_cameras(robot.cameras)
            line.stay()  # the old goal could be anywhere
            line.patiently("be configured", robot.configure)
            if loose := [name for name, on in line.ask("Torque_Enable").items() if not on]:
                raise ArmFault(f"{line.servo(loose[0])} does not hold: its torque stays off; check its power")
            line.settle()
        except BaseException:
            self.disconnect()
            raise
        sizes = {name: (camera.height, camera.width) for name, camera in self._cameras.items()}
        body = _body(self.options.type)
        self._spec = ArmSpec(self.options.type, joints, self.options.hz, tuple(sizes), sizes, body)

    def read(self) -> Reading:
        """See Arm: one synchronous read of all servos, tried anew where it fails."""
        found = self._open_line().ask("Present_Position", normalize=True)
        return Reading(np.array([found[name] for name in self.spec.names], np.float64), time.monotonic())

    def pictures(self) -> Mapping[str, Picture]:
        """See Arm. A camera that has nothing to show, or is lost, is left out."""
        found = {}
        ahead = time.monotonic() - time.perf_counter()  # LeRobot's cameras tell time on the other clock
        for name, camera in list(self._cameras.items()):
            taken = getattr(camera, "latest_timestamp", None)
            number = getattr(camera, "latest_number", None)  # LeRobot's own cameras tell none
            try:
                pixels = camera.read_latest(_AGE_MS)
            except (RuntimeError, OSError):  # TimeoutError and LeRobot's own are among them
                continue
            if taken is not None:  # read before the picture: never newer than it is
                found[name] = Picture(pixels, taken + ahead, number)
        return found

    def command(self, positions: Positions) -> None:
        """See Arm. Raises ArmFault, and sends nothing, for what is not finite or outside the limits."""
        line, spec = self._open_line(), self.spec
        wanted = np.asarray(positions, np.float64)
        if wanted.shape != (len(spec.joints),):
            raise ArmFault(f"a command is {len(spec.joints)} numbers, not of shape {wanted.shape}")
        for joint, value in zip(spec.joints, wanted.tolist(), strict=True):
            if not joint.lower - 1e-6 <= value <= joint.upper + 1e-6:  # NaN is neither
                raise ArmFault(
                    f"refused: joint '{joint.name}' to {value:g} {joint.unit}; its calibration allows "
                    f"{joint.lower:.1f} to {joint.upper:.1f}"
                )
        line.tell("Goal_Position", dict(zip(spec.names, wanted.tolist(), strict=True)), normalize=True)

    def hold(self) -> None:
        """See Arm: every goal becomes the present position, servo by servo where one is silent."""
        self._open_line().stay()

    def faults(self) -> Sequence[str]:
        """See Arm: alarms, heat, voltage, load, and torque that is off."""
        return self._open_line().faults()

    def disconnect(self, release: bool = False) -> None:
        """See Arm. Raises ArmFault, after all is closed, if torque should have been let go and was not."""
        cameras, self._cameras = self._cameras, {}
        for camera in cameras.values():
            try:
                camera.disconnect()
            except Exception:  # not connected, or gone: closed is what it should be
                continue
        line, self._line = self._line, None
        try:
            if line is not None:
                line.close(release)
        finally:
            self._robot = None  # not before: it would close the port itself

    def _open_line(self) -> Line:
        if self._line is None:
            raise ArmFault("the arm is not connected; connect it first")
        return self._line

    def _connect_cameras(self, cameras: Mapping[str, Any]) -> None:
        self._cameras = dict(cameras)
        for name, camera in cameras.items():
            try:
                camera.connect()
            except (RuntimeError, OSError, ValueError) as error:
                reason = str(error).splitlines()[0].removesuffix(".")
                raise ArmFault(
                    f"camera '{name}' cannot be used: {reason} (see lerobot-find-cameras)"
                ) from None


def _body(robot: str) -> Body | None:
    if robot != "so101_follower":
        return None
    from envs.arms.body_so101 import so101_body

    return so101_body()
