"""Tiny data for the commands: a robot's folder and picture-text shards."""

import sys
from pathlib import Path

import numpy as np

for _folder in ("data", "training"):
    sys.path.insert(0, str(Path(__file__).parents[1] / "vla" / _folder))

from synthetic_episodes import write_dataset

from vla.data.web.sample import Box, Turn, WebSample
from vla.data.web.shards_writer import write_shards

__all__ = ["write_arm", "write_squares"]


def write_arm(root: Path, *lengths: int, **more: object) -> Path:
    """Episodes of a six-jointed arm with two cameras of 32 pixels."""
    return write_dataset(root, list(lengths or (8, 1, 7)), size=32, **more)  # type: ignore[arg-type]


def write_squares(root: Path, count: int = 24) -> Path:
    """A red square on grey: its colour, its place, a caption without a prompt."""
    picture = np.full((32, 32, 3), 90, np.uint8)
    picture[8:24, 4:20] = (200, 20, 20)
    box = Box(4 / 32, 8 / 32, 20 / 32, 24 / 32)
    turns = (
        Turn("what color is it", "red"),
        Turn("where is the square", "{box}", (box,)),
        Turn("", "a red square"),
    )
    write_shards([WebSample((picture,), turns)] * count, root, per_shard=16)
    return root
