"""Success and jerk under inference delays: ``python scripts/delays.py policy=PATH_OR_NAME delays=[0,2,4]``.

Each way of executing chunks is rolled out with each delay on the same seeded scenes; a table and a plot go to
`out`. The same command, run again, goes on where it was stopped.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.runtime.chunking import Chunking, Kind
from policies.runtime.chunking.schedule import Schedule
from policies.runtime.sweep import Competitor, Sweep
from policies.runtime.world import Split, World
from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput
from vla.folders import output_folder, write_whole

if TYPE_CHECKING:
    from policies.runtime.delays import Cell

__all__ = ["Delays", "main"]


@dataclass(frozen=True)
class Delays:
    """Options of the command; see conf/delays.yaml."""

    env: World = field(default_factory=World)
    policy: str = "tabletop-small"
    options: dict[str, Any] = field(default_factory=dict)
    policies: Mapping[str, Competitor] = field(default_factory=dict)
    kinds: tuple[Kind, ...] = ("queue", "ensemble", "real_time")
    delays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8)
    execute: int | None = None
    schedule: Schedule = "exp"
    decay: float = 0.01
    episodes: int = 100
    seed: int = 50_000
    split: Split = "seen"
    out: Path = Path("outputs/delays")
    side_by_side: int = 4
    workers: int | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "side_by_side", "workers")
        at_least(self, 0, "seed")
        for name in ("kinds", "delays"):
            values = getattr(self, name)
            if not values:
                raise BadInput(f"{name} is empty; name at least one")
            if len(set(values)) < len(values):
                raise BadInput(f"{name} names one twice: {', '.join(map(str, values))}")
        for delay in self.delays:
            if delay < 0:
                raise BadInput(f"delays: {delay} is below 0; delays are whole control steps from 0")
        self.chunking()

    def chunking(self) -> Chunking:
        """The settings that all cells share; the kind and the delay are each cell's own."""
        return Chunking(execute=self.execute, schedule=self.schedule, decay=self.decay)


@command("delays", Delays)
def main(config: Delays) -> None:
    """Roll out what is not there yet; write and print the table, draw the plot."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the cores are taken by the workers, one each
    from policies.runtime.rollout import check_policy

    for policy in [one.policy for one in config.policies.values()] or [config.policy]:
        check_policy(policy)
    with output_folder(config.out):
        _sweep(config)


def _sweep(config: Delays) -> None:
    from tqdm import tqdm

    from policies.runtime.delay_report import delay_plot, delay_table
    from policies.runtime.delays import cells_of, run_cells

    who = config.policies or {_last(config.policy): Competitor(config.policy, config.options)}
    sweep = Sweep(
        config.env, config.chunking(), config.episodes, config.seed, config.split, config.side_by_side
    )
    cells = cells_of(who, config.kinds, config.delays, sweep)
    folder = config.out / "cells"
    todo = [cell for cell in cells if not cell.impossible and cell.read(folder) is None]
    workers, found = config.workers or os.cpu_count() or 1, []
    with tqdm(total=len(todo) * config.episodes, unit="ep", dynamic_ncols=True) as bar:

        def progress(cell: "Cell") -> None:
            bar.set_postfix_str(f"{cell.name}, {cell.kind}, delay {cell.delay}", refresh=False)
            bar.update()

        for pair in run_cells(cells, sweep, folder, workers, progress):
            found.append(pair)
    hz = _rate(config.env)
    table = delay_table(found, hz)
    picture = "![success, and jerk where chunks join, over delays](delays.png)"
    write_whole(config.out / "delays.md", f"{_how(config)}\n\n{picture}\n\n{table}\n")
    plot = delay_plot(found, hz, config.out / "delays.png")
    print(f"{table}\n{config.out / 'delays.md'}\n{plot}")


def _last(policy: str) -> str:
    return policy.rstrip("/").rsplit("/", 1)[-1]


def _rate(world: World) -> float:
    """Control steps a second of a world."""
    from dataclasses import replace

    env = replace(world, image_size=8).make("seen")
    try:
        return float(env.metadata.get("render_fps", 20))
    finally:
        env.close()


def _how(config: Delays) -> str:
    return (
        f"# Inference delays\n\nSuccess over {config.episodes} episodes of {', '.join(config.env.skills)} "
        f"(split {config.split}, seeds from {config.seed}, the same scenes for every line). Delays are in "
        "control steps; the arm is held until the first chunk arrives, and that counts as held. Jerk: of the "
        "commands to the arm (not the gripper), in thousands of its units/s³: the mean where chunks join, "
        "the mean of the episodes' peaks there, and the mean elsewhere. Made by `python scripts/delays.py`."
    )


if __name__ == "__main__":
    main()
