"""A small real model that acts and answers, and mixed batches for it, of which some have no rows of one
kind."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from answering import FLOW, answering, raw_web, rows
from tiny import raw_batch

from vla.configuration import PartConfig, TuningConfig
from vla.generation.text import answer
from vla.model import VLA
from vla.pretrained import save
from vla.processor import Processor

DATA = 24
"""Rows of each kind that batches are drawn from."""

KINDS: dict[str, dict[str, Any]] = {
    "codes": {},
    # Of actions alone, nothing behind the keys and values of the trunk's last layer gets a gradient.
    "flow": {"decoder": FLOW},
    "lora": {
        "kind": "autoregressive",
        "tuning": TuningConfig(language=PartConfig(train="lora", rank=2, lr=0.5)),
    },
}


def parts(kind: str, size: int) -> tuple[VLA, Any, Any, Any, Any]:
    """(model, batches, validation, save_policy, evaluate) for the trainer. kind: of KINDS; with ``alone``,
    all rows are robots'."""
    name, _, alone = kind.partition(" ")
    model, processor = answering(sharp=0.02, **KINDS[name])
    make = functools.partial(batch, processor, size, 0 if alone else size // 8)

    def validation(part: int, count: int) -> Iterator[dict[str, Any]]:
        whole = [make(9001 * size, 0, 1), make(9002 * size, 0, 1), make(9003 * size, 0, 1)]
        yield from whole[part::count]

    def save_policy(trained: Any, folder: Path) -> None:
        save(folder, trained, processor)

    def evaluate(average: Any) -> dict[str, float]:
        said = answer(average, rows(_web(processor), slice(0, 3)))  # code that knows of no engine
        return {"said/ids": float(sum(i * word for each in said for i, word in enumerate(each, 1)))}

    return model.train(), make, validation, save_policy, evaluate


def batch(  # noqa: PLR0917 (three are given beforehand, three by the trainer)
    processor: Processor, size: int, few: int, start: int, part: int, count: int
) -> dict[str, Any]:
    """With 0, `few` or twice as many web rows, by turns; they go to the last parts first."""
    step = start // size
    web = (step % 3) * few
    robots = _rows(_robot(processor), step, size - web, part, count)
    words = _rows(_web(processor), step, web, count - 1 - part, count)
    return {name: flat for name, flat in (("robot_batch", robots), ("web_batch", words)) if flat is not None}


@functools.cache
def _robot(processor: Processor) -> dict[str, Any]:
    flat = processor.batch(raw_batch(DATA))
    random = torch.Generator().manual_seed(7)
    flat["noise"] = torch.randn(flat["state"].shape[0], 3, 6, generator=random)
    flat["noise_time"] = torch.rand(DATA, 1, generator=random)
    flat["weight"] = 0.5 + torch.rand(DATA, generator=random)
    return flat


@functools.cache
def _web(processor: Processor) -> dict[str, Any]:
    return processor.web_batch(raw_web(DATA))


def _rows(flat: dict[str, Any], step: int, number: int, part: int, count: int) -> dict[str, Any] | None:
    chosen = torch.randperm(DATA, generator=torch.Generator().manual_seed(step))[:number][part::count]
    return rows(flat, chosen) if len(chosen) else None
