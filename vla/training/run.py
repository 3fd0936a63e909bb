"""A whole training run from its settings: datasets -> batches -> trainer. Commands add worlds and words."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vla.configuration import TransformersConfig, VLAConfig, WordsConfig
from vla.data.batches import ChunkData, Source
from vla.data.cache import cache_key
from vla.data.episodes import EpisodeDataset
from vla.data.sampler import CounterSampler
from vla.data.weighting import weighted_frames
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE
from vla.model import VLA
from vla.notice import say_once
from vla.origin import paths, with_own_sizes
from vla.pretrained import load, save
from vla.processor import Processor
from vla.tokens.base import phrase
from vla.tokens.text import TextTokenizer
from vla.training.batch_maker import BatchMaker
from vla.training.fitting import fit, refit, with_new_robots
from vla.training.run_config import RunConfig
from vla.training.trainer import Trainer
from vla.training.tuning import parts_of

if TYPE_CHECKING:
    from vla.tokens.pretrained_text import PretrainedTokenizer

__all__ = ["run"]

_Ints = npt.NDArray[np.int64]


def run(
    config: RunConfig,
    words: Sequence[str] = (),
    roll_out: Callable[[Path, int], Mapping[str, float]] | None = None,
) -> Path:
    """Train, or go on training; returns the folder of the trained policy.

    words: what the tokenizer is to know beside the words of the demonstrations. roll_out: (policy folder,
    step) -> scalars.
    """
    device = config.trainer.torch_device()
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    torch.manual_seed(config.seed)
    datasets = [EpisodeDataset(folder) for folder in config.data_folders]
    begun = None if config.init is None else _begun(config, config.init, datasets)
    data = _read(config, datasets, config.model if begun is None else begun[0].config)
    (frames, weights), held = weighted_frames(data, config.seed, config.reading.validation)
    if begun is None:
        model, processor = _new(config, data, frames, words)
    else:
        model, known = begun
        processor = refit(model.config, known, data, frames, config)
    processor.words(data.tasks)  # a sentence that cannot be read is told now, not hours later
    batches = BatchMaker(config, data, processor, device)
    sampler = CounterSampler(frames, config.seed, weights)
    print(
        f"{model.num_parameters():,} parameters, {len(frames):,} frames to train on, {len(held):,} held out, "
        f"{len(data.tasks):,} sentences, pictures {batches.where}, {device.type}",
        flush=True,
    )

    def make(start: int) -> dict[str, Any]:
        return batches(sampler(start, config.trainer.batch), start)

    def validation() -> Iterator[dict[str, Any]]:
        chosen = held[:: max(1, len(held) // config.reading.validation_samples)]
        for first in range(0, len(chosen), config.trainer.batch):
            yield batches(chosen[first : first + config.trainer.batch])

    def save_policy(trained: nn.Module, folder: Path) -> None:
        assert isinstance(trained, VLA)
        save(folder, trained, processor, _card(config, data))

    trainer = Trainer(
        model,
        make,
        config.trainer,
        config.out,
        save_policy=save_policy,
        seed=config.seed,
        validation=validation if len(held) else None,
        roll_out=roll_out,
        identity=_identity(config, model.config, data),
        prefetch=config.reading.prefetch,
    )
    return trainer.run()


def _begun(config: RunConfig, folder: Path, datasets: Sequence[EpisodeDataset]) -> tuple[VLA, Processor]:
    """The model to go on from, whose config has the datasets' robots too; and the processor it came with."""
    model, processor = load(folder)
    mine, theirs = config.model.decoder.horizon, model.config.decoder.horizon
    if mine != theirs:
        raise BadInput(
            f"init={folder} has horizon {theirs}, the config {mine}; give model.decoder.horizon={theirs}"
        )
    model.retune(config.model.tuning)
    model.config = with_new_robots(model.config, datasets)
    return model.train(), processor


def _read(config: RunConfig, datasets: Sequence[EpisodeDataset], model: VLAConfig) -> ChunkData:
    weights = config.reading.weights or (1.0,) * len(datasets)
    if len(weights) != len(datasets):
        raise BadInput(f"reading.weights has {len(weights)} numbers for {len(datasets)} dataset folders")
    reading = config.reading
    opening = (reading.opening_frames, reading.opening_weight)
    sources = [
        Source(dataset, weight, reading.skill_weights, *opening)
        for dataset, weight in zip(datasets, weights, strict=True)
    ]
    data = ChunkData(sources, model.decoder.horizon, reading.every, model.history, model.robots)
    wanted = {ACTION: model.decoder.dim} | ({} if model.state is None else {STATE: model.state.dim})
    for source in sources:
        for name, dim in wanted.items():
            found = int(source.dataset.features[name]["shape"][0])
            if found > dim or (found < dim and not model.robots):
                need = f"{dim} or fewer" if model.robots else f"{dim}"
                folder = source.dataset.root
                raise BadInput(f"{folder}: '{name}' has {found} numbers, the model is for {need}")
    return data


def _new(config: RunConfig, data: ChunkData, frames: _Ints, words: Sequence[str]) -> tuple[VLA, Processor]:
    """A new model and its processor, fitted to the data."""
    tokenizer = _tokenizer(config.model, [*data.tasks, *words])
    settings = with_own_sizes(dataclasses.replace(config.model, vocabulary=tokenizer.size))
    rates = {float(source.dataset.fps) for source in data.sources}
    if settings.processor.control_hz is None and len(rates) == 1:
        timed = dataclasses.replace(settings.processor, control_hz=rates.pop())
        settings = dataclasses.replace(settings, processor=timed)
    processor = fit(settings, tokenizer, data, frames, config.seed)
    model = VLA(settings)
    rows = getattr(model.backbone, "vocabulary", None)
    if isinstance(rows, int) and not isinstance(tokenizer, TextTokenizer):
        tokenizer.must_fit(rows, _path(config.model))
    _say_untrained(model)
    return model, processor


def _say_untrained(model: VLA) -> None:
    """Say which parts are to stay as they are, though they came from no checkpoint."""
    foreign, counts = tuple(paths(model.config)), Counter[str]()
    parts = parts_of(model)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and not (foreign and name.startswith(foreign)):
            counts[parts[parameter].name] += parameter.numel()
    for part, count in counts.items():
        train = getattr(model.config.tuning, part).train
        say_once(
            f"untrained {part}",
            f"model.tuning.{part}.train={train} keeps {count:,} random weights as they are, which came from "
            f"no checkpoint: model.tuning.{part}.train=full lets them learn",
        )


def _tokenizer(model: VLAConfig, said: Sequence[str]) -> "TextTokenizer | PretrainedTokenizer":
    """Trained on what is said, or the pretrained one that the config names."""
    text = model.text
    if not isinstance(text, WordsConfig) or not text.tokenizer:
        return TextTokenizer.train([phrase(sentence, text) for sentence in said])
    path = _path(model) if text.tokenizer == "backbone" else text.tokenizer
    if not path:
        raise BadInput("text.tokenizer=backbone needs backbone.path, the folder beside whose weights it is")
    from vla.tokens.pretrained_text import PretrainedTokenizer

    return PretrainedTokenizer.load(path)


def _path(model: VLAConfig) -> str:
    """Where the language model is from."""
    return model.backbone.path if isinstance(model.backbone, TransformersConfig) else ""


def _identity(config: RunConfig, model: VLAConfig, data: ChunkData) -> dict[str, Any]:
    """All settings that the weights depend on, flat; budgets, intervals and places are left out."""
    parts = {
        "model": model.to_dict(),
        "optim": dataclasses.asdict(config.trainer.optim),
        "reading": {
            "weights": list(config.reading.weights),
            "skill_weights": dict(config.reading.skill_weights),
            "opening": [config.reading.opening_frames, config.reading.opening_weight],
            "validation": config.reading.validation,
            "every": config.reading.every,
        },
        "augment": None if config.augment is None else dataclasses.asdict(config.augment),
        "batch": config.trainer.batch,
        "bf16": config.trainer.bf16,
        "seed": config.seed,
        "init": str(config.init) if config.init else None,
        "statistics": config.reading.statistics if config.init else None,
        "data": [
            f"{source.dataset.root.name} {source.dataset.num_frames} {cache_key(source.dataset, 1)}"
            for source in data.sources
        ],
    }
    return dict(_flat(json.loads(json.dumps(parts))))


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{place}.{key}" if place else key)
    else:
        yield place, value


def _card(config: RunConfig, data: ChunkData) -> str:
    """The beginnings of a model card: what the weights were made from."""
    lines = [f"# {config.model.name}", "", "Trained by `vla train` on", ""]
    for source in data.sources:
        dataset = source.dataset
        lines.append(f"- {dataset.root.name}: {dataset.num_episodes} episodes, {dataset.num_frames} frames")
    trainer = config.trainer
    lines += ["", f"Batch {trainer.batch}, peak learning rate {trainer.optim.lr}, seed {config.seed}."]
    return "\n".join(lines) + "\n"
