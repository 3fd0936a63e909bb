"""Reading a LeRobotDataset v3 folder with pyarrow alone (importing lerobot costs 6 s and 800 MB).

Numeric columns are small and are read whole; pictures stay on disk and are decoded once into a cache
(see `vla.data.cache`). Every way a folder can be broken ends in one `BadInput` line that names the file.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vla.data.counts import check_bounds, check_rows, check_tasks
from vla.data.info import COPY_AGAIN, DATA_PATH, VIDEO_PATH, read_info, read_json
from vla.data.language import Language
from vla.data.tables import read_table, to_numpy, unreadable
from vla.data.times import check_times
from vla.errors import BadInput, did_you_mean
from vla.interfaces import IMAGE_PREFIX

__all__ = ["EpisodeDataset", "read_table"]


class EpisodeDataset:
    """One LeRobot v3 folder: frames in order, the episodes' bounds, the sentences.

    A *frame* is one control step, numbered 0 .. num_frames - 1 through all episodes (column ``index``).
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.info = read_info(self.root)
        self.fps = int(self.info["fps"])
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.num_frames = int(self.info["total_frames"])
        self.num_episodes = int(self.info["total_episodes"])

    def check_meta(self) -> None:
        """Raise BadInput for a meta file that is missing or broken, also where nothing here needs it, for
        frames whose sentence does not exist, and for those that are not where their timestamps say."""
        read_json(self.root / "meta" / "stats.json")
        if "subtask_index" in self.features:
            read_table(self.root / "meta" / "subtasks.parquet", ["subtask_index"])
        if "task_index" in self.features:
            check_tasks(self)
        check_times(self)

    # -- files -------------------------------------------------------------------------------------

    @cached_property
    def data_files(self) -> list[Path]:
        """The data files that hold the frames, in order; existence checked."""
        table = self.episode_meta
        pattern = self.info.get("data_path") or DATA_PATH
        pairs = sorted(set(zip(table["data/chunk_index"], table["data/file_index"], strict=True)))
        files = [self.root / pattern.format(chunk_index=int(c), file_index=int(f)) for c, f in pairs]
        for file in files:
            if not file.is_file():
                raise BadInput(f"dataset file is missing: {file}; {COPY_AGAIN}")
        return files

    @cached_property
    def episode_meta(self) -> dict[str, npt.NDArray[Any]]:
        """Columns of meta/episodes (without statistics and lists), one entry an episode, in order."""
        files = sorted((self.root / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            path = self.root / "meta/episodes/chunk-000/file-000.parquet"
            raise BadInput(f"dataset file is missing: {path}; {COPY_AGAIN}")
        needed = ("episode_index", "length", "data/chunk_index", "data/file_index")
        tables = []
        for file in files:
            table = read_table(file)
            for name in needed:
                if name not in table.column_names:
                    raise BadInput(f"{file} has no column '{name}'")
                if not pa.types.is_integer(table.schema.field(name).type) or table[name].null_count:
                    raise BadInput(f"{file}: column '{name}' must hold a whole number in every row")
            scalar = [f.name for f in table.schema if not pa.types.is_nested(f.type)]
            tables.append(table.select([n for n in scalar if not n.startswith("stats/")]))
        merged = pa.concat_tables(tables, promote_options="default").sort_by("episode_index")
        if len(merged) != self.num_episodes:
            raise BadInput(
                f"{files[-1].parent} lists {len(merged)} episodes, meta/info.json says {self.num_episodes} "
                f"(total_episodes): they are of different states of the dataset; {COPY_AGAIN}"
            )
        length = merged.column("length").to_numpy()
        if length.min() < 1 or length.sum() != self.num_frames:
            raise BadInput(
                f"{files[-1].parent}: the episodes' lengths sum up to {length.sum()} frames, "
                f"meta/info.json says {self.num_frames} (total_frames); {COPY_AGAIN}"
            )
        return {name: merged.column(name).to_numpy() for name in merged.column_names}

    @cached_property
    def file_frames(self) -> list[tuple[Path, int, int]]:
        """(data file, first frame, one past the last frame) in order, from the files' own row counts."""
        spans, start = [], 0
        for file in self.data_files:
            try:
                rows = pq.read_metadata(file).num_rows
            except (pa.ArrowException, OSError) as error:
                raise unreadable(file, error) from None
            spans.append((file, start, start + rows))
            start += rows
        check_rows(self, spans)
        return spans

    # -- numbers -----------------------------------------------------------------------------------

    def columns(self, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Numeric columns by name: [num_frames] or [num_frames, dim], the stored dtype."""
        for name in names:
            if name not in self.features:
                hint = did_you_mean(name, self.features)
                raise BadInput(f"{self.root}: dataset has no feature '{name}'{hint}")
        tables = [read_table(file, names) for file, _, _ in self.file_frames]
        try:
            table = pa.concat_tables(tables)
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"{self.root}: the data files do not have the same columns: {reason}") from None
        found = {name: self._numbers(name, table.column(name)) for name in names}
        for name, values in found.items():
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                frame = int(np.argwhere(~np.isfinite(values))[0][0])
                raise BadInput(
                    f"{self.root}: feature '{name}' is not finite at {self.where(frame)}; mend or leave out "
                    "that episode"
                )
        return found

    def where(self, frame: int) -> str:
        """A frame of the dataset in words, for messages."""
        starts = np.cumsum(self.episode_meta["length"]) - self.episode_meta["length"]
        episode = int(np.searchsorted(starts, frame, side="right")) - 1
        return f"frame {frame - int(starts[episode])} of episode {episode}"

    def _numbers(self, name: str, column: pa.ChunkedArray) -> npt.NDArray[Any]:
        """A column as an array, checked to be what meta/info.json says of the feature."""
        feature = self.features[name]
        kind, shape = feature["dtype"], feature["shape"]
        values = None if column.null_count else to_numpy(column)
        whole = kind.startswith(("int", "uint"))
        wanted = np.integer if whole else np.number
        if (
            values is None
            or values.size != self.num_frames * int(np.prod(shape))
            or not (np.issubdtype(values.dtype, wanted) or values.dtype == np.bool_)
        ):
            raise BadInput(
                f"{self.root}/data: column '{name}' holds {column.type}"
                f"{' with empty rows' if column.null_count else ''}, not {kind} {shape} in every row "
                f"as meta/info.json says; {COPY_AGAIN}"
            )
        return values

    @cached_property
    def episode_of_frame(self) -> npt.NDArray[np.int64]:
        """int64 [num_frames]: the episode of each frame; checked to be whole episodes in order."""
        columns = self.columns(["episode_index", "index"])
        if not np.array_equal(columns["index"], np.arange(self.num_frames)):
            first = int(np.argmax(columns["index"] != np.arange(self.num_frames)))
            raise BadInput(
                f"{self.root}: column 'index' is {columns['index'][first]} at {self.where(first)}, where it "
                f"should be {first}: it must count the frames from 0 in order; {COPY_AGAIN}"
            )
        episode = columns["episode_index"].astype(np.int64)
        whole = episode[0] == 0 and episode[-1] + 1 == self.num_episodes
        if not whole or not np.isin(np.diff(episode), (0, 1)).all():
            raise BadInput(
                f"{self.root}: column 'episode_index' does not hold {self.num_episodes} whole episodes in "
                f"order (0 to {self.num_episodes - 1}, as meta/info.json says); {COPY_AGAIN}"
            )
        return episode

    @cached_property
    def episode_bounds(self) -> npt.NDArray[np.int64]:
        """int64 [num_episodes, 2]: first frame and one past the last frame of each episode."""
        cuts = np.flatnonzero(np.diff(self.episode_of_frame)) + 1
        edges = np.concatenate([[0], cuts, [self.num_frames]])
        bounds = np.stack([edges[:-1], edges[1:]], axis=1)
        check_bounds(self, bounds)
        return bounds

    @cached_property
    def tasks(self) -> list[str]:
        """Sentences by ``task_index``. LeRobot stores the sentence as a pandas index or as a column."""
        path = self.root / "meta" / "tasks.parquet"
        table = read_table(path)
        text = next((n for n in ("task", "__index_level_0__") if n in table.column_names), None)
        if text is None or "task_index" not in table.column_names:
            raise BadInput(f"{path} must have the columns 'task' and 'task_index', not {table.column_names}")
        pairs = dict(zip(table["task_index"].to_pylist(), table[text].to_pylist(), strict=True))
        if None in pairs or sorted(pairs) != list(range(len(pairs))):
            raise BadInput(f"{path}: 'task_index' must count from 0 without gaps")
        for number, sentence in pairs.items():
            if not isinstance(sentence, str) or not sentence.strip():
                raise BadInput(f"{path}: task {number} must be a sentence, not {sentence!r}")
        return [pairs[i] for i in range(len(pairs))]

    @cached_property
    def language(self) -> Language:
        """What is annotated in words: sub-tasks and plans that hold at a frame, and what is said there."""
        return Language(self)

    # -- pictures ----------------------------------------------------------------------------------

    @property
    def cameras(self) -> list[str]:
        """Camera names, without the ``observation.images.`` prefix."""
        return [
            name.removeprefix(IMAGE_PREFIX)
            for name, feature in self.features.items()
            if name.startswith(IMAGE_PREFIX) and feature.get("dtype") in ("image", "video")
        ]

    def image_shape(self, camera: str) -> tuple[int, int, int]:
        """(height, width, 3) of a camera's stored pictures."""
        feature = self.features.get(IMAGE_PREFIX + camera)
        if feature is None:
            hint = did_you_mean(camera, self.cameras)
            raise BadInput(f"{self.root}: dataset has no camera '{camera}'{hint}")
        shape = [int(n) for n in feature["shape"]]
        if len(shape) != 3 or shape[2] != 3:
            raise BadInput(f"{self.root}: camera '{camera}' has shape {shape}, not [height, width, 3]")
        return shape[0], shape[1], shape[2]

    def video_files(self) -> list[Path]:
        """All videos of all cameras. Raises BadInput naming one that is missing."""
        found = []
        for key in [k for k, feature in self.features.items() if feature["dtype"] == "video"]:
            columns = [f"videos/{key}/{part}" for part in ("chunk_index", "file_index")]
            for name in columns:
                if not np.issubdtype(self.episode_meta.get(name, np.zeros(1)).dtype, np.integer):
                    raise BadInput(f"{self.root}/meta/episodes lacks column '{name}', or numbers in it")
            pairs = sorted(set(zip(*(self.episode_meta[name].tolist() for name in columns), strict=True)))
            found += [self.video_file(key, chunk, file) for chunk, file in pairs]
        for path in found:
            if not path.is_file():
                raise BadInput(f"dataset file is missing: {path}; copy it again from the dataset's source")
        return found

    def video_file(self, key: str, chunk: int, file: int) -> Path:
        """Where a video of the feature `key` is."""
        pattern = self.info.get("video_path") or VIDEO_PATH
        try:
            return self.root / pattern.format(video_key=key, chunk_index=chunk, file_index=file)
        except (AttributeError, LookupError, ValueError):
            where = f"{self.root}/meta/info.json"
            raise BadInput(f"{where}: 'video_path' must be like {VIDEO_PATH!r}, not {pattern!r}") from None

    def encoded_images(self, file: Path, camera: str) -> Iterator[bytes]:
        """The still-encoded (PNG or JPEG) pictures of one data file, row by row, little memory used."""
        name = IMAGE_PREFIX + camera
        try:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=256, columns=[name]):
                for cell in batch.column(0):
                    value = cell.as_py()
                    picture = value.get("bytes") if isinstance(value, dict) else None
                    if picture is None:
                        raise BadInput(f"{file}: column '{name}' holds no picture bytes")
                    yield picture
        except (pa.ArrowException, OSError, IndexError) as error:
            raise unreadable(file, error) from None
