"""Between rows: never beyond the plan, never outside the interval of two rows, and rows fall due by the
clock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.control.interpolation import KINDS, Interpolator
from policies.runtime.control.plan import Fade, place

ROWS = st.lists(st.lists(st.floats(-100, 100), min_size=2, max_size=2), min_size=2, max_size=8)


@given(ROWS, st.sampled_from(KINDS), st.floats(0, 1, exclude_max=True), st.data())
def test_it_stays_between_its_rows_and_inside_the_plan(
    raw: list[list[float]], kind: str, part: float, data: st.DataObject
) -> None:
    rows, between = np.array(raw), Interpolator(kind)  # type: ignore[arg-type]
    step = 0
    while step < len(rows):
        between.step(step, rows[step], rows[step + 1 : step + 3])
        found = between.at(part)
        assert found is not None
        after = rows[min(step + 1, len(rows) - 1)]
        assert (found >= np.minimum(rows[step], after) - 1e-9).all()
        assert (found <= np.maximum(rows[step], after) + 1e-9).all()
        np.testing.assert_allclose(between.at(0.0), rows[step])
        if step == len(rows) - 1 or kind == "hold":
            np.testing.assert_array_equal(found, rows[step])  # the plan ends: it stays
        step += data.draw(st.integers(1, 2))  # a missed step passes over a row


@given(st.floats(-50, 50), st.floats(-5, 5))
def test_a_straight_line_stays_one(start: float, slope: float) -> None:
    rows = start + slope * np.arange(8)[:, None]
    for kind in ("linear", "cubic"):
        between = Interpolator(kind)  # type: ignore[arg-type]
        for step in range(6):
            between.step(step, rows[step], rows[step + 1 : step + 3])
            if step:
                for part in (0.25, 0.5, 0.9):
                    assert between.at(part) == pytest.approx(start + slope * (step + part), abs=1e-6)


def test_a_cubic_has_no_steps_in_its_speed() -> None:
    rows = np.sin(0.5 * np.arange(40))[:, None]
    jumps = {}
    for kind in ("hold", "linear", "cubic"):
        between, path = Interpolator(kind), []  # type: ignore[arg-type]
        for step in range(36):
            between.step(step, rows[step], rows[step + 1 : step + 3])
            path += [between.at(part) for part in np.arange(20) / 20]
        jumps[kind] = np.abs(np.diff(np.array(path)[:, 0], n=2)).max()
    assert jumps["cubic"] < 0.5 * jumps["linear"] and jumps["linear"] < 0.5 * jumps["hold"]


def test_without_a_plan_there_is_no_command() -> None:
    between = Interpolator("cubic")
    assert between.at(0.5) is None
    between.step(3, [1.0], np.array([[2.0]]))
    assert between.at(0.5) is not None
    between.stop()
    assert between.at(0.5) is None


@given(
    st.integers(0, 10**7), st.sampled_from([20, 50, 100, 200, 1000]), st.sampled_from([1, 5, 20, 30, 19.7])
)
def test_a_tick_lies_in_the_step_that_its_time_says(tick: int, hz: int, policy_hz: float) -> None:
    step, part = place(tick, hz, policy_hz)
    assert 0 <= part < 1 and (step + part) / policy_hz == pytest.approx(tick / hz, abs=1e-5)


@given(st.integers(0, 10**6), st.sampled_from([(20, 20), (200, 20), (1000, 50), (60, 20), (50, 25)]))
def test_whole_ratios_are_exact(step: int, rates: tuple[int, int]) -> None:
    hz, policy_hz = rates
    ratio = hz // policy_hz
    assert place(step * ratio, hz, policy_hz)[0] == step
    assert place(step * ratio + ratio - 1, hz, policy_hz)[0] == step


@given(st.floats(0.1, 3), st.floats(0, 4))
def test_motion_fades_in_from_where_the_arm_stands(seconds: float, later: float) -> None:
    fade, wanted, stands = Fade(seconds), np.array([10.0, -4.0]), np.array([0.0, 2.0])
    np.testing.assert_array_equal(fade.at(wanted, stands, 7.0), stands)
    found = fade.at(wanted, wanted, 7.0 + later)
    part = (found - stands) / (wanted - stands)
    assert part[0] == pytest.approx(part[1]) and -1e-9 <= part[0] <= 1 + 1e-9
    if later >= seconds:
        np.testing.assert_array_equal(found, wanted)
    fade.start()
    np.testing.assert_array_equal(fade.at(wanted, stands, 20.0), stands)
    assert Fade(0.0).at(wanted, stands, 1.0) is wanted
