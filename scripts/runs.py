"""Runs of arms: list them, look at one, recover those that crashed, join several into training data.

``python scripts/runs.py``, ``... do=show runs=[NAME]``, ``... do=recover``, ``... do=join out=FOLDER``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vla.config import command
from vla.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from policies.runtime.log.runs import Run

__all__ = ["Runs", "main"]


@dataclass(frozen=True)
class Runs:
    """Options of the command; see conf/runs.yaml."""

    do: Literal["list", "show", "recover", "join"] = "list"
    folder: Path = Path("outputs/runs")
    runs: tuple[str, ...] = ()
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.do == "join" and self.out is None:
            raise BadInput("do=join needs out=FOLDER, the dataset that the runs are to be in")
        if self.do != "join" and self.out is not None:
            raise BadInput(f"out= is for do=join, not for do={self.do}")


@command("runs", Runs)
def main(config: Runs) -> None:
    """Do what was asked."""
    from policies.runtime.log.convert import convert
    from policies.runtime.log.report import run_page, runs_table
    from policies.runtime.log.runs import join, list_runs, read_run

    if config.runs:
        found = [read_run(_folder(config.folder, name)) for name in config.runs]
    else:
        found = list_runs(config.folder)
    if not found:
        raise BadInput(f"{config.folder} holds no runs")
    if config.do == "list":
        print(runs_table(found))
    elif config.do == "show":
        print("\n\n".join(run_page(run) for run in (found if config.runs else found[-1:])))
    elif config.do == "recover":
        crashed = [run for run in found if run.state == "crashed"]
        for run in crashed:
            print(convert(run.folder))
        if not crashed:
            print("nothing to recover: no run crashed")
    else:
        assert config.out is not None
        added, total = join([run for run in found if config.runs or _usable(run)], config.out)
        print(f"{config.out}: {added} episodes added, {total} in all")


def _usable(run: "Run") -> bool:
    """Whether a run that was not named is to be joined."""
    return run.state == "complete" and not run.dry


def _folder(root: Path, name: str) -> Path:
    """A run by its name in `root`, or by its own path."""
    for folder in (root / name, Path(name)):
        if folder.is_dir():
            return folder
    known = [path.name for path in root.glob("*")] if root.is_dir() else []
    raise BadInput(f"there is no run '{name}' in {root}{did_you_mean(name, known)}")


if __name__ == "__main__":
    main()
