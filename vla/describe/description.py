"""What is known of a model once it was described: plain numbers, ready for a table or for JSON."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["STAGES", "Description", "Flow", "Memory", "Part", "Pass", "Size"]

STAGES = ("encoder", "history", "connector")
"""Through which a sense goes on its way to the fusion; `history` stands for past frames and tiles."""


@dataclass(frozen=True)
class Size:
    """So many tokens of `width` numbers each."""

    tokens: int
    width: int


@dataclass(frozen=True)
class Flow:
    """One sense's way through the model. raw: what comes in, in words. stages: those of `STAGES` that it
    passes. tokens: that reach the fusion. fusion: what becomes of them there, in words."""

    sense: str
    raw: str
    stages: dict[str, Size]
    tokens: int
    fusion: str


@dataclass(frozen=True)
class Pass:
    """One pass of the backbone. segments: (sense, tokens) in order, the answers last. beside: senses that
    gated cross-attention looks at from inside `layers`. mask: bool [T, T], True where the row may look.
    expert: whether the answers are a flow's expert's, beside the backbone: their keys are not kept, and
    they have no gates."""

    segments: list[tuple[str, int]]
    beside: list[tuple[str, int]]
    layers: list[int]
    mask: Tensor = field(repr=False)
    expert: bool = False

    @property
    def prefix(self) -> int:
        """Tokens before the answers."""
        return sum(count for _, count in self.segments[:-1])

    @property
    def kept(self) -> int:
        """Tokens whose keys and values are kept."""
        return self.prefix if self.expert else sum(count for _, count in self.segments)

    def gated(self, row: int) -> bool:
        """Whether the segment `row` looks at what stands beside."""
        return not (self.expert and row == len(self.segments) - 1)

    def marks(self) -> list[list[str]]:
        """How each segment (row) attends to each (column): full, causal, none or part; `beside`: gated."""
        counts = [count for _, count in self.segments]
        rows = []
        for number, row in enumerate(self.mask.split(counts)):
            beside = "gated" if self.gated(number) else "none"
            rows.append([_mark(block) for block in row.split(counts, 1)] + [beside] * len(self.beside))
        return rows


def _mark(block: Tensor) -> str:
    if bool(block.all()):
        return "full"
    if not bool(block.any()):
        return "none"
    square = block.shape[0] == block.shape[1]
    return "causal" if square and bool((block == block.new_ones(block.shape).tril()).all()) else "part"


@dataclass(frozen=True)
class Part:
    """A part of the model as it is tuned. flops: of one action chunk, a multiply-add being two."""

    name: str
    parameters: int
    trained: int
    bytes: int
    flops: int


@dataclass(frozen=True)
class Memory:
    """In bytes, for one robot. activations: most that was alive at once while it acted, cache included."""

    weights: int
    kv_cache: int
    activations: int
    scores: int
    """Of one layer's attention over everything, where the kernel writes them out."""

    @property
    def total(self) -> int:
        """To act."""
        return self.weights + self.activations


@dataclass(frozen=True)
class Description:
    """A model's data flow and its bill for one chunk of `steps` actions.

    longest: whether that is the bill of the longest answer, of codes that need not all be written.
    """

    name: str
    flows: list[Flow]
    passes: list[Pass]
    parts: list[Part]
    memory: Memory
    kv_tokens: int
    steps: int
    longest: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(part.parameters for part in self.parts)

    @property
    def trained(self) -> int:
        """Number of weights that training changes."""
        return sum(part.trained for part in self.parts)

    @property
    def flops(self) -> int:
        """Of one chunk."""
        return sum(part.flops for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        passes = [
            {
                "segments": dict(each.segments),
                "beside": dict(each.beside),
                "layers": each.layers,
                "prefix": each.prefix,
                "attention": each.marks(),
            }
            for each in self.passes
        ]
        return {
            "name": self.name,
            "parameters": self.parameters,
            "trained": self.trained,
            "frozen": self.parameters - self.trained,
            "flops_per_chunk": self.flops,
            "flops_per_step": self.flops / self.steps,
            "steps": self.steps,
            "longest_answer": self.longest,
            "memory": {**dataclasses.asdict(self.memory), "total": self.memory.total},
            "kv_cache": {"tokens": self.kv_tokens, "bytes": self.memory.kv_cache},
            "flows": [dataclasses.asdict(flow) for flow in self.flows],
            "parts": [dataclasses.asdict(part) for part in self.parts],
            "passes": passes,
            "warnings": self.warnings,
        }
