"""Which records are held for validation, and which phrase stands for an empty prompt.

One picture has many records: captions here, questions there. So it is pictures that are held, by a hash of
(seed, what the picture is called in all sources), and with them every record that names one of them, in every
source: no picture that was held is trained on. A record of several pictures is held if one of them is; its
other pictures may be trained on with other records, so such a record is new as a whole, not in all its parts,
and a source of records of n pictures holds about n times its share. Records that name no picture are held by
their number: texts alone, and pictures that lie in the record (shards, tables of bytes), of which nobody can
tell whether another record has them too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vla.configuration.web import WebConfig
from vla.data.sampler import in_validation
from vla.data.web.sample import NamesPictures, Turn, WebSource

__all__ = ["held_out", "prompted"]


def held_out(
    source: WebSource, config: WebConfig, seed: int, pictures: float | None = None
) -> npt.NDArray[np.bool_]:
    """bool [records]: those held for validation.

    pictures: the share of named pictures that is held, where that is not the source's own `split`: the
    largest `split` of all sources of a run, so that what one source asks about no other one shows.
    Records without a named picture are held by a hash of (seed, source's name, number), `split` of them.
    """
    share = config.split if pictures is None else pictures
    held = np.zeros(len(source), np.bool_)
    unnamed = np.ones(len(source), np.bool_)
    if share and isinstance(source, NamesPictures):
        names = source.named
        there = names.record < len(source)  # `limit` may leave some out
        record, key = names.record[there], names.key[there]
        held[record[_draws(key, seed) < share]] = True
        unnamed[record] = False
    if config.split and unnamed.any():
        held |= unnamed & in_validation(len(source), seed, config.split, source.name)
    return held


def _draws(key: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.float64]:
    """A number in 0..1 for each key, by splitmix64 of it and the seed's hash."""
    digest = hashlib.blake2b(f"{seed}/pictures".encode(), digest_size=8).digest()
    mixed = key ^ np.uint64(int.from_bytes(digest, "little"))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) / 2.0**53


def prompted(
    turns: tuple[Turn, ...], prompts: Sequence[str], number: int, draw: int, seed: int = 0
) -> tuple[Turn, ...]:
    """The turns of record `number` with one of `prompts` in the place of each empty prompt, chosen by (seed,
    record, draw, turn); as they are where there is no phrase."""

    def phrase(place: int) -> str:
        digest = hashlib.blake2b(f"{seed}/{number}/{draw}/{place}".encode(), digest_size=8).digest()
        return prompts[int.from_bytes(digest, "little") % len(prompts)]

    if not prompts:
        return turns
    return tuple(
        turn if turn.prompt else replace(turn, prompt=phrase(place)) for place, turn in enumerate(turns)
    )
