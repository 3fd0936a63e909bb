"""LeRobot v2.1 folders, one file an episode, made into v3 folders, many episodes a file.

Numbers and encoded pictures are taken over as they are. All is built in ``.NAME.unfinished`` beside the
target, checked by the reader that training uses, and only then given its name; the source is not touched.
What a stopped run had written whole is not written again.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from vla.data.convert.remux import join, look_at
from vla.data.convert.v21_meta import Legacy, read_legacy
from vla.data.episodes import EpisodeDataset
from vla.data.info import CODEBASE_VERSION, DATA_PATH, VIDEO_PATH
from vla.data.lerobot_commit import listed, name_table
from vla.data.lerobot_stats import aggregate, vector_stats
from vla.data.tables import read_table, to_numpy
from vla.data.unfinished import aside_of, leave_note, remove_note
from vla.data.video import VideoPlaces
from vla.errors import BadInput
from vla.folders import output_folder, writable_folder
from vla.interfaces import IMAGE_PREFIX

__all__ = ["convert_v21"]

DATA_BYTES, VIDEO_BYTES = 100 * 1024**2, 200 * 1024**2
CHUNK = 1000
"""Files a folder."""


@dataclass
class _Group:
    """Episodes that share a file, and the file's number."""

    number: int
    episodes: list[int] = field(default_factory=list)

    @property
    def place(self) -> dict[str, int]:
        return {"chunk_index": self.number // CHUNK, "file_index": self.number % CHUNK}


def convert_v21(source: str | Path, target: str | Path, command: str | None = None) -> Path:
    """Make the v3 folder `target` of the v2.1 folder `source`; returns `target`.

    Episodes, frames, tasks and pictures stay what they were; statistics of numbers are computed anew, with
    quantiles. Run again after a stop, it goes on; run again when done, it does nothing. command: what
    whoever finds it half-made is told to run. Raises BadInput for a source that is no v2.1 folder or is
    damaged, and for a target that holds something else.
    """
    legacy, target = read_legacy(Path(source)), Path(target)
    if (target / "meta" / "info.json").is_file():
        there = EpisodeDataset(target)
        if (there.num_frames, there.num_episodes) == (legacy.info["total_frames"], len(legacy.episodes)):
            return target
        raise BadInput(f"{target} is another dataset already; give another folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"{target} is not an empty folder; give another")
    writable_folder(target.parent)
    aside = aside_of(target)
    with output_folder(aside):
        plan = aside / "plan.json"
        if not plan.is_file() or plan.read_text() != legacy.mark:  # of another state of the source
            for path in aside.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            plan.write_text(legacy.mark)
        leave_note(aside, command or f"python scripts/data.py convert data={source} out={target}")
        _fill(aside, legacy)
        plan.unlink()
        remove_note(aside)
        if target.exists():
            target.rmdir()
        os.replace(aside, target)
    return target


def _fill(aside: Path, legacy: Legacy) -> None:
    rows: list[dict[str, Any]] = [dict(episode) for episode in legacy.episodes]
    numbers: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in legacy.numeric}
    steps = len(rows) * (1 + len(legacy.videos))
    with tqdm(total=steps, desc=f"converting {legacy.root.name}", unit=" episodes", mininterval=1.0) as bar:
        for done in _write_data(aside, legacy, rows, numbers):
            bar.update(done)
        for key in legacy.videos:
            for done in _write_videos(aside, legacy, rows, key):
                bar.update(done)
    for row, stats in zip(rows, legacy.stats, strict=True):
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        row |= {
            f"stats/{name}/{k}": listed(k, v)
            for name, each in stats.items()
            if name in legacy.features
            for k, v in each.items()
        }
    _write_meta(aside, legacy, rows, numbers)
    dataset = EpisodeDataset(aside)
    dataset.check_meta()
    for key in [key for key in legacy.videos if key.startswith(IMAGE_PREFIX)]:
        places = VideoPlaces(dataset, key.removeprefix(IMAGE_PREFIX))
        for file in range(len(places.files)):
            places.index(file)  # that every frame is where it is looked for


def _groups(sizes: Sequence[int], limit: int, kinds: Sequence[Any] | None = None) -> list[_Group]:
    """Episodes in order, in files of at most `limit` bytes, each of one kind."""
    groups: list[_Group] = []
    held = 0
    for episode, size in enumerate(sizes):
        other = kinds is not None and episode > 0 and kinds[episode] != kinds[episode - 1]
        if not groups or held + size > limit or other:
            groups.append(_Group(len(groups)))
            held = 0
        groups[-1].episodes.append(episode)
        held += size
    return groups


def _write_data(
    aside: Path, legacy: Legacy, rows: list[dict[str, Any]], numbers: dict[str, list[npt.NDArray[Any]]]
) -> Iterator[int]:
    """Write the data files, and into `rows` where each episode is; collect numbers and their statistics."""
    first = 0
    for group in _groups([legacy.path(e).stat().st_size for e in range(len(rows))], DATA_BYTES):
        path = aside / DATA_PATH.format(**group.place)
        ends = first + np.cumsum([rows[episode]["length"] for episode in group.episodes])
        if not path.is_file():
            starts = [first, *ends[:-1].tolist()]
            _write_groups(path, (legacy.table(e, s) for e, s in zip(group.episodes, starts, strict=True)))
        stored, at = read_table(path, legacy.numeric), 0
        for episode, end in zip(group.episodes, ends.tolist(), strict=True):
            length = rows[episode]["length"]
            rows[episode] |= {f"data/{name}": number for name, number in group.place.items()}
            rows[episode] |= {"dataset_from_index": first, "dataset_to_index": end}
            for name in legacy.numeric:
                values = to_numpy(stored[name].slice(at, length)).reshape(length, -1)
                legacy.stats[episode][name] = vector_stats(values)
                numbers[name].append(values)
            first, at = end, at + length
            yield 1


def _write_groups(path: Path, tables: Iterator[pa.Table]) -> None:
    """One row group an episode, so that readers can fetch one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    first = next(tables)
    with pq.ParquetWriter(aside, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            try:
                writer.write_table(table.cast(first.schema))
            except (pa.ArrowException, ValueError):
                raise BadInput(f"{path.parents[2]}: episodes do not have the same columns") from None
    os.replace(aside, path)


def _write_videos(aside: Path, legacy: Legacy, rows: list[dict[str, Any]], key: str) -> Iterator[int]:
    fps = int(legacy.info["fps"])
    clips = [look_at(legacy.path(e, key), row["length"], fps) for e, row in enumerate(rows)]
    sizes = [clip.path.stat().st_size for clip in clips]
    for group in _groups(sizes, VIDEO_BYTES, [clip.kind for clip in clips]):
        path = aside / VIDEO_PATH.format(video_key=key, **group.place)
        if not path.is_file():
            join([clips[episode] for episode in group.episodes], path, fps)
        frame = 0
        for episode in group.episodes:
            rows[episode] |= {f"videos/{key}/{name}": number for name, number in group.place.items()}
            rows[episode][f"videos/{key}/from_timestamp"] = frame / fps
            frame += clips[episode].frames
            rows[episode][f"videos/{key}/to_timestamp"] = frame / fps
        yield len(group.episodes)


def _write_meta(
    aside: Path,
    legacy: Legacy,
    rows: Sequence[dict[str, Any]],
    numbers: dict[str, list[npt.NDArray[Any]]],
) -> None:
    columns = dict.fromkeys(name for row in rows for name in row)
    path = aside / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), path)
    tasks = {task: number for number, task in enumerate(legacy.tasks)}
    pq.write_table(name_table(tasks, "task"), aside / "meta" / "tasks.parquet")
    stats = {name: vector_stats(np.concatenate(values)) for name, values in numbers.items()}
    for name in legacy.features:
        if name not in stats and all(name in each for each in legacy.stats):
            stats[name] = aggregate([each[name] for each in legacy.stats])
    written = {name: {k: listed(k, v) for k, v in each.items()} for name, each in stats.items()}
    (aside / "meta" / "stats.json").write_text(json.dumps(written, indent=1))
    info = {k: v for k, v in legacy.info.items() if k not in ("total_chunks", "total_videos")}
    fps = int(info["fps"])
    info |= {
        "codebase_version": CODEBASE_VERSION,
        "fps": fps,
        "data_files_size_in_mb": DATA_BYTES // 1024**2,
        "video_files_size_in_mb": VIDEO_BYTES // 1024**2,
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if legacy.videos else None,
        "features": {
            name: feature if feature["dtype"] == "video" else {**feature, "fps": fps}
            for name, feature in legacy.features.items()
        },
    }
    (aside / "meta" / "info.json").write_text(json.dumps(info, indent=1))
