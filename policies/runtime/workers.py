"""Many worker processes, one list of jobs: results come as they are ready, a stop ends all cleanly."""

import multiprocessing as mp
import os
import queue
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from vla.errors import BadInput

__all__ = ["Stopped", "run_jobs"]


class Stopped(Exception):
    """Raised inside a worker by ``check()`` when the run is being stopped."""


def run_jobs(
    work: Callable[..., Iterator[Any]], jobs: Sequence[Any], workers: int, *arguments: Any
) -> Iterator[Any]:
    """Yield what ``work(jobs, check, *arguments)`` yields, in `workers` processes, in order of arrival.

    work: a module-level generator function. It takes its jobs from an iterator, which hands each job to one
    worker only, and calls ``check()`` now and then, which raises Stopped when the run ends early.
    With one worker everything runs in this process, which is easier to follow and to debug.
    """
    if workers <= 1:
        yield from work(iter(jobs), lambda: None, *arguments)
        return
    context = mp.get_context("spawn")  # fork would copy OpenGL and thread state, and hang
    todo, results, stop = context.Queue(), context.Queue(), context.Event()
    for job in [*jobs, *[None] * workers]:
        todo.put(job)
    processes = [
        context.Process(
            target=_worker, args=((todo, results, stop), os.getpid(), work, arguments), daemon=True
        )
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    running = workers
    try:
        while running:
            try:
                kind, value = results.get(timeout=1.0)
            except queue.Empty:
                _check_alive(processes)
                continue
            if kind == "end":
                running -= 1
            elif kind == "bad input":
                raise BadInput(value)
            elif kind == "fault":
                raise RuntimeError(f"a worker failed:\n{value}")
            else:
                yield value
    finally:
        stop.set()
        for process in processes:
            process.join(timeout=10.0)
            if process.is_alive():
                process.terminate()
        for channel in (todo, results):
            channel.cancel_join_thread()


def _check_alive(processes: Sequence[Any]) -> None:
    for process in processes:
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            raise BadInput(f"a worker process was ended by {name}; if memory ran out, give fewer workers=")
        if process.exitcode:
            raise RuntimeError(f"a worker died (exit status {process.exitcode})")
    if not any(process.is_alive() for process in processes):
        raise RuntimeError("all workers left without saying so")


def _worker(channels: Any, parent: int, work: Callable[..., Iterator[Any]], arguments: Any) -> None:
    todo, results, stop = channels
    # Ctrl-C reaches the whole process group; the parent decides, the workers finish what they write.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def check() -> None:
        if stop.is_set() or os.getppid() != parent:  # also when the parent was killed outright
            raise Stopped

    def jobs() -> Iterator[Any]:
        while (job := todo.get()) is not None:
            check()
            yield job

    try:
        for value in work(jobs(), check, *arguments):
            results.put(("value", value))
        results.put(("end", None))
    except Stopped:
        results.cancel_join_thread()
    except BadInput as error:
        results.put(("bad input", str(error)))
    except BaseException:
        with suppress(Exception):
            results.put(("fault", traceback.format_exc()))
