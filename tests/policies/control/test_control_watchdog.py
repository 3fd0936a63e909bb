"""The watchdog by itself: what it takes for trouble, how long it lasts, and what it lets through."""

import re

import numpy as np
from arms import modest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.control import Watch, Watchdog
from policies.runtime.control.eyes import Eyes, fingerprint
from policies.runtime.control.health import Health
from vla.arm import Picture, Reading


def dog(**more: object) -> Watchdog:
    return Watchdog(modest(), Watch(**more), 0.0)  # type: ignore[arg-type]


def kinds(watchdog: Watchdog) -> set[str]:
    return {trouble.kind for trouble in watchdog.troubles}


def test_after_a_silence_it_may_have_moved() -> None:
    watchdog = dog()
    watchdog.reading(Reading(np.zeros(3), 0.0), 0.0)
    watchdog.unread("no reply", 0.3)
    assert kinds(watchdog) == {"bus"}
    watchdog.reading(Reading(np.full(3, 40.0), 0.4), 0.4)
    assert not watchdog.troubles


def test_readings_that_are_none() -> None:
    watchdog = dog()
    for found, line in (
        (np.array([0, np.nan, 0]), "the reading of joint 'j1' is nan"),
        (np.zeros(4), r"the reading has shape \[4\], the arm 3 joints"),
    ):
        watchdog.reading(Reading(found, 1.0), 1.0)
        assert kinds(watchdog) == {"state"} and watchdog.trusted is None
        assert re.search(line, watchdog.troubles[0].text)
    watchdog.reading(Reading(np.zeros(3), 1.0), 1.5)
    assert watchdog.troubles[0].text == "the joints' reading is 0.500 s old (limit 0.25 s)"
    watchdog.reading(Reading(np.zeros(3), 1e6), 2.0)
    assert "from 999998.000 s in the future" in watchdog.troubles[0].text


def test_what_is_lost_is_final_and_comes_first() -> None:
    watchdog = dog(final=("camera",))
    watchdog.commanded("refused", 0.5)
    assert not watchdog.troubles[0].final
    watchdog.commanded("refused", 1.5)
    watchdog.waiting(5.0)
    assert [(each.kind, each.final) for each in watchdog.troubles] == [("command", True), ("answer", False)]
    watchdog.commanded("", 1.6)
    watchdog.waiting(0.0)
    assert not watchdog.troubles
    watchdog.pictures({}, 2.0)
    assert watchdog.troubles == (("camera", "camera 'front' gives no picture", True),)


def pixels(shade: int, size: int = 16) -> np.ndarray:
    return np.full((size, size, 3), shade, np.uint8)


@given(st.floats(0.01, 0.2), st.floats(0.2, 3.0), st.floats(0, 40))
def test_a_picture_that_stays_while_the_arm_moves_is_frozen(every: float, lasts: float, far: float) -> None:
    watch = Watch(frozen=0.5, frozen_motion=0.05)
    eyes, steps = Eyes(modest(), watch), int(lasts / every)
    frozen = ""
    for step in range(steps + 1):
        now = step * every
        where = np.array([far * step / max(steps, 1), 0, 0])
        _, frozen = eyes.look({"front": Picture(pixels(3), now)}, Reading(where, now), now)
    assert bool(frozen) == (far / 360 > 0.05 and steps * every > 0.5)
    now = lasts + 1
    _, frozen = eyes.look({"front": Picture(pixels(4), now)}, Reading(np.zeros(3), now), now)
    assert not frozen


def test_a_frozen_camera_stays_frozen_when_the_arm_is_held_for_it() -> None:
    eyes = Eyes(modest(), Watch(frozen=0.1, frozen_motion=0.01))
    for step in range(20):
        where = np.full(3, float(min(step, 5)) * 4)
        _, frozen = eyes.look({"front": Picture(pixels(1), step / 10)}, Reading(where, step / 10), step / 10)
    assert frozen == "camera 'front' is frozen: the same picture for 1.90 s while the arm moved"


@given(st.floats(0.01, 0.2), st.floats(0.0, 3.0), st.floats(0, 40), st.booleans())
def test_a_picture_that_is_counted_is_judged_by_its_number(
    every: float, lasts: float, far: float, stands: bool
) -> None:
    """However much the arm moves, and whether or not anything else does."""
    eyes, steps = Eyes(modest(), Watch(camera=0.5, frozen=0.2, frozen_motion=0.0)), int(lasts / every)
    scene = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    for step in range(steps + 1):
        now, where = step * every, np.array([far * step / max(steps, 1), 0, 0])
        shown = Picture(scene if stands else np.roll(scene, step), now, step)
        assert eyes.look({"front": shown}, Reading(where, now), now) == ("", "")
    began = now
    for step in range(steps + 1):
        now = began + step * every
        _, frozen = eyes.look({"front": Picture(scene, now, steps)}, Reading(where, now), now)
        assert bool(frozen) == (now - began > 0.5)
    assert not frozen or frozen.startswith(f"camera 'front' is frozen: its picture {steps} again for ")
    assert eyes.look({"front": Picture(scene, now, steps + 1)}, None, now) == ("", "")


def test_counted_pictures_of_one_colour_are_frozen_once_the_arm_moves() -> None:
    eyes = Eyes(modest(), Watch(frozen=0.1, frozen_motion=0.01))
    for step in range(20):
        where = np.full(3, float(step) * 4)
        _, frozen = eyes.look(
            {"front": Picture(pixels(0), step / 10, step)}, Reading(where, step / 10), step / 10
        )
    assert frozen == "camera 'front' is frozen: the same picture for 1.90 s while the arm moved"
    seen = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    assert eyes.look({"front": Picture(seen, 2.1, 21)}, Reading(where, 2.1), 2.1) == ("", "")


def test_a_large_picture_is_judged_by_evenly_spaced_pixels() -> None:
    large = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    other = large.copy()
    other[::6, ::6] += 1
    assert fingerprint(large) == fingerprint(large.copy()) != fingerprint(other)


def test_it_goes_on_only_after_all_was_well_for_a_while() -> None:
    health = Health(0.5)
    told = [(0.0, False), (0.1, True), (0.2, True), (0.3, False), (0.7, False), (0.75, True), (0.8, False)]
    told += [(1.2, False), (1.31, False), (1.4, False)]
    fell, well = [], []
    for now, trouble in told:
        well.append(health.update(trouble, now))
        fell.append(health.fell_ill)
    assert well == [True, *[False] * 7, True, True]
    assert fell == [False, True, *[False] * 8]
