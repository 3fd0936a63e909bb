"""The policy steps of a journal as rows of a dataset: one a control period, without gaps.

A dataset's frame j is j / fps seconds after its first, so a step that the run missed becomes a row as well:
the one before it again, marked as not to be learned from. So is a row whose pictures are not its own, because
a camera was away or the disk too slow, and one at which the arm was held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.runtime.log.records import Journal, Part, Record

__all__ = ["Row", "cameras_of", "rows_of"]

LONGEST_GAP_S = 60.0
"""A computer that slept for a night leaves a minute of rows, not a night of them."""
_PREFIX = "image:"


@dataclass(frozen=True)
class Row:
    """One frame. number: of the policy step. pictures: camera -> where it lies in the journal; `own`: whether
    all of them were taken for this step. time: seconds since the run began. valid: fit to learn from."""

    number: int
    time: float
    state: npt.NDArray[np.float32]
    action: npt.NDArray[np.float32]
    wanted: npt.NDArray[np.float32]
    held: bool
    safety: int
    own: bool
    pictures: Mapping[str, Part] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Whether a policy may learn from it."""
        return self.own and not self.held


def cameras_of(steps: Sequence[Record]) -> dict[str, tuple[int, ...]]:
    """Camera -> shape of its first picture, in the order in which they were first seen."""
    shapes: dict[str, tuple[int, ...]] = {}
    for step in steps:
        for name, part in step.parts.items():
            if name.startswith(_PREFIX):
                shapes.setdefault(name.removeprefix(_PREFIX), part.shape)
    return shapes


def rows_of(journal: Journal, steps: Sequence[Record], fps: int, clock: float) -> list[Row]:
    """clock: when the run began. Steps without finite numbers are passed over as if they were missed."""
    cameras = cameras_of(steps)
    # Before a camera's first picture there is its first one: a black one would be something seen.
    last = {name: _first(steps, name) for name in cameras}
    rows: list[Row] = []
    for step in steps:
        row = _row(journal, step, cameras, last, clock)
        if row is None:
            continue
        last = dict(row.pictures)
        if rows:
            before = rows[-1]
            number = max(row.number, before.number + 1)  # a count that began again goes on
            missed = min(number - before.number - 1, int(LONGEST_GAP_S * fps))
            rows += [
                replace(before, number=before.number + i, time=before.time + i / fps, own=False)
                for i in range(1, missed + 1)
            ]
            row = replace(row, number=number)
        rows.append(row)
    return rows


def _first(steps: Sequence[Record], camera: str) -> Part:
    return next(step.parts[_PREFIX + camera] for step in steps if _PREFIX + camera in step.parts)


def _row(
    journal: Journal,
    step: Record,
    cameras: Mapping[str, tuple[int, ...]],
    last: Mapping[str, Part],
    clock: float,
) -> Row | None:
    state, sent = (journal.array(step.parts[name]).astype(np.float32) for name in ("state", "sent"))
    if not (np.isfinite(state).all() and np.isfinite(sent).all() and len(state)):
        return None
    wanted = journal.array(step.parts["wanted"]).astype(np.float32)
    pictures, own = dict(last), True
    for name, shape in cameras.items():
        part = step.parts.get(_PREFIX + name)
        if part is not None and part.shape == shape:
            pictures[name] = part
        else:
            own = False
    header: dict[str, Any] = step.header
    return Row(
        number=int(header["number"]),
        time=float(header["time"]) - clock,
        state=state,
        action=sent,
        # "Hold" and what the filter refused leave what was sent; ticks.parquet has all as it was.
        wanted=wanted if np.isfinite(wanted).all() else sent,
        held=bool(header["held"]),
        safety=len(header["safety"]),
        own=own,
        pictures=pictures,
    )
