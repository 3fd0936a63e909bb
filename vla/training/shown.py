"""The first samples of a training as the model gets them, made into cards of a page.

All is decoded back from the batch: pictures after augmentation, words and action chunks from their ids.
Legend: B batch, S side of a picture, V views or tiles, H horizon, d a robot's joints.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vla.answers import AnswerCoder
from vla.data.meaning import names_of
from vla.data.page import Card, Plot
from vla.decoders.grounding import POINTS_PER_CAMERA
from vla.interfaces import ACTION
from vla.processor import Processor
from vla.training.intake import Intake, Reading
from vla.training.run_config import RunConfig

__all__ = ["cards"]

_VIEWS = 4
"""Pictures of one camera that are shown."""


def cards(config: RunConfig, reading: Reading, intake: Intake, count: int) -> dict[str, list[Card]]:
    """Source -> cards of those of the training's first `count` samples that are its."""
    found: dict[str, list[Card]] = {}
    size = config.trainer.batch
    for start in range(0, count, size):
        drawn = intake.mixture(start, size)
        batch = intake.batches.mixed(drawn, start)
        robots = batch if not intake.web else batch.get("robot_batch", {})
        kinds = _kinds(intake, start, min(size, count - start))
        for row in range(sum(1 for kind in kinds if kind == 0)):
            name = str(reading.data.sources[reading.data.source_of[drawn.frames[row]]].dataset.root)
            found.setdefault(name, []).append(_robot(reading, robots, row, int(drawn.frames[row])))
        for row, kind in enumerate(kind for kind in kinds if kind):
            card = _web(reading.processor, batch["web_batch"], row)
            found.setdefault(f"web.{intake.web[kind - 1].name}", []).append(card)
    return found


def _kinds(intake: Intake, start: int, count: int) -> list[int]:
    """Whose the samples are: 0 robots', i + 1 that of web source i."""
    if not intake.web:
        return [0] * count
    return [int(source) for source in intake.mixture.interleave(start, count)[0]]


def _robot(reading: Reading, batch: Mapping[str, Any], row: int, frame: int) -> Card:
    processor, data = reading.processor, reading.data
    dataset = data.sources[int(data.source_of[frame])].dataset
    robot = data.robots[int(data.source_of[frame])]
    width = processor.action_dim(robot)
    chunk = _chunk(processor, batch, row, data.state[frame], robot)
    own = data.actions[data.source_of == data.source_of[frame], :width]
    plot = Plot(chunk, own.min(0), own.max(0), names_of(dataset.features[ACTION]) or [])
    place = frame - data.first_frame[int(data.source_of[frame])]
    first = " ".join(f"{value:.4g}" for value in chunk[0])
    left = int(np.isnan(chunk).all(1).sum())
    note = f"{dataset.where(place)}; first action {first}" + (f"; {left} steps do not count" if left else "")
    said = processor.tokenizer.decode(batch["text"][row][batch["text_mask"][row]].tolist())
    pictures, captions, points = _pictures(batch, row, processor)
    return Card(pictures, [("", said)], note=note, captions=captions, points=points, plot=plot)


def _chunk(
    processor: Processor, batch: Mapping[str, Any], row: int, state: npt.NDArray[np.float32], robot: str
) -> npt.NDArray[np.float32]:
    """What is to be answered, in the robot's units, [H, d]; NaN where a step does not count in the loss."""
    joints = processor.joints[robot]
    own = state[: joints.state_dim or joints.action_dim]
    if "actions" in batch:
        chunk = processor.absolute(batch["actions"][row, :, : joints.action_dim].cpu().numpy(), own, robot)
        counts = batch["action_mask"][row].any(-1).cpu().numpy()
        chunk[~counts] = np.nan
        return chunk
    ids, mask = batch["targets"][row], batch["target_mask"][row]
    assert processor.actions is not None
    layout = processor.actions.layout
    chunk = processor.decode(ids if layout.fixed else ids[mask], own, robot)
    if layout.time_local:
        steps = mask.reshape(len(chunk), -1).any(-1).cpu().numpy()
        chunk[~steps] = np.nan
    return chunk


def _web(processor: Processor, batch: Mapping[str, Any], row: int) -> Card:
    coder = AnswerCoder(processor.config, processor.tokenizer)
    prompt = processor.tokenizer.decode(batch["text"][row][batch["text_mask"][row]].tolist())
    ids, counts = batch["answer"][row], batch["answer_mask"][row]
    if "answer_segment" in batch:
        segment = batch["answer_segment"][row]
        lines = [
            (coder.decode(ids[own & ~counts].tolist()), coder.decode(ids[own & counts].tolist()))
            for own in (segment == number for number in range(1, int(segment.max()) + 1))
        ]
    else:
        lines = [(prompt, coder.decode(ids[counts].tolist()))]
    pictures, captions, points = _pictures(batch, row, processor)
    return Card(
        pictures,
        lines,
        note=f"weight {float(batch['weight'][row]):g}, {int(counts.sum())} tokens count",
        captions=captions,
        points=points,
    )


def _pictures(
    batch: Mapping[str, Any], row: int, processor: Processor
) -> tuple[list[npt.NDArray[np.uint8]], list[str], list[list[tuple[float, float]]]]:
    """Pictures that are there, what camera each is of, and the points labelled in it."""
    pictures, captions, points = [], [], []
    for place, name in enumerate(processor.camera_names):
        if name not in batch["images"]:
            continue
        for number, view in enumerate(_views(batch, name, row)):
            pictures.append(view)
            captions.append(name if number == 0 else f"{name} {number}")
            marked = number == 0 and "points" in batch
            points.append(_points(batch["points"][row], place) if marked else [])
    return pictures, captions, points


def _views(batch: Mapping[str, Any], name: str, row: int) -> Iterator[npt.NDArray[np.uint8]]:
    images: Tensor = batch["images"][name][row]
    mask = batch.get("image_mask", {}).get(name)
    views = images if images.ndim == 4 else images[None]
    there = [True] * len(views) if mask is None else mask[row].reshape(-1).tolist()
    for view, is_there in list(zip(views, there, strict=True))[:_VIEWS]:
        if is_there:
            values = view.cpu().numpy()
            yield values if values.dtype == np.uint8 else (values * 255).round().clip(0, 255).astype(np.uint8)


def _points(points: Tensor, place: int) -> list[tuple[float, float]]:
    own = points[place * POINTS_PER_CAMERA : (place + 1) * POINTS_PER_CAMERA].tolist()
    return [(x, y) for x, y, seen in own if seen > 0]
