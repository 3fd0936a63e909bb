"""Tables of Hugging Face `datasets`, mapped into memory, with their pictures as the bytes that were stored.

A folder made by ``save_to_disk`` is read in place. Parquet files, which allow no random access, are written
once as Arrow files into the cache folder (of about their own size); that is the library's own way.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vla.data.web.damage import Fault
from vla.data.web.files import cache_folder, is_url, local_files
from vla.errors import BadInput, did_you_mean
from vla.optional import need

__all__ = ["Table", "name_in", "open_table", "stored_picture"]

MADE_BY = ("state.json", "dataset_dict.json")
"""What save_to_disk leaves in its folder."""


class Table:
    """Rows of a table. images: the column of pictures, which ``texts`` leaves alone as it may be large."""

    def __init__(self, rows: Any, files: list[Path], images: tuple[str, ...]) -> None:
        self.files = files
        self.columns: list[str] = rows.column_names
        self.images = next((name for name in images if name in self.columns), None)
        self._rows = rows.with_format("arrow")  # as it is stored: datasets would decode the pictures
        self._texts = self._rows.remove_columns([self.images] if self.images else [])

    def __len__(self) -> int:
        return len(self._rows)

    def texts(self, row: int) -> dict[str, Any]:
        """All columns but the pictures."""
        return _read(self._texts, row)

    def pictures(self, row: int) -> list[Any]:
        """The picture's column, as a list: {bytes, path}, names, or None."""
        if self.images is None:
            return []
        held = _read(self._rows.select_columns([self.images]), row)[self.images]
        return held if isinstance(held, list) else [] if held is None else [held]

    def names(self) -> Iterator[list[str | None]]:
        """What each row calls its pictures, None for one in the row itself; no picture's bytes are read."""
        if self.images is None:
            yield from ([] for _ in range(len(self)))
            return
        for part in self._rows.select_columns([self.images]).iter(batch_size=1000):
            for chunk in part.column(0).chunks:
                yield from _names(chunk)


def open_table(name: str, paths: tuple[str, ...], part: str, cache: str) -> Table:
    """Open the folder that was saved, or the parquet files. Raises BadInput."""
    datasets = need("datasets", "web", f"web source '{name}'")
    bars = datasets.is_progress_bar_enabled()
    if len(paths) == 1 and any((Path(paths[0]) / each).is_file() for each in MADE_BY):
        folder = Path(paths[0])
        rows = _saved(datasets, folder, part)
        arrows = [each for each in sorted(folder.rglob("*.arrow")) if not each.name.startswith("cache-")]
        return Table(rows, arrows or [folder / "dataset_info.json"], ("images", "image"))
    files = local_files(paths, (".parquet",), cache)
    _check(files)
    held = cache_folder(cache, None if is_url(paths[0]) else files[0].parent)
    try:
        datasets.disable_progress_bars()  # its bars count the splits, not the rows
        print(f"web source '{name}': {len(files)} parquet files, mapped in {held}", flush=True)
        rows = datasets.load_dataset(
            "parquet", data_files=[str(file) for file in files], split="train", cache_dir=str(held)
        )
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise BadInput(f"{files[0]} and those beside it cannot be read as one table: {reason}") from None
    finally:
        if bars:
            datasets.enable_progress_bars()
    return Table(rows, files, ("images", "image"))


def name_in(cell: Any) -> str | None:
    """The name that `stored_picture` gives, None where it gives none."""
    try:
        held = stored_picture(cell)
    except Fault:
        return None
    return held if isinstance(held, str) else None


def stored_picture(cell: Any) -> bytes | str:
    """The bytes of a picture's cell, or the name of its file. Raises Fault."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes | str):
        return cell
    raise Fault("the picture's cell has another form", f"{cell!r:.60}")


def _saved(datasets: Any, folder: Path, part: str) -> Any:
    try:
        rows = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder} cannot be opened: {str(error).splitlines()[0]}") from None
    if isinstance(rows, datasets.DatasetDict):
        if part not in rows:
            raise BadInput(f"{folder} has no part '{part}'{did_you_mean(part, rows)}")
        rows = rows[part]
    return rows


def _check(files: list[Path]) -> None:
    """Parquet keeps its index at its end: what is cut cannot be read at all."""
    import pyarrow
    import pyarrow.parquet as pq

    for file in files:
        try:
            pq.read_metadata(file)
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"{file} is not a whole parquet file: {reason}; fetch it again") from None


def _read(rows: Any, row: int) -> dict[str, Any]:
    try:
        return rows[row].to_pylist()[0]
    except Exception as error:  # whatever Arrow meets in a damaged file
        raise Fault("the row cannot be read", str(error).splitlines()[0] if str(error) else "") from None


def _names(cells: Any) -> list[list[str | None]]:
    """Of each cell of an Arrow array of pictures, or of lists of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = cells.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.fill_null(pc.list_value_length(cells), 0).to_pylist()
        names = iter(_flat(cells.flatten()))
        return [[next(names) for _ in range(length)] for length in lengths]
    return [[name] for name in _flat(cells)]


def _flat(cells: Any) -> list[str | None]:
    """As `name_in` of each cell."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(cells.type):
        fields = {field.name for field in cells.type}
        if "path" not in fields:
            return [None] * len(cells)
        names = pc.struct_field(cells, "path")
        if "bytes" in fields:
            held = pc.fill_null(pc.binary_length(pc.struct_field(cells, "bytes")), 0)
            names = pc.if_else(pc.greater(held, 0), None, names)
        return names.to_pylist()
    texts = pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)
    return cells.to_pylist() if texts else [None] * len(cells)
