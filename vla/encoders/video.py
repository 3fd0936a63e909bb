"""The past: several frames' tokens, told apart by their age, and kept few.

Two ways to spend fewer tokens on the past than on the present: average it over time (pooling), or look only
at the frames in which something happened (key frames, chosen by pixels before any encoder runs).
Legend: B batch, V views (0 the present frame), N tokens of a frame, C channels, S side in pixels, G groups.
Ages count in strides: 0 is now.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import HistoryConfig
from vla.encoders.base import Tokens

__all__ = ["History", "key_frames"]

THUMBNAIL = 8
"""Pixels a side at which frames are compared: motion of the arm shows, noise does not."""


class History(nn.Module):
    """Adds each past frame's age to its tokens, then joins the frames in the way that the config says.

    The present frame gets nothing added and is never pooled: alone, it passes as it is.
    """

    def __init__(self, config: HistoryConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.learned = nn.Parameter(torch.zeros(config.frames - 1, channels))
        self.register_buffer("waves", _waves(config.frames - 1, channels), persistent=False)
        self.waves: Tensor

    @property
    def frames_out(self) -> int:
        """How many frames' worth of tokens come out."""
        return self.config.frames if self.config.reduce == "none" else 1 + self.config.keep

    def place(self, ages: Tensor) -> Tensor:
        """int64 [...] -> [..., C], what is added to a frame of that age."""
        table = torch.cat([self.waves.new_zeros(1, self.waves.shape[1]), self.learned + self.waves])
        return table[ages]

    def forward(
        self, tokens_BVNC: Tensor, mask_BV: Tensor | None = None, ages: Tensor | None = None
    ) -> Tokens:
        """-> tokens [B, frames_out * N, C]: the present frame's, then the past's, the most recent first.

        mask: bool, whether a frame is there (None: all are). ages: int64 [B, V], where frames were chosen by
        `key_frames`; None: 0, 1, 2, ...
        """
        b, v, n, _ = tokens_BVNC.shape
        if ages is None:
            ages = torch.arange(v, device=tokens_BVNC.device).expand(b, v)
        x = tokens_BVNC + self.place(ages)[:, :, None].to(tokens_BVNC.dtype)
        if self.config.reduce == "pool":
            x, mask_BV = _pool(x, mask_BV, self.config.keep)
        mask = None if mask_BV is None else mask_BV.repeat_interleave(n, 1)
        return Tokens(x.flatten(1, 2), mask)


def _waves(count: int, channels: int) -> Tensor:
    """Sines and cosines of the ages 1..count, [count, C] (Vaswani et al. 2017, section 3.5)."""
    age = torch.arange(1, count + 1)[:, None].float()
    rate = torch.exp(-math.log(10_000.0) * torch.arange(0, channels, 2) / channels)
    waves = torch.zeros(count, channels)
    waves[:, 0::2] = torch.sin(age * rate)
    waves[:, 1::2] = torch.cos(age * rate)[:, : channels // 2]
    return waves


def _pool(x_BVNC: Tensor, mask_BV: Tensor | None, groups: int) -> tuple[Tensor, Tensor | None]:
    """The past frames averaged in `groups` of consecutive ages, as equal as can be: [B, 1 + G, N, C]; a group
    of which no frame is there is masked."""
    past = x_BVNC.shape[1] - 1
    group = torch.arange(past, device=x_BVNC.device) * groups // past
    belongs_GV = group == torch.arange(groups, device=x_BVNC.device)[:, None]
    weight_BGV = belongs_GV.expand(len(x_BVNC), -1, -1)
    if mask_BV is not None:
        weight_BGV = weight_BGV & mask_BV[:, None, 1:]
    weight = weight_BGV.to(x_BVNC.dtype)
    total = weight.sum(-1)
    pooled = torch.einsum("bgv,bvnc->bgnc", weight, x_BVNC[:, 1:]) / total.clamp(min=1.0)[..., None, None]
    x = torch.cat([x_BVNC[:, :1], pooled], 1)
    return x, None if mask_BV is None else torch.cat([mask_BV[:, :1], total > 0], 1)


@torch.no_grad()
def key_frames(
    views_BVSSC: Tensor, mask_BV: Tensor | None, keep: int
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The present frame and the `keep` past ones in which the picture changed most until the next frame.

    views: uint8 or float [B, V, S, S, 3], the most recent first. mask: bool, whether a frame is there. ->
    views [B, 1 + keep, S, S, 3] in the same order, their mask (None where none was given) and their ages
    int64 [B, 1 + keep]. The change is the mean absolute difference of thumbnails; of equals the younger is
    kept.
    """
    b, v = views_BVSSC.shape[:2]
    pictures = views_BVSSC.flatten(0, 1).permute(0, 3, 1, 2).float()
    small_BVP = F.adaptive_avg_pool2d(pictures, THUMBNAIL).flatten(1).unflatten(0, (b, v))
    if mask_BV is not None:
        small_BVP = small_BVP.masked_fill(~mask_BV[..., None], 0.0)
    change_BV = (small_BVP[:, 1:] - small_BVP[:, :-1]).abs().mean(-1)
    if mask_BV is not None:
        change_BV = change_BV.masked_fill(~mask_BV[:, 1:], -1.0)
    chosen = change_BV.argsort(dim=1, descending=True, stable=True)[:, :keep].sort(1).values + 1
    ages = torch.cat([torch.zeros_like(chosen[:, :1]), chosen], 1)
    views = views_BVSSC[torch.arange(b, device=ages.device)[:, None], ages]
    return views, None if mask_BV is None else mask_BV.gather(1, ages), ages
