"""Rows with pictures as the episode that a dataset's writer merges, the pictures as they are stored.

`EpisodeWriter.write_episode` takes decoded pictures and encodes them; here they were encoded long ago, and
there may be many of them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from policies.runtime.log.pictures import decoded, storable
from policies.runtime.log.progress import Progress
from policies.runtime.log.records import Journal, Part
from policies.runtime.log.steps import Row
from vla.data.lerobot_stats import image_stats
from vla.data.lerobot_writer import EpisodeWriter, Feature
from vla.interfaces import ACTION, IMAGE_PREFIX, STATE

__all__ = ["features_of", "stage", "stage_rows", "staged_schema"]

_ROWS, _BYTES = 64, 4 * 2**20  # in memory at a time, of which whichever is less
_SAMPLED = 100  # pictures that statistics are taken of, as LeRobot does


def features_of(begin: Mapping[str, Any], cameras: Mapping[str, tuple[int, ...]]) -> dict[str, Feature]:
    """LeRobot's descriptions of what a run's rows hold."""
    joints = [joint["column"] for joint in begin["joints"]]
    names = ["height", "width", "channels"]
    features: dict[str, Feature] = {
        IMAGE_PREFIX + name: {"dtype": "image", "shape": list(shape), "names": names}
        for name, shape in cameras.items()
    }
    for key in (STATE, ACTION, "wanted"):  # "action.wanted" would be one more action for LeRobot's policies
        features[key] = {"dtype": "float32", "shape": [len(joints)], "names": joints}
    for key, dtype in (("held", "int64"), ("safety", "int64"), ("step", "int64"), ("time", "float64")):
        features[key] = {"dtype": dtype, "shape": [1], "names": None}
    features["annotation.valid"] = {"dtype": "float32", "shape": [1], "names": None}
    return features


def stage_rows(
    writer: EpisodeWriter,
    journal: Journal,
    rows: Sequence[Row],
    header: Mapping[str, Any],
    progress: Progress,
) -> None:
    """Stage a run as the first episode of `writer`. header: its task and its extra columns. A few megabytes
    of pictures are in memory at a time."""
    cameras = [
        n.removeprefix(IMAGE_PREFIX) for n in writer.features if writer.features[n]["dtype"] == "image"
    ]
    picked = [
        rows[i]
        for i in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLED)).round().astype(int))
    ]

    stats = {
        IMAGE_PREFIX + name: image_stats(_Decoded(journal, [row.pictures[name] for row in picked]))
        for name in cameras
    }
    told = {name: {k: v.tolist() for k, v in found.items()} for name, found in stats.items()}

    def columns() -> Iterator[dict[str, Any]]:
        done = 0
        for some in _portions(rows):
            yield _columns(journal, some, cameras)
            done += len(some)
            progress.at("writing the run's pictures", done, len(rows))

    stage(writer, 0, columns(), {**header, "stats": told})


class _Decoded(Sequence[npt.NDArray[np.uint8]]):
    """Pictures of a journal, each decoded when it is asked for."""

    def __init__(self, journal: Journal, parts: Sequence[Part]) -> None:
        self._journal, self._parts = journal, parts

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, which: Any) -> Any:
        part = self._parts[which]
        return decoded(part.kind, part.shape, self._journal.data(part))


def _portions(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in order, as many at a time as may be in memory, but at least one."""
    start, size = 0, 0
    for i, row in enumerate(rows):
        own = sum(part.size for part in row.pictures.values())
        if i > start and (i - start >= _ROWS or size + own > _BYTES):
            yield rows[start:i]
            start, size = i, 0
        size += own
    if rows:
        yield rows[start:]


def stage(
    writer: EpisodeWriter, index: int, columns: Iterator[Mapping[str, Any]], header: Mapping[str, Any]
) -> None:
    """Write the staged file of an episode from its columns, given a few rows at a time."""
    schema = staged_schema(writer.features).with_metadata({"episode": json.dumps(header)})
    writer.staging.mkdir(parents=True, exist_ok=True)
    path = writer.staging / f"episode-{index:06d}.parquet"
    aside = path.with_name(f".{path.name}.part")
    try:
        with pq.ParquetWriter(aside, schema, use_dictionary=False) as file:
            for some in columns:
                arrays = [_array(field.type, some[field.name]) for field in schema]
                file.write_table(pa.Table.from_arrays(arrays, schema=schema))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def staged_schema(features: Mapping[str, Feature]) -> pa.Schema:
    """The columns of a staged episode: all that the dataset's writer does not fill itself."""
    filled = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    fields = []
    for name, feature in features.items():
        if name in filled:
            continue
        width = int(np.prod(feature["shape"]))
        if feature["dtype"] == "image":
            kind: Any = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        else:
            kind = pa.from_numpy_dtype(np.dtype(feature["dtype"]))
            kind = kind if width == 1 else pa.list_(kind, width)
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def _array(kind: Any, values: Any) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if pa.types.is_struct(kind):
        return pa.array([{"bytes": picture, "path": None} for picture in values], kind)
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.asarray(values).reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.array(np.asarray(values), kind)


def _columns(journal: Journal, rows: Sequence[Row], cameras: Sequence[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name in cameras:
        parts = [row.pictures[name] for row in rows]
        columns[IMAGE_PREFIX + name] = [storable(p.kind, p.shape, journal.data(p)) for p in parts]
    return columns | {
        STATE: [row.state for row in rows],
        ACTION: [row.action for row in rows],
        "wanted": [row.wanted for row in rows],
        "held": [int(row.held) for row in rows],
        "safety": [row.safety for row in rows],
        "step": [row.number for row in rows],
        "time": [row.time for row in rows],
        "annotation.valid": [np.float32(row.valid) for row in rows],
    }
