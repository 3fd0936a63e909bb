"""What every kind of picture-text data becomes: pictures, and turns of prompt and answer about them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

if TYPE_CHECKING:
    from vla.data.web.picture_names import PictureNames

__all__ = ["Box", "Damaged", "NamesPictures", "Turn", "WebSample", "WebSource"]


class Damaged(BadInput):
    """One record that cannot be used; the line names its file and its number. Others may be fine.

    kind: what is wrong in a few words, the same for all records of which it is."""

    def __init__(self, line: str, kind: str = "") -> None:
        super().__init__(line)
        self.kind = kind or "cannot be used"

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return Damaged, (str(self), self.kind)


@dataclass(frozen=True)
class Box:
    """Edges of something in a picture, in 0..1 of its width and height: x to the right, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y)."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Turn:
    """One prompt and its answer. A caption's prompt is empty: the source says what stands for it.

    boxes: of what the prompt speaks of, the thing meant first, the thing it is placed by second; they
    supervise where the model looks (in the record's first picture), and each ``{box}`` in the answer stands
    for the next of them, told in the model's location words. others: further answers that are as right (VQAv2
    has ten people's); the scores of a validation set use them.
    """

    prompt: str
    answer: str
    boxes: tuple[Box, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class WebSample:
    """images: uint8 ``[height, width, 3]`` RGB, in the order in which the text speaks of them; none for text
    alone. where: file and number of the record, for messages."""

    images: tuple[npt.NDArray[np.uint8], ...]
    turns: tuple[Turn, ...]
    where: str = field(default="", compare=False)


class WebSource(Protocol):
    """A readable collection with random access. Reading one record twice gives the same."""

    name: str

    def __len__(self) -> int:
        """Number of records, the damaged ones included."""
        ...

    def __getitem__(self, number: int) -> WebSample:
        """One record. Raises Damaged."""
        ...

    def turns(self, number: int) -> tuple[Turn, ...]:
        """The record's texts alone, without decoding its pictures. Raises Damaged."""
        ...

    def texts(self) -> Iterator[str]:
        """All prompts and answers, of records that can be read: what a tokenizer learns its words from."""
        ...

    @property
    def identity(self) -> str:
        """Some hex digits that change whenever the data does (names and sizes of its files are enough)."""
        ...


@runtime_checkable
class NamesPictures(Protocol):
    """A `WebSource` that can say which pictures its records name, without decoding any."""

    @property
    def named(self) -> "PictureNames":
        """Of all records, beyond `limit` too."""
        ...
