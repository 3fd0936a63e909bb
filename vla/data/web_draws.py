"""The draws of one picture-text source: draw number -> prompt, answer, points and picture.

Which record and which of its turns is a function of (seed, draw number). Records held for validation are
never drawn.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vla.configuration.web import WebSourceConfig
from vla.data.sampler import CounterSampler
from vla.data.web.choosing import held_out, prompted
from vla.data.web.guarded import Guarded
from vla.data.web.pictures import WebPictures
from vla.data.web.sample import Turn
from vla.errors import BadInput
from vla.tokens.locations import read, tell

__all__ = ["Told", "WebDraws", "placed", "points_of"]

BOX = "{box}"
"""Stands in an answer for the words of a place: the number of steps is the model's."""


@dataclass(frozen=True)
class Told:
    """One drawn turn (several, packed) about a record's picture. points: float32 [2, 3], x and y in 0..1, and
    1 where there is one."""

    record: int
    turns: tuple[Turn, ...]
    points: npt.NDArray[np.float32]


class WebDraws:
    """What is drawn from `source`, whose damaged records others stand in for.

    pictures: of its records, at the model's size. locations: in how many steps places are told. pack: a draw
    is all turns of a record, beginning with any of them, instead of one. held: bool [records], those that are
    never drawn; None for those of `held_out`. With a split of 0 they are not asked about either.
    """

    def __init__(
        self,
        source: Guarded,
        pictures: WebPictures,
        config: WebSourceConfig,
        *,
        seed: int,
        locations: int = 64,
        pack: bool = False,
        held: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.name, self.source, self.config = source.name, source, config
        self.pictures, self.ahead = pictures.first, pictures.ahead
        self.seed, self.locations, self.pack = seed, locations, pack
        held = held_out(source, config, seed) if held is None else held
        self.held: npt.NDArray[np.int64] = np.flatnonzero(held if config.split else held[:0])
        kept = np.flatnonzero(~held)
        if len(kept) == 0:
            raise BadInput(f"web.{self.name}: no record is left to train on (split={config.split} holds all)")
        # A stream of its own: two sources of one size must not go through their records in step.
        mark = zlib.crc32(self.name.encode())
        self._records = CounterSampler(kept, seed ^ (mark << 24))

    def __len__(self) -> int:
        return len(self._records.items)

    def expect(self, numbers: Sequence[int]) -> None:
        """Say which draws come next, so that their pictures are decoded side by side."""
        self.ahead([int(self._records(number, 1)[0]) for number in numbers])

    def draw(self, number: int) -> Told:
        """The `number`-th draw."""
        record = self.source.stands_in(int(self._records(number, 1)[0]))
        turns = self._told(record, number)
        first = int(np.random.Generator(np.random.Philox(key=[self.seed, number])).integers(len(turns)))
        turns = (*turns[first:], *turns[:first]) if self.pack else (turns[first],)
        return Told(record, turns, points_of(turns))

    def validation(self, count: int) -> list[Told]:
        """At most `count` turns about held pictures, evenly through the records and each one's turns."""
        some = self.held[:: max(1, len(self.held) // max(1, count))][:count]
        found = []
        for place, each in enumerate(some.tolist()):
            record = self.source.stands_in(each)
            turns = self._told(record, 0)
            turn = turns[place % len(turns)]
            found.append(Told(record, (turn,), points_of((turn,))))
        return found

    def _told(self, record: int, draw: int) -> tuple[Turn, ...]:
        turns = prompted(self.source.turns(record), self.config.prompts, record, draw, self.seed)
        return tuple(placed(turn, self.locations) for turn in turns)


def placed(turn: Turn, locations: int) -> Turn:
    """A turn with the places in its answer told in words."""
    answer = turn.answer
    for box in turn.boxes:
        answer = answer.replace(BOX, tell(box, locations), 1)
    return turn if answer == turn.answer else replace(turn, answer=answer)


def points_of(turns: Sequence[Turn]) -> npt.NDArray[np.float32]:
    """Where the thing meant is, and what it is placed by: float32 [2, 3], 0 at last where there is none.

    Only a single turn means one thing, and only if it has one box or tells a place: the boxes of "how many
    cups are there" are all cups, none of them the one that is meant.
    """
    points = np.zeros((2, 3), np.float32)
    if len(turns) == 1 and (len(turns[0].boxes) == 1 or _tells_a_place(turns[0])):
        for i, box in enumerate(turns[0].boxes[:2]):
            points[i] = (*box.centre, 1.0)
    return points


def _tells_a_place(turn: Turn) -> bool:
    return "loc" in turn.answer and read(turn.answer, 1 << 20) is not None
