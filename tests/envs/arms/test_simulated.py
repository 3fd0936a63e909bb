"""The simulated arm: in lockstep it is the plain environment; in real time it goes on whether commanded or
not; and whatever goes wrong in the world is told in one line, at once."""

import threading
import time

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envs  # noqa: F401
from envs.arms.episodes import Episode
from envs.arms.simulated import Simulated, SimulatedArm
from vla.arm import Arm, ArmFault, observed
from vla.errors import BadInput

SMALL = {"image_size": 16}


@pytest.fixture(scope="module", params=[20.0, 100.0])
def lockstep(request):
    arm = Simulated(lockstep=True, hz=request.param, options=SMALL).build()
    arm.connect()
    yield arm
    arm.disconnect()


@pytest.fixture(scope="module")
def plain():
    env = gym.make("vla/Tabletop-v0", disable_env_checker=True, **SMALL)
    yield env
    env.close()


@pytest.fixture
def live():
    arm = Simulated(options=SMALL).build()
    arm.connect()
    yield arm
    arm.disconnect()


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000), skill=st.sampled_from(["touch", "lift", "push"]))
def test_lockstep_is_the_plain_environment(lockstep, plain, seed, skill):
    """Equal commands, equal joints, pixels and outcome, also in parts of a control step."""
    plain.unwrapped.skills = (skill,)
    seen, _ = plain.reset(seed=seed)
    assert lockstep.reset(Episode(seed, skill=skill)) == seen["task"]
    random, ended = np.random.default_rng(seed), False
    for _ in range(25):
        command = plain.unwrapped.expert().act() + random.normal(0, 3, 6).astype(np.float32)
        for _ in range(round(lockstep.spec.hz / 20)):
            lockstep.command(command)
        seen, _, terminated, truncated, info = plain.step(command)
        found = observed(lockstep.read(), lockstep.pictures(), lockstep.spec, "")
        np.testing.assert_array_equal(found.state, seen["observation.state"])
        np.testing.assert_array_equal(found.images["front"], seen["observation.images.front"])
        ended = terminated or truncated
        assert (lockstep.verdict().ended, lockstep.verdict().outcome) == (ended, info["outcome"])
        if ended:
            break


def test_its_expert_solves_the_task_through_it(lockstep):
    lockstep.reset(Episode(3, split="validation", skill="touch"))
    expert, parts = lockstep.expert(), round(lockstep.spec.hz / 20)
    for _ in range(100):
        command = expert.act()
        for _ in range(parts):
            lockstep.command(command)
        if lockstep.verdict().ended:
            break
    assert lockstep.verdict().success
    before = lockstep.verdict()
    lockstep.command(lockstep.read().positions)  # the table is still there, and the verdict stands
    assert lockstep.verdict() == before


def test_it_is_an_arm_with_limits_that_its_joints_can_have(live):
    assert isinstance(live, Arm)
    spec = live.spec
    assert spec.names[0] == "shoulder_pan" and spec.names[-1] == "gripper" and spec.hz == 20
    assert [joint.gripper for joint in spec.joints] == [False] * 5 + [True]
    assert set(spec.cameras) == {"front", "wrist"} and spec.image_sizes["front"] == (16, 16)
    assert set(live.pictures()) == {"front", "wrist"}


def test_in_real_time_it_moves_between_control_steps_and_time_goes_on(live):
    """After one command the joints go on moving by themselves, seen more finely than the control rate."""
    start = live.read().positions
    live.command(start + 30 * np.eye(6)[0])
    poses, end = set(), time.monotonic() + 5
    while live.read().positions[0] < start[0] + 15 and time.monotonic() < end:
        poses.add(float(live.read().positions[0]))
        time.sleep(0.001)
    assert live.read().positions[0] >= start[0] + 15
    assert len(poses) > 4  # 15 degrees take two control steps at the most
    first = live.pictures()["front"]
    while live.pictures()["front"].time == first.time and time.monotonic() < end:
        time.sleep(0.005)
    assert live.pictures()["front"].time > first.time


def test_hold_stops_it_where_it_is(live):
    start = live.read().positions
    live.command(start + 60 * np.eye(6)[0])
    time.sleep(0.1)
    live.hold()
    here = live.read().positions[0]
    time.sleep(0.5)
    assert abs(live.read().positions[0] - here) < 15
    assert abs(live.read().positions[0] - start[0]) < 50


def test_before_the_first_command_the_table_stands_and_is_seen_anew(live):
    live.reset(Episode(5))
    reading, picture = live.read(), live.pictures()["front"]
    time.sleep(0.2)
    np.testing.assert_array_equal(live.read().positions, reading.positions)
    assert live.read().time > reading.time and live.pictures()["front"].time > picture.time
    assert live.verdict().steps == 0


def test_pictures_are_counted_and_what_stands_looks_the_same_to_the_last_bit(live):
    live.reset(Episode(5))
    first, end = live.pictures()["front"], time.monotonic() + 10
    while live.pictures()["front"].number < first.number + 3 and time.monotonic() < end:
        time.sleep(0.002)
    later = live.pictures()["front"]
    assert later.number > first.number and later.time > first.time
    np.testing.assert_array_equal(later.pixels, first.pixels)


def test_a_world_that_catches_up_never_seems_to_move_faster_than_it_does(live):
    """It stands still for 0.2 s and makes up for them at once: its readings have the times they are of."""
    start = live.read().positions
    live.command(start + 60 * np.eye(6)[0])
    told, end = [live.read()], time.monotonic() + 5
    held = False
    while live.read().positions[0] < start[0] + 50 and time.monotonic() < end:
        if not held and live.read().positions[0] > start[0] + 5:
            held = True
            live.live.ask(lambda steps: time.sleep(0.2))
        reading = live.read()
        if reading.time != told[-1].time:
            told.append(reading)
    times = np.array([reading.time for reading in told])
    places = np.array([reading.positions[0] for reading in told])
    assert held and (np.diff(times) > 0).all() and len(told) > 5
    assert (np.abs(np.diff(places)) <= 1.5 * 270 * np.diff(times) + 0.5).all()


def test_a_world_that_dies_is_an_arm_fault_at_once(live, monkeypatch):
    live.command(live.read().positions)

    def explode(action):
        raise RuntimeError("the simulator ran out of memory")

    live.live.ask(lambda steps: monkeypatch.setattr(steps.env.unwrapped, "step", explode))
    began = time.monotonic()
    with pytest.raises(ArmFault, match="ran out of memory"):
        while time.monotonic() < began + 5:
            live.read()
    for call in (live.verdict, lambda: live.command(np.zeros(6)), lambda: live.reset(Episode(1))):
        with pytest.raises(ArmFault, match="ran out of memory"):
            call()
    live.hold()  # works whatever went wrong before
    assert time.monotonic() - began < 5


def test_a_world_that_hangs_is_an_arm_fault():
    arm = Simulated(options=SMALL, patience_s=0.5).build()
    arm.connect()
    freed = threading.Event()
    try:
        arm.live.wanted = arm.read().positions
        with pytest.raises(ArmFault, match="did not answer"):
            arm.live.ask(lambda steps: freed.wait(20))
        with pytest.raises(ArmFault, match="stood still"):
            arm.read()
    finally:
        freed.set()
        arm.disconnect()


def test_it_can_be_connected_again_and_leaves_no_thread():
    arm, before = Simulated(options=SMALL).build(), set(threading.enumerate())
    for _ in range(2):
        arm.connect()
        arm.read()
        arm.disconnect()
        arm.disconnect()
        assert set(threading.enumerate()) == before
    with pytest.raises(ArmFault, match="not connected"):
        arm.read()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"world": "vla/Tablettop-v0"}, "vla/Tablettop-v0"),
        ({"world": "nowhere:vla/Tabletop-v0"}, "no module 'nowhere'"),
        ({"options": {"picture_size": 3}}, "picture_size"),
        ({"options": {"split": "sene"}}, "did you mean 'seen'"),
        ({"world": "CartPole-v1"}, "this world is no arm"),
        ({"lockstep": True, "hz": 33.0}, "hz=33"),
        ({"hz": -1.0}, "above 0"),
    ],
)
def test_what_there_is_not_is_one_line(options, why):
    with pytest.raises(BadInput) as told:
        SimulatedArm(Simulated(**options)).connect()
    assert why in str(told.value) and "\n" not in str(told.value)


def test_a_command_that_is_none_does_not_reach_the_world(live):
    for wrong in (np.zeros(5), np.full(6, np.nan), np.full(6, np.inf)):
        with pytest.raises(ArmFault, match="6 finite numbers"):
            live.command(wrong)
    with pytest.raises(BadInput, match="did you mean 'push'"):
        live.reset(Episode(0, skill="pusch"))
    live.read()  # a mistake of the caller is not the end of the world
