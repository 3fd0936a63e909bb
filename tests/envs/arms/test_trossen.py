"""The WidowX AI's adapter and its maker's unmodified driver, against its maker's simulated controller."""

import dataclasses
import math
import signal
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from peers import go, started, until

from envs.arms.simulators import Running
from envs.arms.trossen import Trossen, TrossenArm
from envs.arms.twin import Twin, posable, pose
from vla.arm import Arm, ArmFault
from vla.errors import BadInput

HOME = np.array([0.0, 0.6, 0.6, 0.0, 0.0, 0.0, 0.01])


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    yield from started("trossen")


@pytest.fixture
def arm(running: Running) -> Iterator[TrossenArm]:
    arm = Trossen(address=running.address, stale_s=2.0).build()
    arm.connect()
    yield arm
    arm.disconnect()


def _still(arm: TrossenArm, seconds: float = 0.3) -> float:
    """How far a joint moves meanwhile."""
    before = arm.read().positions
    time.sleep(seconds)
    return float(np.abs(arm.read().positions - before).max())


def test_spec_comes_from_the_driver(arm: TrossenArm) -> None:
    spec = arm.spec
    assert isinstance(arm, Arm)
    assert [joint.unit for joint in spec.joints] == ["rad"] * 6 + ["m"]
    assert [joint.gripper for joint in spec.joints] == [False] * 6 + [True]
    np.testing.assert_allclose(spec.limits("lower")[:3], [-3.05433, 0, 0], atol=1e-4)
    np.testing.assert_allclose(spec.limits("upper")[-1], 0.044, atol=1e-4)
    np.testing.assert_allclose(spec.limits("speed")[:6], 0.5 * 3.14, atol=1e-3)


def test_nothing_moves_before_the_first_command_and_it_goes_where_it_is_sent(arm: TrossenArm) -> None:
    assert _still(arm) < 2e-3
    go(arm, HOME)
    assert until(lambda: bool(np.abs(arm.read().positions - HOME).max() < 0.01))
    assert not arm.faults()


def test_hold_stops_it(arm: TrossenArm) -> None:
    go(arm, HOME, seconds=0.5)
    far = HOME + np.array([1.0, 0, 0, 0, 0, 0, 0])
    for _ in range(20):  # the driver goes for a goal that is far; it would get there
        arm.command(arm.read().positions + 0.04 * (far - HOME))
        time.sleep(0.02)
    arm.hold()
    assert until(lambda: _still(arm) < 5e-3, 10)
    assert arm.read().positions[0] < 0.9


def test_the_body_is_where_the_driver_says(arm: TrossenArm) -> None:
    go(arm, HOME + np.array([0.5, 0.3, 0.2, -0.4, 0.3, 0.2, 0.01]))
    assert until(lambda: _still(arm) < 1e-4)
    output = arm._driver.get_robot_output()
    body = arm.spec.body
    assert body is not None
    model, data = posable(body)
    pose(model, data, body, np.array(output.joint.all.positions))
    np.testing.assert_allclose(data.site("tool").xpos, list(output.cartesian.positions)[:3], atol=1e-3)


def test_commands_return_at_once(arm: TrossenArm) -> None:
    here = arm.read().positions
    took = []
    for _ in range(100):
        began = time.perf_counter()
        arm.command(here)
        arm.read()
        took.append(time.perf_counter() - began)
        time.sleep(0.002)
    assert np.median(took) < 0.01


@pytest.mark.parametrize("bad", [[math.nan] * 7, [0.0] * 6, [0, 0, 0, math.inf, 0, 0, 0]])
def test_what_is_no_command_is_refused(arm: TrossenArm, bad: list[float]) -> None:
    with pytest.raises(ArmFault, match="7 finite numbers"):
        arm.command(np.array(bad))
    assert _still(arm, 0.1) < 5e-3


def test_pictures_of_the_twin_follow(running: Running) -> None:
    arm = Trossen(address=running.address, stale_s=2.0, cameras=Twin(height=48, width=64)).build()
    arm.connect()
    try:
        assert set(arm.spec.cameras) == {"front", "wrist"}
        assert arm.spec.image_sizes["front"] == (48, 64)
        before = arm.pictures()
        go(arm, arm.read().positions + np.array([0.6, 0.2, 0.2, 0, 0, 0, 0]), seconds=1.0)
        late = arm.read().time
        assert until(lambda: (arm.read(), arm.pictures()["front"].time >= late)[1])
        after = arm.pictures()
        for name in ("front", "wrist"):
            assert after[name].pixels.shape == (48, 64, 3)
            assert after[name].pixels.std() > 5, "an empty picture"
            assert (before[name].pixels != after[name].pixels).mean() > 0.02
    finally:
        arm.disconnect()
    assert not [thread for thread in threading.enumerate() if thread.name == "twin"]


def test_connects_again_after_disconnect(running: Running) -> None:
    arm = Trossen(address=running.address).build()
    for _ in range(2):
        arm.connect()
        with pytest.raises(ArmFault, match="already"):
            arm.connect()
        arm.disconnect()
        with pytest.raises(ArmFault, match="not connected"):
            arm.read()


def test_a_second_program_is_told_that_the_arm_is_taken(running: Running, arm: TrossenArm) -> None:
    other = Trossen(address=running.address, connect_s=1.0).build()
    with pytest.raises(ArmFault, match=r"cannot be connected.*does another program control it\?$"):
        other.connect()


@pytest.mark.parametrize("address", ["127.0.0.99", "nonsense"])
def test_wrong_addresses_are_one_line_and_soon(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(ArmFault, match=address) as caught:
        Trossen(address=address, connect_s=0.5).build().connect()
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 8


def test_a_server_that_says_nothing_is_one_line_and_soon() -> None:
    with socket.socket() as silent:
        try:
            silent.bind(("127.0.83.7", 50001))
        except OSError:
            pytest.skip("the address is in use")
        silent.listen()
        with pytest.raises(ArmFault, match=r"127\.0\.83\.7"):
            Trossen(address="127.0.83.7", connect_s=0.5).build().connect()


@pytest.mark.parametrize("bad", [{"hz": 0}, {"speed": 2}, {"stale_s": -1}, {"connect_s": math.nan}])
def test_options_that_cannot_be(bad: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=next(iter(bad))):
        dataclasses.replace(Trossen(), **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_controller_that_goes_in_mid_motion_is_a_fault_in_one_line(how: signal.Signals) -> None:
    for running in started("trossen"):
        arm = Trossen(address=running.address, stale_s=0.5).build()
        arm.connect()
        far = arm.read().positions + np.array([1.0, 0, 0, 0, 0, 0, 0])
        arm._go(far, 5.0)
        running.process.send_signal(how)
        with pytest.raises(ArmFault) as caught:
            for _ in range(1000):
                arm.read()
                time.sleep(0.01)
        assert "\n" not in str(caught.value)
        assert any(word in str(caught.value) for word in ("lost", "sent nothing"))
        if how == signal.SIGKILL:
            with pytest.raises(ArmFault, match="takes no command"):
                arm.command(far)
            assert arm.faults()
        running.process.send_signal(signal.SIGCONT)
        arm.disconnect()


def test_through_the_safety_filter_it_gets_there_and_not_into_the_table(arm: TrossenArm) -> None:
    from policies.runtime.safety import Safety, SafetyFilter

    go(arm, HOME)
    assert until(lambda: _still(arm) < 1e-3)
    guard = SafetyFilter(arm.spec, Safety(table=0.06), hz=50.0)
    guard.start(arm.read().positions)
    kinds: set[str] = set()
    for wanted in (HOME + np.array([0.4, 0.2, 0, 0, 0, 0, 0]), HOME + np.array([0.4, 1.6, 0, 0, 0, 0, 0])):
        for _ in range(150):
            decision = guard.decide(wanted, arm.read().positions)
            arm.command(decision.command)
            kinds |= {intervention.kind for intervention in decision.interventions}
            time.sleep(0.02)
        if wanted[1] < 1:
            assert np.abs(arm.read().positions - wanted).max() < 0.05
            assert "table" not in kinds
    assert "table" in kinds
    body = arm.spec.body
    assert body is not None
    model, data = posable(body)
    pose(model, data, body, arm.read().positions)
    assert data.site("tool").xpos[2] > 0.05
