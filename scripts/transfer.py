"""Does what pictures with texts tell reach the hand? ``python scripts/transfer.py``: from data to table.

Demonstrations never show certain colours and shapes, pictures with texts do. Each arm (a way to mix the two)
is trained with each seed by scripts/train.py, rolled out on the same scenes and asked about pictures that it
never saw. Whatever is there already is kept; the same command, run again, goes on where it was stopped.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from policies.runtime.transfer.options import Arm, Budget
from policies.runtime.world import Split, World
from vla.checks import at_least
from vla.config import command
from vla.errors import BadInput
from vla.folders import output_folder, write_whole

if TYPE_CHECKING:
    from policies.runtime.transfer.cells import Cell

__all__ = ["Demonstrations", "HeldPictures", "Transfer", "main"]

PICTURE_SEEDS = {"train": 0, "choose": 1, "test": 2}
"""Folder of pictures -> the seed of its scenes. Only `train` has the templates of training."""


@dataclass(frozen=True)
class Demonstrations:
    """What the robot learns from: options of ``vla collect``."""

    episodes: int
    out: Path
    seed: int = 0
    noise: float = 1.6


@dataclass(frozen=True)
class HeldPictures:
    """What the web part learns from, and is asked about: options of ``vla pictures``. out: folder of `train`,
    `choose` and `test`."""

    out: Path
    count: int
    held_out: int
    size: int = 96
    turns: int = 5
    pointing: int = 0
    shapes: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transfer:
    """Options of the command; see conf/transfer.yaml. The first arm is what the others are compared with."""

    title: str
    demonstrations: Demonstrations
    pictures: HeldPictures
    train: tuple[str, ...]
    budget: Budget
    arms: Mapping[str, Arm]
    seeds: tuple[int, ...]
    splits: tuple[Split, ...]
    out: Path
    episodes: int = 200
    questions: int = 2000
    phase: Literal["test", "choose"] = "test"
    seed: int = 60_000
    choosing_seed: int = 860_000
    env: World = field(default_factory=World)
    workers: int | None = None
    table: Path | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "workers")
        at_least(self, 0, "questions", "seed", "choosing_seed")
        for name in ("arms", "seeds", "splits"):
            values = list(getattr(self, name))
            if not values or len(set(values)) < len(values):
                raise BadInput(f"{name} must name at least one, and none twice")
        if self.env.vocabulary != "extended":
            raise BadInput("the transfer experiment needs the world with unseen things: env=transfer")

    @property
    def scenes(self) -> int:
        """The first seed of the scenes that count."""
        return self.seed if self.phase == "test" else self.choosing_seed

    def shared(self) -> dict[str, Any]:
        """What the numbers of all cells depend on."""
        data = [f"data={self.demonstrations.out}", f"web.pictures.path={self.pictures.out / 'train'}"]
        made: dict[str, Any] = {
            "train": [*self.train, *data],
            "demonstrations": asdict(self.demonstrations),
            "pictures": {key: value for key, value in asdict(self.pictures).items() if key != "held_out"},
            "world": asdict(self.env),
        }
        plain: dict[str, Any] = json.loads(json.dumps(made, default=str))
        return plain


@command("transfer", Transfer)
def main(config: Transfer) -> None:
    """Make, train and measure what is not there yet; write results, table and plot."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from policies.runtime.transfer.cells import cells_of
    from policies.runtime.transfer.measuring import Measures, measure

    cells = cells_of(config.arms, config.seeds, config.budget, config.shared(), config.out)
    what = Measures(
        config.phase,
        config.env,
        config.splits,
        config.episodes,
        config.scenes,
        config.questions,
        _unseen_words(),
    )
    workers, numbers = config.workers or os.cpu_count() or 1, {}
    held_out = cache(partial(_draw, config, config.phase, config.pictures.held_out))
    with output_folder(config.out):
        for cell in cells:  # before hours of work: is there anything of another configuration?
            cell.check()
        if not all(cell.trained for cell in cells):
            _make_data(config)
        for place, cell in enumerate(cells, 1):
            print(f"[{place} of {len(cells)}] {cell.arm}, seed {cell.seed}", flush=True)
            _train(cell)
            numbers[cell.arm, cell.seed] = measure(cell, what, held_out, workers)
            _write(config, numbers)
    table = (config.out / f"{config.phase}.md").read_text(encoding="utf-8")
    print(f"\n{table}\n{config.out / f'{config.phase}.md'}")


def _make_data(config: Transfer) -> None:
    """Demonstrations and pictures; what is there is kept, and refused where it was made otherwise."""
    shown, world = config.demonstrations, config.env
    _run(
        *("collect", f"env={world.name}", f"env.image_size={world.image_size}"),
        *(f"env.skills=[{','.join(world.skills)}]", f"env.arm_model={world.arm_model}"),
        f"env.visual_randomization={str(world.visual_randomization).lower()}",
        *(f"episodes={shown.episodes}", f"seed={shown.seed}", f"noise={shown.noise}", f"out={shown.out}"),
        *_workers(config),
    )
    _draw(config, "train", config.pictures.count)


def _draw(config: Transfer, name: str, count: int) -> Path:
    folder, made = config.pictures.out / name, config.pictures
    _run(
        *("pictures", f"count={count}", f"out={folder}", f"size={made.size}", f"turns={made.turns}"),
        *(f"pointing={made.pointing}", f"shapes={json.dumps(made.shapes)}"),
        f"colors={json.dumps(made.colors)}",
        *(f"seed={PICTURE_SEEDS[name]}", f"split={'train' if name == 'train' else 'validation'}"),
        *_workers(config),
    )
    return folder


def _workers(config: Transfer) -> tuple[str, ...]:
    return () if config.workers is None else (f"workers={config.workers}",)


def _train(cell: "Cell") -> None:
    if not cell.trained:
        cell.begin()
        _run("train", *cell.overrides, f"out={cell.folder / 'train'}")


def _run(name: str, *overrides: str) -> None:
    """Another command, in a process of its own, as it could be typed."""
    # A module where there is a package: as files, the installed ones would hide libraries of their names.
    here = ["-m", f"{__package__}.{name}"] if __package__ else [str(Path(__file__).with_name(f"{name}.py"))]
    print(f"$ vla {name} {' '.join(overrides)}", flush=True)
    child = subprocess.Popen([sys.executable, *here, *overrides])
    try:
        status = child.wait()
    except KeyboardInterrupt as stop:
        if str(stop):  # a request to this process alone; a terminal's Ctrl-C has reached both
            child.terminate()
        child.wait()  # it puts away what it has
        status = 130
    if status == 130:
        raise KeyboardInterrupt("stopped; the same command goes on")
    if status:
        raise BadInput(f"vla {name} ended with status {status}, see above; mended, the same command goes on")


def _unseen_words() -> tuple[str, ...]:
    """The words of what no demonstration shows."""
    from envs.tabletop.grammar import nouns_of
    from envs.tabletop.vocabulary import NEW_COLORS, NEW_SHAPES

    return (*NEW_COLORS, *(noun for kind in NEW_SHAPES for noun in nouns_of(kind)))


def _write(config: Transfer, numbers: Mapping[tuple[str, int], Mapping[str, Any]]) -> None:
    """The numbers, the table and the plot of the cells that are done."""
    from policies.runtime.metrics import commit
    from policies.runtime.transfer.pooling import pooled
    from policies.runtime.transfer.report import write_report

    found = pooled(numbers, list(config.arms))
    labels = {name: arm.label for name, arm in config.arms.items()}
    told = {"commit": commit(), "phase": config.phase, "scenes": config.scenes, "arms": found}
    write_whole(config.out / f"{config.phase}.json", json.dumps(told, indent=1) + "\n")
    for page in (config.out / f"{config.phase}.md", config.table):
        if page is not None:
            write_report(page, (config.title, _how(config)), found, labels, config.splits)


def _how(config: Transfer) -> str:
    shown, last = config.demonstrations, config.scenes + config.episodes - 1
    seeds = ", ".join(map(str, config.seeds))
    trained = [f"{arm.label}: `{' '.join(arm.training(config.budget))}`" for arm in config.arms.values()]
    return (
        f"{shown.episodes:,} demonstrations of {' and '.join(config.env.skills)}, none of which shows or "
        f"names an unseen colour or shape; {config.pictures.count:,} pictures with texts, which do. Each arm "
        f"saw {config.budget.samples:,} robot samples with each of the seeds {seeds}; {config.episodes} "
        f"episodes a split and training, scenes {config.scenes} to {last}, the same for all. Counts are "
        "pooled over seeds, with Wilson 95% intervals; a blind guess succeeds in 22.5%. Wrong object: the "
        "arm touched or moved something else. Held-out pictures have other seeds and templates. Trained "
        f"with `{' '.join(config.train)}` and {'; '.join(trained)}. Made by `python scripts/transfer.py` "
        f"(phase {config.phase}); date, machine and commit: LOG.md."
    )


if __name__ == "__main__":
    main()
