"""One id space for all tokens, with named ranges: ``text words | action codes | control``.

On a pretrained tokenizer there are two ways: append the action ids after its words, or overwrite: the last
words' ids stand for actions, as in RT-2 and OpenVLA.
"""

from dataclasses import dataclass

from vla.configuration import VLAConfig

__all__ = ["CONTROLS", "Vocabulary"]

CONTROLS = ("pad", "bos", "eos")


@dataclass(frozen=True)
class Vocabulary:
    """`text` words, then `codes` action tokens, then the control tokens; with `overwrite` the action tokens
    are the last words.

    >>> v = Vocabulary(text=100, codes=256)
    >>> v.action_range, v.pad, v.size
    (range(100, 356), 356, 359)
    """

    text: int
    codes: int = 256
    overwrite: bool = False

    @classmethod
    def of(cls, config: VLAConfig) -> "Vocabulary":
        """A model's. One whose actions are never codes has no action ids."""
        codes = config.decoder.codes
        if codes is None:
            return cls(config.vocabulary, 0)
        return cls(config.vocabulary, codes.layout.codes, codes.ids == "overwrite")

    @property
    def text_range(self) -> range:
        """Ids of words."""
        return range(self.text)

    @property
    def action_range(self) -> range:
        """Ids of action codes; code c is ``action_range[c]``."""
        start = self.text - self.codes if self.overwrite else self.text
        return range(start, start + self.codes)

    @property
    def control_range(self) -> range:
        """Ids of control tokens, in the order of CONTROLS."""
        start = max(self.text, self.action_range.stop)
        return range(start, start + len(CONTROLS))

    @property
    def size(self) -> int:
        """Number of ids in all."""
        return self.control_range.stop

    @property
    def pad(self) -> int:
        """Fills what is shorter than its neighbours in a batch."""
        return self.control_range[0]

    @property
    def bos(self) -> int:
        """Starts an answer."""
        return self.control_range[1]

    @property
    def eos(self) -> int:
        """Ends an answer."""
        return self.control_range[2]
