"""Executing chunks in several environments: which actions run, and when the policy is asked."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.chunking import Chunking
from policies.runtime.chunks import ChunkExecutor
from vla.errors import BadInput, UndecodableChunk
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


SEEN = Observation(images={}, state=np.full(3, -1.0, np.float32), task="x")
HELD = (-1, -1, -1)


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


@given(st.integers(1, 12), st.data(), st.integers(1, 4), st.integers(1, 40))
def test_the_first_steps_of_each_chunk_run_in_order(
    horizon: int, data: st.DataObject, count: int, steps: int
) -> None:
    policy = Counting(horizon)
    used = data.draw(st.integers(1, horizon))
    executor = ChunkExecutor(policy, count, Chunking(execute=used))
    for index, ran in enumerate(run(executor, count, steps)):
        assert ran == [(index, step // used, step % used) for step in range(steps)]
        assert executor.joins(index) == tuple(range(used, steps, used)) and not executor.holds(index)
    assert len(policy.calls) == -(-steps // used)  # all environments in one batch


@given(st.integers(2, 12), st.data(), st.integers(1, 40))
def test_a_late_queue_starts_each_chunk_at_the_row_that_is_due(
    horizon: int, data: st.DataObject, steps: int
) -> None:
    delay = data.draw(st.integers(0, horizon // 2))
    used = data.draw(st.integers(max(delay, 1), horizon - delay))
    executor = ChunkExecutor(Counting(horizon), 1, Chunking(execute=used, delay=delay))
    [ran] = run(executor, 1, steps)
    expected = [(0, (t - delay) // used, (t - delay) % used + delay) for t in range(delay, steps)]
    assert ran == ([HELD] * delay)[:steps] + expected
    assert executor.holds(0) == tuple(range(min(delay, steps)))


def test_a_delay_longer_than_the_rest_of_a_chunk_holds_the_arm() -> None:
    executor = ChunkExecutor(Counting(4), 1, Chunking(delay=3))
    [ran] = run(executor, 1, 11)
    last, second = (0, 0, 3), (0, 1, 3)
    assert ran == [HELD] * 3 + [last] * 3 + [second] * 3 + [(0, 2, 3)] * 2
    assert executor.holds(0) == (0, 1, 2, 4, 5, 7, 8, 10) and executor.joins(0) == (6, 9)


def test_a_new_episode_is_planned_afresh_and_alone() -> None:
    policy = Counting(8)
    executor = ChunkExecutor(policy, 2, Chunking(execute=8))
    run(executor, 2, 3)
    executor.forget(1)
    assert executor.waiting([0, 1]) == [1]
    run(executor, 2, 1)
    assert policy.calls == [[0, 1], [1]]


def test_an_answer_to_the_episode_before_is_for_nobody() -> None:
    policy = Counting(8)
    executor = ChunkExecutor(policy, 1, Chunking(delay=2))
    run(executor, 1, 1)
    executor.forget(0)
    [ran] = run(executor, 1, 4)
    assert ran == [HELD, HELD, (0, 1, 2), (0, 1, 3)]  # chunk 0 was asked for in the first episode


def test_the_policys_own_choice_is_taken_unless_told() -> None:
    policy = Counting(8)
    assert ChunkExecutor(policy, 1).terms.execute == 8
    policy.execute = 3  # type: ignore[attr-defined]
    assert ChunkExecutor(policy, 1).terms.execute == 3
    assert ChunkExecutor(policy, 1, Chunking(execute=5)).terms.execute == 5


class Faulty(Counting):
    """Answers to the calls that `faults` numbers are what that gives."""

    def __init__(self, horizon: int, faults: dict[int, ActionChunk | Exception]) -> None:
        super().__init__(horizon)
        self.faults = faults

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        chunks = super().act(observations, which)
        fault = self.faults.get(len(self.calls) - 1)
        if isinstance(fault, Exception):
            raise fault
        return [fault] if fault is not None else chunks


NAN = np.zeros((2, 3), np.float32)
NAN[1, 2] = np.nan
FAULTS = {
    "unsure": ActionChunk.holding("unsure", SEEN, 3),
    "not finite at [1, 2]": ActionChunk(NAN),
    "have 4 numbers, not 3": ActionChunk(np.zeros((2, 4), np.float32)),
    "shape [0, 3]": ActionChunk(np.zeros((0, 3), np.float32)),
    "shape [3]": ActionChunk(np.zeros(3, np.float32)),
    "no such code": UndecodableChunk("no such code"),
}


@pytest.mark.parametrize("reason", FAULTS)
@pytest.mark.parametrize("kind", ["queue", "ensemble", "real_time"])
def test_what_is_no_plan_is_never_executed(reason: str, kind: str) -> None:
    fault = FAULTS[reason]
    policy = Faulty(4, {1: fault})
    executor = ChunkExecutor(policy, 1, Chunking(kind, execute=2), dim=3)  # type: ignore[arg-type]
    [ran] = run(executor, 1, 2)
    executor.waiting([0])
    executor.plan([SEEN], [0])
    action, chunk = executor.next(0)
    assert not chunk.valid and reason in chunk.hold
    assert tuple(action) == ran[-1]  # the command before, though the old plan had two rows more
    [more] = run(executor, 1, 2)  # asked again at once
    assert [number for _, number, _ in more] == [2, 2] and executor.holds(0) == (2,)
    assert len(policy.calls) == 3


def test_before_any_command_the_arm_is_held_where_it_is() -> None:
    executor = ChunkExecutor(Faulty(4, {0: FAULTS["unsure"]}), 1, dim=3)
    assert run(executor, 1, 2)[0][:2] == [HELD, (0, 1, 0)]
    blind = ChunkExecutor(Faulty(4, {0: FAULTS["unsure"]}), 1, dim=2)
    with pytest.raises(BadInput, match=r"before its first command: the state has 3 numbers, an action 2$"):
        run(blind, 1, 1)
