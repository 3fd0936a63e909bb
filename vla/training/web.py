"""The web side of a training run: sources opened, checked against the model, weighed, scored and told."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import nn

from vla.answers import AnswerCoder
from vla.configuration import VLAConfig
from vla.configuration.web import WebSourceConfig
from vla.data.web import open_source
from vla.data.web.choosing import held_out
from vla.data.web.guarded import Guarded
from vla.data.web.pictures import WebPictures
from vla.data.web.sample import Damaged, Turn, WebSample, WebSource
from vla.data.web_draws import Told, WebDraws, placed
from vla.data.weighting import tempered
from vla.errors import BadInput
from vla.generation.scoring import score_answers
from vla.model import VLA
from vla.processor import Processor
from vla.tokens import locations
from vla.training.batch_maker import BatchMaker
from vla.training.run_config import RunConfig

__all__ = ["VqaScore", "account_table", "open_web", "web_draws", "web_shares", "web_words"]


def open_web(config: Mapping[str, WebSourceConfig]) -> dict[str, WebSource]:
    """The sources by name. Raises BadInput for one that cannot be read at all."""
    return {name: open_source(name, each) for name, each in config.items()}


def web_words(sources: Mapping[str, WebSource], model: VLAConfig) -> Iterator[str]:
    """What a tokenizer must know to read and say the sources' texts."""
    if model.answer is not None:
        yield from locations.words(model.answer.locations)
    for source in sources.values():
        yield from source.texts()


class _Readable:
    """A source in which a text that the model cannot read or say counts as damage."""

    def __init__(self, source: WebPictures, processor: Processor, pack: bool) -> None:
        self.source, self.name, self.processor, self.pack = source, source.name, processor, pack
        self.coder = AnswerCoder(processor.config, processor.tokenizer)
        self.texts, self.identity = source.texts, source.identity

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> WebSample:
        sample = self.source[number]
        self._check(sample.turns, number)
        return sample

    def turns(self, number: int) -> tuple[Turn, ...]:
        """See `WebSource`."""
        found = self.source.turns(number)
        self._check(found, number)
        return found

    def _check(self, turns: Sequence[Turn], number: int) -> None:
        answer = self.processor.config.answer
        assert answer is not None
        try:
            for turn in turns:
                said = placed(turn, answer.locations).answer
                self.coder.ids(said, turn.prompt if self.pack else "")
                self.coder.prompts([turn.prompt])
        except BadInput as error:
            raise Damaged(
                f"{self._place(number)}: {error}; shorten or reword it there, or let a new model read more",
                "a text does not fit the model",
            ) from None

    def _place(self, number: int) -> str:
        """The record's file and its number there, where the source is one of files."""
        place = getattr(self.source.source, "place", None)
        return f"record {number}" if place is None else str(place(number))


def web_draws(sources: Mapping[str, WebSource], config: RunConfig, processor: Processor) -> list[WebDraws]:
    """What is drawn from each source. Raises BadInput where the model does not answer in words."""
    model, made = processor.config, []
    if sources and model.answer is None:
        raise BadInput(f"web data needs a model that answers in words, which init={config.init} does not")
    split = max((each.split for each in config.web.values()), default=0.0)
    for name, source in sources.items():
        assert model.answer is not None
        settings = config.web[name]
        pictures = WebPictures(source, model.image.cameras[0].size, model.image, config.mixture.cache)
        readable = _Readable(pictures, processor, config.mixture.pack)
        held = held_out(source, settings, config.seed, split)
        guarded = Guarded(readable, config.mixture.skip, held)
        draws = WebDraws(
            guarded,
            pictures,
            settings,
            seed=config.seed,
            locations=model.answer.locations,
            pack=config.mixture.pack,
            held=held,
        )
        made.append(draws)
    return made


def web_shares(web: Sequence[WebDraws], config: RunConfig) -> list[float]:
    """How often each source is drawn, relative to the others."""
    temperature = config.mixture.temperature
    return [config.web[each.name].weight * len(each) * tempered(len(each), temperature) for each in web]


class VqaScore:
    """Asks the model about held-out pictures: source -> share of answers that are right."""

    def __init__(
        self, web: Sequence[WebDraws], batches: BatchMaker, processor: Processor, count: int
    ) -> None:
        self.batches, self.processor = batches, processor
        self.asked = [(each, each.validation(count)) for each in web] if count else []

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``vqa/<source>`` of each source that holds some records for validation."""
        found = {}
        for source, asked in self.asked:
            if asked:
                found[f"vqa/{source.name}"] = self._score(cast(VLA, model), source, asked)
        return found

    def _score(self, model: VLA, source: WebDraws, asked: list[Told]) -> float:
        right = 0.0
        for first in range(0, len(asked), 64):
            some = asked[first : first + 64]
            batch = self.batches.told([(source, each) for each in some])
            right += sum(score_answers(model, self.processor, batch, [each.turns[0] for each in some]))
        return right / len(asked)


def account_table(rows: Sequence[tuple[str, int, float]], web: Sequence[WebDraws]) -> str:
    """What was really drawn, as a table."""
    total = max(1, sum(count for _, count, _ in rows))
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'drawn':<{width}}  {'samples':>10}  {'share':>6}  passes"]
    lines += [
        f"{name:<{width}}  {count:>10,}  {count / total:>6.1%}  {passes:.2f}" for name, count, passes in rows
    ]
    lines += [each.source.summary() for each in web]
    return "\n".join(lines)
