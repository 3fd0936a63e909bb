"""Who may look at whom, and at what place each token stands.

Answers may be packed: several of them in one row, each a segment with a number of its own.

Shapes: B batch, P prefix tokens, A answer tokens, T = P + A.
"""

import torch
from torch import Tensor

from vla.encoders.base import Tokens

__all__ = ["attention_mask", "positions", "prefix_lm_mask", "within_segments"]


def prefix_lm_mask(prefix: int, answers: int, block: int, device: torch.device | None = None) -> Tensor:
    """bool [P+A, P+A], True where the row's token may look at the column's.

    Prefix tokens see the whole prefix and no answer, so the prefix can be computed once and kept. Answer
    tokens come in blocks of `block` (1: causal); each sees the prefix, its own block and those before it.
    """
    total = prefix + answers
    mask = torch.ones(total, total, dtype=torch.bool, device=device)
    mask[:prefix, prefix:] = False
    if block < answers:
        number = torch.arange(answers, device=device) // block
        mask[prefix:, prefix:] = number[:, None] >= number
    return mask


def attention_mask(
    prefix: Tokens, answers: int, *, causal_prefix: bool, block: int, segment_BA: Tensor | None = None
) -> Tensor:
    """bool [T, T], or [B, 1, T, T] where some prefix token is absent: nobody looks at those; or where answers
    are packed: those of one segment do not see those of another.

    causal_prefix: prefix tokens see only those before them, as in a causal language model. block: see
    `prefix_lm_mask`.
    """
    count = prefix.x.shape[1]
    mask = prefix_lm_mask(count, answers, block, prefix.x.device)
    if causal_prefix:
        mask[:count, :count] = mask[:count, :count].tril()
    if prefix.mask is None and segment_BA is None:
        return mask
    seen_BT = torch.nn.functional.pad(prefix.full_mask(), (0, answers), value=True)
    # An absent token looks at itself, so that no row is empty; what comes out there is read by nobody.
    itself = torch.eye(count + answers, dtype=torch.bool, device=mask.device)
    mask = mask & seen_BT[:, None]
    if segment_BA is not None:
        mask[:, count:, count:] &= segment_BA[:, :, None] == segment_BA[:, None]
    return (mask | itself)[:, None]


def positions(prefix: Tokens, answers: int) -> Tensor:
    """int64 [B, T] (or [1, T]): places counted over the tokens that are there."""
    count = prefix.x.shape[1]
    if prefix.mask is None:
        return torch.arange(count + answers, device=prefix.x.device)[None]
    there = torch.nn.functional.pad(prefix.mask, (0, answers), value=True)
    return (there.long().cumsum(1) - 1).clamp(min=0)


def within_segments(segment_BA: Tensor) -> Tensor:
    """int64 [B, A]: each token's place in its segment, from 0. segment_BA: numbers, those of one segment side
    by side."""
    place = torch.arange(segment_BA.shape[1], device=segment_BA.device).expand(segment_BA.shape)
    begins = torch.nn.functional.pad(segment_BA[:, 1:] != segment_BA[:, :-1], (1, 0), value=True)
    return place - torch.where(begins, place, 0).cummax(1).values
