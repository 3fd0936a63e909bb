"""Faults lie on the way to an arm: each does what it says, for as long as it says, and nothing else."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.arms.faulty import Fault, FaultKind, FaultyArm
from vla.arm import Arm, ArmFault, ArmSpec, Joint, Picture, Reading
from vla.errors import BadInput

JOINTS = tuple(Joint(name, "deg", -90, 90, 100, 1000, 1e5) for name in ("pan", "lift"))


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Sound:
    """An arm that is always where it was told to be, with one new picture each time the clock has moved."""

    clock: Clock
    spec: ArmSpec = field(default_factory=lambda: ArmSpec("test", JOINTS, 20, ("front", "wrist")))
    positions: np.ndarray = field(default_factory=lambda: np.zeros(2))
    held: int = 0

    def connect(self) -> None: ...

    def read(self) -> Reading:
        return Reading(self.positions.copy(), self.clock())

    def pictures(self):
        shade = np.full((2, 2, 3), 1 + int(self.clock() * 10) % 250, np.uint8)
        return {name: Picture(shade, self.clock()) for name in self.spec.cameras}

    def command(self, positions) -> None:
        self.positions = positions.copy()

    def hold(self) -> None:
        self.held += 1

    def faults(self):
        return ()

    def disconnect(self, release: bool = False) -> None: ...


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def arm(clock):
    made = FaultyArm(Sound(clock), clock=clock, sleep=clock.sleep)
    made.connect()
    return made


def same(one, other) -> bool:
    return np.array_equal(one.pixels, other.pixels)


def test_without_faults_it_is_the_arm(arm, clock):
    assert isinstance(arm, Arm)
    arm.command(np.array([1.0, 2.0]))
    assert arm.read().positions.tolist() == [1, 2] and arm.read().time == clock()
    assert set(arm.pictures()) == {"front", "wrist"} and not arm.faults()


@given(after=st.floats(0, 5), lasts=st.floats(0.1, 5), probe=st.floats(0, 12))
def test_a_fault_is_on_for_exactly_its_time(after, lasts, probe):
    clock = Clock(0.0)
    arm = FaultyArm(Sound(clock), [Fault("read_nan", after, lasts)], clock)
    arm.connect()
    clock.now = probe
    assert np.isnan(arm.read().positions[0]) == (after <= probe < after + lasts)
    arm.clear()
    assert not np.isnan(arm.read().positions).any()


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_every_kind_changes_what_it_is_about_and_ends(arm, clock, kind):
    def told() -> list[str]:
        """All that can be learned from the arm while it is told to move and time passes."""
        out = []
        for step in range(3):
            clock.now += 0.1
            command = partial(arm.command, np.array([1.0 + step, 0]))
            for call in (arm.read, arm.pictures, arm.faults, command):
                began = clock()
                try:
                    found = call()
                except ArmFault as fault:
                    found = str(fault)
                out.append(f"{found} after {clock() - began:.3f}")
            out.append(str(arm.arm.positions))
        return out

    clock.now, arm.arm.positions = 100.0, np.zeros(2)
    usual = told()
    clock.now, arm.arm.positions = 100.0, np.zeros(2)
    arm.inject(Fault(kind, amount=0.5 if kind == "camera_drops" else 7.0))
    assert told() != usual
    arm.clear()
    clock.now, arm.arm.positions = 100.0, np.zeros(2)
    assert told() == usual


def test_frozen_cameras_keep_their_times_and_repeating_ones_do_not(arm, clock):
    for kind in ("camera_frozen", "camera_repeats"):
        arm.clear()
        arm.inject(Fault(kind, camera="wrist"))
        first = arm.pictures()
        clock.now += 0.5
        then = arm.pictures()
        assert not same(first["front"], then["front"])
        assert same(first["wrist"], then["wrist"])
        assert (then["wrist"].time == first["wrist"].time) == (kind == "camera_frozen")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_the_share_of_pictures_is_lost_however_often_one_looks(arm, clock, share):
    arm.inject(Fault("camera_drops", amount=share))
    times = set()
    for _ in range(100):
        clock.now += 0.1
        times |= {arm.pictures()["front"].time for _ in range(3)}
    assert abs(len(times) - 100 * (1 - share)) <= 1


def test_readings(arm, clock):
    arm.inject(Fault("read_jumps", joint="lift", amount=40))
    assert arm.read().positions.tolist() == [0, 40]
    arm.clear()
    arm.inject(Fault("read_frozen"))
    was = arm.read()
    clock.now += 1
    arm.command(np.ones(2))
    assert arm.read().time == was.time and arm.read().positions.tolist() == [0, 0]
    arm.clear()
    arm.inject(Fault("read_fails_once"))
    with pytest.raises(ArmFault):
        arm.read()
    arm.read()
    arm.inject(Fault("bus_silent", amount=300))
    before = clock()
    with pytest.raises(ArmFault, match="300 ms"):
        arm.read()
    assert math.isclose(clock() - before, 0.3)


def test_a_blocked_joint_stays_where_it_is_and_the_others_move(arm):
    arm.command(np.array([10.0, 10.0]))
    arm.inject(Fault("joint_blocked", joint="lift"))
    arm.command(np.array([20.0, 20.0]))
    assert arm.read().positions.tolist() == [20, 10]


def test_a_lost_connection_is_lost_for_everything(arm):
    arm.inject(Fault("connection_lost"))
    for call in (arm.read, arm.hold, arm.faults, lambda: arm.command(np.zeros(2)), arm.connect):
        with pytest.raises(ArmFault, match="connection"):
            call()
    arm.disconnect()


def test_what_there_is_not_is_one_line(arm):
    with pytest.raises(BadInput, match="did you mean 'camera_frozen'"):
        Fault("camera_froze")  # type: ignore[arg-type]
    with pytest.raises(BadInput):
        Fault("hot", for_s=0)
    arm.inject(Fault("joint_blocked", joint="lfit"))
    with pytest.raises(BadInput, match="did you mean 'lift'"):
        arm.command(np.zeros(2))
