"""What a dataset's frames do not hold of a run: every tick, every chunk, every event, as tables beside it."""

import json
from array import array
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies.runtime.log.records import Journal, Record

__all__ = ["CHUNKS", "EVENTS", "TICKS", "RunTables"]

TICKS, CHUNKS, EVENTS = "ticks.parquet", "chunks.parquet", "events.jsonl"
_Floats = pa.list_(pa.float64())


class RunTables:
    """Writes the three files into `folder` record by record; counts what passes. A context manager.

    ticks.parquet: time and read, when it was decided and measured (seconds since the run began), measured,
    wanted (NaN: hold) and sent ``[joints]``, held, safety (a line for each intervention). chunks.parquet:
    policy steps asked and answered, seconds, rows and actions (flat), timestamps, uncertainty (flat), tokens,
    hold, info (JSON). events.jsonl: time, what, text.
    """

    def __init__(self, folder: Path, journal: Journal, joints: int, clock: float) -> None:
        self._journal, self._clock = journal, clock
        positions = pa.list_(pa.float64(), joints)
        self._ticks = pa.schema(
            [("time", pa.float64()), ("read", pa.float64())]
            + [(name, positions) for name in ("measured", "wanted", "sent")]
            + [("held", pa.bool_()), ("safety", pa.list_(pa.string()))]
        )
        self._chunks = pa.schema(
            [("asked", pa.int64()), ("answered", pa.int64()), ("seconds", pa.float64()), ("rows", pa.int64())]
            + [(name, _Floats) for name in ("actions", "timestamps", "uncertainty")]
            + [("tokens", pa.list_(pa.int64())), ("hold", pa.string()), ("observed_at", pa.float64())]
            + [("frame_index", pa.int64()), ("info", pa.string())]
        )
        self._tick_file = pq.ParquetWriter(folder / TICKS, self._ticks)
        self._chunk_file = pq.ParquetWriter(folder / CHUNKS, self._chunks)
        self._events = open(folder / EVENTS, "w", encoding="utf-8")  # noqa: SIM115
        self._waiting: list[dict[str, Any]] = []
        self.ticks = self.chunks = self.held = 0
        self.interventions: dict[str, int] = {}
        self.latency, self.periods = array("d"), array("d")
        self.last_event: dict[str, Any] = {}
        self._last_tick: float | None = None

    def add(self, record: Record) -> None:
        """Take in a record of ticks, a chunk or an event."""
        if record.kind == "ticks":
            self._add_ticks(record)
        elif record.kind == "chunk":
            self._add_chunk(record)
        elif record.kind == "event":
            time = record.header["time"]
            event = {"time": None if time is None else round(time - self._clock, 6)}
            event |= {key: record.header[key] for key in ("what", "text")}
            self._events.write(json.dumps(event, ensure_ascii=False) + "\n")
            self.last_event = event

    def _add_ticks(self, record: Record) -> None:
        found = {name: self._journal.array(part) for name, part in record.parts.items()}
        count = len(found["time"])
        safety: list[list[str]] = [[] for _ in range(count)]
        for row, kind, joint, detail in record.header["interventions"]:
            safety[row].append(f"{kind}{' ' * bool(joint)}{joint}: {detail}")
            self.interventions[kind] = self.interventions.get(kind, 0) + 1
        columns: dict[str, Any] = {name: found[name] - self._clock for name in ("time", "read")}
        for name in ("measured", "wanted", "sent"):
            flat = pa.array(found[name].reshape(-1))
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, type=self._ticks.field(name).type)
        columns |= {"held": found["held"].astype(bool), "safety": safety}
        self._tick_file.write_table(pa.table(columns, schema=self._ticks))
        times = columns["time"] if self._last_tick is None else np.append(self._last_tick, columns["time"])
        self.periods.extend(np.diff(times))
        self._last_tick = float(columns["time"][-1])
        self.ticks += count
        self.held += int(found["held"].sum())

    def _add_chunk(self, record: Record) -> None:
        header = record.header
        row = {name: self._journal.array(part).reshape(-1) for name, part in record.parts.items()}
        rows = record.parts["actions"].shape[0]
        told = {key: header[key] for key in ("asked", "answered", "seconds", "hold", "frame_index")}
        seen = header["observed_at"]
        self._waiting.append(
            {**told, **row, "rows": rows, "observed_at": seen, "info": json.dumps(header["info"])}
        )
        self.chunks += 1
        self.latency.append(float(header["seconds"]))
        if len(self._waiting) >= 256:
            self._write_chunks()

    def _write_chunks(self) -> None:
        if self._waiting:
            rows = [{name: row.get(name) for name in self._chunks.names} for row in self._waiting]
            self._chunk_file.write_table(pa.Table.from_pylist(rows, schema=self._chunks))
            self._waiting = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._write_chunks()
        for file in (self._tick_file, self._chunk_file, self._events):
            file.close()
