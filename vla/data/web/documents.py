"""Pages with pictures between their paragraphs (OBELICS, MMC4), as pictures with the text around them.

A document has two lists of one length: ``texts`` holds a paragraph, or None where a picture stands;
``images`` holds a picture (bytes, a name, or a URL), or None where a paragraph stands. Each picture becomes a
record: the text before it is the prompt, the text after it the answer (where nothing follows, the text before
it is), each up to the next picture and cut to `context` words. So a model learns, as from Flamingo's pages,
what to say after what it sees. A document without any picture is one record of text alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.configuration.web import DocumentsConfig
from vla.data.web.base import FileSource, Raw
from vla.data.web.damage import Fault
from vla.data.web.files import local_files
from vla.data.web.index_cache import kept
from vla.data.web.json_records import JsonRecords
from vla.data.web.llava import ENDINGS, JsonFiles
from vla.data.web.sample import Turn
from vla.data.web.tables import name_in, open_table, stored_picture

__all__ = ["Documents"]


class Documents(FileSource):
    """A `WebSource` on pages. Opening it goes through them once, to find the pictures."""

    config: DocumentsConfig

    def __init__(self, name: str, config: DocumentsConfig) -> None:
        self._records: JsonFiles | None = None
        if _is_table(config.paths):
            self._table = open_table(name, config.paths, config.part, config.cache)
            super().__init__(name, config, self._table.files)
        else:
            super().__init__(name, config, local_files(config.paths, ENDINGS, config.cache))
            self._records = JsonFiles([JsonRecords(file, self.cache) for file in self.files])
        spots = kept(self.files[0], f"documents 1 {self.identity}", self.cache, self._spots)
        self._page: npt.NDArray[np.int64] = spots["page"]
        self._spot: npt.NDArray[np.int64] = spots["spot"]

    def _spots(self) -> dict[str, npt.NDArray[np.int64]]:
        """Of each record, its page and where on it the picture stands (-1: none, or nobody can tell)."""
        pages, spots = [], []
        count = len(self._table) if self._records is None else len(self._records)
        for page in tqdm(
            range(count), desc=f"indexing {self.name}", unit=" pages", mininterval=1.0, delay=2.0
        ):
            try:
                found = [spot for spot, text in enumerate(_texts(self._cells(page))) if text is None]
            except Fault:
                found = []
            pages += [page] * max(1, len(found))
            spots += found or [-1]
        return {"page": np.array(pages, np.int64), "spot": np.array(spots, np.int64)}

    def _cells(self, page: int) -> dict[str, Any]:
        if self._records is None:
            return self._table.texts(page)
        file, there = self._records.find(page)
        return file[there]

    def count(self) -> int:
        """Pictures, and pages without any."""
        return len(self._page)

    def place(self, number: int) -> str:
        """File, page and where on it."""
        page, spot = int(self._page[number]), int(self._spot[number])
        if self._records is None:
            where = f"{self.config.paths[0]}: row {page}"
        else:
            file, there = self._records.find(page)
            where = file.place(there)
        return where if spot < 0 else f"{where}, picture at {spot}"

    def names(self) -> Iterator[list[str | None]]:
        """See `FileSource`: the one picture of each record."""
        pages: Iterable[list[str | None]]
        if self._records is None:
            pages = self._table.names()
        else:
            pages = ([name_in(cell) for cell in _list(page.get("images"))] for page in self._records.each())
        ends = np.searchsorted(self._page, np.arange(1, self._page[-1] + 2))  # of each page's records
        begin = 0
        for end, names in zip(ends.tolist(), pages, strict=True):
            for spot in self._spot[begin:end].tolist():
                yield names[spot : spot + 1] if spot >= 0 else []
            begin = end

    def raw(self, number: int) -> Raw:
        """One picture between its texts. Raises Fault."""
        page, spot = int(self._page[number]), int(self._spot[number])
        content = self._cells(page)
        texts = _texts(content)
        for text in texts:
            if text is not None and len(text) > 16 * self.config.max_words:
                raise Fault("a text is longer than max_words", f"{len(text):,} characters")
        context = self.config.context
        if spot < 0:
            return Raw((Turn("", _first("\n".join(text for text in texts if text), context)),))
        before, after = _run(texts[:spot][::-1])[::-1], _run(texts[spot + 1 :])
        prompt, answer = _last("\n".join(before), context), _first("\n".join(after), context)
        turn = Turn(prompt, answer) if answer else Turn("", prompt)
        return Raw((turn,), (partial(self._picture, content, page, spot),))

    def _picture(self, content: dict[str, Any], page: int, spot: int) -> bytes:
        cells = self._table.pictures(page) if self._records is None else content.get("images")
        if not isinstance(cells, list) or len(cells) <= spot or cells[spot] is None:
            raise Fault("the picture is missing", "'images' has none where 'texts' has no text")
        held = stored_picture(cells[spot])
        return self.picture(held)() if isinstance(held, str) else held


def _is_table(paths: tuple[str, ...]) -> bool:
    return not any(path.rstrip("/").endswith(ENDINGS) for path in paths) and not any(
        Path(path).is_dir() and any(file.suffix in ENDINGS[1:] for file in Path(path).iterdir())
        for path in paths
    )


def _list(cells: Any) -> list[Any]:
    return cells if isinstance(cells, list) else []


def _texts(content: dict[str, Any]) -> list[str | None]:
    texts = content.get("texts")
    if not isinstance(texts, list) or not all(text is None or isinstance(text, str) for text in texts):
        raise Fault("'texts' is no list of texts and None", f"{texts!r:.60}")
    return texts


def _run(texts: Sequence[str | None]) -> list[str]:
    """The texts up to the next picture."""
    run: list[str] = []
    for text in texts:
        if text is None:
            break
        run.append(text)
    return run


def _first(text: str, words: int) -> str:
    parts = text.split(maxsplit=words)
    return text.strip() if len(parts) <= words else " ".join(parts[:words])


def _last(text: str, words: int) -> str:
    parts = text.rsplit(maxsplit=words)
    return text.strip() if len(parts) <= words else " ".join(parts[-words:])
