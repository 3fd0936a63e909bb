"""Stitching: answers of any age go in, one command a control step comes out.

A stitcher serves one environment (or one robot) through one episode. It knows neither threads nor clocks: who
runs it says at which step a chunk was asked for and at which it arrived, so that simulated delays and real
ones take the same road. Nothing is ever executed from a chunk that is not valid: where there is no plan, the
last command is repeated.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from policies.runtime.chunking.config import Terms
from policies.runtime.chunking.schedule import age_weights, overlap_weights
from vla.errors import BadInput
from vla.interfaces import ActionChunk, InFlight

__all__ = ["Command", "Stitcher", "build_stitcher", "fault_in"]

Rows = npt.NDArray[np.float32]


class Command(NamedTuple):
    """What to do at one control step.

    action: float32 ``[action_dim]``. chunk: the newest it is from, or one with a ``hold``: the arm is held.
    """

    action: Rows
    chunk: ActionChunk


class Stitcher:
    """The queue, and what all kinds share: go over to each chunk as it arrives, at the row that is due.

    dim: numbers an action has; None: whatever the first chunk has. joins: steps at which a chunk gave the
    command where another had given the one before (holds between them do not count). holds: steps at which
    the last command was repeated for want of a plan.
    """

    def __init__(self, terms: Terms, dim: int | None = None) -> None:
        self.terms, self._dim = terms, dim
        self.joins: list[int] = []
        self.holds: list[int] = []
        self._asked: int | None = None  # the step whose observation waits for its answer
        self._last_asked: int | None = None
        self._newest = -1  # the step of the newest observation that has been answered
        self._state: Rows | None = None
        self._last: Rows | None = None  # the command of the step before
        self._chunk: ActionChunk | None = None
        self._ran: int | None = None  # the observation behind the last command that was not a hold
        self._reason = "no chunk has arrived yet"
        self._void()

    def see(self, state: Rows) -> None:
        """`state` is where the arm is: what is held before the first command."""
        if self._last is None:
            self._state = np.array(state, np.float32)

    # -- asking -----------------------------------------------------------------------------------

    def wants(self, step: int, delay: int) -> bool:
        """Whether a chunk should be asked for at `step`, when answers take `delay` steps.

        One at a time: the next after `execute` steps, or sooner, so that it arrives when the plan runs out.
        """
        if self._asked is not None:
            return False
        if self._last_asked is None or self._remaining(step) <= delay:
            return True
        return step - self._last_asked >= self.terms.execute

    def ask(self, step: int, delay: int, state: Rows) -> InFlight | None:
        """A chunk is asked for at `step`, where `state` is observed; returns what to tell the policy."""
        self._asked = self._last_asked = step
        self.see(state)
        return None

    # -- answers ----------------------------------------------------------------------------------

    def enter(self, chunk: ActionChunk, asked: int, step: int) -> None:
        """The answer to the observation of step `asked` arrives at `step`, be it late or out of order."""
        if asked == self._asked:
            self._asked = None
        if asked <= self._newest:  # a newer one has been answered: this knows less
            return
        self._newest = asked
        fault = chunk.hold or fault_in(chunk, self._dim)
        if fault:
            self._void()
            self._reason = fault
            return
        rows = np.asarray(chunk.actions, np.float32)
        self._dim = rows.shape[1]
        self._add(rows, asked, step)
        self._chunk = chunk
        if not self._remaining(step):
            self._reason = _too_slow(step - asked, len(rows))

    def _void(self) -> None:
        """There is no plan."""
        self._rows: Rows = np.zeros((0, self._dim or 0), np.float32)
        self._base = 0

    def _add(self, rows: Rows, asked: int, step: int) -> None:
        """`rows`, the first of them due at step `asked`, are the plan from `step` on."""
        self._rows, self._base = rows, asked

    # -- commands ---------------------------------------------------------------------------------

    def command(self, step: int) -> Command:
        """The command of `step`, once a step, in order. Raises BadInput where there is nothing to hold."""
        action = self._planned(step)
        if action is None:
            self.holds.append(step)
            action = self._held()
            chunk = ActionChunk(np.zeros((0, len(action)), np.float32), hold=self._why(step))
        else:
            assert self._chunk is not None
            chunk = self._chunk
            if self._ran not in (None, self._newest):
                self.joins.append(step)
            self._ran = self._newest
            self._reason = "the plan has run out"
        self._last = action
        return Command(action, chunk)

    def upcoming(self, step: int, count: int) -> Rows:
        """What the plan has at present for `step` and on, float32 ``[n, action_dim]``: at most
        `count` rows, fewer where it ends. Nothing is taken out of it."""
        rows: list[Rows] = []
        while len(rows) < count and (row := self._planned(step + len(rows))) is not None:
            rows.append(row)
        return np.stack(rows) if rows else np.zeros((0, self._dim or 0), np.float32)

    @property
    def source(self) -> int | None:
        """The step of the newest observation behind the last command that was not a hold."""
        return self._ran

    def _planned(self, step: int) -> Rows | None:
        """What the plan has for `step`, if it reaches that far."""
        row = step - self._base
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def _remaining(self, step: int) -> int:
        """How many rows are due at `step` or later."""
        return max(self._base + len(self._rows) - step, 0)

    def _why(self, step: int) -> str:
        """Why there is no plan for `step`."""
        waited = 0 if self._asked is None else step - self._asked
        return self._reason if waited < self.terms.horizon else _too_slow(waited, self.terms.horizon)

    def _held(self) -> Rows:
        """The command that keeps the arm where it is."""
        if self._last is not None:
            return self._last
        size = 0 if self._state is None else len(self._state)
        if self._state is None or size == 0 or (self._dim is not None and size != self._dim):
            wanted = "some" if self._dim is None else self._dim
            sizes = f"the state has {size} numbers, an action {wanted}"
            raise BadInput(f"the arm cannot be held before its first command: {sizes}")
        return self._state


class Ensemble(Stitcher):
    """Temporal ensembling: the mean of all that was predicted for the present step.

    The i-th oldest prediction has weight exp(-decay i) (Zhao et al. 2023).
    """

    def _void(self) -> None:
        self._plans: deque[tuple[Rows, int]] = deque()

    def _add(self, rows: Rows, asked: int, step: int) -> None:
        self._plans.append((rows, asked))
        while self._plans and self._plans[0][1] + len(self._plans[0][0]) <= step:
            self._plans.popleft()

    def _planned(self, step: int) -> Rows | None:
        due = [rows[step - base] for rows, base in self._plans if 0 <= step - base < len(rows)]
        if not due:
            return None
        weights = age_weights(len(due), self.terms.chunking.decay)
        return np.asarray(weights @ np.stack(due).astype(np.float64), np.float32)

    def _remaining(self, step: int) -> int:
        return max((base + len(rows) - step for rows, base in self._plans), default=0)


class RealTime(Stitcher):
    """Real-time chunking: each chunk goes on from the one in flight when it was asked for.

    A policy that can is told that plan and answers accordingly. The answer of any other is blended with it,
    by the same weights: new + w (plan - new).
    """

    _flight: InFlight | None = None

    def ask(self, step: int, delay: int, state: Rows) -> InFlight | None:
        """See Stitcher."""
        super().ask(step, delay, state)
        self._flight = self._in_flight(step, delay)
        return self._flight if self.terms.continues else None

    def _in_flight(self, step: int, delay: int) -> InFlight | None:
        rows = self._rows[max(step - self._base, 0) :]
        if len(rows) < delay:  # the arm will be held to the end of the delay: that is known, too
            end = rows[-1] if len(rows) else self._held()
            rows = np.concatenate([rows.reshape(-1, len(end)), np.tile(end, (delay - len(rows), 1))])
        if len(rows) == 0:
            return None
        return InFlight(rows, delay, overlap_weights(len(rows), delay, self.terms.chunking.schedule))

    def _add(self, rows: Rows, asked: int, step: int) -> None:
        if self._flight is not None and asked == self._last_asked:
            count = min(len(rows), len(self._flight.actions))
            weights = self._flight.weights[:count].astype(np.float64)
            if self.terms.continues:  # it did the blending; what is promised stays as promised
                weights = np.where(np.arange(count) < self._flight.delay, 1.0, 0.0)
            # In double precision, so that the weights 0 and 1 give exactly the one and the other.
            new = rows.astype(np.float64)
            new[:count] += weights[:, None] * (self._flight.actions[:count] - new[:count])
            rows = new.astype(np.float32)
        super()._add(rows, asked, step)


def _too_slow(taken: int, rows: int) -> str:
    """An answer can only be followed while some of its rows are still to come."""
    return (
        f"the policy is too slow: its answer takes {taken} control steps or more, by when all {rows} of its "
        "chunk are past"
    )


def fault_in(chunk: ActionChunk, dim: int | None = None) -> str:
    """Why the chunk must not be executed; empty if nothing speaks against it. dim: numbers of an action."""
    actions = np.asarray(chunk.actions)
    if actions.ndim != 2 or 0 in actions.shape:
        return f"the chunk's actions have shape {list(actions.shape)}, not [horizon, action_dim]"
    if dim is not None and actions.shape[1] != dim:
        return f"the chunk's actions have {actions.shape[1]} numbers, not {dim}"
    bad = np.argwhere(~np.isfinite(actions))
    return f"the chunk's actions are not finite at {bad[0].tolist()}" if len(bad) else ""


def build_stitcher(terms: Terms, dim: int | None = None) -> Stitcher:
    """A stitcher of the kind that `terms` names, for one episode."""
    kinds: dict[str, type[Stitcher]] = {"queue": Stitcher, "ensemble": Ensemble, "real_time": RealTime}
    return kinds[terms.chunking.kind](terms, dim)
