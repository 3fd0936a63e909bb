"""Any frame's PNG or JPEG out of a dataset's parquet files.

Parquet gives no single rows: what can be fetched is a row group, usually an episode. The still-encoded
pictures of those that were fetched last stay in memory, up to a share of it for all cameras together; a
dataset that fits in so is read from the disk once. One that does not is better read through the cache.
"""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from vla.data.episodes import EpisodeDataset
from vla.data.tables import unreadable
from vla.errors import BadInput
from vla.interfaces import IMAGE_PREFIX

__all__ = ["KEPT", "StoredReader", "decode_picture"]

SHARE = 0.25
"""Of the machine's memory, for pictures that are still encoded."""
_Image = npt.NDArray[np.uint8]


def decode_picture(data: bytes, file: Path, frame: int, shape: tuple[int, int, int]) -> _Image:
    """uint8 [height, width, 3] from PNG or JPEG. Raises BadInput naming the file and the frame."""
    try:
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise BadInput(f"{file}: the picture of frame {frame} cannot be decoded: {error}") from None
    if picture.shape != shape:
        raise BadInput(
            f"{file}: the picture of frame {frame} has shape {list(picture.shape)}, not {list(shape)} as "
            "meta/info.json says"
        )
    return picture


class _Kept:
    """Columns by name, the least lately used dropped where they are more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self._columns: OrderedDict[object, pa.Array] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object, read: Callable[[], pa.Array]) -> pa.Array:
        with self._lock:
            if key in self._columns:
                self._columns.move_to_end(key)
                return self._columns[key]
            column = self._columns[key] = read()
            self.held += column.nbytes
            while self.held > self.limit and len(self._columns) > 1:
                self.held -= self._columns.popitem(last=False)[1].nbytes
            return column

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._columns.clear()
            self.held = 0


KEPT = _Kept(int(SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
"""Of all readers of the process."""


class StoredReader:
    """Pictures of one camera by frame number. May be called from several threads."""

    def __init__(self, dataset: EpisodeDataset, camera: str) -> None:
        self.name, self.shape = IMAGE_PREFIX + camera, dataset.image_shape(camera)
        self._groups: list[tuple[Path, int]] = []
        starts = []
        start = 0
        for file, _, _ in dataset.file_frames:
            meta = pq.read_metadata(file)
            if self.name not in meta.schema.to_arrow_schema().names:
                raise BadInput(f"{file} has no column '{self.name}'")
            for group in range(meta.num_row_groups):
                self._groups.append((file, group))
                starts.append(start)
                start += meta.row_group(group).num_rows
        self._starts = np.array(starts, np.int64)

    def read(self, frames: npt.NDArray[np.int64], out: _Image) -> None:
        """Decode `frames` (int64 [B], rising) into `out`, uint8 [B, height, width, 3]."""
        groups = np.searchsorted(self._starts, frames, side="right") - 1
        for group in np.unique(groups):
            file, number = self._groups[group]
            column = KEPT.get((file, number, self.name), partial(self._fetch, file, number))
            for row in np.flatnonzero(groups == group):
                frame = int(frames[row])
                data = column[frame - int(self._starts[group])].as_py()
                if data is None:
                    raise BadInput(f"{file}: column '{self.name}' holds no picture bytes at frame {frame}")
                out[row] = decode_picture(data, file, frame, self.shape)

    def _fetch(self, file: Path, group: int) -> pa.Array:
        try:
            with pq.ParquetFile(file) as stored:
                # Only the bytes: the struct's other field is a path.
                cells = stored.read_row_group(group, columns=[f"{self.name}.bytes"]).column(0)
            return pa.concat_arrays([chunk.field("bytes") for chunk in cells.chunks])
        except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
            raise unreadable(file, error) from None
