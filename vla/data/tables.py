"""Parquet tables and their columns as arrays; each way a file can be broken ends in one line naming it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vla.data.info import COPY_AGAIN
from vla.errors import BadInput, did_you_mean

__all__ = ["read_table", "to_numpy", "unreadable"]


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one parquet file. Raises BadInput naming the file, or the column that is not in it."""
    try:
        file = pq.ParquetFile(path)
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            hint = did_you_mean(missing[0], file.schema_arrow.names)
            raise BadInput(f"{path} has no column '{missing[0]}'{hint}")
        return file.read(list(columns) if columns is not None else None)
    except FileNotFoundError:
        raise BadInput(f"dataset file is missing: {path}; {COPY_AGAIN}") from None
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> BadInput:
    """The line for a parquet file that pyarrow cannot read."""
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return BadInput(f"dataset file cannot be read (truncated or not parquet): {path}: {reason}; {COPY_AGAIN}")


def to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Scalar column -> [N]; list column of a constant length D -> [N, D]."""
    if pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
        # The values of a row that a file leaves out are left out too: whoever asks checks the count.
        flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks if len(chunk)]
        values = np.concatenate(flat) if flat else np.zeros(0, np.float32)
        if len(column) == 0 or len(values) % len(column):
            return values
        return values.reshape(len(column), -1)
    return column.to_numpy()
