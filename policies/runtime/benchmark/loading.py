"""How fast training samples are read, at random: two cameras, the joints, a chunk of actions, the sentence.

This project's reader with its decoded cache, the same without it, and LeRobot's dataset in a torch DataLoader
as its training command sets it up, on the same two folders, which LeRobot's own writer makes. In each turn a
reader starts anew: the time to its first batch is from opening the folder (libraries imported, files in the
operating system's cache) until it holds a batch; then its samples a second. In LeRobot's favour: the first
batch of each of its workers, which it decodes before any is asked for, is not timed.

What they give differs in one thing: LeRobot's pictures are float32, ours uint8 (the model scales them).
"""

import dataclasses
import logging
import os
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from policies.runtime.benchmark.loading_data import write_with_lerobot, write_with_ours
from policies.runtime.benchmark.options import Loading
from policies.runtime.benchmark.table import markdown
from policies.runtime.benchmark.timing import ratio

__all__ = ["measure_loading", "turn"]

Say = Callable[[str], None]
Open = Callable[[], Iterator[Any]]
"""Opens the folder anew and yields batch after batch."""


def measure_loading(options: Loading, say: Say) -> dict[str, Any]:
    """Write the datasets, read them in turns, say the table."""
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # LeRobot tells of codecs and of what it falls back to
    warnings.filterwarnings("ignore", module="torch.utils.data", category=UserWarning)
    theirs = find_spec("lerobot") is not None
    if not theirs:
        say("  lerobot is left out, it is not installed: pip install 'vla[lerobot]'; only PNG can be written")
    kinds = [kind for kind in options.kinds if theirs or kind == "image"]
    folder = options.folder or Path(tempfile.mkdtemp(prefix="vla-loading-"))
    rows: list[dict[str, Any]] = []
    try:
        for kind in kinds:
            root = folder / f"{kind}-{options.episodes}x{options.frames}-{options.side}"
            if not root.exists():
                (write_with_lerobot if theirs else write_with_ours)(options, root, kind)
            start = time.perf_counter()
            build_cache(root)
            say(f"  {kind}: cache built (or found) in {time.perf_counter() - start:.1f} s")
            rows += _measured(options, kind, root, theirs, say)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    say(_table(rows))
    return {"options": dataclasses.asdict(options) | {"folder": None}, "cores": cores(), "rows": rows}


def turn(open_it: Open, options: Loading) -> tuple[float, float]:
    """Seconds to the first batch, and milliseconds a sample after the first batches."""
    start = time.perf_counter()
    with closing(open_it()) as batches:  # type: ignore[type-var]
        next(batches)
        first = time.perf_counter() - start
        for _ in range(options.workers):
            next(batches)
        done, start = 0, time.perf_counter()
        while done < max(1, options.workers) or time.perf_counter() - start < options.seconds:
            next(batches)
            done += 1
        return first, 1000 * (time.perf_counter() - start) / (done * options.batch)


def _measured(options: Loading, kind: str, root: Path, theirs: bool, say: Say) -> list[dict[str, Any]]:
    readers: dict[str, Open] = {
        "ours, cached": lambda: ours(root, options, cached=True),
        "ours, no cache": lambda: ours(root, options, cached=False),
    }
    if theirs:
        readers[f"lerobot ({backend() if kind == 'video' else 'PNG'})"] = lambda: lerobot(root, options)
    firsts: dict[str, list[float]] = {name: [] for name in readers}
    times: dict[str, list[list[float]]] = {name: [] for name in readers}
    for number in range(options.rounds):
        order = list(readers)
        random.Random(number).shuffle(order)
        for name in order:
            first, each = turn(readers[name], options)
            firsts[name].append(first)
            times[name].append([each])
        say(f"  {kind}: round {number + 1} of {options.rounds}")
    found = []
    slow = list(readers)[-1] if theirs else ""
    for name in readers:
        median = float(np.median(times[name]))
        found.append(
            {
                "dataset": kind,
                "reader": name,
                "samples_per_s": round(1000 / median, 1),
                "samples_per_s_core": round(1000 / median / cores(), 1),
                "first_batch_s": round(float(np.median(firsts[name])), 3),
                "faster": vars(ratio(times[slow], times[name])) if theirs and name != slow else None,
                "rounds_ms_a_sample": [round(each[0], 4) for each in times[name]],
                "rounds_first_s": [round(first, 4) for first in firsts[name]],
            }
        )
    return found


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("dataset", "reader", "samples/s", "samples/s a core", "first batch, s", "× LeRobot")
    lines = []
    for row in rows:
        faster = row["faster"]
        times = "-" if faster is None else "{median:.1f} ({low:.1f} to {high:.1f})".format(**faster)
        speeds = [f"{row[key]:,.0f}" for key in ("samples_per_s", "samples_per_s_core")]
        lines.append([row["dataset"], row["reader"], *speeds, f"{row['first_batch_s']:.2f}", times])
    return markdown(head, lines)


# -- the readers --------------------------------------------------------------------------------------------


def build_cache(root: Path) -> None:
    """Decode the pictures of all cameras once."""
    from vla.data.episodes import EpisodeDataset
    from vla.data.pictures_source import open_pictures

    dataset = EpisodeDataset(root)
    for camera in dataset.cameras:
        open_pictures(dataset, camera)


def ours(root: Path, options: Loading, cached: bool) -> Iterator[dict[str, Any]]:
    """This project's batches, as its training asks for them."""
    from vla.data.batches import ChunkData, Source
    from vla.data.episodes import EpisodeDataset
    from vla.data.pictures_source import open_pictures
    from vla.data.sampler import CounterSampler
    from vla.data.stored_pictures import KEPT

    KEPT.clear()  # a new start reads from the files
    dataset = EpisodeDataset(root)
    data = ChunkData([Source(dataset)], options.horizon)
    images = {camera: [open_pictures(dataset, camera, cached=cached)] for camera in dataset.cameras}
    sampler = CounterSampler(np.flatnonzero(data.valid), seed=0)
    number = 0
    while True:
        yield data.gather(sampler(number, options.batch), images)
        number += options.batch


def lerobot(root: Path, options: Loading) -> Iterator[dict[str, Any]]:
    """LeRobot's batches, its dataset and loader made as its training command makes them."""
    import torch
    from lerobot.datasets import LeRobotDataset

    fps = 30
    chunk = {"action": [step / fps for step in range(options.horizon)]}
    dataset = LeRobotDataset("bench/loading", root=root, delta_timestamps=chunk)
    some = options.workers > 0
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=options.batch,
        shuffle=True,
        num_workers=options.workers,
        prefetch_factor=4 if some else None,
        persistent_workers=some,
        drop_last=True,
    )
    while True:
        yield from loader


def backend() -> str:
    """What LeRobot decodes videos with here: torchcodec, or PyAV where that cannot be loaded."""
    from lerobot.utils.import_utils import get_safe_default_video_backend

    return str(get_safe_default_video_backend())


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))
