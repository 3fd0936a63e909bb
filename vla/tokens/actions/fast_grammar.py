"""Which codes of byte pairs may follow which, so that a chunk's coefficients are spelled and nothing else.

A coefficient is a character of one or two UTF-8 bytes; a code spells any number of bytes, so it may begin
with the second byte of a character and end with the first byte of another. State: (coefficients that are
whole so far, the pending first byte or none). Each place has its own least and greatest character.

Legend: P coefficients of a chunk, V codes, L most coefficients that one code touches, J possible first bytes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.tokens.actions.base import Grammar

__all__ = ["FIRST_OF_THREE", "Spelled", "first_bytes", "grammar_of"]

FIRST_OF_THREE = 0x800
"""The least character of three UTF-8 bytes."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Spelled:
    """What each code spells, by characters.

    values: int32 [V, L]; of a character whose first byte came before the code, the second byte's 6 bits; of
    one whose second byte comes after it, the least character with this first byte.
    joins: bool [V], whether the first value is the former. whole: int64 [V], characters that end in the code.
    tail: int64 [V], 5 bits of the first byte it ends with, or 0. usable: bool [V], whether it can stand
    anywhere.
    """

    values: npt.NDArray[np.int32]
    joins: npt.NDArray[np.bool_]
    whole: Ints
    tail: Ints
    usable: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, pieces: list[bytes | None]) -> "Spelled":
        """From the bytes of each code, None for a code without any."""
        found = [None if piece is None else _characters(piece) for piece in pieces]
        count = len(pieces)
        longest = max((len(item[1]) for item in found if item), default=0)
        values = np.zeros((count, max(longest, 1)), np.int32)
        joins, usable = np.zeros((2, count), np.bool_)
        whole, tail = np.zeros((2, count), np.int64)
        for code, item in enumerate(found):
            if item is not None:
                joins[code], characters, tail[code] = item
                values[code, : len(characters)] = characters
                whole[code] = len(characters) - (tail[code] > 0)
                usable[code] = True
        return cls(values, joins, whole, tail, usable)


def _characters(piece: bytes) -> tuple[bool, list[int], int] | None:
    """(joins, values, tail) of one code; None where its bytes are no part of such a text."""
    joins = len(piece) > 0 and 0x80 <= piece[0] < 0xC0
    tail = piece[-1] & 0x1F if len(piece) > 0 and 0xC2 <= piece[-1] < 0xE0 else 0
    middle = piece[1 if joins else 0 : len(piece) - (tail > 0)]
    try:
        between = [ord(character) for character in middle.decode()]
    except UnicodeDecodeError:
        return None
    values = [piece[0] & 0x3F] * joins + between + [tail << 6] * (tail > 0)
    return (joins, values, tail) if values else None


def grammar_of(spelled: Spelled, least_P: Ints, greatest_P: Ints) -> Grammar:
    """The automaton that accepts the sequences that spell P characters within their bounds, all of them.

    State p * (1 + J) + j: p characters are whole, j is 0 or the number of the pending first byte.
    """
    places, codes = len(least_P), len(spelled.whole)
    firsts = first_bytes(least_P, greatest_P)
    width = 1 + len(firsts)
    number = np.full(32, -1)  # of a first byte's 5 bits; 0 where none is pending
    number[[0, *firsts]] = np.arange(width)
    end = places * width

    fits_PV = _fits(spelled, least_P, greatest_P)
    reached_PV = np.arange(places)[:, None] + spelled.whole
    pending_V = number[spelled.tail]
    fits_PV &= (pending_V >= 0) & ((reached_PV < places) | ((reached_PV == places) & (pending_V == 0)))
    target_PV = (reached_PV * width + pending_V).astype(np.int32)

    table = np.full((places, width, codes), -1, np.int32)
    table[:, 0] = np.where(fits_PV & ~spelled.joins, target_PV, -1)
    for j, first in enumerate(firsts, start=1):
        character_V = spelled.values[:, 0] + (first << 6)
        within_PV = (least_P[:, None] <= character_V) & (character_V <= greatest_P[:, None])
        table[:, j] = np.where(fits_PV & spelled.joins & within_PV, target_PV, -1)
    _without_dead_ends(table, end)
    rows = np.full((end + 1, codes), -1, np.int32)
    rows[:end] = table.reshape(end, codes)
    return Grammar(rows, start=0, end=end)


def first_bytes(least_P: Ints, greatest_P: Ints) -> list[int]:
    """5 bits of each byte with which a character of two bytes can begin; the J of `grammar_of`, in order."""
    return [b for b in range(2, 32) if ((greatest_P >= b << 6) & (least_P <= (b << 6) + 63)).any()]


def _fits(spelled: Spelled, least_P: Ints, greatest_P: Ints) -> npt.NDArray[np.bool_]:
    """bool [P, V]: whether a code that stands when p characters are whole keeps all bounds, but for those of
    a character that it only begins or only ends."""
    places = len(least_P)
    fits_PV = np.repeat(spelled.usable[None], places, axis=0)
    for i in range(int(spelled.whole.max(initial=0))):
        codes = np.flatnonzero((spelled.whole > i) & ~(spelled.joins & (i == 0)))
        value = spelled.values[codes, i]
        rows = max(places - i, 0)
        within = (least_P[i:, None] <= value) & (value <= greatest_P[i:, None])
        fits_PV[:rows, codes] &= within
        fits_PV[rows:, codes] = False
    return fits_PV


def _without_dead_ends(table: npt.NDArray[np.int32], end: int) -> None:
    """Take out of `table` [P, 1 + J, V] what leads nowhere. Every code completes a character or leaves a
    first byte pending, so states can be judged from the last to the first."""
    places, width, _ = table.shape
    lives = np.zeros(end + 2, np.bool_)  # the last one is for -1
    lives[end] = True
    for place in reversed(range(places)):
        for part in (slice(1, width), slice(0, 1)):
            rows = table[place, part]
            rows[~lives[rows]] = -1
            lives[place * width + np.arange(width)[part]] = (rows >= 0).any(axis=1)
