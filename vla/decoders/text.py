"""Answers in words: after what was sensed, one word after the other, each seeing those before it.

The words run through the same backbone as everything else. In a pretrained language model that reads with its
own tokenizer they are read and scored by its own table and head; else by a table and a head of this decoder.
Only words and the end can come out, never an action id, whatever the weights.

An answer begins with a learned start token. Several of them may be packed into one row (see `vla.attention`).

Shapes: B batch, A tokens of an answer of which K are known, W width, Q choices (words, then the end).
"""

import torch
from torch import Tensor, nn

from vla.attention import within_segments
from vla.backbones.base import Backbone
from vla.configuration import AnswerConfig, SmallConfig, VLAConfig
from vla.tokens.vocabulary import Vocabulary

__all__ = ["TextDecoder", "answer_end", "answer_loss"]


def answer_end(config: AnswerConfig, vocabulary: Vocabulary) -> int:
    """The id that ends an answer."""
    return vocabulary.eos if config.eos is None else config.eos


class TextDecoder(nn.Module):
    """Words after a prefix; see the module. `groups` and `block` are what a reader of answers asks for: the
    most tokens, and how many are written at a time."""

    block = 1

    def __init__(self, config: VLAConfig, vocabulary: Vocabulary, backbone: Backbone) -> None:
        super().__init__()
        assert config.answer is not None
        self.groups, self.words = config.answer.max_length, vocabulary.text
        self.eos = answer_end(config.answer, vocabulary)
        self.end = min(self.eos, self.words)
        """The choice that stands for the end: a word's, or the one after all words."""
        self.actions = vocabulary.action_range if vocabulary.overwrite else range(0)
        width = backbone.width
        # In a tuple: the backbone's weights are not registered here a second time.
        self._language = (backbone,) if config.language else None
        self.start = nn.Parameter(torch.randn(width) * (0.02 if config.language else 0.5))
        self.table: nn.Embedding | None = None
        self.head: nn.Linear | None = None
        self.ending: nn.Linear | None = None
        self.place: nn.Parameter | None = None
        if not config.language:
            self.table = nn.Embedding(self.words, width)
            nn.init.normal_(self.table.weight, std=0.5)
            self.head = nn.Linear(width, self.words + 1)
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)
        elif self.end == self.words:
            self.ending = nn.Linear(width, 1)
        if isinstance(config.backbone, SmallConfig) and config.backbone.block == "plain":
            self.place = nn.Parameter(torch.randn(self.groups, width) * 0.02)

    def embed(self, ids_BK: Tensor, segment_BA: Tensor | None = None) -> Tensor:
        """The start, then what was said: [B, K + 1, W]. segment_BA: of packed answers of K + 1 tokens; each
        begins with a start of its own."""
        known = ids_BK.masked_fill((ids_BK < 0) | (ids_BK >= self.words), 0)  # what fills up says nothing
        said = self.table(known) if self.table is not None else self._trunk.embed(known)
        x = torch.cat([self.start.expand(len(said), 1, -1).to(said.dtype), said], 1)
        if segment_BA is None:
            return x if self.place is None else x + self.place[: x.shape[1]]
        within = within_segments(segment_BA)
        x = torch.where((within == 0)[..., None], self.start.to(x.dtype), x)
        return x if self.place is None else x + self.place[within]

    def logits(self, hidden_BAW: Tensor) -> Tensor:
        """[B, A, W] -> float32 [B, A, Q]."""
        if self.head is not None:
            return self.head(hidden_BAW).float()
        scores = self._trunk.head(hidden_BAW).float()[..., : self.words]
        if self.actions:
            ids = torch.arange(self.words, device=scores.device)
            taken = (ids >= self.actions.start) & (ids < self.actions.stop)
            scores = scores.masked_fill(taken, torch.finfo(scores.dtype).min / 4)
        if self.ending is not None:
            ends = self.ending(hidden_BAW.to(self.ending.weight.dtype)).float()
            scores = torch.cat([scores, ends], -1)
        return scores

    @property
    def _trunk(self) -> Backbone:
        assert self._language is not None
        return self._language[0]

    def choices(self, ids: Tensor) -> Tensor:
        """Ids -> which of the Q choices each is; 0 for those that are none."""
        ids = torch.where(ids == self.eos, self.end, ids)
        return ids.masked_fill((ids < 0) | (ids > self.words), 0)

    def ids(self, choices: Tensor) -> Tensor:
        """The way back."""
        return torch.where(choices == self.end, self.eos, choices)


def answer_loss(
    logits_BAQ: Tensor, choices_BA: Tensor, counts_BA: Tensor, total: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy, summed with the weights `counts_BA` and divided by `total`. Beside it, over the same:
    `answer_accuracy`, how often the likeliest token is the right one, given those before it."""
    likely = torch.log_softmax(logits_BAQ, -1)
    each = -likely.gather(-1, choices_BA[..., None]).squeeze(-1)
    with torch.no_grad():
        right = (logits_BAQ.argmax(-1) == choices_BA) * counts_BA
        scalars = {"answer_accuracy": right.sum() / total}
    return (each * counts_BA).sum() / total, scalars
