"""Settings of how the sentence is read."""

from dataclasses import dataclass
from typing import Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["PooledTextConfig", "TextConfig", "WordsConfig"]


@dataclass(frozen=True)
class PooledTextConfig:
    """Sentence encoder: `layers` of a small transformer, then `tokens` attention-pooled tokens and one
    summary vector that conditions vision. max_length: longest sentence, in words."""

    kind: Literal["pooled"] = "pooled"
    width: int = 128
    layers: int = 3
    heads: int = 4
    tokens: int = 4
    max_length: int = 24

    def __post_init__(self) -> None:
        at_least(self, 1, "width", "layers", "heads", "tokens", "max_length")
        if self.width % self.heads:
            raise BadInput(f"text.width {self.width} must be a multiple of text.heads {self.heads}")


@dataclass(frozen=True)
class WordsConfig:
    """Each word (or piece of one) is a token of the backbone, embedded by it.

    tokenizer: empty, the project's own words; else a Hugging Face tokenizer: a folder or hub name, or
    ``backbone`` for the one beside backbone.path. template: what is said around the instruction, ``{task}``.
    max_length: longest text, in tokens. lower: the instruction in lower case.
    """

    kind: Literal["words"] = "words"
    tokenizer: str = ""
    template: str = "{task}"
    max_length: int = 48
    lower: bool = False

    def __post_init__(self) -> None:
        at_least(self, 1, "max_length")
        if "{task}" not in self.template:
            raise BadInput(f"text.template must hold {{task}}, the instruction: {self.template!r}")


TextConfig = PooledTextConfig | WordsConfig
