"""The FR3's adapter and franky's unmodified driver, against its authors' simulated controller."""

import dataclasses
import math
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from peers import go, started, until

from envs.arms.franka import Franka, FrankaArm
from envs.arms.franka_model import position_limits
from envs.arms.simulators import Running
from envs.arms.twin import posable, pose
from vla.arm import Arm, ArmFault
from vla.errors import BadInput


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    yield from started("franka")


# The simulated controller takes one client, and serves the next only after the last has gone.
@pytest.fixture(scope="module")
def arm(running: Running) -> Iterator[FrankaArm]:
    arm = _arm(running.address)
    arm.connect()
    yield arm
    arm.disconnect()


def _arm(address: str, **options: float) -> FrankaArm:
    settings = {"connect_s": 20.0, "stale_s": 5.0, **options}
    return Franka(address=address, realtime=False, **settings).build()  # type: ignore[arg-type]


def _still(arm: FrankaArm, seconds: float = 0.5) -> float:
    before = arm.read().positions
    time.sleep(seconds)
    return float(np.abs(arm.read().positions - before)[:7].max())


def test_spec_comes_from_the_driver(arm: FrankaArm) -> None:
    spec = arm.spec
    assert isinstance(arm, Arm)
    assert [joint.unit for joint in spec.joints] == ["rad"] * 7 + ["m"]
    np.testing.assert_allclose(spec.limits("lower")[3], -3.0421, atol=0.05)
    np.testing.assert_allclose(spec.limits("speed")[:7], 0.5 * np.array([2.175] * 4 + [2.61] * 3), rtol=0.3)
    assert spec.joints[7].gripper
    assert spec.joints[7].upper == pytest.approx(0.08, abs=1e-3)


def test_nothing_moves_before_the_first_command_and_it_goes_where_it_is_sent(arm: FrankaArm) -> None:
    assert _still(arm) < 2e-3
    goal = arm.read().positions + np.array([0.1, 0.05, 0, 0.1, 0, 0, 0.1, 0])
    go(arm, goal)
    assert until(lambda: bool(np.abs(arm.read().positions - goal)[:7].max() < 0.01), 60)
    assert not arm.faults()


def test_hold_stops_it_and_a_command_goes_on(arm: FrankaArm) -> None:
    here = arm.read().positions
    arm.command(here + np.array([0.8, 0, 0, 0, 0, 0, 0, 0]))
    assert until(lambda: arm.read().positions[0] > here[0] + 0.01, 60)
    arm.hold()
    assert until(lambda: _still(arm) < 2e-4, 60)
    held = arm.read().positions
    assert held[0] < here[0] + 0.7
    arm.command(here)
    assert until(lambda: arm.read().positions[0] < held[0] - 0.005, 60)
    arm.hold()
    assert until(lambda: _still(arm) < 2e-4, 60)


def test_the_hand_opens_and_closes(arm: FrankaArm) -> None:
    for width in (0.06, 0.02):
        goal = arm.read().positions
        goal[7] = width
        arm.command(goal)
        there = until(lambda: abs(arm.read().positions[7] - width) < 0.004)  # noqa: B023
        assert there, arm.read().positions[7]
    assert not arm.faults()


def test_the_body_is_where_the_driver_says(arm: FrankaArm) -> None:
    arm.hold()
    assert until(lambda: _still(arm) < 1e-4, 60)
    state, body = arm._robot.state, arm.spec.body
    assert body is not None
    model, data = posable(body)
    pose(model, data, body, np.append(np.array(state.q), 0.02))
    ends = state.O_T_EE.translation
    np.testing.assert_allclose(data.site("tool").xpos, np.asarray(ends).ravel(), atol=2e-3)


@pytest.mark.parametrize("bad", [[math.nan] * 8, [0.0] * 7, [0, 0, 0, math.inf, 0, 0, 0, 0]])
def test_what_is_no_command_is_refused(arm: FrankaArm, bad: list[float]) -> None:
    with pytest.raises(ArmFault, match="8 finite numbers"):
        arm.command(np.array(bad))


def test_a_second_program_is_told_that_the_arm_is_taken(running: Running, arm: FrankaArm) -> None:
    """In a process of its own, as the driver's thread waits on after we gave up."""
    program = (
        "from envs.arms.franka import Franka\n"
        "from vla.arm import ArmFault\n"
        "import os\n"
        f"arm = Franka(address='{running.address}', realtime=False, connect_s=1.0).build()\n"
        "try: arm.connect()\n"
        "except ArmFault as fault: print(fault, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "does no other control it" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("address", ["127.0.0.99", "nonsense.invalid"])
def test_wrong_addresses_are_one_line_and_soon(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(ArmFault, match=address) as caught:
        _arm(address).connect()
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 8


def test_a_server_that_says_nothing_is_one_line_and_soon() -> None:
    with socket.socket() as silent:
        try:
            silent.bind(("127.0.83.7", 1337))
        except OSError:
            pytest.skip("the address is in use")
        silent.listen()
        with pytest.raises(ArmFault, match="does not answer"):
            _arm("127.0.83.7", connect_s=0.3).connect()


@pytest.mark.skipif(Path("/sys/kernel/realtime").exists(), reason="this kernel is a real-time one")
def test_an_ordinary_kernel_is_refused_unless_told_otherwise(running: Running) -> None:
    with pytest.raises(ArmFault, match=r"realtime.*robot\.realtime=false"):
        Franka(address=running.address).build().connect()


def test_another_arms_model_is_refused() -> None:
    joint = '<joint name="a_joint{}" type="revolute"><limit lower="-1" upper="1"/></joint>'
    seven = "".join(joint.format(index) for index in range(1, 8))
    assert position_limits(f"<robot name='x'>{seven}</robot>") == ([-1.0] * 7, [1.0] * 7)
    with pytest.raises(ArmFault, match="not the seven"):
        position_limits(f"<robot name='x'>{joint.format(1)}</robot>")
    with pytest.raises(ArmFault, match="cannot be read"):
        position_limits("no model")


@pytest.mark.parametrize("bad", [{"hz": 0}, {"speed": 2}, {"jerk": math.nan}, {"force": -1}])
def test_options_that_cannot_be(bad: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=next(iter(bad))):
        dataclasses.replace(Franka(), **bad)  # type: ignore[arg-type]


def test_a_controller_that_is_killed_in_mid_motion_is_a_fault_in_one_line() -> None:
    for running in started("franka"):
        arm = _arm(running.address, stale_s=2.0)
        arm.connect()
        arm.command(arm.read().positions + np.array([1.0, 0, 0, 0, 0, 0, 0, 0]))
        running.process.send_signal(signal.SIGKILL)
        with pytest.raises(ArmFault) as caught:
            for _ in range(1000):
                arm.read()
                time.sleep(0.01)
        assert "\n" not in str(caught.value)
        assert any(word in str(caught.value) for word in ("lost", "sent nothing"))
        began = time.monotonic()
        arm.disconnect()
        assert time.monotonic() - began < 20
