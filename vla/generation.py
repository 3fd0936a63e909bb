"""From a batch to a chunk of action ids: the prefix once, then the answer, among action ids alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vla.decoders.action import ActionDecoder, ParallelDecoder, read_out
from vla.fusion import Context
from vla.model import VLA, Batch, Prefix

__all__ = ["Generated", "UndecodableChunk", "generate"]


class UndecodableChunk(RuntimeError):
    """The model's answer is no chunk of actions (its scores are not finite). The arm should hold."""


@dataclass(frozen=True)
class Generated:
    """ids: int64 [B, H, D], all in the action range. points: camera -> float32 [B, K, 2], x, y in 0..1."""

    ids: Tensor
    points: dict[str, Tensor]


@torch.no_grad()
def generate(model: VLA, batch: Batch, use_cache: bool = True) -> Generated:
    """Greedy. `use_cache=False` computes everything again for each token: the slow oracle in tests."""
    prefix = model.encode(batch)
    readers = [_Reader(model, context, use_cache) for context in prefix.contexts]
    if isinstance(model.decoder, ParallelDecoder):
        bins = _parallel(model, prefix, readers, len(batch["text"]))
    else:
        bins = _autoregressive(model, model.decoder, prefix, readers, len(batch["text"]))
    return Generated(bins + model.vocabulary.action_range.start, prefix.points)


class _Reader:
    """The backbone over one context and an answer that grows."""

    def __init__(self, model: VLA, context: Context, use_cache: bool) -> None:
        self.model, self.context = model, context
        self.count = context.tokens.x.shape[1]
        answers = model.decoder.answers
        self.mask = model.attention_mask(context.tokens, answers)
        self.places = model.places(context, answers)
        self.cache = None
        if use_cache:
            self.cache = model.backbone.new_cache()
            self._run(context.tokens.x, 0)

    def _run(self, x_BTW: Tensor, start: int, last: int | None = None) -> Tensor:
        end = start + x_BTW.shape[1]
        return self.model.backbone(
            x_BTW.to(self.context.tokens.x.dtype),
            None if self._sees_all(start, end) else self.mask[..., start:end, :end],
            cache=self.cache,
            last=last,
            positions=self.places[..., start:end],
            before=self.context.before if start else self.context.first_pass,
        )

    def _sees_all(self, start: int, end: int) -> bool:
        """Whether the tokens from `start` look at everything up to `end`, so that no mask is needed."""
        if self.context.tokens.mask is not None or self.model.backbone.causal:
            return False
        if start == 0:
            return end == self.count
        return not self.model.decoder.causal or end - start == 1

    def read(self, answers_BAW: Tensor, new: int) -> Tensor:
        """Hidden vectors of the last `new` of the answers known so far."""
        known = answers_BAW.shape[1]
        if self.cache is not None:
            return self._run(answers_BAW[:, -new:], self.count + known - new)
        x = self.context.tokens.x
        return self._run(torch.cat([x, answers_BAW.to(x.dtype)], 1), 0, last=known)[:, -new:]


def _parallel(model: VLA, prefix: Prefix, readers: list[_Reader], batch: int) -> Tensor:
    answers = model.decoder.embed(batch, None)
    logits = [model.decoder.logits(reader.read(answers, answers.shape[1])) for reader in readers]
    return _read(model.fusion.combine(logits, prefix.contexts), model.config.decoder.readout)


def _autoregressive(
    model: VLA, decoder: ActionDecoder, prefix: Prefix, readers: list[_Reader], batch: int
) -> Tensor:
    assert not isinstance(decoder, ParallelDecoder)
    known, config = None, decoder.config
    first = model.vocabulary.action_range.start
    for _ in range(decoder.answers):
        answers = decoder.embed(batch, known)
        logits = [decoder.next_logits(reader.read(answers, 1)[:, -1]) for reader in readers]
        chosen = _read(model.fusion.combine(logits, prefix.contexts), config.readout)[:, None] + first
        known = chosen if known is None else torch.cat([known, chosen], 1)
    assert known is not None
    return known.view(batch, config.horizon, config.dim) - first


def _read(logits: Tensor, rule: str) -> Tensor:
    if not torch.isfinite(logits).all():
        raise UndecodableChunk("the model's scores are not finite; no action was chosen")
    return read_out(logits, rule)
