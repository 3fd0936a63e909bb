"""Where the senses meet. A fusion turns the senses' tokens into what the backbone reads before it answers.

`UnifiedFusion`       one sequence of everything (also `native`: the same, over raw patches)
`CrossAttentionFusion` words and state in the sequence, the rest looked at from inside the layers (Flamingo,
                      Alayrac et al. 2022, section 3.1.2)
`IntermediateFusion`  everything pooled and mixed into a few joint embeddings
`LateFusion`          each rich sense (a camera, the sound) alone with words and state; predictions combined

An absent sense is masked in all of them: its values change nothing. One that no sample has may be left out of
the senses altogether, with the same result.
Shapes: B batch, N tokens, W width, M memory tokens, H heads, E = W / H, S senses, Q bins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.backbones.attending import attend
from vla.backbones.base import Before
from vla.configuration import (
    CrossAttentionConfig,
    FusionConfig,
    IntermediateConfig,
    LateConfig,
)
from vla.encoders.base import Tokens, concatenate
from vla.errors import BadInput
from vla.senses import Sensed

__all__ = [
    "Context",
    "CrossAttentionFusion",
    "GatedCrossAttention",
    "IntermediateFusion",
    "LateFusion",
    "UnifiedFusion",
    "build_fusion",
    "with_pictures",
]

LEAN = ("bos", "text", "state")
"""Senses of a few tokens that always stand in the sequence; the others are rich."""

Senses = Mapping[str, Tokens]


@dataclass(frozen=True)
class Context:
    """What one pass of the backbone reads. names: (sense, tokens) in order. before: gated cross-attention.
    about: the sense that a pass of late fusion is about. present: bool [B], whether it is there (None:
    always). squares: (first place, side) of each picture whose tokens form a square. first_pass: `before`,
    and what is done to the pictures' tokens when they pass for the first time (Qwen3-VL's deep features)."""

    tokens: Tokens
    names: tuple[tuple[str, int], ...]
    before: Before = field(default_factory=dict)
    present: Tensor | None = None
    squares: tuple[tuple[int, int], ...] = ()
    deep: Before = field(default_factory=dict)
    about: str = ""

    @property
    def first_pass(self) -> Before:
        """What is done before each layer while the whole prefix passes."""
        if not self.deep:
            return self.before
        return {layer: partial(self._both, layer) for layer in {*self.before, *self.deep}}

    def _both(self, layer: int, x_BTW: Tensor) -> Tensor:
        for each in (self.deep, self.before):
            x_BTW = each[layer](x_BTW) if layer in each else x_BTW
        return x_BTW


class UnifiedFusion(nn.Module):
    """One sequence."""

    def forward(self, senses: Senses) -> list[Context]:
        """Tokens of each sense, in order -> the passes to run through the backbone."""
        return [_sequence(senses)]

    def combine(self, logits: Sequence[Tensor], contexts: Sequence[Context]) -> Tensor:
        """The passes' scores [B, ..., Q] -> one."""
        return logits[0]


class GatedCrossAttention(nn.Module):
    """x + tanh(gate) * attention(x to memory), then x + tanh(gate) * mlp(x). Both gates start at 0."""

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_memory = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, mlp)
        self.down = nn.Linear(mlp, width)
        self.gate = nn.Parameter(torch.zeros(2))

    def look_at(self, memory: Tokens) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Keys and values [B, H, M, E], computed once for a prefix and all its answers; the mask over
        memory [B, 1, 1, M], and whether there is any [B, 1, 1]."""
        b, m, _ = memory.x.shape
        both = self.keys(self.norm_memory(memory.x)).view(b, m, 2, self.heads, -1)
        k, v = both.permute(2, 0, 3, 1, 4).unbind(0)
        if memory.mask is None:
            return k, v, None, None
        some = memory.present()
        return k, v, (memory.mask | ~some[:, None])[:, None, None], some[:, None, None]

    def forward(
        self,
        x_BNW: Tensor,
        k: Tensor | None = None,
        v: Tensor | None = None,
        mask: Tensor | None = None,
        some: Tensor | None = None,
    ) -> Tensor:
        """[B, N, W] -> [B, N, W]; the rest as `look_at` gives it, or nothing where there is no memory."""
        dtype = x_BNW.dtype
        b, n, w = x_BNW.shape
        attention, mlp = self.gate.tanh().to(dtype).unbind(0)
        if k is not None and v is not None:
            q = self.query(self.norm(x_BNW.to(self.norm.weight.dtype))).view(b, n, self.heads, -1)
            y = self.out(attend(q.transpose(1, 2), k, v, mask).transpose(1, 2).reshape(b, n, w))
            if some is not None:  # looking at nothing adds nothing
                y = y * some
            x_BNW = x_BNW + attention * y.to(dtype)
        h = self.down(F.gelu(self.up(self.norm_mlp(x_BNW.to(self.norm.weight.dtype)))))
        return x_BNW + mlp * h.to(dtype)


class CrossAttentionFusion(UnifiedFusion):
    """Words and state in the sequence; pictures and sounds beside it."""

    def __init__(self, config: CrossAttentionConfig, width: int, layers: int) -> None:
        super().__init__()
        if width % config.heads:
            raise BadInput(f"fusion.heads {config.heads} must divide the backbone's width {width}")
        chosen = config.layers if config.layers is not None else tuple(range(0, layers, config.every))
        if max(chosen) >= layers:
            raise BadInput(f"fusion.layers names layer {max(chosen)}; the backbone has 0 to {layers - 1}")
        gates = {str(i): GatedCrossAttention(width, config.heads, config.mlp) for i in sorted(set(chosen))}
        self.gates = nn.ModuleDict(gates)

    def forward(self, senses: Senses) -> list[Context]:
        """Tokens of each sense, in order -> the passes to run through the backbone."""
        rich = [tokens for name, tokens in senses.items() if name not in LEAN]
        lean = {name: tokens for name, tokens in senses.items() if name in LEAN}
        memory, before = concatenate(rich) if rich else None, {}
        for name, gate in self.gates.items():
            assert isinstance(gate, GatedCrossAttention)
            seen = (None, None, None, None) if memory is None else gate.look_at(memory)
            k, v, mask, some = seen
            before[int(name)] = partial(gate, k=k, v=v, mask=mask, some=some)
        return [_sequence(lean, before)]


class IntermediateFusion(UnifiedFusion):
    """Each sense is pooled by `pool` learned queries; a perceptron over all makes the joint embeddings.

    For an absent sense a learned vector stands in, so the perceptron knows what it lacks.
    """

    def __init__(self, config: IntermediateConfig, width: int, senses: Sequence[str]) -> None:
        super().__init__()
        self.tokens, self.senses = config.tokens, tuple(name for name in senses if name != "bos")
        joined = len(self.senses) * config.pool * width
        self.queries = nn.ModuleDict(
            {name: nn.Linear(width, config.pool, bias=False) for name in self.senses}
        )
        self.absent = nn.ParameterDict({name: torch.randn(config.pool, width) * 0.02 for name in self.senses})
        self.norm = nn.LayerNorm(joined)
        self.up = nn.Linear(joined, config.hidden)
        self.down = nn.Linear(config.hidden, config.tokens * width)
        self.place = nn.Parameter(torch.randn(config.tokens, width) * 0.02)

    def forward(self, senses: Senses) -> list[Context]:
        """Tokens of each sense, in order -> the passes to run through the backbone."""
        some = next(iter(senses.values())).x
        pooled = torch.cat(
            [
                self._pool(name, senses[name])
                if name in senses
                else self.absent[name].to(some.dtype).expand(len(some), -1, -1)
                for name in self.senses
            ],
            1,
        ).flatten(1)
        joint = self.down(F.gelu(self.up(self.norm(pooled)))).unflatten(1, (self.tokens, -1))
        return [Context(Tokens(joint + self.place), (("joint", self.tokens),))]

    def _pool(self, name: str, tokens: Tokens) -> Tensor:
        """-> [B, pool, W]."""
        scores_BNP = self.queries[name](tokens.x).float()
        if tokens.mask is not None:
            some = tokens.present()
            seen = tokens.mask | ~some[:, None]
            scores_BNP = scores_BNP.masked_fill(~seen[..., None], float("-inf"))
        pooled = F.softmax(scores_BNP, 1).to(tokens.x.dtype).transpose(1, 2) @ tokens.x
        if tokens.mask is None:
            return pooled
        return torch.where(some[:, None, None], pooled, self.absent[name].to(pooled.dtype))


class LateFusion(nn.Module):
    """One pass for each rich sense; a weighted product of their predictions, over those that are there."""

    def __init__(self, config: LateConfig, rich: Sequence[str]) -> None:
        super().__init__()
        self.rich = tuple(rich)
        self.weight = nn.Parameter(torch.zeros(len(self.rich)))

    def forward(self, senses: Senses) -> list[Context]:
        """Tokens of each sense, in order -> the passes to run through the backbone."""
        contexts = []
        for rich in [name for name in self.rich if name in senses]:
            own = {name: tokens for name, tokens in senses.items() if name in LEAN or name == rich}
            present = None if senses[rich].mask is None else senses[rich].present()
            contexts.append(replace(_sequence(own, present=present), about=rich))
        lean = {name: tokens for name, tokens in senses.items() if name in LEAN}
        return contexts or [_sequence(lean)]

    def combine(self, logits: Sequence[Tensor], contexts: Sequence[Context]) -> Tensor:
        """The passes' scores [B, ..., Q] -> log-probabilities, not normalised."""
        batch, device = len(logits[0]), logits[0].device
        if not contexts[0].about:  # words and state alone
            return F.log_softmax(logits[0].float(), -1)
        weight = self.weight.float()
        if len(contexts) < len(self.rich):
            weight = weight[[self.rich.index(context.about) for context in contexts]]
        weight_BS = weight.expand(batch, -1)
        if any(context.present is not None for context in contexts):
            everyone = torch.ones(batch, dtype=torch.bool, device=device)
            there = torch.stack([everyone if c.present is None else c.present for c in contexts], 1)
            there = there | ~there.any(1, keepdim=True)
            weight_BS = weight_BS.masked_fill(~there, float("-inf"))
        share_BS = F.softmax(weight_BS, 1)
        shape = (batch,) + (1,) * (logits[0].ndim - 1)
        return torch.stack(
            [share_BS[:, i].view(shape) * F.log_softmax(each.float(), -1) for i, each in enumerate(logits)]
        ).sum(0)


Fusion = UnifiedFusion | LateFusion


def build_fusion(config: FusionConfig, width: int, layers: int, senses: Sequence[str]) -> Fusion:
    """The fusion of a config. senses: their names, in order. layers: of the backbone."""
    if isinstance(config, CrossAttentionConfig):
        return CrossAttentionFusion(config, width, layers)
    if isinstance(config, IntermediateConfig):
        return IntermediateFusion(config, width, senses)
    if isinstance(config, LateConfig):
        return LateFusion(config, [name for name in senses if name not in LEAN])
    return UnifiedFusion()


def with_pictures(context: Context, sensed: Sensed) -> Context:
    """With what a VLM wants to know of the pictures in its sequence: their places and deep features."""
    squares, pieces, start = [], [], 0
    for name, count in context.names:
        if name in sensed.sides:
            squares.append((start, sensed.sides[name]))
        if name in sensed.deep:
            pieces.append((start, sensed.deep[name]))
        start += count
    if not pieces:
        return replace(context, squares=tuple(squares)) if squares else context
    from vla.backbones.vision import add_deep

    return replace(context, squares=tuple(squares), deep=add_deep(pieces))


def _sequence(senses: Senses, before: Before | None = None, present: Tensor | None = None) -> Context:
    names = tuple((name, tokens.x.shape[1]) for name, tokens in senses.items())
    return Context(concatenate(list(senses.values())), names, before or {}, present)
