"""Decoders of action codes: hidden vectors at the answer's places -> distributions over codes.

The codes of a chunk form a grid of groups (with bins: one a control step) of `width` codes (one a joint). One
answer token stands for a group. `CodeDecoder` writes the groups in blocks: all in one pass (parallel), some
at a time (blockwise), or, with a token of its own for every code, one by one (autoregressive).
`OverwritingDecoder` writes code by code with a language model's last words. In all of them an id outside the
action range cannot come out, whatever the weights.

Shapes: B batch, G groups of which K are known, n codes a group, Q codes, W width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.backbones.base import Backbone
from vla.configuration import DecoderConfig
from vla.tokens.vocabulary import Vocabulary

__all__ = [
    "ActionDecoder",
    "CodeDecoder",
    "OverwritingDecoder",
    "action_loss",
    "build_decoder",
    "read_out",
]


class CodeDecoder(nn.Module):
    """One query token a group; it also reads the codes of the group one block earlier. From each token one
    head of Q scores a code."""

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        self.config, self.vocabulary, self.codes = config, vocabulary, config.layout.codes
        self.groups, self.width = config.grid
        self.block = {"parallel": self.groups, "blockwise": config.block, "autoregressive": 1}[config.kind]
        self.query = nn.Parameter(torch.randn(self.groups, width) * 0.5)
        self.table = None
        if self.block < self.groups or config.forced:
            self.table = nn.Embedding(self.width * self.codes, width)
            nn.init.normal_(self.table.weight, std=0.5 / self.width**0.5)
        self.head = nn.Linear(width, self.width * self.codes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def embed(self, batch: int, ids_BKn: Tensor | None, forced_B: Tensor | None = None) -> Tensor:
        """What the answer's places read, [B, min(K + block, G), W]: those of the known groups and of the
        block after them. forced_B: in one pass, how many first groups are given (their codes are read)."""
        known = 0 if ids_BKn is None else ids_BKn.shape[1]
        count = min(known + self.block, self.groups)
        x = self.query[:count].expand(batch, -1, -1)
        if self.table is None or ids_BKn is None:
            return x
        codes = ids_BKn.reshape(batch, known, self.width) - self.vocabulary.action_range.start
        offset = torch.arange(self.width, device=codes.device) * self.codes
        said_BKW = self.table(codes + offset).sum(2)
        if self.block == self.groups:
            if forced_B is None:
                return x
            given = torch.arange(known, device=codes.device) < forced_B[:, None]
            return x + F.pad(said_BKW * given[..., None], (0, 0, 0, count - known))
        before = count - self.block
        return x + F.pad(said_BKW[:, :before], (0, 0, self.block, 0))

    def logits(self, hidden_BGW: Tensor) -> Tensor:
        """[B, G, W] -> float32 [B, G, n, Q]."""
        return self.head(hidden_BGW).float().unflatten(-1, (self.width, self.codes))


class OverwritingDecoder(nn.Module):
    """Code by code with the language model's own table and head (RT-2, OpenVLA): the last ids of its
    vocabulary stand for actions. It has no weights."""

    width = block = 1

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary, backbone: Backbone) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.groups, self.codes = config.layout.length, config.layout.codes
        self._backbone = (backbone,)  # in a tuple: its weights are the backbone's, not registered here again

    def embed(self, batch: int, ids_BKn: Tensor | None, forced_B: Tensor | None = None) -> Tensor:
        """As `CodeDecoder.embed`: the config's ``start``, then what was said."""
        device = next(self._backbone[0].parameters()).device
        said = torch.full((batch, 1), self.config.start, device=device)
        if ids_BKn is not None:
            said = torch.cat([said, ids_BKn.flatten(1)], 1)[:, : self.groups]
        return self._backbone[0].embed(said)

    def logits(self, hidden_BGW: Tensor) -> Tensor:
        """[B, G, W] -> float32 [B, G, 1, Q]: the action range alone."""
        ids = self.vocabulary.action_range
        return self._backbone[0].head(hidden_BGW).float()[..., None, ids.start : ids.stop]


ActionDecoder = CodeDecoder | OverwritingDecoder


def build_decoder(config: DecoderConfig, vocabulary: Vocabulary, backbone: Backbone) -> ActionDecoder:
    """The decoder of a config."""
    if config.ids == "overwrite":
        return OverwritingDecoder(config, vocabulary, backbone)
    return CodeDecoder(config, vocabulary, backbone.width)


def read_out(logits: Tensor, rule: str) -> Tensor:
    """float [..., Q] -> int64 [...], the code chosen by the `median` or the `mode`."""
    if rule == "mode":
        return logits.argmax(-1)
    below = F.softmax(logits.float(), -1).cumsum(-1) < 0.5
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)


def action_loss(
    logits: Tensor,
    codes: Tensor,
    counts: Tensor,
    smoothing: float = 0.0,
    ordered: bool = True,
    *,
    total: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of scores [..., Q] against codes [...], over those that `counts` (bool, or weights
    [...]), divided by `total` (None: by the sum of these weights).

    smoothing: softened over neighbouring codes by a Gaussian of so many codes. Beside it, of the likeliest
    code: `action_accuracy`, how often it is the right one, and, where codes are `ordered`, `action_l1`, its
    mean distance in codes.
    """
    choices = logits.shape[-1]
    real = counts.float()
    count = real.sum().clamp(min=1.0) if total is None else total
    logp = F.log_softmax(logits.float(), -1)
    if smoothing > 0:
        # Only the few neighbours that carry weight are gathered: a full table would cost 256 products.
        reach = math.ceil(3 * smoothing)
        step = torch.arange(-reach, reach + 1, device=codes.device)
        near = codes[..., None] + step
        weight = torch.exp(-0.5 * (step / smoothing) ** 2) * ((near >= 0) & (near < choices))
        weight = weight / weight.sum(-1, keepdim=True)
        each = -(weight * logp.gather(-1, near.clamp(0, choices - 1))).sum(-1)
    else:
        each = -logp.gather(-1, codes[..., None]).squeeze(-1)
    loss = (each * real).sum() / count
    with torch.no_grad():
        off = (logits.argmax(-1) - codes).abs()
        scalars = {"action_accuracy": ((off == 0) * real).sum() / count}
        if ordered:
            scalars["action_l1"] = (off * real).sum() / count
    return loss, scalars
