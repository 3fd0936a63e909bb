"""The core without a wire: what goes together, what is refused, whose answer is whose."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import Everything, Gated, limits, seen

from policies.serving.batching import Job, Session, take
from policies.serving.core import Core
from policies.serving.echo import EchoPolicy, echo
from policies.serving.errors import (
    BadObservation,
    Late,
    Overloaded,
    PolicyFailed,
    Stopping,
    UnknownSession,
)
from vla.errors import BadInput, UndecodableChunk
from vla.interfaces import InFlight

KINDS = st.sampled_from(["act", "act", "observe", "begin"])


@given(
    jobs=st.lists(st.tuples(st.integers(0, 4), KINDS), max_size=30),
    most=st.integers(1, 4),
    alone=st.sets(st.integers(0, 4)),
)
def test_every_request_is_taken_once_in_the_order_of_its_session(
    jobs: list[tuple[int, str]], most: int, alone: set[int]
) -> None:
    sessions = [Session(lane, "x", 0.0, alone=lane in alone) for lane in range(5)]
    all_of = [Job(kind, sessions[lane], float(i)) for i, (lane, kind) in enumerate(jobs)]  # type: ignore[arg-type]
    waiting, done = deque(all_of), []
    while waiting:
        batch = take(waiting, most)
        assert batch, "something must always be taken"
        acts = [job.session for job in batch if job.kind == "act"]
        assert len(acts) <= most and max(Counter(map(id, acts)).values(), default=0) <= 1
        assert len(acts) == 1 or not any(session.alone for session in acts)
        for session in acts:  # nothing of a session after its act
            assert [job for job in batch if job.session is session][-1].kind == "act"
        done += batch
    assert sorted(job.asked for job in done) == [job.asked for job in all_of]
    for session in sessions:
        order = [job.asked for job in done if job.session is session]
        assert order == sorted(order)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_is_asked_together_is_answered_together_and_to_whom_it_belongs() -> None:
    policy = Gated()
    with Core(policy, limits(batch=8, wait_ms=2000)) as core:
        sessions = [core.open("test") for _ in range(8)]
        first = core.act(sessions[0], seen(100))
        assert policy.entered.wait(10)
        futures = [core.act(session, seen(i)) for i, session in enumerate(sessions)]
        policy.gate.set()
        assert np.array_equal(first.result(10).actions[0], echo(seen(100)))
        for i, future in enumerate(futures):
            assert np.array_equal(future.result(10).actions[0], echo(seen(i)))
    assert [len(batch) for batch in policy.batches] == [1, 8]
    assert policy.lanes[1] == sorted(policy.lanes[1])


def test_one_client_alone_waits_for_nobody() -> None:
    with Core(EchoPolicy(), limits(wait_ms=5000)) as core:
        session = core.open("test")
        start = time.monotonic()
        for i in range(20):
            core.act(session, seen(i)).result(10)
        assert time.monotonic() - start < 4


def test_a_batch_is_not_larger_than_allowed() -> None:
    policy = Gated()
    with Core(policy, limits(batch=3, wait_ms=0)) as core:
        futures = [core.act(core.open("test"), seen(i)) for i in range(10)]
        policy.gate.set()
        for i, future in enumerate(futures):
            assert np.array_equal(future.result(10).actions[0], echo(seen(i)))
    assert max(map(len, policy.batches)) <= 3


def test_overload_is_refused_at_once_and_what_was_accepted_is_answered() -> None:
    policy = Gated()
    with Core(policy, limits(waiting=3, one_waiting=2, sessions=8, wait_ms=0)) as core:
        blocking = core.open("test")
        held = core.act(blocking, seen(0))
        assert policy.entered.wait(10)
        sessions = [core.open("test") for _ in range(2)]
        until(lambda: len(core._queue) == 2)  # their begins wait too
        accepted = core.act(sessions[0], seen(1))
        with pytest.raises(Overloaded, match="3 requests wait already"):
            core.act(sessions[1], seen(2))
        policy.gate.set()
        assert held.result(10).valid and accepted.result(10).valid
        assert core.act(sessions[1], seen(2)).result(10).valid
        assert 'vla_errors_total{kind="overloaded",protocol="test"} 1.0' in core.metrics.text().decode()


def test_one_session_cannot_fill_the_queue() -> None:
    policy = Gated()
    with Core(policy, limits(one_waiting=2)) as core:
        greedy, other = core.open("test"), core.open("test")
        until(lambda: core.waiting == 0)
        futures = [core.act(greedy, seen(i)) for i in range(2)]
        with pytest.raises(Overloaded, match="of this session"):
            core.act(greedy, seen(3))
        futures.append(core.act(other, seen(4)))
        policy.gate.set()
        assert all(future.result(10).valid for future in futures)


def test_sessions_are_few_and_come_back() -> None:
    with Core(EchoPolicy(), limits(sessions=2)) as core:
        sessions = [core.open("test") for _ in range(2)]
        with pytest.raises(Overloaded, match="all 2 sessions"):
            core.open("test")
        core.end(sessions[0])
        again = core.open("test")
        assert again.lane == sessions[0].lane
        with pytest.raises(UnknownSession):
            core.act(sessions[0], seen(0))
        assert core.act(again, seen(1)).result(10).valid


def test_silent_sessions_are_ended() -> None:
    now = [0.0]
    with Core(EchoPolicy(), limits(sessions=1, idle_s=60), clock=lambda: now[0]) as core:
        session = core.open("test")
        until(lambda: core.waiting == 0)
        now[0] = 61.0
        assert core.act(core.open("test"), seen(1)).result(10).valid
        with pytest.raises(UnknownSession, match="silent for 60 s"):
            core.act(session, seen(1))


def test_what_would_come_too_late_is_not_computed() -> None:
    policy = Gated()
    with Core(policy, limits(wait_ms=0)) as core:
        first, second = core.open("test"), core.open("test")
        held = core.act(first, seen(0, "first"))
        assert policy.entered.wait(10)
        late = core.act(second, seen(1, "late"), seconds=0.05)
        time.sleep(0.1)
        policy.gate.set()
        assert held.result(10).valid
        with pytest.raises(Late, match="no answer within 0\\.05 s"):
            late.result(10)
    assert policy.batches == [["first"]]


def test_who_is_gone_is_not_computed_for() -> None:
    policy = Gated()
    with Core(policy, limits(wait_ms=0)) as core:
        held = core.act(core.open("test"), seen(0, "first"))
        assert policy.entered.wait(10)
        gone, ended = core.open("test"), core.open("test")
        cancelled = core.act(gone, seen(1, "cancelled"))
        refused = core.act(ended, seen(2, "ended"))
        assert cancelled.cancel()
        core.end(ended, "the client is gone")
        with pytest.raises(UnknownSession, match="the client is gone"):
            refused.result(1)
        policy.gate.set()
        assert held.result(10).valid
        until(lambda: core.waiting == 0)
    assert policy.batches == [["first"]]


@pytest.mark.parametrize(
    ("raised", "wanted", "line"),
    [
        (BadInput("unknown word 'zebra'"), BadObservation, "unknown word 'zebra'"),
        (RuntimeError("secret /path"), PolicyFailed, "the policy failed with RuntimeError"),
    ],
)
def test_one_clients_fault_is_its_own(raised: Exception, wanted: type[Exception], line: str) -> None:
    policy = Gated()
    policy.faults["bad"] = raised
    with Core(policy, limits(wait_ms=200)) as core:
        blocking, *sessions = [core.open("test") for _ in range(4)]
        held = core.act(blocking, seen(9))
        assert policy.entered.wait(10)
        futures = [core.act(s, seen(i, "bad" if i == 1 else "good")) for i, s in enumerate(sessions)]
        policy.gate.set()
        held.result(10)
        assert np.array_equal(futures[0].result(10).actions[0], echo(seen(0, "good")))
        assert np.array_equal(futures[2].result(10).actions[0], echo(seen(2, "good")))
        with pytest.raises(wanted, match=line) as error:
            futures[1].result(10)
        assert "secret" not in str(error.value)
        assert sessions[1].alone and not sessions[0].alone
        assert core.act(sessions[1], seen(1, "good")).result(10).valid  # once it is well, it is one of many
        assert not sessions[1].alone


def test_what_cannot_be_decoded_or_run_is_a_hold_and_never_motion() -> None:
    policy = Gated(free=True)
    policy.faults["codes"] = UndecodableChunk("token 7 stands for nothing")
    policy.spoilt = {"nan": np.nan, "inf": np.inf}
    with Core(policy, limits()) as core:
        session = core.open("test")
        for task, line in (("codes", "token 7"), ("nan", "not finite"), ("inf", "not finite")):
            chunk = core.act(session, seen(1, task)).result(10)
            assert not chunk.valid and line in chunk.hold and chunk.actions.shape[0] == 0
        assert b'vla_holds_total{protocol="test"} 3.0' in core.metrics.text()


def test_seeds_pasts_and_plans_reach_the_policy_in_order() -> None:
    policy = Everything()
    plan = InFlight(np.zeros((2, 3), np.float32), 1, np.ones(2, np.float32))
    with Core(policy, limits(sessions=1)) as core:
        session = core.open("test", seed=5)
        core.observe(session, seen(1)).result(10)
        core.act(session, seen(2), plan).result(10)
        core.act(session, seen(3), watched=True).result(10)
        core.begin(session, 6).result(10)
        core.end(session)
        core.begin(core.open("test"), 7).result(10)
    assert policy.log == [
        ("reset", 1),
        ("forget", 0),
        ("begin", 0, 5),
        ("observe", 0, 1.0),
        ("act", 0, 2.0, 1),
        ("observe", 0, 3.0),
        ("act", 0, 3.0, None),
        ("forget", 0),
        ("begin", 0, 6),
        ("forget", 0),  # the session ended
        ("forget", 0),
        ("begin", 0, 0),
        ("forget", 0),
        ("begin", 0, 7),
    ]


def test_stopping_answers_what_was_accepted_and_nothing_else() -> None:
    policy = Gated()
    with Core(policy, limits(wait_ms=0)) as core:
        session = core.open("test")
        first = core.act(session, seen(0))
        assert policy.entered.wait(10)
        second = core.act(session, seen(1))
        core.stop_asking()
        for ask in (lambda: core.act(session, seen(2)), lambda: core.open("test")):
            with pytest.raises(Stopping):
                ask()
        assert core.trouble() == "stopping"
        policy.gate.set()
        assert first.result(10).valid and second.result(10).valid
        assert core.waiting == 0
    assert not any(thread.name == "serving" for thread in threading.enumerate())


def test_a_policy_that_is_stuck_shows_in_the_health() -> None:
    now = [0.0]
    policy = Gated()
    with Core(policy, limits(answer_s=2.0), clock=lambda: now[0]) as core:
        core.act(core.open("test"), seen(0))
        assert policy.entered.wait(10)
        assert core.trouble() == ""
        now[0] = 10.0
        assert "has not answered for 10 s" in core.trouble()
        policy.gate.set()
        until(lambda: core.trouble() == "")
