"""A whole training run from its settings: datasets -> batches -> trainer. Commands add worlds and words."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vla.configuration import VLAConfig
from vla.data.augment import augment
from vla.data.batches import ChunkData, Gather, Source, weighted_frames
from vla.data.cache import cache_key, open_cache
from vla.data.episodes import EpisodeDataset
from vla.data.images import device_images, fits_device, host_images
from vla.data.sampler import CounterSampler
from vla.errors import BadInput
from vla.model import VLA
from vla.pretrained import load, save
from vla.processor import Processor
from vla.tokens.text import TextTokenizer
from vla.training.run_config import RunConfig
from vla.training.trainer import Trainer

__all__ = ["BatchMaker", "run"]

STATISTICS_FRAMES = 50_000


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
    data = _read(config)
    (frames, weights), held = weighted_frames(data, config.seed, config.reading.validation)
    model, processor = _model(config, data, frames, words)
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


def _read(config: RunConfig) -> ChunkData:
    folders = config.data_folders
    weights = config.reading.weights or (1.0,) * len(folders)
    if len(weights) != len(folders):
        raise BadInput(f"reading.weights has {len(weights)} numbers for {len(folders)} dataset folders")
    reading = config.reading
    opening = (reading.opening_frames, reading.opening_weight)
    sources = [
        Source(EpisodeDataset(folder), weight, reading.skill_weights, *opening)
        for folder, weight in zip(folders, weights, strict=True)
    ]
    data = ChunkData(sources, config.model.decoder.horizon, config.reading.every)
    wanted = {"state": config.model.state.dim, "actions": config.model.decoder.dim}
    for name, dim in wanted.items():
        found = getattr(data, name).shape[1]
        if found != dim:
            raise BadInput(f"{folders[0]}: a frame has {found} {name} numbers, the model is for {dim}")
    return data


def _model(
    config: RunConfig, data: ChunkData, frames: np.ndarray[Any, np.dtype[np.int64]], words: Sequence[str]
) -> tuple[VLA, Processor]:
    """A new model and its processor fitted to the data, or those of `config.init`."""
    if config.init is not None:
        model, processor = load(config.init)
        if model.config.decoder.horizon != data.horizon:
            raise BadInput(
                f"init={config.init} has horizon {model.config.decoder.horizon}, the config {data.horizon}; "
                f"give model.decoder.horizon={model.config.decoder.horizon}"
            )
        return model.train(), processor
    tokenizer = TextTokenizer.train([*data.tasks, *words])
    settings = dataclasses.replace(config.model, vocabulary=tokenizer.size)
    rng = np.random.default_rng(config.seed)
    some = np.sort(rng.permutation(frames)[:STATISTICS_FRAMES])
    raw = data.gather(some)
    processor = Processor.fit(settings, tokenizer, raw["state"], raw["actions"], raw["action_is_pad"])
    return VLA(settings), processor


class BatchMaker:
    """Frames -> a batch on the device; a training batch is augmented by its own random numbers."""

    def __init__(
        self, config: RunConfig, data: ChunkData, processor: Processor, device: torch.device
    ) -> None:
        self.data, self.processor, self.device = data, processor, device
        self.augment, self.seed = config.augment, config.seed
        self.images: dict[str, list[Gather]] = {}
        mapped = {}
        for camera in processor.config.image.cameras:
            mapped[camera.name] = [
                open_cache(
                    source.dataset,
                    camera.name,
                    camera.size,
                    every=config.reading.every,
                    workers=config.reading.workers,
                )
                for source in data.sources
            ]
        total = sum(images.nbytes for caches in mapped.values() for images in caches)
        memory = config.reading.memory
        resident = memory == "device" or (memory == "auto" and fits_device(total, device))
        for name, caches in mapped.items():
            self.images[name] = [device_images(c, device) if resident else host_images(c) for c in caches]
        self.where = f"{total / 1e9:.2f} GB on the {device.type if resident else 'host'}"
        self._points = _point_rows(processor, data)

    def __call__(
        self, frames: np.ndarray[Any, np.dtype[np.int64]], start: int | None = None
    ) -> dict[str, Any]:
        """A batch; `start`, the number of its first sample, asks for augmentation and seeds it."""
        raw = self.data.gather(frames, self.images)
        raw["points"] = raw["points"][:, self._points]
        batch = self.processor.batch(raw)
        if self.device.type == "cuda":
            batch = _to_device(batch, self.device)
        if start is None or self.augment is None:
            return batch
        generator = torch.Generator(self.device)
        generator.manual_seed((self.seed << 40) + start)
        return augment(batch, generator, self.augment)


def _point_rows(processor: Processor, data: ChunkData) -> list[int]:
    """Which rows of the dataset's points belong to the model's cameras, in the model's order."""
    stored = data.sources[0].dataset.features.get("annotation.points", {}).get("names")
    names = [str(n).split(".")[0] for n in stored[::6]] if isinstance(stored, list) else ["front", "wrist"]
    rows = []
    for camera in processor.camera_names:
        if camera not in names:
            raise BadInput(f"the dataset has no annotation.points for camera '{camera}', only for {names}")
        rows += [2 * names.index(camera), 2 * names.index(camera) + 1]
    return rows


def _to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Through page-locked memory, so that the copy runs beside the computation."""
    moved: dict[str, Any] = {}
    for name, value in batch.items():
        if isinstance(value, Mapping):
            moved[name] = _to_device(value, device)
        elif isinstance(value, torch.Tensor) and not value.is_cuda:
            moved[name] = value.pin_memory().to(device, non_blocking=True)
        else:
            moved[name] = value
    return moved


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
