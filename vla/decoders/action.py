"""Action decoders: hidden vectors at the answer's places -> distributions over action bins.

`ParallelDecoder` asks with one query token a step and reads all joints of the step from it; the whole chunk
takes one pass. `AutoregressiveDecoder` writes step by step, joint by joint, with ids of its own;
`OverwritingDecoder` does so with a language model's last words. In all of them an id outside the action range
cannot come out, whatever the weights.

Shapes: B batch, S steps, D joints, Q bins, V vocabulary, W width.
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
    "AutoregressiveDecoder",
    "OverwritingDecoder",
    "ParallelDecoder",
    "action_loss",
    "build_decoder",
    "read_out",
]


class ParallelDecoder(nn.Module):
    """One query token a step; from it one head of `bins` a joint."""

    causal = False

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.query = nn.Parameter(torch.randn(config.horizon, width) * 0.5)
        self.head = nn.Linear(width, config.dim * config.bins)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @property
    def answers(self) -> int:
        """Number of answer tokens."""
        return self.config.horizon

    def embed(self, batch: int, ids_BSD: Tensor | None) -> Tensor:
        """[B, S, W], the same whatever the answer is."""
        return self.query.expand(batch, -1, -1)

    def logits(self, hidden_BSW: Tensor) -> Tensor:
        """[B, S, W] -> float32 [B, S, D, Q]."""
        return self.head(hidden_BSW).float().unflatten(-1, (self.config.dim, self.config.bins))


class AutoregressiveDecoder(nn.Module):
    """S * D answer tokens in time order, each seeing those before it.

    It has a table and a head of its own for the ids from the first action id on: actions and control tokens.
    """

    causal = True

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary, width: int) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.first = vocabulary.action_range.start
        own = vocabulary.size - self.first
        self.table = nn.Embedding(own, width)
        self.place = nn.Parameter(torch.randn(self.answers, width) * 0.02)
        self.head = nn.Linear(width, own)
        nn.init.normal_(self.table.weight, std=0.5)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @property
    def answers(self) -> int:
        """Number of answer tokens."""
        return self.config.horizon * self.config.dim

    def embed(self, batch: int, ids_BSD: Tensor | None) -> Tensor:
        """What the answer's places read: the start token, then the ids known so far. -> [B, n + 1, W], or
        [B, S * D, W] when all are known (the last is read by nobody)."""
        known = _said(batch, ids_BSD, self.vocabulary.bos, self.answers, self.place.device)
        return self.table(known - self.first) + self.place[: known.shape[1]]

    def next_logits(self, hidden_BTW: Tensor) -> Tensor:
        """[B, T, W] -> float32 [B, T, Q]: the action range alone, whatever the head says of other ids."""
        return self.head(hidden_BTW).float()[..., : self.config.bins]

    def logits(self, hidden_BTW: Tensor) -> Tensor:
        """[B, S * D, W] -> float32 [B, S, D, Q]."""
        return self.next_logits(hidden_BTW).unflatten(1, (self.config.horizon, self.config.dim))


class OverwritingDecoder(nn.Module):
    """S * D answer tokens written with the language model's own table and head (RT-2, OpenVLA): the last
    `bins` ids of its vocabulary stand for actions. It has no weights."""

    causal = True

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary, backbone: Backbone) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self._backbone = (backbone,)  # in a tuple: its weights are the backbone's, not registered here again

    @property
    def answers(self) -> int:
        """Number of answer tokens."""
        return self.config.horizon * self.config.dim

    def embed(self, batch: int, ids_BSD: Tensor | None) -> Tensor:
        """As `AutoregressiveDecoder.embed`; the start token is the config's ``start``."""
        device = next(self._backbone[0].parameters()).device
        return self._backbone[0].embed(_said(batch, ids_BSD, self.config.start, self.answers, device))

    def next_logits(self, hidden_BTW: Tensor) -> Tensor:
        """[B, T, W] -> float32 [B, T, Q]: the action range alone."""
        ids = self.vocabulary.action_range
        return self._backbone[0].head(hidden_BTW).float()[..., ids.start : ids.stop]

    def logits(self, hidden_BTW: Tensor) -> Tensor:
        """[B, S * D, W] -> float32 [B, S, D, Q]."""
        return self.next_logits(hidden_BTW).unflatten(1, (self.config.horizon, self.config.dim))


def _said(batch: int, ids_BSD: Tensor | None, start: int, answers: int, device: torch.device) -> Tensor:
    """What was said before each place: int64 [B, n + 1], at most `answers` long."""
    first = torch.full((batch, 1), start, device=device)
    return first if ids_BSD is None else torch.cat([first, ids_BSD.flatten(1)], 1)[:, :answers]


ActionDecoder = ParallelDecoder | AutoregressiveDecoder | OverwritingDecoder


def build_decoder(config: DecoderConfig, vocabulary: Vocabulary, backbone: Backbone) -> ActionDecoder:
    """The decoder of a config."""
    if config.ids == "overwrite":
        return OverwritingDecoder(config, vocabulary, backbone)
    kind = AutoregressiveDecoder if config.kind == "autoregressive" else ParallelDecoder
    return kind(config, vocabulary, backbone.width)


def read_out(logits: Tensor, rule: str) -> Tensor:
    """float [..., Q] -> int64 [...], the bin chosen by the `median` or the `mode`."""
    if rule == "mode":
        return logits.argmax(-1)
    below = F.softmax(logits.float(), -1).cumsum(-1) < 0.5
    return below.sum(-1).clamp(max=logits.shape[-1] - 1)


def action_loss(
    logits_BSDQ: Tensor,
    bins_BSD: Tensor,
    is_pad_BS: Tensor,
    smoothing: float,
    joints_BD: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy against bins, softened over their neighbours by a Gaussian of `smoothing` bins.

    Steps past the episode's end (`is_pad`) count nothing, nor do joints that the robot lacks (where `joints`
    is False). Beside it, of the likeliest bin: `action_l1`, its mean distance in bins, and `action_accuracy`,
    how often it is the right one.
    """
    bins = logits_BSDQ.shape[-1]
    real_BSD = (~is_pad_BS)[..., None].float().expand(bins_BSD.shape)
    if joints_BD is not None:
        real_BSD = real_BSD * joints_BD[:, None]
    count = real_BSD.sum().clamp(min=1.0)
    logp = F.log_softmax(logits_BSDQ.float(), -1)
    if smoothing > 0:
        # Only the few neighbours that carry weight are gathered: a full table would cost 256 products.
        reach = math.ceil(3 * smoothing)
        step = torch.arange(-reach, reach + 1, device=bins_BSD.device)
        near = bins_BSD[..., None] + step
        weight = torch.exp(-0.5 * (step / smoothing) ** 2) * ((near >= 0) & (near < bins))
        weight = weight / weight.sum(-1, keepdim=True)
        loss_BSD = -(weight * logp.gather(-1, near.clamp(0, bins - 1))).sum(-1)
    else:
        loss_BSD = -logp.gather(-1, bins_BSD[..., None]).squeeze(-1)
    loss = (loss_BSD * real_BSD).sum() / count
    with torch.no_grad():
        off = (logits_BSDQ.argmax(-1) - bins_BSD).abs()
        scalars = {
            "action_l1": (off * real_BSD).sum() / count,
            "action_accuracy": ((off == 0) * real_BSD).sum() / count,
        }
    return loss, scalars
