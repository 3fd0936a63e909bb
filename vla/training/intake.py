"""What a training reads, from its settings: data sets, processor, mixture, batches. No model is built.

So what a training would see can be looked at without one (scripts/data.py mix), by the same functions.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from vla.answers import for_tokenizer
from vla.configuration import TransformersConfig, VLAConfig, WordsConfig
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.mixture import Mixture
from vla.data.sampler import CounterSampler
from vla.data.web.sample import WebSource
from vla.data.web_draws import WebDraws
from vla.data.weighting import weighted_frames
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE
from vla.origin import with_own_sizes
from vla.processor import Processor
from vla.tokens.base import phrase
from vla.tokens.text import TextTokenizer
from vla.training.batch_maker import BatchMaker
from vla.training.fitting import fit, refit, with_new_robots
from vla.training.run_config import RunConfig
from vla.training.sentences import check_sentences
from vla.training.web import open_web, web_draws, web_shares, web_words

if TYPE_CHECKING:
    from vla.tokens.pretrained_text import PretrainedTokenizer

__all__ = ["Intake", "Reading", "backbone_path", "draw", "open_chunks", "read"]

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Reading:
    """model: the config, with what it took over from the data. sources: picture-text sources by name. frames,
    weights: those to train on, int64 and float64 [N]; held: int64, those held for validation."""

    model: VLAConfig
    processor: Processor
    data: ChunkData
    sources: dict[str, WebSource]
    frames: _Ints
    weights: npt.NDArray[np.float64]
    held: _Ints


@dataclass(frozen=True)
class Intake:
    """Sample numbers -> what they are (mixture) -> batches on the device."""

    web: list[WebDraws]
    mixture: Mixture
    batches: BatchMaker


def read(
    config: RunConfig, words: Sequence[str] = (), known: tuple[VLAConfig, Processor] | None = None
) -> Reading:
    """Open all that is read, and fit the processor to it. Pictures are not touched yet.

    words: what the tokenizer is to know beside the words of the data. known: config and processor to go on
    with (``init=``). Raises BadInput for settings and data that do not go together.
    """
    datasets = [EpisodeDataset(folder) for folder in config.data_folders]
    sources = open_web(config.web)
    model = config.model if known is None else _gone_on(config, known[0], datasets)
    data = open_chunks(config, datasets, model)
    reading = config.reading
    (frames, weights), held = weighted_frames(
        data, config.seed, reading.validation, config.mixture.temperature
    )
    if known is None:
        tokenizer = _tokenizer(model, [*data.tasks, *words, *web_words(sources, model)])
        model = _completed(model, tokenizer, data)
        processor = fit(model, tokenizer, data, frames, config)
    else:
        processor = refit(model, known[1], data, frames, config)
    check_sentences(processor, data, known is None)  # told now, not hours later
    return Reading(model, processor, data, sources, frames, weights, held)


def draw(config: RunConfig, reading: Reading, device: torch.device) -> Intake:
    """Decode what is to be decoded beforehand, and lay out the samples."""
    web = web_draws(reading.sources, config, reading.processor)
    batches = BatchMaker(config, reading.data, reading.processor, device, web)
    robots = CounterSampler(reading.frames, config.seed, reading.weights)
    mixture = Mixture(robots, web, web_shares(web, config), config.mixture.robot_share, config.seed)
    return Intake(web, mixture, batches)


def backbone_path(model: VLAConfig) -> str:
    """Where the language model is from; '' for one of our own."""
    return model.backbone.path if isinstance(model.backbone, TransformersConfig) else ""


def _gone_on(config: RunConfig, known: VLAConfig, datasets: Sequence[EpisodeDataset]) -> VLAConfig:
    """The config of the model to go on from, which has the data sets' robots too."""
    mine, theirs = config.model.decoder.horizon, known.decoder.horizon
    if mine != theirs:
        raise BadInput(
            f"init={config.init} has horizon {theirs}, the config {mine}; give model.decoder.horizon={theirs}"
        )
    return with_new_robots(known, datasets)


def open_chunks(config: RunConfig, datasets: Sequence[EpisodeDataset], model: VLAConfig) -> ChunkData:
    """The numbers of all data sets. Raises BadInput for what the model is not for."""
    weights = config.reading.weights or (1.0,) * len(datasets)
    if len(weights) != len(datasets):
        raise BadInput(f"reading.weights has {len(weights)} numbers for {len(datasets)} dataset folders")
    reading = config.reading
    opening = (reading.opening_frames, reading.opening_weight)
    sources = [
        Source(dataset, weight, reading.skill_weights, *opening)
        for dataset, weight in zip(datasets, weights, strict=True)
    ]
    data = ChunkData(
        sources,
        model.decoder.horizon,
        reading.every,
        model.history,
        model.robots,
        subtasks=reading.task == "subtask",
        compare=reading.compare,
    )
    wanted = {ACTION: model.decoder.dim} | ({} if model.state is None else {STATE: model.state.dim})
    for source in sources:
        for name, dim in wanted.items():
            found = int(source.dataset.features[name]["shape"][0])
            if found > dim or (found < dim and not model.robots):
                need = f"{dim} or fewer" if model.robots else f"{dim}"
                folder = source.dataset.root
                raise BadInput(f"{folder}: '{name}' has {found} numbers, the model is for {need}")
    return data


def _completed(
    model: VLAConfig, tokenizer: "TextTokenizer | PretrainedTokenizer", data: ChunkData
) -> VLAConfig:
    """The config of a new model: as many words as the tokenizer has, the data's rate."""
    settings = with_own_sizes(for_tokenizer(model, tokenizer))
    rates = {float(source.dataset.fps) for source in data.sources}
    if settings.processor.control_hz is None and len(rates) == 1:
        timed = dataclasses.replace(settings.processor, control_hz=rates.pop())
        settings = dataclasses.replace(settings, processor=timed)
    return settings


def _tokenizer(model: VLAConfig, said: Sequence[str]) -> "TextTokenizer | PretrainedTokenizer":
    """Trained on what is said, or the pretrained one that the config names."""
    text = model.text
    if not isinstance(text, WordsConfig) or not text.tokenizer:
        return TextTokenizer.train([phrase(sentence, text) for sentence in said])
    path = backbone_path(model) if text.tokenizer == "backbone" else text.tokenizer
    if not path:
        raise BadInput("text.tokenizer=backbone needs backbone.path, the folder beside whose weights it is")
    from vla.tokens.pretrained_text import PretrainedTokenizer

    return PretrainedTokenizer.load(path)
