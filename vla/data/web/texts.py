"""The ways in which data sets write down prompts and answers -> turns.

One record is a mapping with one of: ``turns`` (ours: prompt, answer, boxes, others), ``conversations``
(LLaVA: from, value), ``messages`` (role, content), ``texts`` (FineVision, the Cauldron: user, assistant),
``captions`` or ``caption`` (or ``text``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vla.data.web.damage import Fault
from vla.data.web.places import BOX, box_of
from vla.data.web.sample import Turn

__all__ = ["TEXT_KEYS", "checked", "turns_of"]

PICTURE = "<image>"
"""Where LLaVA's texts speak of a picture. Pictures stand before the words here, in that order."""
_SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


def turns_of(record: Mapping[str, Any]) -> tuple[tuple[Turn, ...], int]:
    """The record's turns, unchecked, and of how many pictures its texts speak (0: they do not tell).

    Raises Fault."""
    for key, read in _READERS.items():
        if record.get(key) is not None:
            try:
                turns = tuple(read(record[key]))
                spoken = sum(turn.prompt.count(PICTURE) + turn.answer.count(PICTURE) for turn in turns)
            except (TypeError, KeyError, AttributeError) as error:
                raise Fault(f"'{key}' has another form", f"{type(error).__name__}: {error}") from None
            return tuple(_without_marks(turn) for turn in turns) if spoken else turns, spoken
    held = ", ".join(map(str, record))
    raise Fault("no text", f"one of {', '.join(TEXT_KEYS)} is needed, not {held:.120}")


def checked(turns: Sequence[Turn], max_words: int) -> tuple[Turn, ...]:
    """The turns without space around their texts. Raises Fault for none, empty answers and too long texts."""
    if not turns:
        raise Fault("no text")
    return tuple(_checked(turn, max_words) for turn in turns)


def _checked(turn: Turn, max_words: int) -> Turn:
    texts = (turn.prompt, turn.answer, *turn.others)
    for text in texts:
        if not isinstance(text, str):
            raise Fault("a text is not text", f"{text!r:.60}")
        # the letters first: a text of 100 kB is not split
        if len(text) > 16 * max_words or len(text.split()) > max_words:
            raise Fault(
                "a text is longer than max_words", f"{len(text):,} characters; at most {max_words} words"
            )
        if not text.isascii() and any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
            raise Fault("a text holds half a character")  # half of a UTF-16 pair: no tokenizer takes it
    if not turn.answer.strip():
        raise Fault("empty answer")
    if turn.answer.count(BOX) > len(turn.boxes):
        raise Fault("the answer tells more boxes than it has", f"{turn.answer.count(BOX)}, {len(turn.boxes)}")
    others = tuple(other.strip() for other in turn.others if other.strip())
    return Turn(turn.prompt.strip(), turn.answer.strip(), turn.boxes, others)


def _without_marks(turn: Turn) -> Turn:
    prompt, answer = (text.replace(PICTURE, " ").strip() for text in (turn.prompt, turn.answer))
    return Turn(prompt, answer, turn.boxes, turn.others)


def _own(turns: Sequence[Mapping[str, Any]]) -> list[Turn]:
    return [
        Turn(
            turn.get("prompt") or "",
            turn["answer"],
            tuple(box_of(edges) for edges in turn.get("boxes") or ()),
            tuple(turn.get("others") or ()),
        )
        for turn in turns
    ]


def _pairs(texts: Sequence[Mapping[str, Any]]) -> list[Turn]:
    return [Turn(text["user"] or "", text["assistant"]) for text in texts]


def _said(said: Sequence[Mapping[str, Any]], speaker: str, words: str) -> list[Turn]:
    """A conversation by turns; what a system says stands before the next question."""
    turns: list[Turn] = []
    question: str | None = None
    rules = ""
    for part in said:
        who, text = _SPEAKERS.get(part[speaker]), _plain(part[words])
        if who is None:
            raise Fault("unknown speaker", f"{part[speaker]!r:.40}; {', '.join(_SPEAKERS)} are known")
        if who == "assistant":
            turns.append(Turn(f"{rules} {question or ''}".strip(), text))
            question, rules = None, ""
        elif who == "system":
            rules = f"{rules} {text}".strip()
        elif question is not None:
            raise Fault("two questions without an answer between them")
        else:
            question = text
    if question is not None:
        raise Fault("the last question has no answer")
    return turns


def _plain(content: str | Sequence[Mapping[str, Any]]) -> str:
    """A message's text: a string, or parts of which some are text and others stand for pictures."""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] if part["type"] == "text" else PICTURE for part in content)


def _captions(captions: str | Sequence[str]) -> list[Turn]:
    return [Turn("", caption) for caption in ([captions] if isinstance(captions, str) else captions)]


_READERS: dict[str, Callable[[Any], list[Turn]]] = {
    "turns": _own,
    "conversations": lambda said: _said(said, "from", "value"),
    "messages": lambda said: _said(said, "role", "content"),
    "texts": _pairs,
    "captions": _captions,
    "caption": _captions,
    "text": _captions,
}
TEXT_KEYS = tuple(_READERS)
