"""Policies that go wrong on command, and one that keeps an arm moving so that a hold can be seen."""

import threading
import time
import typing
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from policies.base import Policy
from vla.errors import UndecodableChunk
from vla.interfaces import ActionChunk, Observation

__all__ = ["PolicyFault", "Sabotaged", "Waving"]

PolicyFault = Literal[
    "nan",
    "infinite",
    "far",  # 400 units away
    "oscillating",  # from end to end at every step
    "too_narrow",  # a joint is missing
    "undecodable",
    "uncertain",
    "holding",  # it says itself that there is no plan
    "raises",
    "silent",  # never answers again
    "slow",  # each answer takes two seconds
]
KINDS: tuple[str, ...] = typing.get_args(PolicyFault)


class Waving:
    """Draws circles with two joints about where it began: at no time do all of the joints stand.

    amplitude: of the first two joints, in their units. hz: control steps a second. period_s: of a circle.
    """

    name = "waving"

    def __init__(
        self, hz: float = 20.0, horizon: int = 10, amplitude: float = 8.0, period_s: float = 2.0
    ) -> None:
        self.horizon, self.execute = horizon, max(horizon // 2, 1)
        self.hz, self.amplitude, self.period_s = hz, amplitude, period_s
        self.about: dict[str, Any] = {"hz": hz}
        self._centre: npt.NDArray[np.float32] | None = None

    def reset(self, count: int) -> None:
        """See Policy."""
        self._centre = None

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """See Policy."""
        return [self._chunk(seen) for seen in observations]

    def _chunk(self, seen: Observation) -> ActionChunk:
        if self._centre is None:
            self._centre = np.array(seen.state, np.float32)
        steps = (seen.frame_index or 0) + np.arange(self.horizon)
        angle = 2 * np.pi * steps / (self.hz * self.period_s)
        actions = np.tile(self._centre, (self.horizon, 1))
        actions[:, 0] += self.amplitude * np.sin(angle)
        actions[:, 1] += self.amplitude * (np.cos(angle) - 1)
        began = seen.timestamp or 0.0
        timestamps = began + np.arange(self.horizon) / self.hz
        return ActionChunk(
            actions, observed_at=seen.timestamp, frame_index=seen.frame_index, timestamps=timestamps
        )


class Sabotaged:
    """`policy`, whose answers have the fault that `fault` names; "": they are its own.

    A silent one is freed by `free`, so that no thread is left behind.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy, self.name, self.horizon = policy, policy.name, policy.horizon
        self.execute = getattr(policy, "execute", policy.horizon)
        self.about = getattr(policy, "about", {})
        self.fault: str = ""
        self._freed = threading.Event()

    def free(self) -> None:
        """Nobody waits for anything any more."""
        self.fault = ""
        self._freed.set()

    def reset(self, count: int) -> None:
        """See Policy."""
        self.policy.reset(count)

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        """See Policy."""
        fault = self.fault
        if fault == "raises":
            raise RuntimeError("the model ran out of memory (injected)")
        if fault == "undecodable":
            raise UndecodableChunk("the codes stand for no chunk (injected)")
        if fault == "silent":
            self._freed.wait()
        if fault == "slow":
            time.sleep(2.0)
        return [_spoilt(chunk, fault) for chunk in self.policy.act(observations, which)]


def _spoilt(chunk: ActionChunk, fault: str) -> ActionChunk:
    if not fault or chunk.hold:
        return chunk
    actions = chunk.actions.copy()
    middle = len(actions) // 2
    if fault == "nan":
        actions[middle, 0] = np.nan
    elif fault == "infinite":
        actions[middle, -1] = np.inf
    elif fault == "far":
        actions += 400
    elif fault == "oscillating":
        actions[::2] += 150
        actions[1::2] -= 150
    elif fault == "too_narrow":
        actions = actions[:, :-1]
    uncertainty = np.full_like(actions, 500.0) if fault == "uncertain" else chunk.uncertainty
    if fault == "holding":
        return ActionChunk(actions[:0], observed_at=chunk.observed_at, hold="I see nothing (injected)")
    return ActionChunk(
        actions,
        observed_at=chunk.observed_at,
        frame_index=chunk.frame_index,
        timestamps=chunk.timestamps,
        uncertainty=uncertainty,
    )
