"""Real time: commands at once, inference beside them; delays measured; a failing policy holds the arm."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from acting import DIM, Continuer, Planner, observation, truth

from policies.runtime.chunking import Chunking
from policies.runtime.realtime import RealTimeRunner
from vla.errors import BadInput, UndecodableChunk
from vla.interfaces import ActionChunk, Observation

HZ = 200.0
SEEN = Observation({}, np.array([7.0, 8.0, 9.0], np.float32), "x")
STATE = [7.0, 8.0, 9.0]


class Clock:
    """A clock that only a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Gated(Continuer):
    """Answers when it is let to; ``takes`` seconds pass on the clock meanwhile. Can be told to fail."""

    def __init__(self, horizon: int, clock: Clock | None = None, takes: float = 0.0) -> None:
        super().__init__(horizon)
        self.gate, self.entered = threading.Semaphore(0), threading.Semaphore(0)
        self.clock, self.takes = clock, takes
        self.failures: list[Exception] = []
        self.threads: set[int] = set()

    def act(
        self, observations: Sequence[Observation], which: Sequence[int], *more: object
    ) -> list[ActionChunk]:
        self.threads.add(threading.get_ident())
        self.entered.release()
        assert self.gate.acquire(timeout=20)
        if self.clock is not None:
            self.clock.now += self.takes
        if self.failures:
            raise self.failures.pop(0)
        return super().act(observations, which, *more)  # type: ignore[arg-type]

    def answer(self, runner: RealTimeRunner) -> None:
        """Let one answer out, and wait until it has been given."""
        assert self.entered.acquire(timeout=20)
        self.gate.release()
        wait(lambda: not runner._answers.empty())


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not until():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.001)


@pytest.fixture
def policy() -> Iterator[Gated]:
    made = Gated(8)
    yield made
    made.gate.release(100)


def test_commands_come_while_the_policy_thinks(policy: Gated) -> None:
    runner = RealTimeRunner(policy, Chunking(), HZ)
    for _ in range(3):
        action, held = runner.action(SEEN)
        assert held == "no chunk has arrived yet" and action.tolist() == STATE  # where the arm is
    policy.answer(runner)
    for step in range(3, 8):
        action, held = runner.action(SEEN)
        assert not held
        np.testing.assert_array_equal(action, truth(step))  # the rows before are past
    for _ in range(2):
        action, held = runner.action(SEEN)
        assert held == "the plan has run out"
        np.testing.assert_array_equal(action, truth(7))
    assert runner.holds == (0, 1, 2, 8, 9) and runner.joins == ()
    assert policy.threads.isdisjoint({threading.get_ident()})
    policy.gate.release(9)
    runner.close()
    assert not runner._worker.is_alive()
    with pytest.raises(BadInput, match="the runner is closed"):
        runner.action(SEEN)


def test_the_delay_is_forecast_from_what_answers_took() -> None:
    clock = Clock()
    policy = Gated(16, clock, takes=0.12)
    with RealTimeRunner(policy, Chunking("real_time", execute=5, delay=1), 20.0, clock=clock) as runner:
        assert runner.delay == 1 and runner.latency is None
        runner.action(SEEN)
        policy.answer(runner)
        for _ in range(5):
            runner.action(SEEN)
        assert runner.delay == 3 and runner.latency == pytest.approx(0.12)  # 2.4 steps
        policy.answer(runner)
        first, plan = policy.told  # of the first question, and of the second, at step 5
        assert first is not None and first.delay == 1 and (first.actions == STATE).all()
        assert plan is not None and plan.delay == 3 and len(plan.actions) == 11
        np.testing.assert_array_equal(plan.actions, truth(np.arange(5, 16)))
        policy.takes = 9.0
        for _ in range(5):
            runner.action(SEEN)
        policy.answer(runner)
        runner.action(SEEN)
        assert runner.delay == 11  # no more than is left of a chunk when the next is asked for
        policy.takes = 0.0
        policy.gate.release(1000)
        wait(lambda: len(runner.action(SEEN)[0]) == DIM and runner.delay == 0)  # the slow ones are forgotten


def test_a_policy_that_fails_holds_the_arm_for_good(policy: Gated) -> None:
    runner = RealTimeRunner(policy, Chunking(execute=4), HZ)
    runner.action(SEEN)
    policy.answer(runner)
    for _ in range(4):
        last, held = runner.action(SEEN)
        assert not held
    policy.failures.append(RuntimeError("out of memory"))
    policy.answer(runner)
    for _ in range(12):
        action, held = runner.action(SEEN)
        assert held == "RuntimeError: out of memory"
        np.testing.assert_array_equal(action, last)
    assert isinstance(runner.error, RuntimeError)
    runner.new_episode()
    assert runner.action(SEEN)[1] == "RuntimeError: out of memory"  # nothing is asked any more
    with pytest.raises(RuntimeError, match="out of memory"):
        runner.close()
    assert not runner._worker.is_alive()


def test_a_fault_is_raised_at_the_end_but_hides_no_other(policy: Gated) -> None:
    policy.gate.release(50)
    policy.failures.append(RuntimeError("mine"))
    with pytest.raises(RuntimeError, match="mine"), RealTimeRunner(policy, Chunking(), HZ) as runner:
        runner.action(SEEN)
    policy.failures.append(RuntimeError("mine"))
    with pytest.raises(KeyError, match="yours"), RealTimeRunner(policy, Chunking(), HZ) as runner:
        runner.action(SEEN)
        raise KeyError("yours")


def test_what_cannot_be_decoded_holds_and_is_asked_again(policy: Gated) -> None:
    with RealTimeRunner(policy, Chunking(), HZ) as runner:
        policy.failures.append(UndecodableChunk("no such code"))
        runner.action(SEEN)
        policy.answer(runner)
        assert runner.action(SEEN)[1] == "UndecodableChunk: no such code" and runner.error is None
        policy.answer(runner)
        action, held = runner.action(SEEN)
        assert not held
        np.testing.assert_array_equal(action, truth(2))


def test_a_policy_that_holds_says_why() -> None:
    class Unsure(Planner):
        def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
            return [ActionChunk.holding("no red cube here", each, DIM) for each in observations]

    with RealTimeRunner(Unsure(8), Chunking(), HZ) as runner:
        wait(lambda: runner.action(SEEN)[1] == "no red cube here")


@pytest.mark.parametrize("kind", ["queue", "ensemble", "real_time"])
def test_answers_slower_than_a_chunk_is_long_are_told(policy: Gated, kind: str) -> None:
    """Such a policy never moves the arm: all of each answer is past when it comes."""
    late = "the policy is too slow: its answer takes {} control steps or more, by when all 8 of its chunk are"
    with RealTimeRunner(policy, Chunking(kind), HZ) as runner:  # type: ignore[arg-type]
        for _ in range(8):
            assert runner.action(SEEN)[1] == "no chunk has arrived yet"
        assert runner.action(SEEN)[1].startswith(late.format(8))
        assert runner.action(SEEN)[1].startswith(late.format(9))  # and of one that hangs
        for _ in range(2):
            policy.answer(runner)
            for _ in range(9):
                assert runner.action(SEEN)[1].startswith("the policy is too slow: ")
        policy.gate.release(1000)
        wait(lambda: not runner.action(SEEN)[1])  # it has become faster


class Drawing(Planner):
    """Keeps whose numbers it was told to draw."""

    def __init__(self) -> None:
        super().__init__(8)
        self.begun: list[tuple[int, int]] = []

    def begin(self, which: int, seed: int) -> None:
        self.begun.append((which, seed))


def test_who_draws_is_told_each_episode_and_its_seed() -> None:
    policy = Drawing()
    with RealTimeRunner(policy, Chunking(), HZ, seed=5) as runner:
        runner.action(SEEN)
        runner.new_episode()
        runner.new_episode(seed=70)
        runner.new_episode()
    assert policy.begun == [(0, 5), (0, 6), (0, 70), (0, 71)]
    with RealTimeRunner(policy, Chunking(), HZ):
        assert policy.begun[-1] == (0, 0)


def test_an_answer_from_the_episode_before_is_dropped(policy: Gated) -> None:
    policy.offset = lambda step: 100.0 * len(policy.asked)
    with RealTimeRunner(policy, Chunking(), HZ) as runner:
        runner.action(SEEN)
        assert policy.entered.acquire(timeout=20)
        runner.new_episode()
        assert runner.action(SEEN)[1]
        policy.gate.release()
        policy.answer(runner)  # the second question's, of step 0 again
        wait(lambda: runner._answers.qsize() == 2)
        action, held = runner.action(SEEN)
        assert not held and policy.asked == [(0, 0), (0, 0)]
        np.testing.assert_array_equal(action, truth(1) + np.float32(200.0))


class Watching(Gated):
    """Also looks back."""

    watching = True

    def __init__(self, horizon: int) -> None:
        super().__init__(horizon)
        self.seen: list[object] = []

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        self.seen += [(each.frame_index, each.timestamp) for each in observations]

    def forget(self, which: int) -> None:
        self.seen.append("forget")


def test_who_looks_back_is_shown_every_step_in_order() -> None:
    policy, clock = Watching(8), Clock()
    policy.gate.release(50)
    with RealTimeRunner(policy, Chunking(execute=8), HZ, clock=clock) as runner:
        for step in range(3):
            clock.now = 100.0 + step / 2
            runner.action(SEEN)
        runner.new_episode()
        runner.action(SEEN)
        runner.action(observation(17))
    assert policy.seen == [(0, 0.0), (1, 0.5), (2, 1.0), "forget", (0, 0.0), (17, 0.0)]


def test_nothing_moves_after_a_failure_even_if_an_answer_was_on_its_way() -> None:
    class Stumbling(Watching):
        looks = threading.Semaphore(0)

        def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
            if observations[0].frame_index == 1:
                assert self.looks.acquire(timeout=20)
                raise RuntimeError("stumbled")

    policy = Stumbling(8)
    runner = RealTimeRunner(policy, Chunking(execute=1), HZ)
    for _ in range(2):
        runner.action(SEEN)
    policy.answer(runner)
    _, held = runner.action(SEEN)  # and asks again, while the worker looks at step 1
    assert not held and runner.error is None
    policy.looks.release()
    policy.gate.release()
    wait(lambda: runner._answers.qsize() == 2)
    assert runner.action(SEEN)[1] and runner.action(SEEN)[1]
    with pytest.raises(RuntimeError, match="stumbled"):
        runner.close()


@pytest.mark.parametrize("kind", ["queue", "ensemble", "real_time"])
def test_on_a_real_clock_what_is_not_held_is_right(kind: str) -> None:
    class Sleeper(Planner):
        def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
            time.sleep(0.012)
            return super().act(observations, which)

    commands = []
    policy = Sleeper(40, execute=20)
    with RealTimeRunner(policy, Chunking(kind), HZ) as runner:  # type: ignore[arg-type]
        while len(policy.asked) < 4:
            commands.append(runner.action(SEEN))
            time.sleep(1 / HZ)
    assert commands[0][1]
    for step, (action, held) in enumerate(commands):
        right = action if not held else commands[max(step - 1, 0)][0]
        np.testing.assert_array_equal(action, right)
        if not held:
            np.testing.assert_array_equal(action, truth(step))
        assert action.shape == (DIM,)


def test_mistakes_are_one_line() -> None:
    with pytest.raises(BadInput, match="hz=0: a control rate above 0 is needed"):
        RealTimeRunner(Planner(8), Chunking(), 0)
    with pytest.raises(BadInput, match="delay=9: the chunks of policy 'planner' have 8 steps"):
        RealTimeRunner(Planner(8), Chunking(delay=9), HZ)
    runner = RealTimeRunner(Planner(8), Chunking(), HZ, dim=2)
    with runner, pytest.raises(BadInput, match="the state has 3 numbers, an action 2"):
        runner.action(SEEN)
