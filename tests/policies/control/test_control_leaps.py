"""Readings that leap: never believed, forgotten once they are back, told as final where they stay."""

import numpy as np
import pytest
from arms import PerfectArm, modest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.control import Watch, Watchdog
from policies.runtime.control.leaps import Leap, Leaps
from policies.runtime.control.start import standing
from vla.arm import ArmFault, Reading

SPEED = 150.0
"""Degrees a second that a joint of `modest` may go; its range is 360."""
SLACK = 0.02 * 360


def leaps(margin: float = 1.5, lasting: float = 0.5) -> Leaps:
    made = Leaps(modest(), margin, lasting)
    made.believe(np.zeros(3), 0.0)
    return made


def read(judge: Leaps, positions: np.ndarray, now: float) -> Leap | None:
    return judge.judge(positions, now, now)


periods = st.floats(0.001, 0.1)
seconds = st.floats(0.0, 0.2)


@given(st.lists(st.tuples(st.floats(-1, 1), periods, seconds, seconds), min_size=1, max_size=40))
def test_what_an_arm_can_do_is_believed(steps: list[tuple[float, float, float, float]]) -> None:
    """Any motion within 1.5 times the speed limit, wherever in its exchange with the arm each was measured:
    some answers come late, and are of early in that time or of its end."""
    judge, now, at = leaps(), 0.0, np.zeros(3)
    measured = 0.0
    for share, period, late, early in steps:
        asked = now + period
        now = asked + late + early
        moment = asked + early
        at = at + 1.5 * SPEED * share * (moment - measured)
        measured = moment
        assert judge.judge(at.copy(), asked, now) is None


@given(
    st.floats(1.01, 50.0), st.integers(0, 2), periods, st.integers(1, 6), st.floats(-1, 1),
)  # fmt: skip
def test_wrong_readings_are_never_believed_and_right_ones_after_them_are(
    far: float, joint: int, period: float, times: int, share: float
) -> None:
    """Meanwhile the arm itself goes on moving, as it has to brake."""
    judge, at, now = leaps(lasting=10.0), np.zeros(3), 0.0
    leap = far * (1.5 * SPEED * (period + 0.02) + SLACK) + SPEED * period * times
    for _ in range(times):
        now += period
        at = at + 0.5 * SPEED * share * period * np.array([1.0, -1.0, 0.5])
        wrong = at.copy()
        wrong[joint] += leap if share > 0 else -leap
        found = read(judge, wrong, now)
        assert found is not None and not found.lasting and f"'j{joint}' cannot have moved" in found.text
    now += period
    assert read(judge, at, now) is None


@given(st.floats(60, 300), periods, st.floats(-0.2, 0.2))
def test_a_place_that_stays_is_true_at_last_and_that_is_final(
    far: float, period: float, drift: float
) -> None:
    """However near waiting would have brought it."""
    judge, now, place = leaps(), 0.0, np.array([0.0, far, 0.0])
    first = None
    while now < 5.0:
        now += period
        place = place + drift * SPEED * period
        found = read(judge, place, now)
        assert found is not None, "waiting makes nothing right"
        first = now if first is None else first
        assert found.lasting == (now - first >= 0.5)
        if found.lasting:
            break
    assert "is read at" in found.text and "moved by force, or its encoder or horn slipped" in found.text


@given(st.lists(st.floats(100, 180), min_size=2, max_size=60))
def test_what_leaps_about_never_becomes_true(places: list[float]) -> None:
    judge, now = leaps(lasting=0.05), 0.0
    for index, place in enumerate(places):
        now += 0.02
        found = read(judge, np.array([place * (-1) ** index, 0, 0]), now)
        assert found is not None and not found.lasting
    assert read(judge, np.zeros(3), now + 0.02) is None


def test_forty_degrees_in_one_tick_at_20_hz_are_too_many_for_a_servo_of_270() -> None:
    from dataclasses import replace

    spec = modest()
    joints = tuple(replace(joint, lower=-110, upper=110, speed=270) for joint in spec.joints)
    judge = Leaps(replace(spec, joints=joints), 1.5, 0.5)
    judge.believe(np.zeros(3), 0.0)
    assert judge.judge(np.array([0, 40.0, 0]), 0.05, 0.058) is not None
    assert judge.judge(np.array([0, 13.0, 0]), 0.1, 0.108) is None
    assert judge.judge(np.array([0, 53.0, 0]), 0.15, 0.258) is None, "0.1 s late it may have gone on"


def test_time_that_nobody_can_account_for_may_have_been_used() -> None:
    judge = leaps()
    judge.unknown(3.0)  # the clock was set back by so much
    assert judge.judge(np.full(3, 25.0), -2.9, -2.9) is None
    assert judge.judge(np.full(3, 80.0), -2.8, -2.8) is not None


def test_the_watchdog_keeps_the_place_before_and_ends_a_run_where_the_new_one_stays() -> None:
    watchdog = Watchdog(modest(), Watch(), 0.0)
    believed = Reading(np.zeros(3), 0.0)
    watchdog.trust(believed)
    for tick in range(1, 40):
        now = 0.02 * tick
        watchdog.reading(Reading(np.array([0.0, 90.0, 0.0]), now), now, now - 0.01)
        [trouble] = watchdog.troubles
        assert trouble.kind == "jump" and trouble.final == (now - 0.02 >= 0.5 - 1e-9)
        assert watchdog.trusted is believed
    assert trouble.text.startswith("joint 'j1' cannot have moved 90 deg within 0.020 s, but is read at 90 ")
    assert trouble.text.endswith("slipped; check calibration and mechanics, then start anew")
    watchdog = Watchdog(modest(), Watch(), 0.0)
    watchdog.trust(believed)
    watchdog.reading(Reading(np.array([0.0, 90.0, 0.0]), 0.02), 0.02)
    watchdog.reading(Reading(np.array([0.0, 1.0, 0.0]), 0.04), 0.04)
    assert not watchdog.troubles and watchdog.trusted is not None and watchdog.trusted.time == 0.04


def test_a_run_begins_from_two_readings_that_agree() -> None:
    arm = PerfectArm(arm_spec=modest())
    places = [90.0, 0.0, 1.0]
    arm.on_read = lambda: setattr(arm, "shift", places.pop(0) if places else 1.0)
    assert standing(arm).positions.tolist() == [1.0, 1.0, 1.0]  # type: ignore[arg-type]
    count = [0]

    def swing() -> None:
        count[0] += 1
        arm.shift = 50.0 * (count[0] % 2)

    arm.on_read = swing
    with pytest.raises(
        ArmFault, match=r"joint 'j0' is read at .*, then at .* deg, before anything has moved"
    ):
        standing(arm)  # type: ignore[arg-type]
