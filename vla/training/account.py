"""What a training's first samples really are: shares planned and drawn, skills, lengths of texts, padding.

Texts are counted in tokens of the model. A web row takes as many places as the longest prompt that the model
reads, and as its batch's longest answer; what no token fills is padding.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.answers import AnswerCoder
from vla.data.web.inspection import Spread
from vla.data.web_draws import WebDraws
from vla.errors import BadInput
from vla.training.intake import Intake, Reading
from vla.training.run_config import RunConfig
from vla.training.web import web_draws

__all__ = ["Filling", "account"]

_Ints = npt.NDArray[np.int64]
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Filling:
    """Of web rows: turns in each, tokens of prompts and answers (means a row), share of places not filled."""

    turns: float
    prompt: float
    answer: float
    padding: float

    def __str__(self) -> str:
        return (
            f"{self.turns:.1f} turns a row, {self.prompt:.1f} tokens of prompts and {self.answer:.1f} of "
            f"answers, {self.padding:.0%} of the places are padding"
        )


def account(config: RunConfig, reading: Reading, intake: Intake, samples: int) -> Rows:
    """(what, its value) of the first `samples` for a table. Reads the drawn texts and pictures."""
    frames, web = _drawn(intake, samples)
    rows = _shares(config, reading, intake, samples)
    rows += _skills(reading, frames)
    sentences = _sentence_tokens(reading, frames)
    if len(sentences):
        rows.append(("tokens a sentence, least / median / most", str(Spread.of(sentences.tolist()))))
    if intake.web:
        rows += _texts(reading, intake.web, web)
        rows += _fillings(config, reading, intake, samples)
        rows += [("damaged", each.source.summary()) for each in intake.web]
    return rows


def _drawn(intake: Intake, samples: int) -> tuple[_Ints, list[tuple[int, int]]]:
    drawn = intake.mixture(0, samples)
    return drawn.frames, drawn.web


def _shares(config: RunConfig, reading: Reading, intake: Intake, samples: int) -> Rows:
    data, mixture = reading.data, intake.mixture
    names = [str(source.dataset.root) for source in data.sources]
    share = mixture.interleave.counts / mixture.interleave.counts.sum()
    weight = np.bincount(data.source_of[reading.frames], reading.weights, len(names))
    planned = [*(share[0] * weight / weight.sum()), *share[1:]]
    rows = mixture.account(samples, names, data.source_of)
    return [
        (
            name if i < len(names) else f"web.{name}",
            f"{count:,} of {samples:,} samples, {count / samples:.1%} (planned {planned[i]:.1%}); "
            f"each of its {'frames' if i < len(names) else 'records'} {passes:.3g} times",
        )
        for i, (name, count, passes) in enumerate(rows)
    ]


def _skills(reading: Reading, frames: _Ints) -> Rows:
    """How many of the robots' samples are of each skill, where meta/episodes tells."""
    counts: Counter[str] = Counter()
    for number, source in enumerate(reading.data.sources):
        dataset = source.dataset
        own = frames[reading.data.source_of[frames] == number] - reading.data.first_frame[number]
        if "skill" in dataset.episode_meta and len(own):
            counts.update(dataset.episode_meta["skill"][dataset.episode_of_frame[own]].astype(str).tolist())
    told = ", ".join(
        f"{skill} {count:,} ({count / len(frames):.0%})" for skill, count in counts.most_common()
    )
    return [("skills", told)] if counts else []


def _sentence_tokens(reading: Reading, frames: _Ints) -> _Ints:
    data = reading.data
    numbers = np.unique(data.task_index[frames])
    if not len(numbers):
        return numbers
    _, mask = reading.processor.words([data.tasks[i] for i in numbers.tolist()])
    lengths = np.zeros(len(data.tasks), np.int64)
    lengths[numbers] = mask.sum(1).numpy()
    return lengths[data.task_index[frames]]


def _texts(reading: Reading, web: Sequence[WebDraws], drawn: Sequence[tuple[int, int]]) -> Rows:
    """Tokens of each source's prompts and answers, turn by turn."""
    coder = AnswerCoder(reading.processor.config, reading.processor.tokenizer)
    rows = []
    for number, source in enumerate(web):
        own = [draw for whose, draw in drawn if whose == number]
        source.expect(own)
        turns = [turn for draw in _shown(own, source.name) for turn in source.draw(draw).turns]
        prompts = coder.prompts([turn.prompt for turn in turns])[1].sum(1).tolist()
        answers = [len(coder.ids(turn.answer)[0]) for turn in turns]
        rows.append((f"web.{source.name}, tokens a prompt", str(Spread.of(prompts))))
        rows.append((f"web.{source.name}, tokens an answer with its end", str(Spread.of(answers))))
    return rows


def _fillings(config: RunConfig, reading: Reading, intake: Intake, samples: int) -> Rows:
    """With and without packing: as it is, and as mixture.pack would have it the other way."""
    pack, rows = config.mixture.pack, []
    for way in (pack, not pack):
        try:
            web = intake.web
            if way != pack:
                other = replace(config, mixture=replace(config.mixture, pack=way))
                with contextlib.redirect_stderr(io.StringIO()):  # what would be skipped is not skipped here
                    web = web_draws(reading.sources, other, reading.processor)
                    told = str(_filling(config, reading, intake, web, samples))
            else:
                told = str(_filling(config, reading, intake, web, samples))
        except BadInput as error:
            told = f"not possible: {error}"
        rows.append((f"mixture.pack={str(way).lower()}{'' if way == pack else ' would be'}", told))
    return rows


def _filling(
    config: RunConfig, reading: Reading, intake: Intake, web: Sequence[WebDraws], samples: int
) -> Filling:
    """Of the first samples' web rows, batch by batch."""
    coder = AnswerCoder(reading.processor.config, reading.processor.tokenizer)
    longest, batch = reading.processor.config.text.max_length, config.trainer.batch
    places = turns = asked = said = rows = 0
    for start in range(0, samples, batch):
        lengths = []
        for whose, draw in intake.mixture(start, min(batch, samples - start)).web:
            source = web[whose]
            pairs = [(turn.prompt, turn.answer) for turn in source.draw(draw).turns]
            if source.pack:
                pairs = coder.pack(pairs)[0]
                coded = [coder.ids(answer, prompt) for prompt, answer in pairs]
                own = sum(len(ids) for ids, _ in coded)
                prompt = sum(count for _, count in coded)
                said += own - prompt
            else:
                own = len(coder.ids(pairs[0][1])[0])
                prompt = int(coder.prompts([pairs[0][0]])[1].sum())
                said += own
            lengths.append(own)
            turns, asked, rows = turns + len(pairs), asked + prompt, rows + 1
        places += len(lengths) * (longest + max(lengths, default=0))
    if not rows:
        raise BadInput("none of these samples is of a web source")
    return Filling(turns / rows, asked / rows, said / rows, 1 - (asked + said) / places)


def _shown(numbers: list[int], name: str) -> Iterator[int]:
    return iter(tqdm(numbers, desc=f"reading web.{name}", unit=" records", mininterval=1.0, delay=2.0))
