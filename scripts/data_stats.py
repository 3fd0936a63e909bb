"""Statistics of data sets, one pass over each: ``python scripts/data.py stats data=[a,b] horizon=10``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput

if TYPE_CHECKING:
    from vla.data.episodes import EpisodeDataset
    from vla.data.sketch import Sketch

__all__ = ["Stats", "main"]


@dataclass(frozen=True)
class Stats:
    """Options of the command; see conf/data_stats.yaml."""

    data: tuple[Path, ...] | Path
    features: tuple[str, ...] = ()
    horizon: int | None = None
    relative: bool = False
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        at_least(self, 1, "horizon")
        at_least(self, 0, "tolerance")
        if self.horizon is not None and self.features:
            raise BadInput("horizon= measures the state and the actions; leave out features=")
        if self.relative and self.horizon is None:
            raise BadInput("relative=true is of action chunks: give horizon=STEPS")

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders, also where a single one was given."""
        return self.data if isinstance(self.data, tuple) else (self.data,)


@command("data_stats", Stats)
def main(config: Stats) -> None:
    """Measure, print a table a feature and what meta/stats.json says wrongly."""
    from vla.data.episodes import EpisodeDataset
    from vla.data.meaning import check_same_meaning
    from vla.data.measured import combine
    from vla.data.statistics_table import against_stated, measure

    if not config.folders:
        raise BadInput("there is nothing to measure: give data=FOLDER")
    datasets = [EpisodeDataset(folder) for folder in config.folders]
    check_same_meaning(datasets)  # told before anything is measured
    groups: dict[str, list[Mapping[str, Sketch]]] = {}
    first: dict[str, EpisodeDataset] = {}
    for dataset in datasets:
        found = measure(dataset, config.features, config.horizon, config.relative)
        robot = str(dataset.info.get("robot_type") or "")
        groups.setdefault(robot, []).append(found)
        _print(f"{dataset.root}: {dataset.num_episodes:,} episodes", found, first.setdefault(robot, dataset))
        print(f"{against_stated(dataset, config.tolerance)}\n", flush=True)
    for robot, parts in groups.items():
        if len(parts) > 1:
            common = [name for name in parts[0] if len({_shape(part, name) for part in parts}) == 1]
            together = combine([{name: part[name] for name in common} for part in parts])
            _print(f"{len(parts)} data sets of {robot or 'one robot'} together", together, first[robot])


def _shape(part: "Mapping[str, Sketch]", name: str) -> tuple[int, ...] | None:
    return part[name].shape if name in part else None


def _print(title: str, found: "Mapping[str, Sketch]", dataset: "EpisodeDataset") -> None:
    from vla.data.statistics_table import bound, table
    from vla.data.stats_check import names_of
    from vla.interfaces import ACTION, STATE

    print(title)
    features = {"state": STATE, "actions": ACTION}
    for name, sketch in found.items():
        names = names_of(dataset, features.get(name, name))
        print(f"{name}\n{table(sketch, names)}\n  {bound(sketch)}")
    print(flush=True)
