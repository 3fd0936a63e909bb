"""Receding-horizon execution: which actions run, and when the policy is asked."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.chunks import ChunkExecutor
from vla.interfaces import ActionChunk, Observation


class Counting:
    """Each chunk of each environment holds (environment, number of the chunk, step of the chunk)."""

    name = "counting"

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.calls: list[list[int]] = []
        self.made: dict[int, int] = {}

    def reset(self, count: int) -> None:
        self.made = dict.fromkeys(range(count), 0)

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        self.calls.append(list(which))
        chunks = []
        for index in which:
            steps = [[index, self.made[index], step] for step in range(self.horizon)]
            chunks.append(ActionChunk(np.array(steps, np.float32)))
            self.made[index] += 1
        return chunks


SEEN = Observation(images={}, state=np.zeros(3, np.float32), task="x")


def run(executor: ChunkExecutor, count: int, steps: int) -> list[list[tuple[int, ...]]]:
    ran: list[list[tuple[int, ...]]] = [[] for _ in range(count)]
    for _ in range(steps):
        needing = executor.waiting(range(count))
        if needing:
            executor.plan([SEEN] * len(needing), needing)
        for index in range(count):
            action, _ = executor.next(index)
            ran[index].append(tuple(int(v) for v in action))
    return ran


@given(st.integers(1, 12), st.integers(1, 15), st.integers(1, 4), st.integers(1, 40))
def test_the_first_steps_of_each_chunk_run_in_order(
    horizon: int, execute: int, count: int, steps: int
) -> None:
    policy = Counting(horizon)
    executor = ChunkExecutor(policy, count, execute)
    used = min(execute, horizon)
    for index, ran in enumerate(run(executor, count, steps)):
        assert ran == [(index, step // used, step % used) for step in range(steps)]
    assert len(policy.calls) == -(-steps // used)  # all environments in one batch


def test_a_new_episode_is_planned_afresh_and_alone() -> None:
    policy = Counting(8)
    executor = ChunkExecutor(policy, 2)
    run(executor, 2, 3)
    executor.forget(1)
    assert executor.waiting([0, 1]) == [1]
    run(executor, 2, 1)
    assert policy.calls == [[0, 1], [1]]


def test_the_policys_own_choice_is_taken_unless_told() -> None:
    policy = Counting(8)
    assert ChunkExecutor(policy, 1).execute == 8
    policy.execute = 3  # type: ignore[attr-defined]
    assert ChunkExecutor(policy, 1).execute == 3
    assert ChunkExecutor(policy, 1, 5).execute == 5


def test_an_action_that_was_not_planned_is_an_error() -> None:
    executor = ChunkExecutor(Counting(2), 1)
    with pytest.raises(RuntimeError, match="no planned action"):
        executor.next(0)
