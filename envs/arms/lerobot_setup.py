"""What has to be true before a LeRobot arm may hold itself: each check raises one line, what is wrong."""

import dataclasses
import errno
import grp
import importlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla.arm import ArmFault, Joint
from vla.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from envs.arms.lerobot import LeRobot
    from envs.arms.lerobot_bus import Line

__all__ = ["check_calibration", "check_port", "check_servos", "joints_of", "make_robot"]

EMULATED = "emulated"
"""Type of the camera that an emulator shows its pictures by; the only one that LeRobot does not bring."""


def check_port(port: str) -> None:
    """Raise ArmFault unless `port` is a serial port that may be used."""
    try:
        mode = os.stat(port)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise ArmFault(f"no permission to look at {port}") from None
        there = sorted(str(path) for path in Path("/dev").glob("tty[AU][CS][MB]*"))
        hint = (
            f"there are: {', '.join(there)}" if there else "there is no serial port at all; plug the arm in"
        )
        raise ArmFault(f"port {port} does not exist ({hint})") from None
    if not stat.S_ISCHR(mode.st_mode):
        raise ArmFault(f"{port} is no serial port")
    if os.access(port, os.R_OK | os.W_OK):
        return
    try:
        group = grp.getgrgid(mode.st_gid).gr_name
    except KeyError:
        group = str(mode.st_gid)
    raise ArmFault(
        f"no permission to use {port}: join its group with: sudo usermod -aG {group} $USER, then log in again"
    )


def make_robot(options: "LeRobot") -> Any:
    """LeRobot's robot, not connected, its calibration read. Raises BadInput or ArmFault."""
    robots = _need("lerobot.robots")
    for name in (options.type, f"{options.type.split('_')[0].rstrip('01')}_follower"):
        with_it = f"lerobot.robots.{name}"
        if importlib.util.find_spec(with_it) is not None:
            importlib.import_module(with_it)
    known = robots.RobotConfig.get_known_choices()
    if options.type not in known:
        raise BadInput(f"LeRobot has no robot '{options.type}'{did_you_mean(options.type, known)}")
    config_class = known[options.type]
    given: dict[str, Any] = {
        "port": options.port,
        "id": options.id,
        "calibration_dir": options.calibration_dir,
    }
    fields = {field.name for field in dataclasses.fields(config_class)}
    if "use_degrees" in fields:
        given["use_degrees"] = True
    if "disable_torque_on_disconnect" in fields:  # nor when the object is collected as garbage
        given["disable_torque_on_disconnect"] = False
    if "port" not in fields:
        raise BadInput(f"LeRobot's '{options.type}' is not on one serial port; this adapter needs that")
    cameras = {name: _camera(name, dict(camera)) for name, camera in options.cameras.items()}
    config = _made(config_class, {**given, "cameras": cameras, **options.options}, "robot.options")
    try:
        robot = robots.make_robot_from_config(config)
    except ImportError as error:
        raise BadInput(str(error).splitlines()[0]) from None
    except Exception as error:
        raise _bad_robot(options, error) from None
    if not robot.calibration:
        raise ArmFault(
            f"no calibration of arm '{options.id}': {robot.calibration_fpath} is missing; make it with: "
            f"lerobot-calibrate --robot.type={options.type} --robot.port={options.port} "
            f"--robot.id={options.id}"
        )
    return robot


def check_servos(line: "Line") -> None:
    """Raise ArmFault unless all servos are there, and are what they should be."""
    bus, found = line.bus, dict[str, int]()
    for at, name in enumerate(bus.motors):
        number = line.ping(name, len(found) == at)  # where one is missing, that is what will be told
        if number is not None:
            found[name] = number
    missing = [name for name in bus.motors if name not in found]
    if len(missing) == len(bus.motors):
        raise ArmFault(f"no servo answers on {bus.port}: is this the arm's port, and has it power?")
    if missing:
        rest = f" ({len(missing)} are missing in all)" if len(missing) > 1 else ""
        raise ArmFault(f"{line.servo(missing[0])} does not answer; check its cable and id{rest}")
    for name, number in found.items():
        model = bus.motors[name].model
        if number != bus.model_number_table[model]:
            known = bus.model_number_table[model]
            raise ArmFault(f"{line.servo(name)} is of model {number}, not {known} ({model})")
    if "Status" not in bus.model_ctrl_table[bus.models[0]]:
        return
    for name, status in line.ask("Status").items():  # LeRobot's driver would stumble over the first
        if alarms := line.alarms(status):
            raise ArmFault(
                f"{line.servo(name)} has an alarm: {alarms}; see to it, then switch the arm off and on"
            )


def check_calibration(line: "Line", robot: Any, kind: str) -> None:
    """Raise ArmFault unless what the servos hold is what the file says."""
    file, path = robot.calibration, robot.calibration_fpath
    held: dict[str, Any] = {}
    line.patiently("tell its calibration", lambda: held.update(line.bus.read_calibration()))
    for name, servo in held.items():
        for what in ("id", "homing_offset", "range_min", "range_max"):
            told, is_ = getattr(file[name], what), getattr(servo, what)
            if told != is_:
                raise ArmFault(
                    f"the calibration {path} is of another arm: {line.servo(name)} has {what} {is_}, the "
                    f"file says {told}; give this arm's id, or run lerobot-calibrate --robot.type={kind}"
                )


def joints_of(robot: Any, options: "LeRobot") -> tuple[Joint, ...]:
    """The joints and their limits, by the calibration. Raises BadInput for a robot without one."""
    bus = getattr(robot, "bus", None)
    if bus is None or not hasattr(bus, "sync_reader"):
        raise BadInput(f"LeRobot's '{options.type}' has no serial bus of servos; this adapter needs one")
    joints = []
    for name, motor in bus.motors.items():
        known = robot.calibration.get(name)
        if known is None or known.id != motor.id:
            said = "does not name it" if known is None else f"says {known.id}"
            where = robot.calibration_fpath
            raise ArmFault(
                f"the calibration {where} is of another arm: servo '{name}' has id {motor.id}, "
                f"the file {said}"
            )
        steps = known.range_max - known.range_min
        if steps <= 0:
            raise ArmFault(f"{robot.calibration_fpath}: joint '{name}' has no range, calibrate the arm anew")
        degrees = 360.0 * steps / (bus.model_resolution_table[motor.model] - 1)
        if motor.norm_mode.value == "degrees":
            joints.append(Joint(name, "deg", -degrees / 2, degrees / 2, *_most(options, 1.0)))
        elif motor.norm_mode.value == "range_0_100":
            most = _most(options, 100.0 / degrees)
            joints.append(Joint(name, "percent", 0.0, 100.0, *most, gripper=True))
        else:
            raise BadInput(
                f"LeRobot's '{options.type}' tells joint '{name}' in no unit: use_degrees is needed"
            )
    return tuple(joints)


def _most(options: "LeRobot", per_degree: float) -> tuple[float, float, float]:
    return options.speed * per_degree, options.acceleration * per_degree, options.jerk * per_degree


def _camera(name: str, given: dict[str, Any]) -> Any:
    """LeRobot's config of a camera."""
    kind, where = str(given.pop("type", "")), f"robot.cameras.{name}"
    configs = _need("lerobot.cameras").CameraConfig
    if kind == EMULATED:
        from envs.arms.emulated_camera import register

        register()
    elif importlib.util.find_spec(f"lerobot.cameras.{kind}") is not None and kind:
        importlib.import_module(f"lerobot.cameras.{kind}")
    known = configs.get_known_choices()
    if kind not in known:
        _need("lerobot.utils.import_utils").register_third_party_plugins()
        known = configs.get_known_choices()
    if kind not in known:
        raise BadInput(f"'{where}.type' cannot be '{kind}'{did_you_mean(kind, [*known, EMULATED])}")
    for key in ("width", "height", "fps"):
        if given.get(key) is None:
            raise BadInput(f"'{where}.{key}' has no value: give one")
    return _made(known[kind], given, where)


def _made(config_class: Any, given: Mapping[str, Any], where: str) -> Any:
    fields = [field.name for field in dataclasses.fields(config_class) if field.init]
    for key in given:
        if key not in fields:
            raise BadInput(f"unknown config key '{key}' in '{where}'{did_you_mean(key, fields)}")
    try:
        return config_class(**given)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where}: {str(error).splitlines()[0]}") from None


def _bad_robot(options: "LeRobot", error: Exception) -> BadInput:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BadInput(f"LeRobot cannot make '{options.type}' with id '{options.id}': {reason}")


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] == module.split(".", maxsplit=1)[0]:
            raise BadInput("this arm needs lerobot: pip install 'vla[so101]'") from None
        raise BadInput(f"this arm needs {error.name}: pip install 'vla[so101]'") from None
