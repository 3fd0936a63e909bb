"""From a batch to an answer: the prefix once, then the chunk's codes, among those that may stand there.

Every decoder is driven the same way: groups of codes come in blocks, and each pass gives the next block (a
parallel decoder has one pass, an autoregressive one a pass a code). What limits the choice:

- only action codes can be chosen, and where the tokenizer has a `Grammar`, only those after which the
  sequence can still become one that decodes. It ends when it is whole, each row at its own time;
- a `Plan` in flight (real-time chunking): its first `delay` control steps are forced, the later ones
  guided by p(code)^(1-w) q(code)^w, where q is a Gaussian around the plan and w the plan's weight. This is
  for codes that say one step each; others are joined in action space by the caller.

Shapes: B batch, G groups, n codes a group, Q codes, H horizon, D joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vla.checks import at_least
from vla.decoders.action import ActionDecoder, read_out
from vla.decoders.flow import FlowDecoder
from vla.decoders.guidance import Plan
from vla.errors import BadInput
from vla.generation.binding import Binding, binding_of
from vla.generation.limits import Limits, limits_of
from vla.generation.memory import Memory
from vla.generation.noise import Noise
from vla.generation.reader import Reader
from vla.model import VLA, Batch, Prefix
from vla.tokens.actions.base import ActionTokenizer

__all__ = ["Generated", "Sampling", "generate"]

COLDEST = 1e-4
"""Least temperature: with less, differences of scores are larger than float32 can hold."""

NOT_FINITE = "the model's scores are not finite; no action was chosen"
CUT_OFF = "the answer was cut off before its codes made a whole chunk"


@dataclass(frozen=True)
class Sampling:
    """temperature: 0 chooses by the decoder's read-out, else codes are drawn. seed: of what is drawn (also of
    the noise that a flow starts from). guidance: standard deviation, in normalised units, of how near a
    guided action keeps to the plan in flight."""

    temperature: float = 0.0
    seed: int = 0
    guidance: float = 0.3

    def __post_init__(self) -> None:
        at_least(self, 0, "temperature", "seed")
        at_least(self, 1e-4, "guidance")
        if 0 < self.temperature < COLDEST:
            raise BadInput(
                f"temperature={self.temperature}: 0, where nothing is drawn, or at least {COLDEST} is needed"
            )


@dataclass(frozen=True)
class Generated:
    """ids: int64 [B, n], all in the action range up to each row's end, 0 from there. lengths: int64 [B].
    probabilities: float32 [B, n, Q], what the model thought of each place before any guidance; of a place
    that was given, all on what was given. chunk: float32 [B, H, D], where the answer is continuous (then
    there are no ids). reasons: for each row "" or why it is no answer. points: camera -> float32 [B, K, 2].
    """

    points: dict[str, Tensor]
    reasons: tuple[str, ...]
    ids: Tensor | None = None
    lengths: Tensor | None = None
    probabilities: Tensor | None = None
    chunk: Tensor | None = None


@torch.no_grad()
def generate(
    model: VLA,
    batch: Batch,
    use_cache: bool = True,
    *,
    tokenizer: ActionTokenizer | None = None,
    plan: Plan | None = None,
    sampling: Sampling | None = None,
    noise: Noise | None = None,
    memory: Memory | None = None,
) -> Generated:
    """One answer for each row. `use_cache=False` computes everything again for each pass: the slow oracle.

    tokenizer: the model's, needed for codes of variable length and for a plan. noise: of the rows, else of
    the sampling's seed. memory: what to keep for the next answer.
    """
    sampling, decoder = sampling or Sampling(), model.decoder
    noise = noise or Noise.seeded(sampling.seed, len(batch["text"]))
    prefix = model.encode(batch, None if memory is None else memory.instructions)
    if isinstance(decoder, FlowDecoder):
        return _flow(model, decoder, prefix, plan, noise)
    x = prefix.contexts[0].tokens.x
    readers = [
        Reader(model, decoder, context, use_cache, memory=memory, number=number)
        for number, context in enumerate(prefix.contexts)
    ]
    limits = limits_of(decoder, tokenizer, len(x), x.device)
    binding = None if plan is None else binding_of(tokenizer, plan, sampling.guidance, x.device)
    return _Writing(model, decoder, prefix, readers, limits, binding, sampling, noise).run()


def _flow(model: VLA, decoder: FlowDecoder, prefix: Prefix, plan: Plan | None, noise: Noise) -> Generated:
    config, context = decoder.config, prefix.contexts[0]
    start = noise.normal((config.horizon, config.dim), context.tokens.x.device)
    chunk = decoder.sample(model.remember(context), start, plan)
    return Generated(prefix.points, _reasons(torch.isfinite(chunk).flatten(1).all(1)), chunk=chunk)


@dataclass
class _Writing:
    """One answer of codes, block by block."""

    model: VLA
    decoder: ActionDecoder
    prefix: Prefix
    readers: Sequence[Reader]
    limits: Limits | None
    binding: Binding | None
    sampling: Sampling
    noise: Noise

    def run(self) -> Generated:
        """Write it."""
        decoder, x = self.decoder, self.prefix.contexts[0].tokens.x
        first, count, block = self.model.vocabulary.action_range.start, len(x), decoder.block
        given = None if self.binding is None else self.binding.given(decoder)
        codes = [] if given is None or block == decoder.groups else [given]
        seen = [F.one_hot(each, decoder.codes).float() for each in codes]
        finite = torch.ones(count, dtype=torch.bool, device=x.device)
        while (done := sum(each.shape[1] for each in codes)) < decoder.groups:
            known = torch.cat(codes, 1) + first if codes else None
            if block == decoder.groups and self.binding is not None:  # it may have learned to go on from them
                answers = decoder.embed(count, self.binding.ids(decoder) + first, self.binding.delay)
            else:
                answers = decoder.embed(count, known)
            raw = [decoder.logits(reader.read(answers, block)) for reader in self.readers]
            logits = self.model.fusion.combine(raw, self.prefix.contexts)  # [B, block, n, Q]
            finite = finite & torch.isfinite(logits).flatten(1).all(1)
            logits = torch.nan_to_num(logits, nan=0.0)
            if self.limits is not None:
                logits = self.limits.allow(logits)
            seen.append(F.softmax(logits, -1))
            codes.append(self._choose(logits, done))
            if self.limits is not None and self.limits.over():
                break
        return self._whole(torch.cat(codes, 1), torch.cat(seen, 1), finite)

    def _choose(self, logits: Tensor, done: int) -> Tensor:
        """[B, block, n, Q] -> codes int64 [B, block, n]."""
        if self.binding is not None:
            logits = self.binding.guide(logits, done, self.decoder)
        config = self.decoder.config
        if self.sampling.temperature > 0:
            below = logits - logits.amax(-1, keepdim=True)  # so that no quotient is too large for a float
            reached = F.softmax(below / self.sampling.temperature, -1).cumsum(-1)
            drawn = self.noise.uniform(tuple(logits.shape[1:-1]), logits.device)[..., None]
            # Never quite to the end, where rounding could draw a code that may not stand there.
            codes = (reached <= drawn * reached[..., -1:] * (1 - 1e-6)).sum(-1)
        else:
            codes = read_out(logits, config.readout if config.layout.ordered else "mode")
        if self.binding is not None:
            codes = self.binding.force(codes, done, self.decoder)
        return codes if self.limits is None else self.limits.advance(codes)

    def _whole(self, codes_BGn: Tensor, seen_BGnQ: Tensor, finite_B: Tensor) -> Generated:
        ids = codes_BGn.flatten(1) + self.model.vocabulary.action_range.start
        lengths = torch.full((len(ids),), ids.shape[1], device=ids.device)
        whole = None
        if self.limits is not None:
            lengths, whole = self.limits.lengths, self.limits.whole
            ids = ids.masked_fill(torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None], 0)
        reasons = _reasons(finite_B, whole)
        return Generated(self.prefix.points, reasons, ids, lengths, seen_BGnQ.flatten(1, 2))


def _reasons(finite_B: Tensor, whole_B: Tensor | None = None) -> tuple[str, ...]:
    if finite_B.is_meta:
        return ("",) * len(finite_B)
    reasons = ["" if good else NOT_FINITE for good in finite_B.tolist()]
    if whole_B is not None:
        reasons = [r or ("" if good else CUT_OFF) for r, good in zip(reasons, whole_B.tolist(), strict=True)]
    return tuple(reasons)
