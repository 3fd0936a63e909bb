"""What the control loop asks of RealTimeRunner: steps by number, plans dropped, answers judged."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.chunking import Chunking
from policies.runtime.realtime import RealTimeRunner
from vla.errors import BadInput
from vla.interfaces import ActionChunk, Observation

SEEN = Observation({}, np.zeros(2, np.float32), "x")


class Marked:
    """Row i of the answer to step t is (t + i, number of the question). Answers when it is let to."""

    name, horizon, execute = "marked", 12, 4

    def __init__(self, free: int = 10**6) -> None:
        self.gate = threading.Semaphore(free)
        self.asked: list[int] = []
        self.lie = 0

    def reset(self, count: int) -> None:
        self.asked.clear()

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        step = observations[0].frame_index
        assert step is not None
        self.asked.append(step)
        assert self.gate.acquire(timeout=20)
        rows = np.stack([np.arange(step, step + 12), np.full(12, len(self.asked))], 1).astype(np.float32)
        return [ActionChunk(rows, frame_index=step + self.lie)]


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not until():
        assert time.monotonic() < end
        time.sleep(0.0005)


def settle(runner: RealTimeRunner) -> None:
    """Every question has been answered."""
    wait(lambda: runner._asked is None or not runner._answers.empty())


@pytest.fixture
def policy() -> Iterator[Marked]:
    made = Marked(0)
    yield made
    made.gate.release(1000)


@given(
    st.lists(st.integers(1, 14), min_size=1, max_size=30), st.sampled_from(["queue", "ensemble", "real_time"])
)
def test_steps_that_are_passed_over_skip_their_rows(gaps: list[int], kind: str) -> None:
    """The row is that of the step, whatever was missed; what is upcoming are the rows after it."""
    step = 0
    with RealTimeRunner(Marked(), Chunking(kind), 100.0) as runner:  # type: ignore[arg-type]
        for gap in gaps:
            action, held = runner.action(SEEN, step)
            if not held:
                assert action[0] == pytest.approx(step)
                ahead = runner.upcoming(20)
                np.testing.assert_allclose(ahead[:, 0], step + 1 + np.arange(len(ahead)), rtol=1e-6)
                assert runner.source is not None and step - 12 < runner.source <= step
            settle(runner)
            step += gap
        assert runner.holds == tuple(sorted(set(runner.holds)))


def test_a_step_that_is_over_is_refused() -> None:
    with RealTimeRunner(Marked(), Chunking(), 100.0) as runner:
        runner.action(SEEN, 7)
        with pytest.raises(BadInput, match="control step 7 is over: the next is 8"):
            runner.action(SEEN, 7)
        runner.action(SEEN)  # 8


def test_what_was_dropped_never_comes_back(policy: Marked) -> None:
    """Neither the plan in hand nor the answer on its way, nor is a question of before asked any more."""
    with RealTimeRunner(policy, Chunking(), 100.0) as runner:
        runner.action(SEEN)
        policy.gate.release()
        settle(runner)
        assert runner.action(SEEN)[0].tolist() == [1, 1]
        for _ in range(4):
            runner.action(SEEN)
        wait(lambda: len(policy.asked) == 2)
        runner.drop()
        assert len(runner.upcoming(5)) == 0 and runner.waiting > 0  # it is still at it
        assert runner.action(SEEN)[1] == "no chunk has arrived yet"
        runner.drop()
        policy.gate.release(5)
        wait(lambda: runner.waiting == 0)
        assert runner.action(SEEN)[1] == "no chunk has arrived yet"
        settle(runner)
        action, held = runner.action(SEEN)
        assert not held and action.tolist() == [8, 3]  # the question of step 6 was never put to it
        assert policy.asked == [0, 4, 7]
        assert runner.holds == (0, 6, 7)


def test_an_answer_to_another_question_is_not_executed(policy: Marked) -> None:
    policy.lie = 3
    policy.gate.release(1)
    with RealTimeRunner(policy, Chunking(), 100.0) as runner:
        runner.action(SEEN)
        settle(runner)
        assert runner.action(SEEN)[1] == "the answer to the observation of step 0 says it is for step 3"
        policy.lie = 0
        policy.gate.release(1000)


def test_a_refused_chunk_holds_and_every_answer_is_told() -> None:
    told: list[tuple[int, int, str]] = []
    refused = ["too uncertain"]
    runner = RealTimeRunner(
        Marked(),
        Chunking(),
        100.0,
        refuse=lambda chunk: refused.pop() if refused else "",
        answered=lambda asked, step, seconds, chunk: told.append((asked, step, chunk.hold)),
    )
    with runner:
        runner.action(SEEN)
        settle(runner)
        assert runner.action(SEEN)[1] == "too uncertain"
        settle(runner)
        assert not runner.action(SEEN)[1]
    assert told[:2] == [(0, 1, "too uncertain"), (1, 2, "")]


def test_a_policy_that_never_comes_back_can_be_left(policy: Marked) -> None:
    runner = RealTimeRunner(policy, Chunking(), 100.0)
    runner.action(SEEN)
    wait(lambda: len(policy.asked) == 1)
    assert not runner.stop(0.05)
    policy.gate.release(5)
    assert runner.stop(10.0)
