"""Settings of answers in words."""

from dataclasses import dataclass

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["AnswerConfig"]


@dataclass(frozen=True)
class AnswerConfig:
    """The model answers in words beside actions: captions, questions about a picture, places.

    max_length: longest answer in tokens, its end included; of packed turns, prompts and answers together.
    locations: in how many steps a picture's width and height are told, as the words ``loc0`` .. (0: the model
    has no such words). weight: of the mean loss of a token beside the action loss. eos: a language model's
    own id that ends a text (see `vla.answers.for_tokenizer`); None: the vocabulary's, which it did not know
    before.
    """

    max_length: int = 24
    locations: int = 64
    weight: float = 1.0
    eos: int | None = None

    def __post_init__(self) -> None:
        at_least(self, 2, "max_length")
        if self.locations == 1:
            raise BadInput("locations=1: at least 2 steps are needed, or 0 for no such words")
        at_least(self, 0, "locations", "weight", "eos")
