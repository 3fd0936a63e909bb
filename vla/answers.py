"""Between what people write about pictures and the model's tensors: prompts, answers, several of them in a
row.

Legend: B batch, L tokens of a prompt, A tokens of an answer.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vla.configuration import VLAConfig, WordsConfig
from vla.data import pictures
from vla.decoders.text import answer_end
from vla.errors import BadInput
from vla.tokens.base import WordTokenizer
from vla.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from vla.model import VLA
    from vla.processor import Processor

__all__ = ["AnswerCoder", "for_tokenizer", "say", "web_batch"]

Pair = tuple[str, str]
"""A prompt and its answer."""
_LETTERS = 100_000
"""Longer texts are not even split into words."""


def for_tokenizer(config: VLAConfig, tokenizer: WordTokenizer) -> VLAConfig:
    """The config of a new model that is to speak with a tokenizer: as many words, and its own end of a text,
    where the language model knows one."""
    answer, eos = config.answer, getattr(tokenizer, "eos", None)
    if answer is not None and config.language and answer.eos is None:
        answer = dataclasses.replace(answer, eos=eos)
    return dataclasses.replace(config, vocabulary=tokenizer.size, answer=answer)


class AnswerCoder:
    """Texts of a model that answers in words <-> ids. No state. Raises BadInput for a model that does not."""

    def __init__(self, config: VLAConfig, tokenizer: WordTokenizer) -> None:
        if config.answer is None:
            raise BadInput(f"the model {config.name} does not answer in words: it needs model/answer=words")
        self.config, self.tokenizer = config, tokenizer
        self.vocabulary = Vocabulary.of(config)
        self.eos = answer_end(config.answer, self.vocabulary)
        self.longest = config.answer.max_length

    def prompts(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids int64 [B, L], mask bool [B, L], L being the model's longest text; of an empty prompt no word.

        They are said as they are: `text.template` is what a robot's instruction stands in. Raises BadInput
        for one that is too long, or holds an unknown word.
        """
        text, begins = self.config.text, "bos" in self.config.order
        ids = np.full((len(prompts), text.max_length), self.vocabulary.pad, dtype=np.int64)
        mask = np.zeros(ids.shape, dtype=bool)
        start = (getattr(self.tokenizer, "bos", None),) if begins else ()
        for i, prompt in enumerate(prompts):
            said = self._words(prompt, "prompt", text.max_length - begins, "model.text.max_length")
            row = (*start, *said)
            ids[i, : len(row)], mask[i, : len(row)] = row, True
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def ids(self, answer: str, prompt: str = "") -> tuple[tuple[int, ...], int]:
        """The ids of a prompt and its answer with the end, and how many are the prompt's.

        Nothing is cut off: an answer without its end would teach never to stop. Raises BadInput for what is
        longer than `answer.max_length`, naming both lengths, for an empty answer and for an unknown word.
        """
        limit = "model.answer.max_length"
        if not answer.strip():
            raise BadInput(f"the answer to {_short(prompt)} is empty")
        asked = self._words(prompt, "prompt", self.longest, limit)
        said = self._words(answer, "answer", self.longest - 1, limit)
        length = len(asked) + len(said) + 1
        if length > self.longest:
            raise BadInput(
                f"{_short(prompt)} and its answer have {length} tokens with the end, the model reads at most "
                f"{self.longest} ({limit})"
            )
        taken = self.vocabulary.action_range
        if any(each in taken for each in said):
            raise BadInput(f"the answer {_short(answer)} holds a word whose id stands for an action")
        return (*asked, *said, self.eos), len(asked)

    def pack(self, turns: Iterable[Pair]) -> list[list[Pair]]:
        """Turns -> rows of at most `answer.max_length` tokens, each filled up in order before the next
        begins."""
        rows: list[list[Pair]] = []
        room = 0
        for prompt, answer in turns:
            need = len(self.ids(answer, prompt)[0])
            if need > room:
                rows.append([])
                room = self.longest
            rows[-1].append((prompt, answer))
            room -= need
        return rows

    def encode(self, answers: Sequence[str]) -> dict[str, Tensor]:
        """answer int64 [B, A], A being the longest one's tokens, and answer_mask bool [B, A] (see
        `vla.model`)."""
        packed = self.encode_packed([[("", answer)] for answer in answers])
        del packed["answer_segment"]
        return packed

    def encode_packed(self, rows: Sequence[Sequence[Pair]]) -> dict[str, Tensor]:
        """The same of several turns a row, with answer_segment int64 [B, A]. Raises BadInput for a row that
        is too long (see `pack`)."""
        coded = [[self.ids(answer, prompt) for prompt, answer in row] for row in rows]
        lengths = [sum(len(ids) for ids, _ in row) for row in coded]
        if max(lengths) > self.longest:
            worst = int(np.argmax(lengths))
            raise BadInput(
                f"the {len(rows[worst])} turns of row {worst} have {lengths[worst]} tokens together, the "
                f"model reads at most {self.longest} (model.answer.max_length): pack them into more rows"
            )
        shape = (len(rows), max(lengths))
        answer, segment = np.full(shape, self.vocabulary.pad, np.int64), np.zeros(shape, np.int64)
        counts = np.zeros(shape, bool)
        for i, row in enumerate(coded):
            place = 0
            for number, (ids, asked) in enumerate(row, start=1):
                end = place + len(ids)
                answer[i, place:end], segment[i, place:end] = ids, number
                counts[i, place + asked : end] = True
                place = end
        found = {"answer": answer, "answer_mask": counts, "answer_segment": segment}
        return {name: torch.from_numpy(value) for name, value in found.items()}

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without the end."""
        return self.tokenizer.decode([each for each in ids if each != self.eos])

    def _words(self, text: str, what: str, limit: int, setting: str) -> tuple[int, ...]:
        text = text.strip()
        if isinstance(self.config.text, WordsConfig) and self.config.text.lower:
            text = text.lower()
        if not text:
            return ()
        if len(text) > _LETTERS:
            raise BadInput(f"the {what} {_short(text)} has {len(text):,} letters, far more than can be read")
        ids = self.tokenizer.ids(text, _LETTERS)
        if len(ids) > limit:
            raise BadInput(
                f"the {what} {_short(text)} has {len(ids)} tokens; at most {limit} fit ({setting})"
            )
        return ids


def web_batch(processor: "Processor", raw: Mapping[str, Any]) -> dict[str, Any]:
    """See `Processor.web_batch`."""
    config = processor.config
    coder = AnswerCoder(config, processor.tokenizer)
    prompts, answers = list(raw["prompt"]), raw.get("answer")
    rows = list(range(len(prompts)))
    out: dict[str, Any] = {}
    if answers is not None and any(not isinstance(each, str) for each in answers):
        packed = [(i, row) for i, turns in enumerate(answers) for row in coder.pack(turns)]
        rows = [i for i, _ in packed]
        out |= coder.encode_packed([row for _, row in packed])
    else:
        for i, prompt in enumerate(prompts):
            if not prompt.strip():
                raise BadInput(f"row {i} has an empty prompt: say what is asked of the picture")
        if answers is not None:
            out |= coder.encode(answers)
    text, mask = coder.prompts([prompts[i] for i in rows])
    camera = raw.get("camera") or config.image.cameras[0].name
    given = raw.get("images")
    shown = [None if given is None else given[i] for i in rows]
    seen = pictures.from_pictures(shown, camera, config.image, config.history)
    out |= {"text": text, "text_mask": mask, "images": {}, **seen.to_batch()}
    if raw.get("points") is not None:
        place = 2 * [each.name for each in config.image.cameras].index(camera)
        points = torch.zeros(len(text), 2 * len(config.image.cameras), 3)
        given_points = np.asarray(raw["points"], np.float32)[rows]
        points[:, place : place + 2] = torch.from_numpy(_placed(given_points, shown, config))
        out["points"] = points
    if raw.get("weight") is not None:
        out["weight"] = torch.from_numpy(np.asarray(raw["weight"], np.float32)[rows])
    return out


def _placed(
    points_B23: npt.NDArray[np.float32], shown: Sequence[Any], config: VLAConfig
) -> npt.NDArray[np.float32]:
    """Points of pictures, in 0..1 of their width and height -> of the squares that the model sees. A point of
    a picture that is not there is unseen."""
    points = points_B23.copy()
    for i, picture in enumerate(shown):
        if picture is None:
            points[i] = 0.0
        elif config.image.fit == "letterbox" and not config.image.max_tiles:
            height, width = picture.shape[:2]
            for axis, (own, other) in enumerate(((width, height), (height, width))):
                bar = max(other - own, 0) // 2
                points[i, :, axis] = (points[i, :, axis] * own + bar) / (own + 2 * bar)
    return points


def say(model: "VLA", processor: "Processor", image: npt.NDArray[np.uint8] | None, prompt: str) -> str:
    """The model's answer to a prompt about a picture uint8 [H, W, 3], or about none. Raises BadInput for a
    prompt that it cannot read."""
    from vla.generation.text import answer  # the model, which coding alone does not need

    batch = processor.web_batch({"images": [image], "prompt": [prompt]})
    return AnswerCoder(processor.config, processor.tokenizer).decode(answer(model, batch)[0])


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
