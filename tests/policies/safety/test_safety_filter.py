"""One arm behind the filter: whatever a policy wants, what is sent is safe, and it says what it did."""

from typing import Any

import numpy as np
import pytest
from guard import planar
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from policies.runtime.safety import KINDS, JointLimits, Safety, SafetyFilter
from vla.arm import ArmFault, Positions
from vla.errors import BadInput
from vla.interfaces import ActionChunk

HZ = 100.0
SPEC = planar(body=False)
PLAIN = Safety(ramp_seconds=0, following=None)


def started(safety: Safety = PLAIN, at: Any = (0, 0, 0, 0)) -> SafetyFilter:
    made = SafetyFilter(SPEC, safety, HZ)
    made.start(np.array(at, float))
    return made


def go(made: SafetyFilter, wanted: Any, ticks: int, measured: Positions | None = None) -> list[Any]:
    """`ticks` decisions for one goal; the arm is measured where it was sent, or at `measured`."""
    out, at = [], made.decide(None, np.zeros(4)).command if measured is None else measured
    for _ in range(ticks):
        out.append(made.decide(wanted, at))
        at = out[-1].command if measured is None else measured
    return out


numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)
commands = st.one_of(
    arrays.arrays(np.float64, 4, elements=numbers),
    arrays.arrays(np.float32, 4, elements=st.floats(-400, 400, width=32)),
    arrays.arrays(np.float64, st.integers(0, 6), elements=numbers),
    st.none(),
    st.sampled_from([np.zeros((2, 2)), np.array("x"), np.array([None] * 4), [1, 2, 3, 4], "go", 7]),
)


@given(st.lists(st.tuples(commands, commands, st.integers(-3, 40)), max_size=60), st.booleans())
def test_whatever_is_wanted_and_measured_a_safe_decision_comes_back(
    ticks: list[tuple[Any, Any, int]], follows: bool
) -> None:
    made = started(Safety())
    path = [np.zeros(4)]
    for wanted, measured, steps in ticks:
        decision = made.decide(wanted, path[-1] if follows else measured, 1 if follows else steps)
        path.append(decision.command)
        assert decision.command.dtype == np.float64 and np.isfinite(decision.command).all()
        assert all(kind in KINDS and detail for kind, _, detail in decision.interventions)
        if decision.command.tobytes() != np.asarray(wanted, object).tobytes() and wanted is not None:
            same = np.shape(wanted) == (4,) and np.array_equal(np.array(wanted, float), decision.command)
            assert same or decision.interventions
    sent = np.array(path)
    assert (sent >= SPEC.limits("lower")).all() and (sent <= SPEC.limits("upper")).all()
    assert (np.abs(np.diff(sent, axis=0)) * HZ <= SPEC.limits("speed")).all()
    if follows:
        padded = np.concatenate([np.zeros((3, 4)), sent])
        assert (np.abs(np.diff(padded, 2, axis=0)) * HZ**2 <= SPEC.limits("acceleration")).all()
        assert (np.abs(np.diff(padded, 3, axis=0)) * HZ**3 <= SPEC.limits("jerk")).all()


def test_each_broken_limit_is_named_with_numbers_and_units() -> None:
    made = started()
    [found] = made.decide(np.array([400.0, 0, 0, 0]), np.zeros(4)).interventions
    assert found[:2] == ("position", "one")
    assert found.detail.startswith("400 deg is outside -170 .. 170: 0.009") and found.detail.endswith(
        "is sent"
    )
    kinds = {
        "speed": (5.0, "500 deg/s to 5 deg, at most 120"),
        "acceleration": (0.5, "5000 deg/s2 to 0.5 deg, at most 900"),
        "jerk": (0.05, "5e+04 deg/s3 to 0.05 deg, at most 9000"),
    }
    for kind, (wanted, says) in kinds.items():
        [found] = started().decide(np.array([0, wanted, 0, 0]), np.zeros(4)).interventions
        assert found[:2] == (kind, "two") and found.detail.startswith(says)
    [found] = started(Safety(ramp_scale=0.1)).decide(np.array([0, 0.005, 0, 0]), np.zeros(4)).interventions
    assert found[:2] == ("ramp", "two") and "at most 900 so soon" in found.detail
    outside = started(at=(0, 0, 175, 0))
    assert outside.notes[-1].startswith("where it starts, 'three' is at 175 deg, outside -170 .. 170")
    [found] = outside.decide(np.array([0, 0, 0.0, 0]), np.array([0, 0, 175.0, 0])).interventions
    assert found[:2] == ("outside", "three")
    [found] = made.decide(np.array([0, np.nan, 0, 0]), np.zeros(4)).interventions
    assert found == ("not_finite", "two", "nan is wanted: the arm is held")
    [found] = made.decide(np.zeros(3), np.zeros(4)).interventions
    assert found == ("width", "", "a command of shape [3], not [4]: the arm is held")
    decision = made.decide(np.zeros(4), np.array([0, 0, np.inf, 0]))
    assert decision.held and decision.interventions[0].kind == "measured"
    assert "late" in {each.kind for each in made.decide(None, np.zeros(4), 4).interventions}


def test_a_hold_brakes_within_the_limits_and_then_repeats_one_command() -> None:
    made = started()
    go(made, np.array([90.0, -90, 10, 50]), 40)
    path = [d.command for d in go(made, None, 60)]
    assert path[0][0] != path[5][0] and all(np.array_equal(path[-1], row) for row in path[-20:])
    assert all(d.held and not d.interventions for d in go(made, None, 3))


def test_settings_tighten_and_never_loosen() -> None:
    safety = Safety(
        speed_scale=0.5, ramp_seconds=0, joints={"two": JointLimits(lower=-10, upper=20, speed=12)}
    )
    path = np.array([d.command for d in go(started(safety), np.array([90.0, 90, 0, 0]), 300)])
    assert path[:, 1].max() == 20 and np.abs(np.diff(path[:, 1])).max() * HZ <= 12
    assert 59 < np.abs(np.diff(path[:, 0])).max() * HZ <= 60
    for joints, says in (
        ({"tow": JointLimits()}, r"the arm has no joint 'tow' \(did you mean 'two'\?\)"),
        ({"two": JointLimits(upper=200)}, r"cannot be limited to -170 .. 200 deg: the arm's own"),
        ({"two": JointLimits(speed=121)}, r"speed=121 is above the arm's own limit, 120"),
    ):
        with pytest.raises(BadInput, match=says):
            started(Safety(joints=joints))
    for wrong in ({"speed_scale": 0}, {"speed_scale": 1.1}, {"ramp_scale": float("nan")}, {"margin": -1}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            Safety(**wrong)  # type: ignore[arg-type]


def test_a_joint_that_does_not_follow_is_held_until_it_is_wanted_back() -> None:
    made = started(Safety(ramp_seconds=0, following=0.1))  # 34 degrees
    stuck = np.zeros(4)
    decisions = go(made, np.array([90.0, 0, 0, 0]), 100, stuck)
    held = [d for d in decisions if d.held]
    assert held and not decisions[0].held
    kind, joint, detail = held[-1].interventions[0]
    assert (kind, joint) == ("following", "one") and "measured at 0 deg, sent to " in detail
    assert "at most 34" in detail
    present = decisions[-1].command
    assert 34 < present[0] < 60 and np.array_equal(present, decisions[-2].command)
    back = go(made, np.array([5.0, 0, 0, 0]), 200, stuck)
    assert not back[0].held and back[-1].command[0] == 5
    assert not back[-1].interventions


def test_a_blocked_gripper_is_not_pressed_further() -> None:
    made = started(Safety(ramp_seconds=0, gripper_ahead=0.1))
    at = np.array([0, 0, 0, 60.0])
    made.start(at)
    closing = go(made, np.array([0, 0, 0, 0.0]), 200, at)  # something is between its jaws
    assert closing[-1].command[3] == 50 and closing[-1].interventions[-1].kind == "gripper"
    assert "blocked at 60 percent: 0 is wanted, 50 at most 10 further" in closing[-1].interventions[-1].detail
    measured = at.copy()
    for _ in range(300):  # it slips out: the gripper closes
        decision = made.decide(np.zeros(4), measured)
        measured[3] += np.clip(decision.command[3] - measured[3], -1, 1)
    assert decision.command[3] == 0 and not decision.interventions


def chunk(rows: Any, **more: Any) -> ActionChunk:
    return ActionChunk(np.array(rows, np.float32), **more)


@pytest.mark.parametrize(
    ("given_chunk", "says"),
    [
        (chunk(np.zeros((0, 4)), hold="codes that do not decode"), "says hold: codes that do not decode"),
        (chunk(np.zeros((3, 5))), "have 5 numbers, not 4"),
        (chunk([[0, 0, 0, np.nan]]), r"not finite at \[0, 3\]"),
        (chunk([[0, 171, 0, 0]]), "begins 171 deg away from the present pose at 'two', at most 170"),
        (
            chunk(np.zeros((2, 4)), uncertainty=np.array([[0, 0, 0, 0], [90, 0, 0, 0]], np.float32)),
            "unsure of 'one' in row 1: one standard deviation is 90 deg, at most 85 is allowed",
        ),
        (chunk(np.zeros((1, 4)), uncertainty=np.full((1, 4), np.nan, np.float32)), "is not finite"),
        (chunk(np.zeros((1, 4)), uncertainty=np.zeros((2, 4), np.float32)), r"shape \[2, 4\]"),
    ],
)
def test_chunks_that_must_not_be_run_are_refused(given_chunk: ActionChunk, says: str) -> None:
    import re

    assert re.search(says, started().refuse(given_chunk))


def test_other_chunks_are_run() -> None:
    fine = chunk([[10, 10, 10, 100]] * 3, uncertainty=np.full((3, 4), 5, np.float32))
    assert started().refuse(fine) == ""
    tight = Safety(joints={"three": JointLimits(uncertainty=4.0)})
    assert "at most 4 is allowed" in started(tight).refuse(fine)


def test_a_start_that_cannot_be_is_refused() -> None:
    made = SafetyFilter(SPEC, Safety(), HZ)
    with pytest.raises(BadInput, match="was not started"):
        made.decide(None, np.zeros(4))
    for wrong, says in (
        (np.full(4, np.nan), "'one' is measured at nan"),
        (np.zeros(3), r"shape \[3\], not \[4\]"),
        (np.array([0, 1e4, 0, 0]), "far outside its limits, -170 .. 170: is its calibration"),
    ):
        with pytest.raises(ArmFault, match=says):
            made.start(wrong)
    assert "no model of its body" in made.notes[0]
