"""Work that several processes share: spawned, one core each, and ended when whoever asked for it stops."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

__all__ = ["in_processes"]


def in_processes[Job, Result](
    work: Callable[..., Result], shared: Sequence[Any], jobs: Sequence[Job], workers: int
) -> Iterator[Result]:
    """``work(*shared, job)`` of each job, as they are done; `shared` is sent to each process once.

    With one worker, or one job, in this process and in order: a process takes seconds to start.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from (work(*shared, job) for job in jobs)
        return
    # spawn: a forked child could inherit a lock held by one of the parent's threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _prepare, (work, *shared)) as pool:
        try:
            for future in as_completed([pool.submit(_one, job) for job in jobs]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_held: list[Any] = []
"""Of a process that works: the function and what it shares."""


def _prepare(*held: Any) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded: each process has one core
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends its children
    _held[:] = held


def _one(job: Any) -> Any:
    work, *shared = _held
    return work(*shared, job)
