"""What a tokenizer's codes lose of the chunks that a training is on; told when it begins.

A model cannot act more exactly than its codes. Only bins keep any chunk: the others are made for the chunks
they were fitted to, and of others, though in range, they may lose much without an error.
"""

import sys

import numpy as np
import numpy.typing as npt

from vla.tokens.actions.base import ActionTokenizer

__all__ = ["tell_loss"]

SOME = 1000
"""Chunks that are looked at, about."""
FAR = 0.2
"""Root of a chunk's mean squared error, in the range -1 to 1, that is no good: a tenth of the range."""
MANY = 0.01
"""The share of chunks that may come back so far off: a spline rounds off every gripper that snaps shut."""


def tell_loss(tokenizer: ActionTokenizer, chunks: npt.NDArray[np.floating]) -> None:
    """Print what a tokenizer makes of chunks [N, H, D] of the data, with a warning where that is little."""
    some = chunks[:: max(1, len(chunks) // SOME)]
    error = tokenizer.round_trip_error(some)
    codes = tokenizer.encode_batch(some).lengths.mean()
    print(
        f"action codes: {tokenizer.kind}, {codes:.1f} for {chunks[0].size} numbers, which return within "
        f"{error.mean():.4f} on average, {error.max():.3f} at worst, of their range -1 to 1",
        flush=True,
    )
    far = np.sqrt((error**2).mean((1, 2))) > FAR
    if far.mean() > MANY:
        print(
            f"warning: {far.sum()} of {len(some)} chunks come back more than {FAR} off (root mean square): "
            "the action codes are too coarse or were fitted to other data, and the policy cannot do better",
            file=sys.stderr,
            flush=True,
        )
