"""What a dataset says in words beside its tasks: columns ``language_persistent`` and ``language_events``.

A *persistent* row (sub-task, plan, memory, motion, another wording of the task) holds from its own timestamp
on until the next of its kind; all of an episode's are repeated at each of its frames. An *event* (a spoken
word, a question about the picture) is stored at the one frame at which it happens. In older datasets the
columns ``subtask_index`` and meta/subtasks.parquet hold the sub-tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vla.data.tables import read_table
from vla.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from vla.data.episodes import EpisodeDataset

__all__ = ["EVENTS", "PERSISTENT", "Language", "Words"]

PERSISTENT, EVENTS = "language_persistent", "language_events"
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """One row. text: None where it is only a tool call. style: its kind, such as "subtask" (None: speech).
    time: seconds since the episode began, from which a persistent row holds. camera: the feature that it
    speaks of. calls: tool calls, as in a chat (``{"function": {"name": "say", "arguments": ...}}``)."""

    role: str
    text: str | None
    style: str | None = None
    time: float = 0.0
    camera: str | None = None
    calls: tuple[Any, ...] = ()


class Language:
    """The annotated words of one dataset; read when first asked for. Empty where it has none."""

    def __init__(self, dataset: EpisodeDataset) -> None:
        self._dataset = dataset

    @property
    def styles(self) -> list[str]:
        """The kinds of words that hold over time, such as "subtask" and "plan"."""
        return sorted({row.style for rows in self._persistent for row in rows if row.style})

    def holding(self, frame: int, style: str = "subtask", role: str | None = None) -> Words | None:
        """Which row of a kind holds at `frame`: the latest that has begun; of several at once the last."""
        episode = int(self._dataset.episode_of_frame[frame])
        found = None
        for row in self._of(episode, style, role):
            if row.time <= self._times[frame]:
                found = row
        return found

    def said(self, frame: int, style: str | None = None, camera: str | None = None) -> list[Words]:
        """What is said or asked at `frame` itself: all, or those of a kind or about a camera."""
        rows = self._events.get(frame, ())
        return [r for r in rows if style in (None, r.style) and camera in (None, r.camera)]

    def events(self) -> dict[int, list[Words]]:
        """Frame -> what is said there, for all frames where something is."""
        return {frame: list(rows) for frame, rows in self._events.items()}

    def wordings(self, episode: int) -> list[str]:
        """Other ways in which the task of an episode is put (kind "task_aug")."""
        return [row.text for row in self._of(episode, "task_aug", "user") if row.text]

    def labels(self, style: str = "subtask", role: str | None = None) -> tuple[list[str], _Ints]:
        """The texts of a kind, and int64 [num_frames]: which of them holds at each frame, -1 for none.

        Raises BadInput where the dataset has no words of that kind at all.
        """
        if style not in self.styles:
            if style == "subtask" and "subtask_index" in self._dataset.features:
                return self._subtasks()
            hint = did_you_mean(style, self.styles)
            raise BadInput(f"{self._dataset.root}: no words of the kind '{style}' are annotated{hint}")
        known: dict[str, int] = {}
        found = np.full(self._dataset.num_frames, -1, np.int64)
        for episode, (first, last) in enumerate(self._dataset.episode_bounds):
            for row in self._of(episode, style, role):
                begin = first + int(np.searchsorted(self._times[first:last], row.time))
                number = known.setdefault(row.text, len(known)) if row.text else -1
                found[begin:last] = number
        return list(known), found

    # -- reading -----------------------------------------------------------------------------------

    def _of(self, episode: int, style: str, role: str | None) -> list[Words]:
        """In the order in which they begin; of those that begin at once, as they are stored."""
        rows = [r for r in self._persistent[episode] if r.style == style and role in (None, r.role)]
        return sorted(rows, key=lambda row: row.time)

    @cached_property
    def _times(self) -> npt.NDArray[np.float64]:
        """float64 [num_frames]: each frame's timestamp, as stored (float32)."""
        return self._dataset.columns(["timestamp"])["timestamp"].reshape(-1).astype(np.float64)

    @cached_property
    def _persistent(self) -> list[list[Words]]:
        """Rows by episode, from the episode's first frame: they are the same at all."""
        starts = self._dataset.episode_bounds[:, 0]
        found: list[list[Words]] = [[] for _ in starts]
        for first, column in self._columns(PERSISTENT):
            for episode in np.flatnonzero((starts >= first) & (starts < first + len(column))):
                found[episode] = self._rows(column[int(starts[episode]) - first], PERSISTENT)
        return found

    @cached_property
    def _events(self) -> dict[int, list[Words]]:
        found = {}
        for first, column in self._columns(EVENTS):
            counts = np.asarray(pc.fill_null(pc.list_value_length(column), 0))
            for row in np.flatnonzero(counts):
                found[first + int(row)] = self._rows(column[int(row)], EVENTS)
        return found

    def _columns(self, name: str) -> Iterator[tuple[int, pa.ChunkedArray]]:
        """(first frame, column) of each data file that has it; the type of its rows differs between files."""
        for file, first, _ in self._dataset.file_frames:
            if name not in pq.read_schema(file).names:
                continue
            column = read_table(file, [name]).column(0)
            if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
                raise BadInput(f"{file}: column '{name}' holds {column.type}, not lists of rows")
            yield first, column

    def _rows(self, cell: pa.Scalar, name: str) -> list[Words]:
        try:
            return [
                Words(
                    role=str(row["role"]),
                    text=row.get("content"),
                    style=row.get("style"),
                    time=float(np.float32(row.get("timestamp") or 0.0)),
                    camera=row.get("camera"),
                    calls=tuple(_parsed(call) for call in row.get("tool_calls") or ()),
                )
                for row in cell.as_py() or ()
            ]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise BadInput(
                f"{self._dataset.root}: column '{name}' holds a row without role, content and style"
            ) from None

    def _subtasks(self) -> tuple[list[str], _Ints]:
        path = self._dataset.root / "meta" / "subtasks.parquet"
        table = read_table(path)
        text = next((n for n in ("subtask", "__index_level_0__") if n in table.column_names), None)
        if text is None or "subtask_index" not in table.column_names:
            raise BadInput(f"{path} must have the columns 'subtask' and 'subtask_index'")
        names = dict(zip(table["subtask_index"].to_pylist(), table[text].to_pylist(), strict=True))
        place = {number: i for i, number in enumerate(names)}
        numbers = self._dataset.columns(["subtask_index"])["subtask_index"].reshape(-1)
        return list(names.values()), np.array([place.get(int(n), -1) for n in numbers], np.int64)


def _parsed(call: Any) -> Any:
    """A tool call, which some writers store as JSON text."""
    return json.loads(call) if isinstance(call, str) else call
