"""Nobody moves the arm but through the filter, and whoever holds it can do so in any state."""

import gc
import inspect
import time
from typing import Any

import numpy as np
import pytest
from guard import Recorder, planar

from policies.runtime.safety import GuardedArm, JointLimits, Safety
from vla.arm import Arm, ArmFault, Reading
from vla.errors import BadInput

SPEC = planar(body=False)


def guarded(arm: Recorder | None = None, **settings: Any) -> tuple[GuardedArm, Recorder]:
    arm = arm or Recorder(SPEC, np.array([10.0, 20, 30, 40]))
    return GuardedArm(arm, Safety(**settings), 100.0), arm


def test_no_public_attribute_gives_the_arm_away() -> None:
    held, arm = guarded()
    assert isinstance(arm, Arm)
    held.connect()
    held.act(None, held.read())

    def reachable(thing: Any, depth: int, seen: set[int]) -> bool:
        if thing is arm or getattr(thing, "__self__", None) is arm:
            return True
        if depth == 0 or id(thing) in seen or isinstance(thing, int | float | str | np.ndarray | type):
            return False
        seen.add(id(thing))
        names = [name for name in dir(thing) if not name.startswith("_")]
        return any(reachable(getattr(thing, name, None), depth - 1, seen) for name in names)

    assert not reachable(held, 4, set())
    assert not hasattr(held, "command") and not hasattr(held, "arm")
    for _, method in inspect.getmembers(held, inspect.ismethod):
        assert getattr(method, "__self__", held) is held
    assert not any(value is arm for value in vars(held.filter).values())
    gc.collect()


def test_every_command_has_gone_through_the_filter() -> None:
    held, arm = guarded()
    held.connect()
    assert arm.sent == [], "connecting moves nothing"
    for _ in range(300):
        decision = held.act(np.array([400.0, -400, np.pi, 1e9]), held.read())
        assert np.array_equal(arm.sent[-1], decision.command)
    sent = np.array(arm.sent)
    assert np.abs(np.diff(sent, axis=0)).max(0).tolist() <= (SPEC.limits("speed") / 100).tolist()
    assert (arm.at == [170, -170, np.pi, 100]).all()
    arm.sent[-1][:] = 99  # an arm that scribbles on what it is given changes nothing
    assert held.act(None, Reading(decision.command, 0.0)).command.tolist() == decision.command.tolist()


def test_hold_works_in_any_state_and_the_next_act_starts_from_the_pose_that_is_read() -> None:
    held, arm = guarded()
    held.hold("not even connected")
    held.connect()
    for _ in range(30):
        held.act(np.array([100.0, 20, 30, 40]), held.read())
    held.hold("a test")
    assert arm.calls[-1] == "hold" and held.held_because == "a test"
    arm.at = np.array([50.0, 20, 30, 40])  # where its own stop took it
    assert held.act(None, held.read(), 500).command.tolist() == arm.at.tolist()
    arm.fails = "the bus is gone"
    with pytest.raises(ArmFault, match="the bus is gone"):
        held.act(None, Reading(arm.at, time.monotonic()))
    held.hold("lost")
    assert arm.calls[-1] == "hold"
    held.disconnect(release=True)
    held.hold("after the end")
    assert arm.calls[-2:] == ["disconnect True", "hold"]


def test_settings_that_do_not_fit_leave_the_arm_disconnected() -> None:
    held, arm = guarded(joints={"shoulder": JointLimits(speed=1)})
    with pytest.raises(BadInput, match="no joint 'shoulder'"):
        held.connect()
    assert arm.calls == ["connect", "disconnect False"]
    with pytest.raises(BadInput, match="not connected"):
        held.act(None, Reading(np.zeros(4), 0.0))
    assert arm.sent == []


def test_what_an_arm_offers_passes_through() -> None:
    held, _ = guarded()
    held.connect()
    assert held.spec is SPEC and held.faults() == ("too hot",) and held.pictures() == {}
    assert "no model" in held.filter.notes[0]
    first = inspect.signature(GuardedArm.act).parameters
    assert list(first)[1:] == ["wanted", "reading", "dt_steps"]
