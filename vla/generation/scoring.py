"""How good answers about pictures are.

A place is right where it covers the true one by half (intersection over union, as RefCOCO's scores ask).
Words are compared after `normalised`. Where ten people were asked, as in VQAv2, an answer counts min(1,
people who gave it / 3) (Antol et al. 2015); else it is right if it is the expected one or one of the others
given as right.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import batched

from vla.answers import AnswerCoder
from vla.data.web.sample import Box, Turn, WebSample
from vla.generation.text import answer
from vla.intervals import wilson
from vla.model import VLA, Batch
from vla.processor import Processor
from vla.tokens import locations

__all__ = ["covered", "normalised", "score", "score_answer", "score_answers"]

PEOPLE = 10
HALF = 0.5
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ARTICLES = ("a", "an", "the")
_BOX = "{box}"


def normalised(text: str) -> str:
    """In lower case, without punctuation and articles, small numbers as digits: VQAv2's way, but for its list
    of contractions (apostrophes are left out everywhere)."""
    words = re.sub(r"[^\w\s]+", " ", re.sub(r"['’]", "", text.lower())).split()
    numbers = {word: str(number) for number, word in enumerate(_NUMBERS)}
    return " ".join(numbers.get(word, word) for word in words if word not in _ARTICLES)


def covered(one: Box, other: Box) -> float:
    """Intersection over union, 0..1."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    union = sum(areas) - shared
    return shared / union if union > 0 else float(one == other)


def score_answer(said: str, turn: Turn, steps: int = 0) -> float:
    """How right what was said is, 0..1; see the module. steps: of the model's location words."""
    wanted = locations.read(turn.answer, steps) if steps else None
    if wanted is not None:
        found = locations.read(said, steps)
        return float(found is not None and covered(found, wanted) >= HALF)
    found_words = normalised(said)
    same = [normalised(each) == found_words for each in turn.others]
    if len(same) >= PEOPLE:
        return min(sum(same) / 3, 1.0)
    return float(any(same) or normalised(turn.answer) == found_words)


def score_answers(model: VLA, processor: Processor, batch: Batch, turns: Sequence[Turn]) -> list[float]:
    """The score of each row's answer to its turn's prompt. batch: of `Processor.web_batch`, for its pictures;
    places in the turns' answers are in words already. The model must be in evaluation mode."""
    coder = AnswerCoder(processor.config, processor.tokenizer)
    assert processor.config.answer is not None
    steps = processor.config.answer.locations
    text, mask = coder.prompts([turn.prompt for turn in turns])
    said = answer(model, {**batch, "text": text, "text_mask": mask})
    return [score_answer(coder.decode(ids), turn, steps) for ids, turn in zip(said, turns, strict=True)]


def score(
    model: VLA, processor: Processor, samples: Iterable[tuple[WebSample, Turn]], batch: int = 32
) -> Mapping[str, float]:
    """Ask a model about pictures, `batch` at a time -> accuracy, count, and low and high: Wilson's 95%
    interval of the accuracy. It is put into evaluation mode and back. Raises BadInput for a prompt that it
    cannot read."""
    right: list[float] = []
    learning = model.training
    model.eval()
    for some in batched(samples, batch):
        turns = [_told(turn, processor) for _, turn in some]
        shown = [sample.images[0] if sample.images else None for sample, _ in some]
        seen = processor.web_batch({"images": shown, "prompt": [turn.prompt for turn in turns]})
        right += score_answers(model, processor, seen, turns)
    model.train(learning)
    low, high = wilson(sum(right), len(right))
    return {"accuracy": sum(right) / max(1, len(right)), "count": len(right), "low": low, "high": high}


def _told(turn: Turn, processor: Processor) -> Turn:
    """With the places in its answer in the model's words."""
    assert processor.config.answer is not None
    said = turn.answer
    for box in turn.boxes:
        said = said.replace(_BOX, locations.tell(box, processor.config.answer.locations), 1)
    return Turn(turn.prompt, said, turn.boxes, turn.others)
