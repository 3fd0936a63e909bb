"""From a batch to a chunk of action ids: the prefix once, then the answer, among action ids alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vla.backbones.small import KVCache, prefix_lm_mask
from vla.decoders.action import AutoregressiveDecoder, ParallelDecoder, read_out
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
    decoder = model.decoder
    if isinstance(decoder, ParallelDecoder):
        bins = _parallel(model, decoder, prefix, use_cache)
    else:
        bins = _autoregressive(model, decoder, prefix, use_cache)
    return Generated(bins + model.vocabulary.action_range.start, prefix.points)


def _answer(model: VLA, prefix: Prefix, answers_BTW: Tensor, causal: bool) -> Tensor:
    """Hidden vectors of the answers, computed in one pass over everything."""
    mask = prefix_lm_mask(prefix.tokens.shape[1], answers_BTW.shape[1], causal, answers_BTW.device)
    x = torch.cat([prefix.tokens, answers_BTW.to(prefix.tokens.dtype)], 1)
    return model.backbone(x, mask, last=answers_BTW.shape[1])


def _parallel(model: VLA, decoder: ParallelDecoder, prefix: Prefix, use_cache: bool) -> Tensor:
    answers = decoder.embed(len(prefix.tokens), None).to(prefix.tokens.dtype)
    if use_cache:
        cache = KVCache()
        model.backbone(prefix.tokens, cache=cache)
        hidden = model.backbone(answers, cache=cache)
    else:
        hidden = _answer(model, prefix, answers, causal=False)
    return _read(decoder.logits(hidden), decoder.config.readout)


def _autoregressive(model: VLA, decoder: AutoregressiveDecoder, prefix: Prefix, use_cache: bool) -> Tensor:
    batch, known = len(prefix.tokens), None
    cache = KVCache()
    if use_cache:
        model.backbone(prefix.tokens, cache=cache)
    ids = decoder.vocabulary.action_range
    for _ in range(decoder.answers):
        answers = decoder.embed(batch, known)
        if use_cache:
            hidden = model.backbone(answers[:, -1:].to(prefix.tokens.dtype), cache=cache)
        else:
            hidden = _answer(model, prefix, answers, causal=True)
        logits = decoder.next_logits(hidden[:, -1])[:, ids.start : ids.stop]
        chosen = _read(logits, decoder.config.readout)[:, None] + ids.start
        known = chosen if known is None else torch.cat([known, chosen], 1)
    assert known is not None
    return known.view(batch, decoder.config.horizon, decoder.config.dim) - ids.start


def _read(logits: Tensor, rule: str) -> Tensor:
    if not torch.isfinite(logits).all():
        raise UndecodableChunk("the model's scores are not finite; no action was chosen")
    return read_out(logits, rule)
