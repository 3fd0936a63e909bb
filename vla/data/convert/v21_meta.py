"""What the meta folder of a LeRobot v2.1 dataset says: lines of JSON about episodes, tasks and statistics."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from vla.data.info import read_json
from vla.data.lerobot_stats import FeatureStats
from vla.data.tables import read_table, to_numpy
from vla.errors import BadInput

__all__ = ["VERSION", "Legacy", "read_legacy"]

VERSION = "v2.1"
_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_NUMBERS = ("float", "int", "uint", "bool")


@dataclass(frozen=True)
class Legacy:
    """A v2.1 folder. episodes: a row of meta/episodes.jsonl each, in order. tasks: by number. stats: by
    episode, feature -> statistics, as the folder has them."""

    root: Path
    info: dict[str, Any]
    episodes: list[dict[str, Any]]
    tasks: list[str]
    stats: list[dict[str, FeatureStats]]

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """As in info.json."""
        found: dict[str, dict[str, Any]] = self.info["features"]
        return found

    @property
    def numeric(self) -> list[str]:
        """The features that are numbers in rows: those whose statistics are computed anew."""
        return [
            name
            for name, feature in self.features.items()
            if feature["dtype"].startswith(_NUMBERS) and len(feature["shape"]) == 1
        ]

    @property
    def videos(self) -> list[str]:
        """The features that are stored as video."""
        return [name for name, feature in self.features.items() if feature["dtype"] == "video"]

    def path(self, episode: int, video: str | None = None) -> Path:
        """Where an episode's numbers are, or its video of a feature."""
        pattern = (self.info.get("video_path") or _VIDEO) if video else (self.info.get("data_path") or _DATA)
        chunk = episode // int(self.info.get("chunks_size") or 1000)
        path = self.root / pattern.format(episode_chunk=chunk, episode_index=episode, video_key=video)
        if not path.is_file():
            raise BadInput(f"dataset file is missing: {path}; copy it again from where the dataset came from")
        return path

    @cached_property
    def mark(self) -> str:
        """Changes whenever the folder does: names, sizes and times of its files."""
        digest = hashlib.sha256()
        for episode in range(len(self.episodes)):
            for path in (self.path(episode), *(self.path(episode, video) for video in self.videos)):
                stat = path.stat()
                digest.update(f"{path.relative_to(self.root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        for name in ("info.json", "episodes.jsonl", "tasks.jsonl", "episodes_stats.jsonl"):
            digest.update((self.root / "meta" / name).read_bytes())
        return digest.hexdigest()

    def table(self, episode: int, first: int) -> pa.Table:
        """An episode's rows, its numbers as info.json says. first: its first frame in the dataset."""
        path, length = self.path(episode), self.episodes[episode]["length"]
        names = [name for name in self.features if name not in self.videos]
        table = read_table(path, names)
        if len(table) != length:
            raise BadInput(f"{path} holds {len(table)} frames, meta/episodes.jsonl says {length}")
        for name, wanted in (
            ("index", first + np.arange(length)),
            ("episode_index", np.full(length, episode)),
        ):
            if not np.array_equal(table[name].to_numpy(), wanted):
                raise BadInput(f"{path}: column '{name}' does not count on from the episodes before")
        self._check_finite(table, path, episode)
        for name in [n for n in names if self.features[n]["dtype"] == "image"]:
            table = table.set_column(
                table.column_names.index(name), name, self._pictures(table[name], path, name)
            )
        return table.replace_schema_metadata(None)

    def _check_finite(self, table: pa.Table, path: Path, episode: int) -> None:
        """No number may be missing or infinite: neither training nor statistics could be had of it."""
        for name in self.numeric:
            length, column = len(table), table[name]
            if column.null_count:
                frame = int(np.argmax(np.asarray(column.is_null())))
                raise BadInput(_no_number(path, episode, frame, name, "is empty"))
            finite = np.isfinite(to_numpy(column)).reshape(length, -1).all(1)
            if not finite.all():
                raise BadInput(_no_number(path, episode, int(np.argmin(finite)), name, "is not finite"))

    def _pictures(self, column: pa.ChunkedArray, path: Path, name: str) -> pa.Array:
        """Pictures that lie beside the table are taken into it."""
        cells = column.to_pylist()
        if not pt.is_struct(column.type):
            raise BadInput(f"{path}: column '{name}' holds {column.type}, not pictures")
        encoded = []
        for cell in cells:
            data = (cell or {}).get("bytes")
            beside = self.root / str((cell or {}).get("path") or "")
            if data is None and not beside.is_file():
                raise BadInput(f"{path}: column '{name}' holds no picture bytes, and {beside} is not there")
            encoded.append(data if data is not None else beside.read_bytes())
        fields = [
            pa.array(encoded, pa.binary()),
            pa.array([(c or {}).get("path") for c in cells], pa.string()),
        ]
        return pa.StructArray.from_arrays(fields, ("bytes", "path"))


def read_legacy(root: Path) -> Legacy:
    """Raises BadInput naming the file that is missing or broken."""
    path = root / "meta" / "info.json"
    if not path.is_file():
        raise BadInput(f"not a LeRobot dataset, file is missing: {path}")
    info = read_json(path)
    version = info.get("codebase_version")
    if version != VERSION:
        more = ": it needs no conversion" if str(version).startswith("v3") else ""
        raise BadInput(f"{path} has codebase_version {version!r}, not {VERSION!r}{more}")
    for key in ("features", "fps", "total_frames", "total_episodes"):
        if key not in info:
            raise BadInput(f"{path} has no key '{key}'")
    if float(info["fps"]) != int(info["fps"]):
        raise BadInput(f"{path}: fps is {info['fps']}, and v3 takes whole numbers only")
    episodes = _numbered(root, "episodes", "episode_index", ("length", "tasks"))
    if len(episodes) != info["total_episodes"]:
        raise BadInput(
            f"{root}/meta/episodes.jsonl has {len(episodes)} lines, {path} {info['total_episodes']}"
        )
    frames = sum(episode["length"] for episode in episodes)
    if frames != info["total_frames"]:
        raise BadInput(f"{root}/meta/episodes.jsonl counts {frames} frames, {path} {info['total_frames']}")
    tasks = [row["task"] for row in _numbered(root, "tasks", "task_index", ("task",))]
    stats = [row["stats"] for row in _numbered(root, "episodes_stats", "episode_index", ("stats",))]
    if len(stats) != len(episodes):
        raise BadInput(
            f"{root}/meta/episodes_stats.jsonl has {len(stats)} lines for {len(episodes)} episodes"
        )
    arrays = [
        {
            name: {k: np.atleast_1d(np.asarray(v, np.float64)) for k, v in each.items()}
            for name, each in row.items()
        }
        for row in stats
    ]
    return Legacy(root, info, episodes, tasks, arrays)


def _no_number(path: Path, episode: int, frame: int, name: str, what: str) -> str:
    return (
        f"{path}: '{name}' {what} at frame {frame} of episode {episode}; write "
        "the true numbers into that file, or take that episode out of the dataset, before converting"
    )


def _numbered(root: Path, name: str, number: str, needed: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines, which must be numbered from 0 without gaps, in order."""
    path = root / "meta" / f"{name}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise BadInput(f"dataset file is missing: {path}") from None
    rows = []
    for place, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            raise BadInput(f"{path}, line {place} is not JSON (truncated?)") from None
        if not isinstance(row, dict) or any(key not in row for key in (number, *needed)):
            raise BadInput(f"{path}, line {place} must be an object with {number}, {', '.join(needed)}")
        rows.append(row)
    rows.sort(key=lambda row: row[number])
    if [row[number] for row in rows] != list(range(len(rows))):
        raise BadInput(f"{path}: '{number}' must count from 0 without gaps")
    return rows
