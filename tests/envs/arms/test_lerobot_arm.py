"""LeRobot's unmodified SO101Follower and our adapter of it, over a pseudo-terminal, on the emulated arm."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scservo_sdk")

from envs.arms import lerobot_setup
from envs.arms.body_so101 import so101_body
from envs.arms.emulated import Emulated
from envs.arms.episodes import Episode
from envs.arms.lerobot import LeRobot, LeRobotArm
from envs.arms.servo_emulator.mounting import NUMBERS, calibration
from envs.arms.servo_emulator.process import EmulatorProcess
from envs.arms.servo_emulator.registers import REGISTERS, SIGN_BITS
from envs.tabletop.arm import JOINT_LIMITS_DEG, JOINT_NAMES, to_radians
from vla.arm import Arm, ArmFault
from vla.errors import BadInput

STEP = 360 / 4096
"""Degrees of an encoder's step."""


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess(seed=3, skill="touch") as it:
        yield it


@pytest.fixture(scope="module")
def folder(emulator: EmulatorProcess, tmp_path_factory: Any) -> Path:
    place: Path = tmp_path_factory.mktemp("calibration")
    emulator.ask("calibration", folder=str(place), id="twin")
    return place


@pytest.fixture
def fresh(emulator: EmulatorProcess) -> EmulatorProcess:
    emulator.ask("clear")
    emulator.ask("reset", seed=3, skill="touch")
    emulator.port = emulator.ask("about")["port"]
    return emulator


def _options(emulator: EmulatorProcess, folder: Path, **more: Any) -> LeRobot:
    given = {"port": emulator.port, "id": "twin", "calibration_dir": folder, "retries": 6}
    return LeRobot(**{**given, **more})


def _camera(emulator: EmulatorProcess, view: str, **more: Any) -> dict[str, Any]:
    given = {"type": "emulated", "address": emulator.address, "view": view}
    return {**given, "width": 96, "height": 96, "fps": 20, **more}


@pytest.fixture
def arm(fresh: EmulatorProcess, folder: Path) -> Iterator[LeRobotArm]:
    it = _options(fresh, folder).build()
    it.connect()
    yield it
    it.disconnect()


def _truth(emulator: EmulatorProcess) -> np.ndarray:
    return np.array(emulator.ask("positions")["positions"])


def _go(arm: LeRobotArm, goal: np.ndarray, seconds: float = 0.6) -> None:
    start = arm.read().positions
    for share in np.linspace(0, 1, 12):
        arm.command(start + (goal - start) * share)
        time.sleep(seconds / 12)


def _fault(emulator: EmulatorProcess, kind: str, joint: str = "", **more: Any) -> None:
    emulator.ask("fault", kind=kind, servo=NUMBERS[joint] if joint else 0, **more)


def _eventually(tell: Any, *words: str) -> str:
    """What is told within some seconds: a line with all the words."""
    end = time.monotonic() + 8
    while True:
        told = [str(line) for line in tell()]
        if found := [line for line in told if all(word in line for word in words)]:
            return found[0]
        assert time.monotonic() < end, f"nobody said {words}, but {told}"
        time.sleep(0.05)


# -- the driver, unmodified -----------------------------------------------------------------------


def test_our_control_table_is_lerobots() -> None:
    from lerobot.motors.feetech.tables import STS_SMS_SERIES_CONTROL_TABLE, STS_SMS_SERIES_ENCODINGS_TABLE

    for name, place in REGISTERS.items():
        assert STS_SMS_SERIES_CONTROL_TABLE[name] == place
    for name, bit in SIGN_BITS.items():
        assert STS_SMS_SERIES_ENCODINGS_TABLE[name] == bit


def _unmodified(port: str, folder: Path) -> Any:
    from lerobot.robots.so_follower import SO101Follower
    from lerobot.robots.so_follower.config_so_follower import SOFollowerRobotConfig

    return SO101Follower(SOFollowerRobotConfig(port=port, id="twin", calibration_dir=folder))


def _persist(robot: Any, do: Any) -> Any:
    """The driver gives up at the first answer that takes 50 ms, and this computer may be busy."""
    for _ in range(8):
        try:
            return do()
        except (ConnectionError, IndexError, RuntimeError) as error:
            failed = error
            robot.bus.port_handler.is_using = False
            time.sleep(0.1)
            robot.bus.port_handler.ser.reset_input_buffer()
    raise failed


def test_lerobots_own_driver_connects_reads_and_drives(fresh: EmulatorProcess, folder: Path) -> None:
    robot = _unmodified(fresh.port, folder)
    _persist(robot, lambda: robot.configure() if robot.is_connected else robot.connect())  # asks nothing
    try:
        assert robot.is_connected and _persist(robot, lambda: robot.is_calibrated)
        seen = _persist(robot, robot.get_observation)
        assert [seen[f"{name}.pos"] for name in JOINT_NAMES] == pytest.approx(_truth(fresh), abs=1.0)
        goal = {**seen, "shoulder_pan.pos": seen["shoulder_pan.pos"] + 12}
        end = time.monotonic() + 5
        while abs(_truth(fresh)[0] - goal["shoulder_pan.pos"]) > 0.5 and time.monotonic() < end:
            robot.send_action(goal)
            time.sleep(0.05)
        assert _truth(fresh)[0] == pytest.approx(goal["shoulder_pan.pos"], abs=0.5)
    finally:
        robot.bus.disconnect(disable_torque=False)


@pytest.mark.slow
def test_lerobots_own_calibration_runs_on_servos_from_the_factory(tmp_path, monkeypatch) -> None:
    """It centres the homing offsets, records the ranges while the arm is moved (here: it sags), and saves."""
    from lerobot.motors import motors_bus

    with EmulatorProcess(seed=3, calibrated=False, held=False) as factory:
        robot = _unmodified(factory.port, tmp_path)
        robot.bus.connect(handshake=False)
        monkeypatch.setattr("builtins.input", lambda *_: "")

        def hand() -> bool:  # moves the arm while the ranges are recorded
            push = next(moves)
            factory.ask("push", torques=[push] * 6)
            time.sleep(0.4)
            return not push

        monkeypatch.setattr(motors_bus, "enter_pressed", hand)

        def calibrate() -> None:
            nonlocal moves
            moves, robot.calibration = iter([0.5, -0.5, 0.5, 0.0]), {}
            robot.calibrate()

        moves = iter([0.0])
        _persist(robot, calibrate)
        assert _persist(robot, lambda: robot.bus.is_calibrated)
        written = json.loads((tmp_path / "twin.json").read_text())
        robot.bus.disconnect(disable_torque=False)
    assert written.keys() == calibration().keys()
    for name, known in written.items():
        assert known["id"] == NUMBERS[name] and known["homing_offset"] != 0
        assert known["range_max"] - known["range_min"] > 20


# -- the adapter ----------------------------------------------------------------------------------


def test_it_is_an_arm_with_limits_from_the_calibration(arm: LeRobotArm) -> None:
    assert isinstance(arm, Arm)
    spec = arm.spec
    assert spec.names == JOINT_NAMES and spec.robot == "so101_follower"
    for joint in spec.joints:
        assert (joint.lower, joint.upper) == pytest.approx(JOINT_LIMITS_DEG[joint.name], abs=2 * STEP)
        assert joint.gripper == (joint.unit == "percent") == (joint.name == "gripper")
    assert spec.body is so101_body()


def test_after_connecting_it_holds_where_it_is(fresh: EmulatorProcess, folder: Path) -> None:
    before = _truth(fresh)
    arm = _options(fresh, folder).build()
    arm.connect()
    try:
        time.sleep(0.3)
        assert arm.read().positions == pytest.approx(before, abs=1.5)
        # Bent by hand while torque was off: the old goal must not be gone to when it comes on.
        arm._line.patiently("let go", arm._line.bus.disable_torque)
        time.sleep(0.8)
        sagged = _truth(fresh)
        assert np.abs(sagged - before).max() > 5
        arm.disconnect()
        arm.connect()
        time.sleep(0.5)
        assert np.abs(_truth(fresh) - sagged)[:5].max() < 4
    finally:
        arm.disconnect()


def test_it_goes_to_targets(arm: LeRobotArm, fresh: EmulatorProcess) -> None:
    for change in ([15, -8, 6, -10, 25, 40], [-20, 5, -5, 8, -30, 5]):
        goal = arm.read().positions + np.array(change)
        _go(arm, goal)
        end = time.monotonic() + 5
        while np.abs(arm.read().positions - goal).max() > 0.7 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)
        reading = arm.read()
        assert reading.positions == pytest.approx(goal, abs=0.7)  # the servo's own error under gravity
        assert reading.positions == pytest.approx(_truth(fresh), abs=2 * STEP)
        assert abs(time.monotonic() - reading.time) < 5


def test_what_is_no_position_or_outside_is_refused_and_not_sent(arm: LeRobotArm) -> None:
    before, place = arm._line.ask("Goal_Position"), arm.read().positions
    for at, name in enumerate(JOINT_NAMES):
        for value in (np.nan, np.inf, -np.inf, 400.0, -400.0):
            goal = place + 5
            goal[at] = value
            with pytest.raises(ArmFault, match=f"refused: joint '{name}'"):
                arm.command(goal)
    with pytest.raises(ArmFault, match="6 numbers"):
        arm.command(place[:5])
    assert arm._line.ask("Goal_Position") == before


def test_the_limits_themselves_may_be_commanded(arm: LeRobotArm) -> None:
    spec = arm.spec
    for which in ("lower", "upper"):
        arm.command(spec.limits(which))
        goals = arm._line.ask("Goal_Position")
        wanted = [
            calibration()[name]["range_min" if which == "lower" else "range_max"] for name in spec.names
        ]
        assert [goals[name] for name in spec.names] == pytest.approx(wanted, abs=1)
        arm.hold()


def test_hold_stops_a_motion_and_keeps_torque(arm: LeRobotArm, fresh: EmulatorProcess) -> None:
    goal = arm.read().positions + np.array([60, 0, 0, 0, 0, 0])
    arm.command(goal)
    time.sleep(0.1)
    arm.hold()
    time.sleep(0.6)
    stopped = _truth(fresh)
    time.sleep(0.3)
    assert _truth(fresh) == pytest.approx(stopped, abs=1.0)
    assert abs(stopped[0] - goal[0]) > 5 and all(arm._line.ask("Torque_Enable").values())


def test_cameras_show_the_table_with_their_times(fresh: EmulatorProcess, folder: Path) -> None:
    cameras = {name: _camera(fresh, name) for name in ("front", "wrist")}
    arm = _options(fresh, folder, cameras=cameras).build()
    arm.connect()
    try:
        assert arm.spec.image_sizes == {"front": (96, 96), "wrist": (96, 96)}
        first = arm.pictures()
        for picture in first.values():
            assert picture.pixels.shape == (96, 96, 3) and picture.pixels.std() > 5
            assert -0.01 < time.monotonic() - picture.time < 5
        end = time.monotonic() + 5
        while arm.pictures()["front"].time <= first["front"].time:
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        arm.disconnect()
    assert arm.pictures() == {}


# -- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["silent", "corrupt", "drop_bytes"])
def test_a_servo_in_trouble_is_named(arm: LeRobotArm, fresh: EmulatorProcess, kind: str) -> None:
    _fault(fresh, kind, "elbow_flex")
    for what in (arm.read, arm.hold, arm.faults):
        with pytest.raises(ArmFault, match=r"'elbow_flex' \(id 3\) on .* does not answer") as told:
            what()
        assert "\n" not in str(told.value)
    fresh.ask("clear")
    assert np.isfinite(arm.read().positions).all()


@pytest.mark.parametrize("kind", ["silent", "corrupt", "drop_bytes"])
def test_a_single_damaged_answer_is_asked_for_again(
    arm: LeRobotArm, fresh: EmulatorProcess, kind: str
) -> None:
    _fault(fresh, kind, "wrist_flex", count=1)
    assert arm.read().positions == pytest.approx(_truth(fresh), abs=1)


def test_garbage_on_the_line_changes_no_reading(arm: LeRobotArm, fresh: EmulatorProcess) -> None:
    _fault(fresh, "garbage", share=0.3)
    truth, read = _truth(fresh), 0
    for _ in range(20):
        try:
            assert arm.read().positions == pytest.approx(truth, abs=1)
            read += 1
        except ArmFault:
            continue
    assert read > 0


def test_an_answer_that_is_late_is_never_taken_for_a_new_one(arm: LeRobotArm, fresh: EmulatorProcess) -> None:
    _fault(fresh, "late", "shoulder_pan", amount=90, count=2)
    start = arm.read().positions  # of the third question at the earliest
    _go(arm, start + np.array([25, 0, 0, 0, 0, 0]), 0.3)
    time.sleep(0.7)
    assert arm.read().positions == pytest.approx(_truth(fresh), abs=1)


def test_holding_with_one_servo_silent_holds_the_others(arm: LeRobotArm, fresh: EmulatorProcess) -> None:
    goal = arm.read().positions + np.array([60, 0, 0, 0, 60, 0])
    arm.command(goal)
    _fault(fresh, "silent", "elbow_flex")
    with pytest.raises(ArmFault, match="not all servos"):
        arm.hold()
    fresh.ask("clear")
    time.sleep(0.3)
    goals = arm._line.ask("Goal_Position", normalize=True)
    assert abs(goals["shoulder_pan"] - goal[0]) > 2 or abs(_truth(fresh)[0] - goal[0]) < 2
    assert goals["shoulder_pan"] == pytest.approx(_truth(fresh)[0], abs=6)


@pytest.mark.parametrize(
    ("kind", "joint", "words"),
    [
        ("overload", "wrist_flex", ("'wrist_flex' (id 4)", "overload")),
        ("overheat", "shoulder_lift", ("'shoulder_lift' (id 2)", "overheated", "85 degrees")),
        ("voltage", "", ("'gripper'", "voltage", "3.2 V instead of 4.0 to 8.0")),
        ("reboot", "wrist_roll", ("'wrist_roll' (id 5)", "torque is off")),
    ],
)
def test_what_servos_say_is_told_in_sentences(
    arm: LeRobotArm, fresh: EmulatorProcess, kind: str, joint: str, words: tuple[str, ...]
) -> None:
    assert list(arm.faults()) == []
    _fault(fresh, kind, joint)
    _eventually(arm.faults, *words)
    arm.read()  # an alarm in an answer does not stop it from being read
    fresh.ask("clear")
    while kind in ("voltage", "overheat") and any(arm._line.ask("Status").values()):
        time.sleep(0.02)  # measured anew
    arm.disconnect()
    if kind == "overload":  # until its power was off
        assert f"{words[0]} on {fresh.port} has an alarm: overload" in _fails(arm.connect)
        _fault(fresh, "reboot", joint)
        time.sleep(0.2)
    arm.connect()
    assert list(arm.faults()) == []
    assert all(arm._line.ask("Torque_Enable").values())


def test_torque_is_kept_or_released_as_asked_even_with_an_alarm(
    arm: LeRobotArm, fresh: EmulatorProcess
) -> None:
    _go(arm, arm.read().positions + np.array([0, 15, -15, 0, 0, 0]))
    held = _truth(fresh)
    arm.disconnect()
    time.sleep(0.5)
    assert _truth(fresh) == pytest.approx(held, abs=2)
    arm.connect()
    _fault(fresh, "overload", "wrist_roll")
    _eventually(arm.faults, "overload")
    arm.disconnect(release=True)
    for name in JOINT_NAMES:
        told = fresh.ask("registers", joint=name, names=["Torque_Enable"])
        assert not told["registers"]["Torque_Enable"]
    fresh.ask("clear")
    _fault(fresh, "reboot", "wrist_roll")
    time.sleep(0.2)


def test_unplugged_it_says_so_and_plugged_in_it_works_again(
    arm: LeRobotArm, fresh: EmulatorProcess, folder: Path
) -> None:
    _fault(fresh, "unplug")
    _eventually(lambda: [_fails(arm.read)], "is lost; check cable and power", fresh.port)
    for what in (arm.read, arm.hold, arm.faults, lambda: arm.command(np.zeros(6))):
        assert "is lost" in _fails(what)
    arm.disconnect()
    with pytest.raises(ArmFault, match="does not exist"):
        arm.connect()
    fresh.ask("clear")
    _eventually(lambda: [str(os.path.exists(fresh.ask("about")["port"]))], "True")
    again = _options(fresh, folder, port=fresh.ask("about")["port"]).build()
    again.connect()
    assert np.isfinite(again.read().positions).all()
    again.disconnect()


def _fails(what: Any) -> str:
    try:
        what()
    except ArmFault as fault:
        return str(fault)
    return ""


# -- mistakes -------------------------------------------------------------------------------------


def _refused(options: LeRobot) -> str:
    """The one line; nothing may be left open, and nobody may wait for a key."""
    threads, handles = set(_threads()), _terminals()
    with pytest.raises(BadInput) as told:
        options.build().connect()
    assert "\n" not in str(told.value)
    assert set(_threads()) <= threads and _terminals() == handles
    return str(told.value)


def _threads() -> list[str]:
    return os.listdir("/proc/self/task")


def _terminals() -> int:
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link).startswith("/dev/pts/") for link in links if os.path.islink(link))


def test_mistakes_about_the_port(fresh: EmulatorProcess, folder: Path, tmp_path, monkeypatch) -> None:
    assert "does not exist" in _refused(_options(fresh, folder, port="/dev/ttyNONE7"))
    (tmp_path / "file").touch()
    assert "no serial port" in _refused(_options(fresh, folder, port=str(tmp_path / "file")))
    quiet, other = os.openpty()
    try:
        assert "no servo answers" in _refused(_options(fresh, folder, port=os.ttyname(other)))
    finally:
        os.close(quiet)
        os.close(other)
    group = lerobot_setup.grp.getgrgid(os.stat(fresh.port).st_gid).gr_name
    monkeypatch.setattr(lerobot_setup.os, "access", lambda *_: False)
    assert f"usermod -aG {group} " in _refused(_options(fresh, folder))


def test_a_port_that_another_program_uses(arm: LeRobotArm, fresh: EmulatorProcess, folder: Path) -> None:
    with pytest.raises(ArmFault, match="another program"):
        _options(fresh, folder).build().connect()
    assert np.isfinite(arm.read().positions).all()


def test_mistakes_about_the_calibration(fresh: EmulatorProcess, folder: Path, tmp_path) -> None:
    assert "lerobot-calibrate" in _refused(_options(fresh, folder, id="nobody"))
    for key, value, said in (
        ("homing_offset", 5, "'elbow_flex' (id 3)"),
        ("range_max", 2500, "range_max"),
        ("id", 9, "has id 3, the file says 9"),
    ):
        other = calibration()
        other["elbow_flex"][key] = value
        (tmp_path / "twin.json").write_text(json.dumps(other))
        line = _refused(_options(fresh, tmp_path))
        assert "of another arm" in line and said in line
    (tmp_path / "twin.json").write_text("{not json")
    _refused(_options(fresh, tmp_path))


def test_a_servo_that_is_missing(fresh: EmulatorProcess, folder: Path) -> None:
    _fault(fresh, "silent", "wrist_roll")
    assert "'wrist_roll' (id 5)" in _refused(_options(fresh, folder))


def test_mistakes_about_cameras_and_names(fresh: EmulatorProcess, folder: Path) -> None:
    def line(**more: Any) -> str:
        return _refused(_options(fresh, folder, **more))

    assert "did you mean 'so101_follower'" in line(type="so101_folower")
    assert "camera 'top' cannot be used" in line(cameras={"top": _camera(fresh, "top")})
    assert "96x96 pixels, not 64x96" in line(cameras={"front": _camera(fresh, "front", width=64)})
    assert "did you mean 'fps'" in line(cameras={"front": _camera(fresh, "front", fsp=20)})
    assert "robot.cameras.front.type" in line(cameras={"front": _camera(fresh, "front", type="opencvv")})
    assert "use_degree" in line(options={"use_degree": True})
    gone = {"type": "opencv", "index_or_path": 97, "width": 64, "height": 64, "fps": 30}
    assert "camera 'front' cannot be used" in line(cameras={"front": gone})
    with pytest.raises(BadInput, match="hz=0"):
        LeRobot(hz=0)


@pytest.mark.slow
def test_the_emulated_arm_lays_and_judges_episodes() -> None:
    arm = Emulated(seed=3, skill="touch", retries=4).build()
    assert isinstance(arm, Arm) and arm.pictures() == {}
    with pytest.raises(ArmFault, match="not connected"):
        arm.read()
    arm.connect()
    try:
        process = arm.emulator._process
        assert arm.spec.cameras == ("front", "wrist") and arm.reset(Episode(5, skill="lift")) == arm.task
        assert arm.verdict().steps == 0 and not arm.verdict().ended
        arm.command(arm.read().positions + np.array([10, 0, 0, 0, 0, 0]))
        end = time.monotonic() + 5
        while not arm.verdict().steps:  # its time begins with the first motion
            assert time.monotonic() < end
            time.sleep(0.02)
        with pytest.raises(BadInput, match="fly"):
            arm.reset(Episode(5, skill="fly"))
    finally:
        arm.disconnect()
    assert process.poll() is not None


# -- the body -------------------------------------------------------------------------------------


def test_the_body_is_the_tables_arm(rng_poses: np.ndarray) -> None:
    import mujoco

    from envs.tabletop.sampling import sample_scene
    from envs.tabletop.sim import Simulation

    body = so101_body()
    model = mujoco.MjModel.from_xml_string(body.mjcf)
    data = mujoco.MjData(model)
    sim = Simulation(sample_scene(np.random.default_rng(0), "touch"))
    places = [model.joint(name).qposadr[0] for name in body.joints]
    for pose in rng_poses:
        data.qpos[places] = np.array(body.scale) * pose + np.array(body.offset)
        assert data.qpos[places] == pytest.approx(to_radians(pose))
        mujoco.mj_kinematics(model, data)
        sim.data.qpos[:6] = to_radians(pose)
        mujoco.mj_kinematics(sim.model, sim.data)
        for name in body.points:
            kind = "site" if name in ("tip", "tcp") else "body"
            ours, theirs = (getattr(each, kind)(name).xpos for each in (data, sim.data))
            assert ours == pytest.approx(theirs)


@pytest.fixture
def rng_poses() -> np.ndarray:
    low, high = np.array(list(JOINT_LIMITS_DEG.values())).T
    return np.random.default_rng(1).uniform(low, high, (20, 6))
