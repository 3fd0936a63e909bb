"""Success and smoothness under injected inference delays, for each way to execute chunks.

Every combination of a policy, a kind and a delay is a cell: rolled out on the same seeded scenes and kept as
a JSON of its own, so that the same command goes on where it was stopped.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies import find_checkpoint, load
from policies.base import Policy
from policies.runtime.chunking import Chunking, Kind
from policies.runtime.metrics import summarize
from policies.runtime.rollout import Rollout, cases_of, check_policy, roll_out
from policies.runtime.sweep import Competitor, Sweep
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["Cell", "cells_of", "fingerprint", "run_cells"]

HEAD = 1 << 20
"""Bytes of each file of a policy that its fingerprint reads: weights trained further differ in them."""


@dataclass(frozen=True)
class Cell:
    """One combination. every: control steps from one chunk to the next. settings: what its numbers depend on.

    impossible: why it cannot be run; empty where it can.
    """

    name: str
    who: Competitor
    kind: Kind
    delay: int
    every: int
    settings: dict[str, Any]
    impossible: str = ""

    def file(self, folder: Path) -> Path:
        """Where its numbers are kept, one file a combination."""
        name = re.sub(r"[^a-zA-Z0-9]+", "_", self.name).strip("_")
        return folder / f"{name}-{self.kind}-{self.delay}.json"

    def read(self, folder: Path) -> dict[str, Any] | None:
        """The metrics from an earlier run, if there was one. Raises BadInput where it had other settings."""
        try:
            found = json.loads(self.file(folder).read_text(encoding="utf-8"))
            metrics: dict[str, Any] = found["metrics"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if found.get("settings") == self.settings:
            return metrics
        raise BadInput(f"{self.file(folder)} is of a run with other settings; give another out= or remove it")


def cells_of(
    competitors: Mapping[str, Competitor], kinds: Sequence[Kind], delays: Sequence[int], sweep: Sweep
) -> list[Cell]:
    """All combinations, policy by policy. Loads each policy once, to learn how long its chunks are.

    Raises BadInput where the chunks are too short for a delay or for the steps to execute, whatever the kind.
    Where they are too short for real-time chunking alone, the combination is told as impossible.
    """
    for who in competitors.values():
        check_policy(who.policy)
    cells = []
    for name, who in competitors.items():
        policy, weights = load(who.policy, **who.options), fingerprint(who.policy)
        for delay in delays:
            dataclasses.replace(sweep.chunking, kind="queue", delay=delay).terms(policy)
        shared = dataclasses.asdict(sweep) | {
            "policy": who.policy,
            "weights": weights,
            "options": who.options,
        }
        for kind in kinds:
            for delay in delays:
                chunking = dataclasses.replace(sweep.chunking, kind=kind, delay=delay)
                cells.append(_cell(name, who, policy, chunking, shared))
    files = [cell.file(Path()).name for cell in cells]
    for cell, file in zip(cells, files, strict=True):
        if files.count(file) > 1:
            raise BadInput(
                f"policies: '{cell.name}' and another would share a file; letters and digits count"
            )
    return cells


def _cell(name: str, who: Competitor, policy: Policy, chunking: Chunking, shared: Mapping[str, Any]) -> Cell:
    every, continues, impossible = 0, False, ""
    try:
        terms = chunking.terms(policy)
        every, continues = terms.period, terms.continues
    except BadInput as error:
        impossible = str(error)
    settings = {
        **shared,
        "chunking": dataclasses.asdict(chunking),
        "every": every,
        "continues": continues,
    }
    plain = json.loads(json.dumps(settings))  # as it comes back from a file
    return Cell(name, who, chunking.kind, chunking.delay, every, plain, impossible)


def fingerprint(policy: str) -> str:
    """Tells one set of weights from another, by its files' names, sizes and beginnings; scripted: empty."""
    if policy in ("expert", "random"):
        return ""
    digest = hashlib.sha256()
    for file in sorted(path for path in find_checkpoint(policy).iterdir() if path.is_file()):
        with file.open("rb") as handle:
            digest.update(f"{file.name} {file.stat().st_size}\n".encode() + handle.read(HEAD))
    return digest.hexdigest()[:16]


def run_cells(
    cells: Sequence[Cell],
    sweep: Sweep,
    folder: Path,
    workers: int = 1,
    progress: Callable[[Cell], None] = lambda cell: None,
) -> Iterator[tuple[Cell, dict[str, Any] | None]]:
    """Each cell with its metrics, from disk where they are there; None for an impossible one.

    progress: told after every episode that is run.
    """
    writable_folder(folder)
    for cell in cells:
        if cell.impossible:
            yield cell, None
            continue
        metrics = cell.read(folder)
        if metrics is None:
            metrics = _run(cell, sweep, workers, progress)
            text = json.dumps({"settings": cell.settings, "metrics": metrics}, indent=1)
            write_whole(cell.file(folder), text + "\n")
        yield cell, metrics


def _run(cell: Cell, sweep: Sweep, workers: int, progress: Callable[[Cell], None]) -> dict[str, Any]:
    how = Rollout(
        sweep.world,
        cell.who.policy,
        split=sweep.split,
        chunking=dataclasses.replace(sweep.chunking, kind=cell.kind, delay=cell.delay),
        side_by_side=sweep.side_by_side,
        policy_options=cell.who.options,
    )
    results = []
    for result in roll_out(how, cases_of(sweep.world, sweep.episodes, sweep.seed), workers):
        results.append(result)
        progress(cell)
    results.sort(key=lambda r: r.index)
    more = {"kind": cell.kind, "delay": cell.delay, "every": cell.every}
    return summarize(results, policy=cell.who.policy, seed=sweep.seed, split=sweep.split, **more)
