"""Tells a terminal how a run goes, in a thread of its own: a slow terminal must not make the arm late."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from policies.runtime.control.results import Status

__all__ = ["reporting"]

EVERY = 0.15


@contextlib.contextmanager
def reporting(
    snapshot: Callable[[], Status], on_status: Callable[[Status], None] | None, every: float = EVERY
) -> Iterator[None]:
    """While entered, `on_status(snapshot())` each `every` seconds, and once more at the end. What it raises
    ends the telling, not the run."""
    if on_status is None:
        yield
        return
    over = threading.Event()

    def tell() -> None:
        with contextlib.suppress(Exception):
            while not over.wait(every):
                on_status(snapshot())
            on_status(snapshot())

    thread = threading.Thread(target=tell, name="status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)
