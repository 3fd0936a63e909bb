"""The merge step of the dataset writer: builds new data and meta files aside, then moves them into place.

``.staging/commit`` is a redo log: it appears by one rename when it is complete, and moving its files into the
dataset can be repeated any number of times with the same result.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vla.data.lerobot_stats import FeatureStats, aggregate, vector_stats

__all__ = ["CODEBASE_VERSION", "Commit", "apply_commit", "listed", "name_table"]

CODEBASE_VERSION = "v3.0"
_DATA_FILE_BYTES = 100 * 1024**2
_ROW_GROUP_BYTES = 8 * 1024**2
_FILES_A_CHUNK = 1000
_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"


def apply_commit(root: Path) -> None:
    """Finish a complete commit, if there is one: move its files into place and drop the staged episodes."""
    commit = root / ".staging" / "commit"
    if not commit.exists():
        return
    listing = commit / "episodes.json"
    files = [path for path in commit.rglob("*") if path.is_file() and path != listing]
    # Data first and info.json last: whoever reads in between still sees the old, consistent dataset.
    files.sort(key=lambda path: (path.name == "info.json", "meta" in path.parts, path))
    for path in files:
        target = root / path.relative_to(commit)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    for index in json.loads(listing.read_text()) if listing.exists() else ():
        (root / ".staging" / f"episode-{index:06d}.parquet").unlink(missing_ok=True)
    shutil.rmtree(commit)


class Commit:
    """Collects episodes after those of `root` into a new state of the dataset. See EpisodeWriter."""

    def __init__(self, root: Path, fps: int, features: dict[str, Any], robot_type: str | None) -> None:
        self.root = root
        self.fps, self.features, self.robot_type = fps, features, robot_type
        self.aside = root / ".staging" / "commit.unfinished"
        shutil.rmtree(self.aside, ignore_errors=True)
        self.rows: list[dict[str, Any]] = _old_rows(root)
        self.first = len(self.rows)
        self.frames = self.rows[-1]["dataset_to_index"] if self.rows else 0
        self.tasks = _old_names(root / "meta/tasks.parquet", "task")
        self.subtasks = _old_names(root / "meta/subtasks.parquet", "subtask")
        self.file = _next_file(self.rows)
        self.numbers = _old_numbers(root, self.numeric)
        self._writer: pq.ParquetWriter | None = None
        self._bytes = 0

    @property
    def numeric(self) -> list[str]:
        """Names of all features that are numbers (not images)."""
        return [name for name, feature in self.features.items() if feature["dtype"] != "image"]

    def add(self, staged: pq.ParquetFile) -> None:
        """Append one staged episode (its header is in the schema's metadata). Its pictures pass through
        memory a part at a time, however long it is."""
        header = json.loads(staged.schema_arrow.metadata[b"episode"])
        index, length = len(self.rows), staged.metadata.num_rows
        task = self.tasks.setdefault(header["task"], len(self.tasks))
        columns = {
            "timestamp": np.arange(length, dtype=np.float32) / np.float32(self.fps),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, index),
            "index": self.frames + np.arange(length),
            "task_index": np.full(length, task),
        }
        if "subtask_index" in self.features:
            names = staged.read(["subtask"])["subtask"].to_pylist()
            columns["subtask_index"] = np.array(
                [self.subtasks.setdefault(n, len(self.subtasks)) for n in names]
            )
        self._begin_file(
            sum(staged.metadata.row_group(i).total_byte_size for i in range(staged.num_row_groups))
        )
        start = 0
        for part in _parts(staged):
            own = {n: values[start : start + len(part)] for n, values in columns.items()}
            self._write(pa.table({n: own[n] if n in own else part[n] for n in self.features}))
            start += len(part)
        stats = {n: {k: np.asarray(v) for k, v in s.items()} for n, s in header["stats"].items()}
        given = staged.read([n for n in self.numeric if n not in columns])
        for name in self.numeric:
            values = columns[name].reshape(length, -1) if name in columns else _to_numpy(given[name])
            self.numbers[name].append(values)
            stats[name] = vector_stats(values)
        self.rows.append(
            {
                "episode_index": index,
                "tasks": [header["task"]],
                "length": length,
                "data/chunk_index": self.file // _FILES_A_CHUNK,
                "data/file_index": self.file % _FILES_A_CHUNK,
                "dataset_from_index": self.frames,
                "dataset_to_index": self.frames + length,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                **header["extra"],
                **{f"stats/{n}/{k}": listed(k, v) for n, s in stats.items() for k, v in s.items()},
            }
        )
        self.frames += length

    def close(self) -> None:
        """Write the meta files and make the commit complete by one rename."""
        self._close_file()
        columns = dict.fromkeys(name for row in self.rows for name in row)
        _write(self.aside / _EPISODES_PATH, pa.table({c: [row.get(c) for row in self.rows] for c in columns}))
        _write(self.aside / "meta/tasks.parquet", name_table(self.tasks, "task"))
        if self.subtasks:
            _write(self.aside / "meta/subtasks.parquet", name_table(self.subtasks, "subtask"))
        stats = {n: vector_stats(np.concatenate(v)) for n, v in self.numbers.items()}
        for name in self.features.keys() - stats.keys():
            stats[name] = aggregate([_row_stats(row, name) for row in self.rows])
        written = {n: {k: listed(k, v) for k, v in stats[n].items()} for n in self.features}
        (self.aside / "meta/stats.json").write_text(json.dumps(written, indent=1))
        (self.aside / "meta/info.json").write_text(json.dumps(self._info(), indent=1))
        (self.aside / "episodes.json").write_text(json.dumps(list(range(self.first, len(self.rows)))))
        os.replace(self.aside, self.root / ".staging" / "commit")

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": CODEBASE_VERSION,
            "robot_type": self.robot_type,
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": _FILES_A_CHUNK,
            "data_files_size_in_mb": _DATA_FILE_BYTES // 1024**2,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": _DATA_PATH,
            "video_path": None,
            "features": self.features,
        }

    def _begin_file(self, size: int) -> None:
        """The next episode, of so many bytes, goes into a new file where the present one is full enough."""
        if self._writer is not None and self._bytes + size > _DATA_FILE_BYTES:
            self._close_file()
            self.file += 1
        self._bytes += size

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            chunk, file = divmod(self.file, _FILES_A_CHUNK)
            path = self.aside / _DATA_PATH.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema, use_dictionary=False)
        self._writer.write_table(table)  # a row group: readers can fetch episode by episode, or less

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer, self._bytes = None, 0


def _parts(staged: pq.ParquetFile) -> Iterator[pa.Table]:
    """All rows: an episode that was staged at once as one table, one that was staged piece by piece in tables
    of about `_ROW_GROUP_BYTES`."""
    waiting: list[pa.Table] = []
    for group in range(staged.num_row_groups):
        waiting.append(staged.read_row_group(group))
        if sum(table.nbytes for table in waiting) >= _ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _old_rows(root: Path) -> list[dict[str, Any]]:
    path = root / _EPISODES_PATH
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist() if path.exists() else []
    return rows


def _old_names(path: Path, column: str) -> dict[str, int]:
    if not path.exists():
        return {}
    table = pq.read_table(path)
    return dict(zip(table[column].to_pylist(), table[f"{column}_index"].to_pylist(), strict=True))


def _next_file(rows: list[dict[str, Any]]) -> int:
    """Number of the next data file: later episodes never touch a file that is already in place."""
    if not rows:
        return 0
    return int(rows[-1]["data/chunk_index"]) * _FILES_A_CHUNK + int(rows[-1]["data/file_index"]) + 1


def _old_numbers(root: Path, names: list[str]) -> dict[str, list[npt.NDArray[Any]]]:
    """Numeric columns of the data already in place, for exact statistics over everything."""
    numbers: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in names}
    for path in sorted((root / "data").glob("*/*.parquet")):
        # By path, not by folder: a folder name with '=' in it would be read as a partition column.
        with pq.ParquetFile(path) as file:
            table = file.read(columns=names)
        for name in names:
            numbers[name].append(_to_numpy(table[name]))
    return numbers


def _to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """``[N, D]`` of a column of numbers or of fixed-size lists."""
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return np.asarray(array.flatten()).reshape(len(array), -1)
    return np.asarray(array).reshape(len(array), -1)


def name_table(names: dict[str, int], column: str) -> pa.Table:
    """Names with their index, the names as pandas' index: LeRobot reads ``tasks.iloc[i].name``."""
    pandas = {
        "index_columns": [column],
        "column_indexes": [],
        "columns": [
            {"name": c, "field_name": c, "pandas_type": t, "numpy_type": n, "metadata": None}
            for c, t, n in ((f"{column}_index", "int64", "int64"), (column, "unicode", "object"))
        ],
        "pandas_version": "2.0.0",
    }
    table = pa.table({f"{column}_index": list(names.values()), column: list(names)})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def listed(stat: str, value: npt.NDArray[Any]) -> list[Any]:
    """A statistic as LeRobot's files hold it."""
    counted: list[Any] = value.astype(int).tolist() if stat == "count" else value.tolist()
    return counted


def _row_stats(row: dict[str, Any], name: str) -> FeatureStats:
    prefix = f"stats/{name}/"
    return {k.removeprefix(prefix): np.asarray(v) for k, v in row.items() if k.startswith(prefix)}


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
