"""What a policy that looks back is told of the past when not every control step was seen."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from policies.memory import PictureMemory
from vla.interfaces import Observation


def seen(number: int, step: int | None) -> Observation:
    picture = np.full((4, 4, 3), number, np.uint8)
    return Observation({"front": picture}, np.zeros(1, np.float32), "go", frame_index=step)


def past(memory: PictureMemory) -> list[int]:
    history = memory.history(0).get("front", np.zeros((0, 1, 1, 1), np.uint8))
    return [int(picture[0, 0, 0]) for picture in history]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 8))
def test_what_was_seen_k_steps_ago_stands_k_steps_ago(gaps: list[int], steps: int) -> None:
    """At each step passed over stands the newest picture that there was; after more than is kept, nothing."""
    memory, step, begin = PictureMemory(steps), 0, 0
    newest = {}
    for gap in [0, *gaps]:
        if gap > steps + 1:
            begin = step + gap
        step += gap
        for each in range(step - gap + 1, step):
            newest[each] = newest[step - gap]
        newest[step] = step
        memory.add(seen(step, step), 0)
        right = [newest[step - k] for k in range(1, steps + 1) if step - k >= begin]
        assert past(memory) == right


def test_without_numbers_every_observation_is_the_next_step() -> None:
    memory = PictureMemory(3)
    for number in range(5):
        memory.add(seen(number, None), 0)
    assert past(memory) == [3, 2, 1]


def test_an_episode_begins_anew_at_any_number() -> None:
    memory = PictureMemory(3)
    memory.add(seen(7, 7), 0)
    memory.forget(0)
    memory.add(seen(9, 9), 0)
    memory.add(seen(10, 10), 0)
    assert past(memory) == [9]
    memory.clear()
    memory.add(seen(12, 12), 0)
    assert past(memory) == []
