"""What every text tokenizer does, and what it is given to read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from vla.configuration import TextConfig, WordsConfig

__all__ = ["WordTokenizer", "phrase"]


class WordTokenizer(Protocol):
    """The project's own (`vla.tokens.text`) or a pretrained one. Ids count from 0 to size - 1."""

    @property
    def size(self) -> int:
        """Number of ids."""
        ...

    def ids(self, sentence: str, max_length: int) -> tuple[int, ...]:
        """The ids of one text. Raises BadInput where it is empty, too long or not readable."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids."""
        ...

    def save(self, path: Path) -> None:
        """Write it beside a model."""
        ...


def phrase(task: str, config: TextConfig) -> str:
    """What the model reads for an instruction: the instruction, within the config's template."""
    if not isinstance(config, WordsConfig):
        return task
    return config.template.replace("{task}", task.lower() if config.lower else task)
