"""Places in a picture as words, so that a model can be asked where something is and answer in its one
vocabulary (Pix2Seq, Chen et al. 2022; PaliGemma).

Width and height are told in steps, as the words ``loc0`` .. ``loc<count - 1>``: the first step is the left
(or upper) edge of the picture, the last one the right (or lower) edge, so a number is off by at most half a
step. The project's own tokenizer keeps each of them as one word. A pretrained one writes it in a few pieces
("loc", "12"): that is learned as well, takes more of an answer's length, and is read back from the text all
the same.
"""

import re

from vla.data.web.sample import Box

__all__ = ["read", "tell", "words"]

_WORD = re.compile(r"\bloc\s?(\d+)\b", re.IGNORECASE)


def words(count: int) -> list[str]:
    """All of them, in order."""
    return [f"loc{step}" for step in range(count)]


def tell(box: Box, count: int) -> str:
    """Left, top, right, bottom: ``"loc3 loc10 loc20 loc31"``. count: steps of the width and of the height.
    What lies outside the picture is told as its edge."""
    edges = (box.left, box.top, box.right, box.bottom)
    return " ".join(f"loc{round(min(max(edge, 0.0), 1.0) * (count - 1))}" for edge in edges)


def read(text: str, count: int) -> Box | None:
    """The way back; None unless the text holds exactly four of the words, and its left is left of its
    right."""
    steps = [int(found) for found in _WORD.findall(text)]
    if len(steps) != 4 or max(steps) >= count:
        return None
    left, top, right, bottom = (step / (count - 1) for step in steps)
    return Box(left, top, right, bottom) if left <= right and top <= bottom else None
