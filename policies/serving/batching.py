"""Which of the waiting requests the policy is given next, in one batch. No thread, no clock."""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from vla.interfaces import InFlight, Observation

__all__ = ["Job", "Session", "company", "take"]


@dataclass(eq=False)
class Session:
    """One environment of one client. lane: its number for the policy. used, asked: when it last said
    anything, and last asked for a chunk. waiting: its requests that are not answered yet. alone: its last
    request made the policy raise, so that the next must not be in a batch with others'.
    """

    lane: int
    protocol: str
    used: float
    task: str = ""
    asked: float = float("-inf")
    waiting: int = 0
    alone: bool = False
    ended: str = ""


@dataclass(eq=False)
class Job:
    """One thing for the policy, in the order of its session. until: an answer after this comes too late.
    watched: the policy is shown the observation as well, as the client speaks a protocol that cannot.
    """

    kind: Literal["begin", "observe", "act", "forget"]
    session: Session
    asked: float
    until: float = float("inf")
    observation: Observation | None = None
    in_flight: InFlight | None = None
    seed: int = 0
    watched: bool = False
    future: "Future[Any]" = field(default_factory=Future)


def take(waiting: deque[Job], most: int) -> list[Job]:
    """Remove from `waiting` what is to be done next, and return it in order: at most `most` acts, one of
    each lane, and what stands before them in their lanes. A session that is to be alone is.
    """
    taken: list[Job] = []
    shut: set[int] = set()
    acts, left = 0, []
    for job in waiting:
        lane = job.session.lane
        room = acts == 0 if job.session.alone else acts < most
        if lane in shut or (job.kind == "act" and not room):
            shut.add(lane)
            left.append(job)
            continue
        taken.append(job)
        if job.kind == "act":
            shut.add(lane)
            acts = most if job.session.alone else acts + 1
    waiting.clear()
    waiting.extend(left)
    return taken


def company(waiting: deque[Job]) -> int:
    """Sessions that wait for a chunk."""
    return len({job.session.lane for job in waiting if job.kind == "act"})
