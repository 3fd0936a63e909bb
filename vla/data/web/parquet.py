"""FineVision, the Cauldron and their like: a row has ``images`` (list of pictures) and ``texts`` (list of
{user, assistant}), or another form of vla/data/web/texts.py in a column of that name."""

from collections.abc import Callable, Iterator
from typing import Any

from vla.configuration.web import ParquetConfig
from vla.data.web.base import FileSource, Raw
from vla.data.web.tables import open_table, stored_picture
from vla.data.web.texts import TEXT_KEYS, turns_of
from vla.errors import BadInput

__all__ = ["Parquet"]


class Parquet(FileSource):
    """A `WebSource` on a table of `datasets`."""

    def __init__(self, name: str, config: ParquetConfig) -> None:
        self._table = open_table(name, config.paths, config.part, config.cache)
        super().__init__(name, config, self._table.files)
        if not set(TEXT_KEYS) & set(self._table.columns):
            held, wanted = ", ".join(self._table.columns), ", ".join(TEXT_KEYS)
            raise BadInput(f"web.{name}: {self.files[0]} has the columns {held}; one of {wanted} is needed")

    def count(self) -> int:
        """Rows."""
        return len(self._table)

    def place(self, number: int) -> str:
        """Table and row."""
        return f"{self.config.paths[0]}: row {number}"

    def names(self) -> Iterator[list[str | None]]:
        """See `FileSource`."""
        return self._table.names()

    def raw(self, number: int) -> Raw:
        """One row. Raises Fault."""
        turns, spoken = turns_of(self._table.texts(number))
        cells = self._table.pictures(number)
        return Raw(turns, tuple(self._reader(cell) for cell in cells), spoken)

    def _reader(self, cell: Any) -> Callable[[], bytes]:
        held = stored_picture(cell)
        return self.picture(held) if isinstance(held, str) else lambda: held
