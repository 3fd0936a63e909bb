"""Worker processes: every job done once, faults reported, a stop ends them."""

import multiprocessing as mp
import os
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from policies.runtime.workers import run_jobs
from vla.errors import BadInput


def square(jobs: Iterable[int], check: Callable[[], None], offset: int) -> Iterator[int]:
    for job in jobs:
        check()
        yield job * job + offset


def fail(jobs: Iterable[int], check: Callable[[], None], kind: str) -> Iterator[int]:
    for _ in jobs:
        raise BadInput("the sentence is empty") if kind == "user" else KeyError("a bug")
    yield 0


def forever(jobs: Iterable[int], check: Callable[[], None]) -> Iterator[int]:
    for job in jobs:
        yield job
        while True:
            check()
            time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once(workers: int) -> None:
    assert sorted(run_jobs(square, [1, 2, 3, 4], workers, 10)) == [11, 14, 19, 26]


def test_a_users_mistake_stays_one_and_a_fault_shows_its_trace() -> None:
    with pytest.raises(BadInput, match="the sentence is empty"):
        list(run_jobs(fail, [1, 2], 2, "user"))
    with pytest.raises(RuntimeError, match="KeyError: 'a bug'"):
        list(run_jobs(fail, [1, 2], 2, "program"))


def test_leaving_early_stops_the_workers() -> None:
    running = run_jobs(forever, [1, 2], 2)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert not [p for p in mp.active_children() if p.is_alive()]


def die(jobs: Iterable[int], check: Callable[[], None], status: int) -> Iterator[int]:
    for _ in jobs:
        if status < 0:
            os.kill(os.getpid(), -status)
        os._exit(status)
    yield 0


def test_a_worker_that_is_killed_or_leaves_is_noticed() -> None:
    with pytest.raises(BadInput, match="ended by SIGKILL; if memory ran out"):
        list(run_jobs(die, [1, 2], 2, -9))
    with pytest.raises(RuntimeError, match="without saying so"):
        list(run_jobs(die, [1, 2], 2, 0))
