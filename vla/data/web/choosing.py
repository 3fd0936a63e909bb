"""Which records are held for validation, and which phrase stands for an empty prompt."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vla.configuration.web import WebConfig
from vla.data.sampler import in_validation
from vla.data.web.sample import Turn, WebSource

__all__ = ["held_out", "prompted"]


def held_out(source: WebSource, config: WebConfig, seed: int) -> npt.NDArray[np.bool_]:
    """bool [records]: those held for validation, by a hash of (seed, source's name, number)."""
    return in_validation(len(source), seed, config.split, source.name)


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
