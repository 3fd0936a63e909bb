"""A run's journal becomes a LeRobotDataset v3 folder with its tables, whole or not at all.

Everything is built under ``.converting``, flushed, then given its names; the journal goes last. Stopped
at any point, the same begins again from the journal.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policies.runtime.log.journal import JOURNAL, in_use, sync_folder
from policies.runtime.log.progress import Progress, aside
from policies.runtime.log.records import Journal, Record
from policies.runtime.log.staged import features_of, stage_rows
from policies.runtime.log.steps import cameras_of, rows_of
from policies.runtime.log.tables import RunTables
from vla.data.lerobot_writer import EpisodeWriter
from vla.errors import BadInput
from vla.folders import write_whole

__all__ = ["DATASET", "convert"]

DATASET = "dataset"
_ASIDE = ".converting"
_RUN = "run.json"


def convert(folder: Path, say: Callable[[str], None] = aside) -> Path:
    """Make the dataset of the journal in `folder`, then remove the journal; returns the dataset's folder.

    However long the run was, a few megabytes of its pictures are in memory at a time, and some kilobytes of
    numbers for each of its steps. say: told how far it is, where that takes longer than a few seconds.
    It is not there where the run ended before its first policy step. Raises BadInput for a journal that
    another process writes, or that tells nothing, and where the disk is full; the journal then stays.
    """
    source = folder / JOURNAL
    if not source.exists():
        return folder / DATASET
    if in_use(source):
        raise BadInput(f"{folder} is the log of a run that goes on; wait for its end")
    build = folder / _ASIDE
    try:
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir()
        with Journal(source) as journal:
            begin = _beginning(journal, folder)
            summary = _build(journal, begin, build, Progress(say))
        _put_in_place(build, folder)
        told = {**begin, "state": "complete", "summary": summary}
        write_whole(folder / _RUN, json.dumps(told, indent=1, default=str) + "\n")
        sync_folder(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(
            f"the dataset of {folder} cannot be written: {reason}; its journal is kept: mend that, then "
            f"python scripts/runs.py do=recover runs=[{folder}]"
        ) from None
    source.unlink()
    return folder / DATASET


def _beginning(journal: Journal, folder: Path) -> dict[str, Any]:
    """What was said at the run's start, from the journal, or else from the file beside it."""
    for record in journal:
        if record.kind == "begin":
            return record.header
        break
    try:
        told = json.loads((folder / _RUN).read_text(encoding="utf-8"))
        if isinstance(told, dict) and {"joints", "fps", "task", "robot", "clock"} <= told.keys():
            return told
    except (OSError, ValueError):
        pass
    raise BadInput(f"{journal.path} does not tell of which run it is: nothing can be recovered; delete it")


def _build(journal: Journal, begin: dict[str, Any], build: Path, progress: Progress) -> dict[str, Any]:
    """Write tables and dataset into `build`; what happened, in numbers."""
    fps, clock = int(begin["fps"]), float(begin["clock"])
    steps: list[Record] = []
    end: dict[str, Any] = {}
    with RunTables(build, journal, len(begin["joints"]), clock) as tables:
        for record in journal:
            progress.at("reading the run's journal", journal.place, journal.size)
            if record.kind == "step":
                steps.append(record)
            elif record.kind == "end":
                end = record.header
            else:
                tables.add(record)
    rows = rows_of(journal, steps, fps, clock)
    summary = {
        "ended": "closed" if end else "crashed",
        "seconds": round(rows[-1].time + 1 / fps, 3) if rows else 0.0,
        "steps": len(rows),
        "valid": sum(row.valid for row in rows),
        "held": sum(row.held for row in rows),
        "ticks": tables.ticks,
        "held_ticks": tables.held,
        "chunks": tables.chunks,
        "latency_ms": _spread(tables.latency),
        "period_ms": _spread(tables.periods),
        "interventions": tables.interventions,
        "last_event": tables.last_event,
        "dropped_pictures": sum(len(step.header["dropped"]) for step in steps),
        "damaged_bytes": journal.damaged,
    }
    if rows:
        features = features_of(begin, cameras_of(steps))
        writer = EpisodeWriter(build / DATASET, fps, features, str(begin["robot"]))
        about = begin["about"] if isinstance(begin.get("about"), dict) else {}
        header = {
            "task": str(begin["task"]),
            "extra": {
                "run": build.parent.name,
                "policy": str(about.get("policy", "")),
                "started": str(begin["started"]),
                "ended": summary["ended"],
            },
        }
        stage_rows(writer, journal, rows, header, progress)
        progress.at("putting the run's dataset together", 0, 1)
        writer.finalize()
    return summary


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation, 99th percentile and maximum, in milliseconds."""
    if not values:
        return {}
    ms = np.asarray(values) * 1e3
    found = {"mean": ms.mean(), "sd": ms.std(), "p99": np.quantile(ms, 0.99), "max": ms.max()}
    return {name: round(float(value), 3) for name, value in found.items()}


def _put_in_place(build: Path, folder: Path) -> None:
    for path in build.rglob("*"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    for path in sorted(build.iterdir()):
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    build.rmdir()
