"""Writes demonstrations as a LeRobotDataset v3 folder, by many processes at once and safe against any stop.

Each finished episode is one staged parquet file, written aside and then renamed, so it exists whole or not at
all. ``finalize`` merges the staged episodes into the dataset: everything new is first built under
``.staging/commit`` and only then moved into place; a stop in between is finished by the next ``finalize``.
"""

import contextlib
import errno
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from vla.data.episodes import EpisodeDataset
from vla.data.info import read_info
from vla.data.lerobot_commit import Commit, apply_commit
from vla.data.lerobot_stats import image_stats
from vla.data.unfinished import STAGING, check_no_conversion, leave_note
from vla.errors import BadInput

__all__ = ["DEFAULT_FEATURES", "EpisodeWriter", "Feature", "encode_png"]

Feature = dict[str, Any]
"""As in LeRobot's info.json: {"dtype": str, "shape": [int, ...], "names": [...] | None}."""

DEFAULT_FEATURES: dict[str, Feature] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}
"""Columns that LeRobot expects in every dataset; this writer fills them."""

_IMAGE_FIELDS = ("bytes", "path")  # LeRobot's (Hugging Face's) picture column: either may be null


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """PNG of a uint8 image ``[H, W, 3]``; level 1 costs half the time of the default for 10% more bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class EpisodeWriter:
    """Stages and merges episodes under `root`.

    fps: control rate in Hz. features: LeRobot feature descriptions without DEFAULT_FEATURES; dtype ``image``
    is stored as PNG. A feature named ``subtask_index`` is filled from the strings in ``frames["subtask"]``.
    command: of a conversion, the one that goes on after a stop; nothing else then adds to what it left.
    """

    def __init__(
        self,
        root: str | Path,
        fps: int,
        features: Mapping[str, Feature],
        robot_type: str | None = None,
        command: str | None = None,
    ) -> None:
        self.root = Path(root)
        self.staging = self.root / STAGING
        self.fps = fps
        self.features = {**features, **DEFAULT_FEATURES}
        self.robot_type, self.command = robot_type, command
        self._given = dict(features)

    def write_episode(
        self,
        index: int,
        frames: Mapping[str, Sequence[Any]],
        task: str,
        extra: Mapping[str, Any] | None = None,
    ) -> Path:
        """Stage episode `index`. frames: feature -> one value a frame. extra: columns of meta/episodes."""
        columns, stats = {}, {}
        length = len(next(iter(frames.values())))
        for name, feature in self._given.items():
            key = "subtask" if name == "subtask_index" else name
            if key not in frames or len(frames[key]) != length:
                have = len(frames[key]) if key in frames else "no"
                raise BadInput(f"episode {index}: feature '{key}' has {have} frames, expected {length}")
            columns[key] = self._column(key, feature, frames[key])
            if feature["dtype"] == "image":
                stats[name] = {k: v.tolist() for k, v in image_stats(frames[key]).items()}
        header = {"task": task, "extra": dict(extra or {}), "stats": stats}
        table = pa.table(columns).replace_schema_metadata({"episode": json.dumps(header)})
        path = self._staged_path(index)
        with _no_space_is_bad_input(path):
            self.staging.mkdir(parents=True, exist_ok=True)
            if self.command is not None:
                leave_note(self.staging, self.command)
            _write_aside(path, lambda aside: pq.write_table(table, aside, use_dictionary=False))
        return path

    def staged(self) -> set[int]:
        """Indices of the episodes that are staged, whole, and not yet merged."""
        names = (re.fullmatch(r"episode-(\d+)", path.stem) for path in self.staging.glob("*.parquet"))
        return {int(found[1]) for found in names if found}

    def staged_extra(self, index: int) -> dict[str, Any]:
        """What `write_episode` was given as `extra` for a staged episode."""
        with self._staged_file(index) as staged:
            header: dict[str, Any] = json.loads(staged.schema_arrow.metadata[b"episode"])
        return dict(header["extra"])

    def written(self) -> set[int]:
        """Indices of all episodes: merged and staged."""
        return set(range(self.merged())) | self.staged()

    def merged(self) -> int:
        """Number of episodes in the dataset proper."""
        info = self.root / "meta" / "info.json"
        return int(read_info(self.root)["total_episodes"]) if info.exists() else 0

    def recover(self) -> None:
        """Finish a merge that was stopped, and raise BadInput if what is there cannot be added to.

        Without this, a lost meta file would let new episodes be written over old ones.
        """
        if self.command is None:
            check_no_conversion(self.root)
        apply_commit(self.root)
        info = self.root / "meta" / "info.json"
        if not info.exists():
            if any((self.root / "data").glob("*/*.parquet")):
                raise BadInput(f"dataset file is missing: {info}; episodes are there, so none can be added")
            return
        dataset = EpisodeDataset(self.root)
        dataset.check_meta()
        if dataset.tasks and dataset.file_frames and self.merged() != len(dataset.episode_meta["length"]):
            raise BadInput(f"{info} does not count the episodes that are there")
        wanted = json.loads(json.dumps(self.features))
        for name in sorted({*wanted, *dataset.features}):
            old, new = dataset.features.get(name), wanted.get(name)
            if old != new:
                raise BadInput(f"{self.root} holds feature '{name}' as {old}, the new episodes as {new}")

    def finalize(self) -> None:
        """Merge what is staged into the dataset and remove the staged files. Safe to repeat, and to stop."""
        self.recover()
        first = self.merged()
        indices = sorted(self.staged())
        for position, index in enumerate(indices):
            if index != first + position:
                raise BadInput(f"{self.root}: episode {first + position} is missing, cannot merge {index}")
        if not indices:
            return
        with _no_space_is_bad_input(self.root):
            commit = Commit(self.root, self.fps, self.features, self.robot_type)
            try:
                for index in indices:
                    with self._staged_file(index) as staged:
                        commit.add(staged)
                commit.close()
            finally:  # on a full disk, give the space back; a finished commit has another name by now
                shutil.rmtree(commit.aside, ignore_errors=True)
        apply_commit(self.root)
        shutil.rmtree(self.staging, ignore_errors=True)

    def _staged_path(self, index: int) -> Path:
        return self.staging / f"episode-{index:06d}.parquet"

    @contextlib.contextmanager
    def _staged_file(self, index: int) -> Iterator[pq.ParquetFile]:
        path = self._staged_path(index)
        try:
            with pq.ParquetFile(path) as staged:
                yield staged
        except (pa.ArrowInvalid, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # the disk's, perhaps of the dataset that is written meanwhile; parquet's own have none
            raise BadInput(
                f"{path} is damaged ({str(error).splitlines()[0]}); delete it and collect again"
            ) from None

    def _column(self, name: str, feature: Feature, values: Sequence[Any]) -> pa.Array:
        if name == "subtask":
            return pa.array(list(values), pa.string())
        if feature["dtype"] == "image":
            pictures = pa.array([encode_png(v) for v in values], pa.binary())
            return pa.StructArray.from_arrays([pictures, pa.nulls(len(values), pa.string())], _IMAGE_FIELDS)
        array = np.asarray(values, dtype=feature["dtype"]).reshape(len(values), -1)
        width = int(np.prod(feature["shape"]))
        if array.shape[1] != width:
            raise BadInput(f"feature '{name}' has {array.shape[1]} numbers a frame, expected {width}")
        flat = pa.array(array.reshape(-1))
        return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def _write_aside(path: Path, write: Any) -> None:
    """Write a sibling temporary file, flush it to disk, rename it over `path`; leave nothing on failure."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(aside)
        with open(aside, "rb") as file:
            os.fsync(file.fileno())  # else a power cut could leave the new name with old, empty content
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _no_space_is_bad_input(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadInput(
                f"no space left on the disk of {where}; free some and run the same again"
            ) from None
        raise
