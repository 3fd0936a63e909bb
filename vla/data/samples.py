"""Samples of data sets and sources as cards of a page, and their tables as plain text."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vla.data.episodes import EpisodeDataset
from vla.data.meaning import names_of
from vla.data.page import Card, Plot
from vla.data.pictures_source import open_pictures
from vla.data.web.sample import WebSample
from vla.interfaces import ACTION

__all__ = ["robot_cards", "told", "web_card"]


def told(rows: Sequence[tuple[str, str]]) -> str:
    """Rows of what and its value as lines of text."""
    width = max((len(what) for what, _ in rows), default=0)
    return "\n".join(f"  {what:<{width}}  {value}" for what, value in rows)


def robot_cards(
    dataset: EpisodeDataset, count: int, seed: int, horizon: int, look: Callable[..., Any]
) -> list[Card]:
    """`count` frames chosen by `seed`: all cameras, the sentence, the actions of the next `horizon` steps.

    look: ``(instead, check, *arguments)``, called for what may be damaged (see `RobotInspection.look`).
    """
    columns = look({}, dataset.columns, [ACTION, "task_index"])
    bounds = look(None, getattr, dataset, "episode_bounds")
    tasks = look(None, getattr, dataset, "tasks")
    if not columns or bounds is None or tasks is None:
        return []
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    frames = np.sort(rng.permutation(dataset.num_frames)[:count])
    actions = columns[ACTION].reshape(dataset.num_frames, -1)
    low, high = actions.min(0), actions.max(0)
    names = names_of(dataset.features[ACTION]) or []
    # One by one: a picture that is broken must not take the others along.
    opened = {camera: look(None, _reader, dataset, camera) for camera in dataset.cameras}
    readers = {camera: read for camera, read in opened.items() if read is not None}
    cards = []
    for frame in frames.tolist():
        episode = int(np.searchsorted(bounds[:, 0], frame, side="right")) - 1
        first, last = (int(bound) for bound in bounds[episode])
        seen = {camera: look(None, read, np.array([frame])) for camera, read in readers.items()}
        shown = {camera: pictures[0] for camera, pictures in seen.items() if pictures is not None}
        number = int(columns["task_index"].reshape(-1)[frame])
        sentence = tasks[number] if 0 <= number < len(tasks) else f"task {number} has no sentence"
        chunk = np.full((horizon, actions.shape[1]), np.nan)
        chunk[: last - frame] = actions[frame : min(frame + horizon, last)]
        note = (
            f"episode {episode}, frame {frame - first} of {last - first}; actions of the next {horizon} steps"
        )
        cards.append(
            Card(
                list(shown.values()),
                [("", sentence)],
                note=note,
                captions=list(shown),
                plot=Plot(chunk, low, high, names),
            )
        )
    return cards


def _reader(dataset: EpisodeDataset, camera: str) -> Any:
    return open_pictures(dataset, camera, cached=False, workers=1)


def web_card(sample: WebSample) -> Card:
    """All turns of a record, boxes of all of them."""
    boxes = list(dict.fromkeys(box for turn in sample.turns for box in turn.boxes))
    return Card(sample.images, [(turn.prompt, turn.answer) for turn in sample.turns], boxes, sample.where)
