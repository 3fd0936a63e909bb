"""The emulated bus by itself: protocol, firmware, faults, port, and the arm behind it. No LeRobot in here."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.arms.servo_emulator import BusFault, BusFaults, Emulator, EmulatorClient, EmulatorOptions
from envs.arms.servo_emulator.bus import Bus
from envs.arms.servo_emulator.mounting import NUMBERS, calibration, to_angles, to_radians
from envs.arms.servo_emulator.packets import BROADCAST, Instruction, Packet, Parser, packet
from envs.arms.servo_emulator.port import Port
from envs.arms.servo_emulator.registers import REGISTERS, SIGN_BITS, signed, unsigned
from envs.arms.servo_emulator.servo import OVERHEAT, OVERLOAD, STEPS, VOLTAGE, Servo
from envs.tabletop.arm import JOINT_LIMITS_RAD, JOINT_NAMES
from vla.arm import ArmFault
from vla.errors import BadInput

COOL = {"volts": 7.4, "celsius": 30.0}


# -- protocol -------------------------------------------------------------------------------------


packets = st.builds(Packet, st.integers(0, 0xFD), st.integers(0, 0xFE), st.binary(max_size=40))


@given(st.lists(packets, max_size=6), st.data())
def test_packets_are_found_however_the_stream_is_cut(sent: list[Packet], data: st.DataObject) -> None:
    stream = b"".join(packet(*each) for each in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    parser, found = Parser(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(stream[start:end])
    assert found == sent and parser.bad == 0


@given(st.binary(max_size=80), packets)
def test_garbage_is_survived(garbage: bytes, sent: Packet) -> None:
    parser = Parser()
    list(parser.feed(garbage + bytes(300)))  # whatever length the garbage claimed is over by now
    assert list(parser.feed(packet(*sent))) == [sent]


@given(packets, st.data())
def test_a_flipped_bit_is_not_taken_for_a_packet(sent: Packet, data: st.DataObject) -> None:
    raw = bytearray(packet(*sent))
    at = data.draw(st.integers(2, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    assert sent not in list(Parser().feed(bytes(raw)))


@given(st.sampled_from(sorted(SIGN_BITS)), st.integers(-1023, 1023))
def test_signed_registers_come_back(name: str, value: int) -> None:
    assert signed(name, unsigned(name, value)) == value
    servo = Servo(1)
    servo.set(name, value)
    assert servo.get(name) == value


@given(st.lists(st.floats(-2.0, 2.0), min_size=6, max_size=6))
def test_encoder_and_joint_angles_are_inverse(radians: list[float]) -> None:
    assert to_radians(to_angles(np.array(radians))) == pytest.approx(radians, abs=1e-9)


def test_the_calibration_puts_zero_degrees_where_the_model_has_it() -> None:
    for at, (name, known) in enumerate(calibration().items()):
        low, high = JOINT_LIMITS_RAD[name]
        zero = np.zeros(6) + (low + high) / 2
        middle = (known["range_min"] + known["range_max"]) / 2
        assert to_angles(zero)[at] - known["homing_offset"] == pytest.approx(middle, abs=1e-6)
        assert known["range_max"] - known["range_min"] == pytest.approx(
            (high - low) * STEPS / 2 / np.pi, abs=2
        )


# -- firmware -------------------------------------------------------------------------------------


def _enabled() -> Servo:
    servo = Servo(3)
    servo.write(40, b"\x01")
    return servo


@given(st.integers(0, 4095), st.integers(-2047, 2047))
def test_position_is_the_encoder_less_the_offset(angle: int, offset: int) -> None:
    servo = Servo(1, angle)
    servo.write(31, unsigned("Homing_Offset", offset).to_bytes(2, "little"))
    assert servo.get("Present_Position") == (angle - offset) % STEPS


@given(st.integers(0, 0xFFFF))
def test_no_goal_takes_it_past_its_limits(stored: int) -> None:
    servo = _enabled()
    servo.set("Min_Position_Limit", 1000)
    servo.set("Max_Position_Limit", 3000)
    servo.write(42, stored.to_bytes(2, "little"))
    assert 1000 <= servo.drive.goal <= 3000


def test_only_what_was_saved_survives_a_loss_of_power() -> None:
    servo = _enabled()
    servo.write(21, b"\x07")  # locked: used, not saved
    assert servo.get("P_Coefficient") == 7
    servo.reboot()
    assert servo.get("P_Coefficient") == 32 and not servo.get("Torque_Enable")
    servo.write(55, b"\x00")
    servo.write(21, b"\x07")
    servo.reboot()
    assert servo.get("P_Coefficient") == 7


def test_what_is_measured_cannot_be_written() -> None:
    servo = Servo(1, 100)
    servo.write(56, b"\x00\x10")
    servo.write(3, b"\x00\x00")
    assert servo.get("Present_Position") == 100 and servo.get("Model_Number") == 777


def test_a_hot_servo_lets_go_until_it_is_cool_and_told_to_hold() -> None:
    servo = _enabled()
    servo.feel(2048, 0, 0, {"volts": 7.4, "celsius": 80.0}, 0.005)
    assert servo.error & OVERHEAT and servo.drive.torque == 0
    servo.feel(2048, 0, 0, COOL, 0.005)
    assert not servo.error & OVERHEAT and servo.drive.torque == 0
    servo.write(40, b"\x01")
    assert servo.drive.torque == 1


def test_a_stalled_servo_protects_itself_after_its_protection_time() -> None:
    servo = _enabled()
    for _ in range(399):
        servo.feel(2048, 0, 1.0, COOL, 0.005)
    assert not servo.error & OVERLOAD and servo.drive.torque == 1
    for _ in range(3):
        servo.feel(2048, 0, 1.0, COOL, 0.005)
    assert servo.error & OVERLOAD and servo.drive.torque == pytest.approx(0.2)


def test_a_low_supply_is_told_of_but_keeps_the_torque() -> None:
    servo = _enabled()
    servo.feel(2048, 0, 0, {"volts": 3.0, "celsius": 30.0}, 0.005)
    assert servo.error & VOLTAGE and servo.drive.torque == 1 and servo.get("Present_Voltage") == 30


# -- bus ------------------------------------------------------------------------------------------


def _bus(count: int = 3) -> Bus:
    servos = {number: Servo(number, 1000 + number) for number in range(1, count + 1)}
    return Bus(servos, BusFaults(servos))


def _told(bus: Bus, asked: Packet) -> list[Packet]:
    return [each for _, raw in bus.answers(asked) for each in Parser().feed(raw)]


def test_each_instruction_is_answered_as_a_servo_does() -> None:
    bus = _bus()
    assert _told(bus, Packet(2, Instruction.PING)) == [Packet(2, 0)]
    assert _told(bus, Packet(9, Instruction.PING)) == []
    assert [told.servo for told in _told(bus, Packet(BROADCAST, Instruction.PING))] == [1, 2, 3]
    assert _told(bus, Packet(2, Instruction.READ, bytes((3, 2)))) == [
        Packet(2, 0, (777).to_bytes(2, "little"))
    ]
    assert _told(bus, Packet(2, Instruction.WRITE, bytes((42, 5, 1)))) == [Packet(2, 0)]
    assert bus.servos[2].get("Goal_Position") == 261 and bus.goals_written == 1
    asked = Packet(BROADCAST, Instruction.SYNC_READ, bytes((56, 2, 3, 1)))
    answers = [(told.servo, int.from_bytes(told.parameters, "little")) for told in _told(bus, asked)]
    assert answers == [(3, 1003), (1, 1001)]
    written = bytes((42, 2, 1, 10, 0, 3, 30, 0))
    assert _told(bus, Packet(BROADCAST, Instruction.SYNC_WRITE, written)) == []
    assert [bus.servos[number].get("Goal_Position") for number in (1, 2, 3)] == [10, 261, 30]
    _told(bus, Packet(1, Instruction.REG_WRITE, bytes((42, 99, 0))))
    assert bus.servos[1].get("Goal_Position") == 10
    _told(bus, Packet(BROADCAST, Instruction.ACTION))
    assert bus.servos[1].get("Goal_Position") == 99


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=30))
def test_no_instruction_breaks_the_bus(servo: int, code: int, what: bytes) -> None:
    bus = _bus()
    bus.answers(Packet(servo, code, what))
    for number, each in bus.servos.items():
        assert each.get("Model_Number") == 777 and each.get("Present_Position") <= 4095, number


@pytest.mark.parametrize("kind", ["silent", "corrupt", "drop_bytes"])
def test_a_fault_on_the_wires_spoils_answers_and_then_is_over(kind: str) -> None:
    bus = _bus()
    bus.faults.inject(BusFault(kind, servo=2, count=2))  # type: ignore[arg-type]
    ping = [Packet(number, Instruction.PING) for number in (1, 2, 2, 2)]
    assert [len(_told(bus, asked)) for asked in ping] == [1, 0, 0, 1]


def test_garbage_and_lateness_leave_the_answer_whole() -> None:
    bus = _bus()
    bus.faults.inject(BusFault("late", amount=30))
    assert bus.answers(Packet(1, Instruction.PING)) == [(0.03, packet(1, 0))]
    bus.faults.clear()
    bus.faults.inject(BusFault("garbage"))
    [(late, raw)] = bus.answers(Packet(1, Instruction.PING))
    assert late == 0 and packet(1, 0) in raw and len(raw) > 6


def test_a_share_of_answers_and_an_end() -> None:
    now = [0.0]
    faults = BusFaults([1], clock=lambda: now[0])
    faults.inject(BusFault("silent", share=0.25, for_s=5))
    lost = sum(not faults.strike(1, b"answer")[1] for _ in range(2000))
    assert 400 < lost < 600
    now[0] = 5.0
    assert faults.strike(1, b"answer") == (0.0, b"answer")


@pytest.mark.parametrize(
    ("given_", "said"),
    [({"kind": "silnt"}, "did you mean 'silent'"), ({"kind": "late", "share": 0}, "share")],
)
def test_faults_that_there_are_not_are_refused(given_: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        BusFault(**given_)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no servo 8"):
        BusFaults([1, 2]).inject(BusFault("silent", servo=8))


# -- port -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        yield handle
    finally:
        os.close(handle)


def _answer(handle: int, asked: bytes, length: int) -> bytes:
    os.write(handle, asked)
    found, end = b"", time.monotonic() + 5
    while len(found) < length and time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            found += os.read(handle, 100)
        time.sleep(0.001)
    return found


def _until(true: object, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def test_the_port_answers_is_unplugged_and_plugged_in_again(tmp_path) -> None:
    bus, link = _bus(), tmp_path / "arm"
    port = Port(bus, link)
    port.open()
    try:
        with _opened(str(link)) as handle:
            assert _answer(handle, packet(2, Instruction.PING), 6) == packet(2, 0)
            bus.faults.inject(BusFault("unplug"))
            assert _until(lambda: not port.plugged) and not os.path.exists(link)
            with pytest.raises(OSError):
                os.write(handle, b"x")
        bus.faults.clear()
        assert _until(lambda: port.plugged)
        with _opened(str(link)) as handle:
            assert _answer(handle, packet(3, Instruction.PING), 6) == packet(3, 0)
    finally:
        port.close()
    assert not link.is_symlink()


# -- the arm --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    before = set(threading.enumerate())
    with Emulator(EmulatorOptions(seed=3, skill="touch", options={"image_size": 48})) as it:
        yield it
    assert _until(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def table(emulator: Emulator) -> Emulator:
    emulator.clear()
    emulator.reset(3, skill="touch")
    return emulator


def _write(emulator: Emulator, register: str, values: dict[str, int]) -> None:
    address, length = REGISTERS[register]
    what = b"".join(bytes((NUMBERS[n],)) + v.to_bytes(length, "little") for n, v in values.items())
    emulator._bus.answers(Packet(BROADCAST, Instruction.SYNC_WRITE, bytes((address, length)) + what))


def _goals(units: np.ndarray) -> dict[str, int]:
    """LeRobot's units -> goals, by the calibration."""
    found = {}
    for at, (name, known) in enumerate(calibration().items()):
        low, high = known["range_min"], known["range_max"]
        share = units[at] / 100 * (high - low) + low
        found[name] = round(share if name == "gripper" else (low + high) / 2 + units[at] * 4096 / 360)
    return found


def test_the_arm_holds_moves_and_sags(table: Emulator) -> None:
    start = table.positions
    time.sleep(0.2)
    assert table.positions == pytest.approx(start, abs=0.5)
    wanted = start + np.array([15, 5, -5, -10, 20, 30])
    _write(table, "Goal_Position", _goals(wanted))
    assert _until(lambda: np.abs(table.positions - wanted).max() < 0.6), table.positions - wanted
    seen = table.registers("wrist_roll", "Present_Position", "Moving", "Torque_Enable")
    assert abs(seen["Present_Position"] - _goals(wanted)["wrist_roll"]) <= 3 and seen["Torque_Enable"]
    _write(table, "Torque_Enable", dict.fromkeys(JOINT_NAMES, 0))
    time.sleep(0.1)
    soon = table.positions
    assert _until(lambda: np.abs(table.positions - wanted)[1:4].max() > 10)
    assert np.abs(soon - wanted).max() < 15  # gently


def test_speed_and_acceleration_registers_are_obeyed(table: Emulator) -> None:
    start = table.positions
    _write(table, "Goal_Velocity", dict.fromkeys(JOINT_NAMES, 228))  # steps a second: 20 degrees
    _write(table, "Goal_Position", _goals(start + np.array([30, 0, 0, 0, 0, 0])))
    assert _until(lambda: table.positions[0] > start[0] + 2)
    fastest = 0
    while table.positions[0] < start[0] + 20:
        fastest = max(fastest, abs(table.registers("shoulder_pan", "Present_Velocity")["Present_Velocity"]))
        time.sleep(0.005)
    assert 180 < fastest < 270
    _write(table, "Goal_Velocity", dict.fromkeys(JOINT_NAMES, 0))


def test_a_servo_that_reboots_lets_go(table: Emulator) -> None:
    table.inject(BusFault("reboot", servo=NUMBERS["elbow_flex"]))
    assert _until(lambda: not table.registers("elbow_flex", "Torque_Enable")["Torque_Enable"])
    assert table.registers("wrist_flex", "Torque_Enable")["Torque_Enable"]


def test_a_loaded_servo_warms(emulator: Emulator) -> None:
    steps = emulator._world.ask(lambda steps: steps)
    steps._celsius[:] = 25.0
    steps._sim.data.actuator_force[:] = 2.94
    warm = emulator._world.ask(lambda steps: [steps._feel() or float(steps._celsius[1]) for _ in range(5)])
    assert np.all(np.diff(warm) > 0) or warm[0] > 25.0


def test_the_scene_is_the_plain_environments(table: Emulator) -> None:
    import gymnasium

    import envs  # noqa: F401

    env = gymnasium.make("vla/Tabletop-v0", image_size=48, skills=("touch",))
    seen, _ = env.reset(seed=7)
    assert table.reset(7) == seen["task"] == table.task
    assert table.positions == pytest.approx(seen["observation.state"], abs=0.5)
    with EmulatorClient(table.address) as client:
        for camera in ("front", "wrist"):
            shown = client.picture(camera).pixels.astype(int)
            difference = np.abs(shown - seen[f"observation.images.{camera}"])
            assert shown.shape == (48, 48, 3) and difference.mean() < 3
    env.close()


def test_the_expert_succeeds_through_the_servos(table: Emulator) -> None:
    table.reset(11, skill="touch")
    expert = table.expert()
    assert table.verdict().steps == 0
    end = time.monotonic() + 25
    while not table.verdict().ended and time.monotonic() < end:
        _write(table, "Goal_Position", _goals(np.asarray(expert.act(), np.float64)))
        time.sleep(0.05)
    assert table.verdict().outcome == "success"


def test_the_control_socket_refuses_in_one_line(table: Emulator) -> None:
    with EmulatorClient(table.address) as client:
        for request, said in (
            ({"do": "verdct"}, "did you mean 'verdict'"),
            ({"do": "fault", "kind": "silent", "servo": 99}, "no servo 99"),
            ({"do": "fault", "sort": 1}, "sort"),
            ({"do": "reset", "seed": 1, "skill": "fly"}, "fly"),
        ):
            with pytest.raises(BadInput, match=said) as told:
                client.ask(**request)
            assert "\n" not in str(told.value)
        with pytest.raises(BadInput, match="no camera 'back'"):
            client.picture("back")
        client._socket.sendall(b"no json\n")
        assert b"one line of JSON" in client._file.readline()
        assert client.ask("about")["port"] == table.port  # and goes on
        newest = client.picture("wrist")
        assert client.picture("wrist", newest.time, 2.0).time > newest.time
    with pytest.raises(ArmFault, match="no emulator answers"):
        EmulatorClient("127.0.0.1:9")
    with pytest.raises(BadInput, match="HOST:PORT"):
        EmulatorClient("nowhere")
