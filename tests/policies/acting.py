"""Small policies that really compute something, for tests of what executes their chunks."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from policies.runtime.chunks import ChunkExecutor
from vla.interfaces import ActionChunk, InFlight, Observation

Rows = npt.NDArray[np.float32]

DIM = 3


def truth(step: int | npt.NDArray[np.int64]) -> Rows:
    """What should be done at each step, ``[..., DIM]``: a curve that no two steps share."""
    t = np.asarray(step, np.float64)[..., None]
    return (40 * np.sin(0.3 * t + np.arange(DIM)) + t).astype(np.float32)


class Planner:
    """Plans ``offset(step) + truth`` from the step of the observation on; keeps what it was asked."""

    name = "planner"

    def __init__(
        self, horizon: int, offset: Callable[[int], float] = lambda step: 0.0, execute: int | None = None
    ) -> None:
        self.horizon, self.offset = horizon, offset
        self.execute = execute or horizon
        self.asked: list[tuple[int, int]] = []  # (environment, step)

    def reset(self, count: int) -> None:
        self.asked.clear()

    def act(self, observations: Sequence[Observation], which: Sequence[int]) -> list[ActionChunk]:
        chunks = []
        for observation, number in zip(observations, which, strict=True):
            step = observation.frame_index
            assert step is not None
            self.asked.append((number, step))
            rows = truth(np.arange(step, step + self.horizon)) + np.float32(self.offset(step))
            chunks.append(ActionChunk(rows, frame_index=step))
        return chunks


class Continuer(Planner):
    """Goes on from the plan in flight by its weights, and keeps what it was told."""

    continues = True

    def reset(self, count: int) -> None:
        super().reset(count)
        self.told: list[InFlight | None] = []

    def act(
        self,
        observations: Sequence[Observation],
        which: Sequence[int],
        in_flight: Sequence[InFlight | None] | None = None,
    ) -> list[ActionChunk]:
        chunks = super().act(observations, which)
        for chunk, plan in zip(chunks, in_flight or [None] * len(chunks), strict=True):
            self.told.append(plan)
            if plan is not None:
                count = min(len(plan.actions), self.horizon)
                weights = plan.weights[:count, None]
                chunk.actions[:count] += weights * (plan.actions[:count] - chunk.actions[:count])
        return chunks


def observation(step: int, state: Sequence[float] = (7.0, 8.0, 9.0)) -> Observation:
    return Observation({}, np.array(state, np.float32), "x", frame_index=step)


def run(executor: ChunkExecutor, steps: int, count: int = 1) -> tuple[Rows, list[list[ActionChunk]]]:
    """Commands ``[count, steps, DIM]`` and the chunks they are from."""
    commands: list[list[Rows]] = [[] for _ in range(count)]
    chunks: list[list[ActionChunk]] = [[] for _ in range(count)]
    for step in range(steps):
        needing = executor.waiting(range(count))
        if needing:
            executor.plan([observation(step)] * len(needing), needing)
        for index in range(count):
            action, chunk = executor.next(index)
            commands[index].append(action)
            chunks[index].append(chunk)
    return np.array(commands), chunks
