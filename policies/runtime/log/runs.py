"""Folders of runs: which there are, those that crashed made whole, and several joined into one dataset."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from policies.runtime.log.convert import DATASET, convert
from policies.runtime.log.journal import JOURNAL, in_use
from policies.runtime.log.runlog import RUN
from policies.runtime.log.staged import stage, staged_schema
from vla.data.episodes import EpisodeDataset
from vla.data.lerobot_writer import DEFAULT_FEATURES, EpisodeWriter
from vla.errors import BadInput
from vla.folders import output_folder

__all__ = ["Run", "join", "list_runs", "read_run", "recover"]

State = Literal["running", "crashed", "complete"]


@dataclass(frozen=True)
class Run:
    """One run's folder. told: its run.json; empty where that cannot be read."""

    folder: Path
    state: State
    told: Mapping[str, Any]

    @property
    def summary(self) -> Mapping[str, Any]:
        """What happened, in numbers; empty before the run is complete."""
        found = self.told.get("summary")
        return found if isinstance(found, dict) else {}

    @property
    def policy(self) -> str:
        """Which policy it was."""
        return str(self._about.get("policy", ""))

    @property
    def dry(self) -> bool:
        """Whether nothing was sent to the arm."""
        return bool(self._about.get("dry_run", False))

    @property
    def _about(self) -> Mapping[str, Any]:
        about = self.told.get("about")
        return about if isinstance(about, dict) else {}


def read_run(folder: Path) -> Run:
    """Raises BadInput for a folder that holds no run."""
    journal = folder / JOURNAL
    state: State = "complete"
    if journal.exists():
        state = "running" if in_use(journal) else "crashed"
    try:
        told = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not journal.exists():
            raise BadInput(f"{folder} holds no run (no {RUN})") from None
        told = {}
    except (OSError, ValueError):
        told = {}
    return Run(folder, state, told if isinstance(told, dict) else {})


def list_runs(root: Path) -> list[Run]:
    """All runs in `root`, by name, so the oldest first where names begin with the time."""
    if not root.is_dir():
        raise BadInput(f"there is no folder {root} with runs in it")
    found = {path.parent for name in (RUN, JOURNAL) for path in root.glob(f"*/{name}")}
    return [read_run(folder) for folder in sorted(found)]


def recover(root: Path) -> list[tuple[Path, str]]:
    """Make the datasets of all crashed runs in `root`: (folder, what is wrong, empty if nothing) of each."""
    done = []
    for run in list_runs(root) if root.is_dir() else []:
        if run.state == "crashed":
            try:
                convert(run.folder)
                done.append((run.folder, ""))
            except BadInput as error:
                done.append((run.folder, str(error)))
    return done


def join(runs: list[Run], out: Path) -> tuple[int, int]:
    """Append the runs' episodes to the dataset `out`, which is made if need be: (episodes added, all of it).

    Runs that it holds already are passed over, so that the same again adds what is new. Raises BadInput for
    runs that differ in robot, rate, joints or cameras, and for one that is not complete.
    """
    added = 0
    with output_folder(out):
        first: tuple[Path, EpisodeWriter] | None = None
        held: set[str] = set()
        for run in runs:
            if run.state != "complete":
                raise BadInput(f"{run.folder} is not complete ({run.state}): recover it first")
            if run.dry:
                raise BadInput(f"{run.folder} was a dry run: what it holds never happened to the arm")
            if not (run.folder / DATASET).is_dir():
                continue  # it ended before its first step
            data = EpisodeDataset(run.folder / DATASET)
            if first is None:
                own = {name: f for name, f in data.features.items() if name not in DEFAULT_FEATURES}
                writer = EpisodeWriter(out, data.fps, own, data.info.get("robot_type"))
                writer.recover()
                held = _held(out) if writer.merged() else set()
                first = run.folder, writer
            _check_alike(first, run.folder, data)
            if run.folder.name not in held:
                writer = first[1]
                stage(writer, writer.merged() + added, _columns(data, writer), _header(data))
                held.add(run.folder.name)
                added += 1
        if first is None:
            raise BadInput("none of the runs has a policy step in it: there is nothing to join")
        first[1].finalize()
        return added, first[1].merged()


def _held(out: Path) -> set[str]:
    names = EpisodeDataset(out).episode_meta.get("run")
    if names is None:
        raise BadInput(f"{out} is a dataset that was not joined of runs; give another out=")
    return set(names.tolist())


def _check_alike(first: tuple[Path, EpisodeWriter], folder: Path, data: EpisodeDataset) -> None:
    before, writer = first
    told = {"robot": writer.robot_type, "steps a second": writer.fps, **writer.features}
    now = {"robot": data.info.get("robot_type"), "steps a second": data.fps, **data.features}
    for key in [*told, *now]:
        if told.get(key) != now.get(key):
            raise BadInput(
                f"{folder} and {before} cannot be one dataset: '{key}' is {now.get(key)} here and "
                f"{told.get(key)} there"
            )


def _columns(data: EpisodeDataset, writer: EpisodeWriter) -> Iterator[dict[str, Any]]:
    """A run's frames as they are stored, a few at a time."""
    schema = staged_schema(writer.features)
    for file in data.data_files:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=64, columns=schema.names):
            yield {field.name: batch.column(field.name).cast(field.type) for field in schema}


def _header(data: EpisodeDataset) -> dict[str, Any]:
    [row] = pq.read_table(data.root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    pictures = [name for name, feature in data.features.items() if feature["dtype"] == "image"]
    stats = {
        name: {
            key.rpartition("/")[2]: value for key, value in row.items() if key.startswith(f"stats/{name}/")
        }
        for name in pictures
    }
    extra = {name: row[name] for name in ("run", "policy", "started", "ended")}
    return {"task": row["tasks"][0], "extra": extra, "stats": stats}
