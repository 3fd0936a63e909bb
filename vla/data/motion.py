"""What a dataset's numbers do: how far they go, and whether actions are places or steps, from a few rows.

meta/info.json says neither the unit of a joint nor whether an action is where it shall go or by how much. The
numbers do: a place that is asked for is near the place where the joint is, whatever the unit; a step is not,
but the joint goes where it points. Legend: N rows that were looked at, D numbers of a state or an action.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vla.data.episodes import EpisodeDataset
from vla.data.names import names_of
from vla.data.tables import to_numpy
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE

__all__ = ["LEAST_ROWS", "Motion", "Relation", "Span", "look_at_motion", "motion_of"]

FILES = 4
ROWS = 1 << 14
"""About so many rows, in equal parts from so many files: one or two tenths of a second."""
LEAST_ROWS = 50
"""Fewer, a few seconds of one episode, tell neither a span nor a correlation."""

TRACKS = 0.9
"""Correlation of an action with the state from which a joint is told places. Servos that lag by half a second
are above it, and steps that add up to a way never come near."""
APART = 0.5
"""The correlation below which an action does not track the state, whatever the task."""
POINTS = 0.5
"""Correlation of an action with how far the joint then goes from which it may be a step."""
ALONE = 0.8
"""Share of what action and state together foretell that a step foretells alone. A place far ahead also points
where the joint goes, but only seen from where the joint is."""
CENTRED = 0.5
"""Of its deviation: how far a step's mean may be from zero."""
SMOOTH = 0.25
"""Mean square from one frame to the next, of twice the variance: a joint above it trembles in one place."""
AHEAD = (0.0, 0.1, 0.25, 0.5)
"""Seconds after which a joint is looked for, one frame at least: how soon an arm follows is not known."""

Relation = Literal["absolute", "delta", "unclear"]
_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """Of a state or an action, each [D]: the quantiles between which nearly all values are."""

    low: _Floats
    high: _Floats

    @property
    def width(self) -> _Floats:
        """How far each number goes, [D]."""
        return self.high - self.low

    @property
    def reach(self) -> _Floats:
        """How far each number gets from zero, [D]."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class Motion:
    """rows: looked at. relations: for each number of the action, what it is to the state. slopes: [D], by how
    much an absolute action is larger than the state: 1 where both are in one unit; NaN for others."""

    rows: int
    spans: dict[str, Span]
    relations: tuple[Relation, ...]
    slopes: _Floats

    @property
    def relation(self) -> Relation:
        """Of the whole: what more than half of the numbers with a relation have."""
        clear = [each for each in self.relations if each != "unclear"]
        for kind in ("absolute", "delta"):
            if clear.count(kind) * 2 > len(clear):
                return kind
        return "unclear"


def look_at_motion(dataset: EpisodeDataset, seed: int = 0) -> Motion | None:
    """Look at some rows of a dataset, which ones `seed` says. None where there are too few, or where they
    cannot be read: whoever reads all of them says what is wrong."""
    try:
        columns = _rows(dataset, np.random.default_rng(seed))
        state, action = (_matrix(columns[name], dataset, name) for name in (STATE, ACTION))
        place = np.stack([columns["episode_index"], columns["index"]], axis=1).astype(np.int64)
    except (BadInput, pa.ArrowException, OSError, KeyError, ValueError):
        return None
    pairs = _pairs(dataset, state.shape[1], action.shape[1])
    return motion_of(state, action, place, dataset.fps, pairs)


def motion_of(
    state: _Floats, action: _Floats, place: _Ints, fps: int, pairs: Sequence[tuple[int, int]]
) -> Motion | None:
    """The motion in these rows, [N, D] each; None where there are too few or some number is not finite.

    place: int64 [N, 2], each row's episode and its number. pairs: numbers of the action and those of the
    state that they may be about.
    """
    if len(state) < LEAST_ROWS or not (np.isfinite(state).all() and np.isfinite(action).all()):
        return None
    spans = {name: _span(values) for name, values in ((STATE, state), (ACTION, action))}
    relations: list[Relation] = ["unclear"] * action.shape[1]
    slopes = np.full(action.shape[1], np.nan)
    later = [_later(state, place, frames) for frames in _frames_ahead(fps)]
    for mine, theirs in pairs:
        relations[mine] = _relation(action[:, mine], state[:, theirs], [(a, b[:, theirs]) for a, b in later])
        if relations[mine] == "absolute":
            slopes[mine] = action[:, mine].std() / state[:, theirs].std()
    return Motion(len(state), spans, tuple(relations), slopes)


def _rows(dataset: EpisodeDataset, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Some whole row groups (or the beginnings of long ones) of some files, in order within each file."""
    names = [STATE, ACTION, "episode_index", "index"]
    files = [file for file, _, _ in dataset.file_frames]
    batches: list[pa.RecordBatch] = []
    chosen = np.sort(rng.permutation(len(files))[:FILES])
    share = ROWS // len(chosen)
    for number in chosen:
        file = pq.ParquetFile(files[number])
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        order = rng.permutation(len(sizes))
        before = np.cumsum([0, *(sizes[i] for i in order[:-1])])
        groups = np.sort(order[before < share]).tolist()
        read = 0
        for batch in file.iter_batches(batch_size=share, row_groups=groups, columns=names):
            batches.append(batch)
            read += len(batch)
            if read >= share:
                break
    table = pa.Table.from_batches(batches)
    return {name: to_numpy(table.column(name)) for name in names}


def _matrix(values: npt.NDArray[Any], dataset: EpisodeDataset, name: str) -> _Floats:
    """float64 [N, D]. Raises ValueError where that is not what meta/info.json says."""
    return values.reshape(-1, int(np.prod(dataset.features[name]["shape"]))).astype(np.float64)


def _span(values: _Floats) -> Span:
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    return Span(low, high)


def _pairs(dataset: EpisodeDataset, states: int, actions: int) -> list[tuple[int, int]]:
    """Which number of the state each number of the action is about: that of its name, else of its place."""
    of_state, of_action = (names_of(dataset.features[name]) for name in (STATE, ACTION))
    if of_state and of_action and set(of_state) & set(of_action):
        return [(i, of_state.index(name)) for i, name in enumerate(of_action) if name in of_state]
    return [(i, i) for i in range(min(states, actions))]


def _frames_ahead(fps: int) -> list[int]:
    return sorted({max(1, round(seconds * fps)) for seconds in AHEAD})


def _later(state: _Floats, place: _Ints, frames: int) -> tuple[_Ints, _Floats]:
    """Rows whose episode goes on for so many frames, and how far the joints then are from there."""
    rows = np.flatnonzero((place[frames:] - place[:-frames] == (0, frames)).all(axis=1))
    return rows, state[rows + frames] - state[rows]


def _relation(action: _Floats, state: _Floats, later: Sequence[tuple[_Ints, _Floats]]) -> Relation:
    """Of one number, [N] each; later: rows and where the joint then goes, the next frame first."""
    spread = action.std()
    if spread == 0 or not _travels(state, later[0][1]):
        return "unclear"
    level = _correlation(action, state)
    if level >= TRACKS:
        return "absolute"
    if abs(level) > APART or abs(action.mean()) > CENTRED * spread:
        return "unclear"
    for rows, change in later:
        if len(rows) < LEAST_ROWS:
            break
        points, pulls = _correlation(action[rows], change), _correlation(state[rows], change)
        both = _correlation(action[rows], state[rows])
        together = (points**2 + pulls**2 - 2 * points * pulls * both) / (1 - both**2)
        if points >= POINTS and points**2 >= ALONE * together:
            return "delta"
    return "unclear"


def _travels(state: _Floats, step: _Floats) -> bool:
    return bool(len(step)) and float(np.mean(step**2)) < SMOOTH * 2 * float(state.var())


def _correlation(one: _Floats, other: _Floats) -> float:
    """0 where either stands still."""
    deviation = one.std() * other.std()
    return float(np.mean((one - one.mean()) * (other - other.mean())) / deviation) if deviation > 0 else 0.0
