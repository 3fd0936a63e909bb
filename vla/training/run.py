"""A whole training run from its settings: datasets -> batches -> trainer. Commands add worlds and words."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from vla.configuration import VLAConfig
from vla.data.batches import ChunkData
from vla.data.cache import cache_key
from vla.data.web_draws import WebDraws
from vla.model import VLA
from vla.notice import say_once
from vla.origin import paths
from vla.pretrained import load, save
from vla.tokens.text import TextTokenizer
from vla.training.checkpoint import POLICY, replace_folder
from vla.training.distributed import rank
from vla.training.intake import Reading, backbone_path, draw, read
from vla.training.run_config import RunConfig
from vla.training.trainer import Trainer
from vla.training.tuning import parts_of
from vla.training.web import VqaScore, account_table

__all__ = ["run"]


def run(
    config: RunConfig,
    words: Sequence[str] = (),
    roll_out: Callable[[Path, int], Mapping[str, float]] | None = None,
) -> Path:
    """Train, or go on training; returns the folder of the trained policy.

    words: what the tokenizer is to know beside the words of the demonstrations. roll_out: (policy folder,
    step) -> scalars.
    """
    if not config.stages:
        return _train(config, words, roll_out)
    policy = config.init
    for number, stage in enumerate(config.stages, start=1):
        if rank() == 0:
            print(f"stage {number} of {len(config.stages)}: {stage.name}", flush=True)
        last = number == len(config.stages)
        policy = _train(config.of_stage(number, policy), words, roll_out if last else None)
    assert policy is not None
    if rank() == 0:
        replace_folder(policy, config.out / POLICY)
    return config.out / POLICY


def _train(
    config: RunConfig, words: Sequence[str], roll_out: Callable[[Path, int], Mapping[str, float]] | None
) -> Path:
    device = config.trainer.torch_device()
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    torch.manual_seed(config.seed)
    if config.init is None:
        reading = read(config, words)
        model = _new(reading)
    else:
        model, known = load(config.init)
        model.retune(config.model.tuning)
        reading = read(config, words, (model.config, known))
        model.config = reading.model
        model.train()
    data, held, processor = reading.data, reading.held, reading.processor
    intake = draw(config, reading, device)
    web, mixture, batches = intake.web, intake.mixture, intake.batches
    if rank() == 0:
        told = "".join(f", web {each.name}: {len(each):,} records" for each in web)
        print(
            f"{model.num_parameters():,} parameters, {len(reading.frames):,} frames to train on, "
            f"{len(held):,} held out, {len(data.tasks):,} sentences, pictures {batches.where}{told}, "
            f"{device.type}",
            flush=True,
        )

    def make(start: int, part: int, parts: int) -> dict[str, Any]:
        return batches.mixed(mixture(start, config.trainer.batch), start, part, parts)

    def validation(part: int, parts: int) -> Iterator[dict[str, Any]]:
        chosen, size = held[:: max(1, len(held) // config.reading.validation_samples)], config.trainer.batch
        for first in range(part * size, len(chosen), parts * size):
            yield batches(chosen[first : first + size])

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
        evaluate=VqaScore(web, batches, processor, config.mixture.scored) if web else None,
        identity=_identity(config, model.config, data, web),
        prefetch=config.reading.prefetch,
    )
    policy = trainer.run()
    if web and rank() == 0:
        names = [source.dataset.root.name for source in data.sources]
        print(account_table(mixture.account(trainer.samples, names, data.source_of), web), flush=True)
    return policy


def _new(reading: Reading) -> VLA:
    """A new model; its tokenizer must fit a pretrained language model's rows."""
    model, tokenizer = VLA(reading.model), reading.processor.tokenizer
    rows = getattr(model.backbone, "vocabulary", None)
    if isinstance(rows, int) and not isinstance(tokenizer, TextTokenizer):
        cast(Any, tokenizer).must_fit(rows, backbone_path(reading.model))
    _say_untrained(model)
    return model


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


def _identity(
    config: RunConfig, model: VLAConfig, data: ChunkData, web: Sequence[WebDraws]
) -> dict[str, Any]:
    """All settings that the weights depend on, flat; budgets, intervals and places are left out."""
    mixture, mixed = config.mixture, dict[str, Any]()
    if mixture.temperature != 1:
        mixed["temperature"] = mixture.temperature
    if web:
        told = {each.name: f"{each.source.identity} {config.web[each.name]}" for each in web}
        own = {name: getattr(mixture, name) for name in ("robot_share", "pack", "cameras")}
        mixed |= {**own, "web": told}
    parts = {
        "model": model.to_dict(),
        "optim": dataclasses.asdict(config.trainer.optim),
        "reading": {
            "weights": list(config.reading.weights),
            "skill_weights": dict(config.reading.skill_weights),
            "opening": [config.reading.opening_frames, config.reading.opening_weight],
            "validation": config.reading.validation,
            "every": config.reading.every,
            **({"task": "subtask"} if config.reading.task == "subtask" else {}),
            **({"fit": "all"} if config.reading.fit == "all" else {}),
        },
        "mixture": mixed,
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
