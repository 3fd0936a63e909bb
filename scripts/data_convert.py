"""Make a LeRobot v3 folder: ``python scripts/data.py convert data=OLD out=NEW``. Run it again to go on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vla.config import command
from vla.data.convert.hdf5 import Hdf5Settings
from vla.errors import BadInput

__all__ = ["Convert", "main"]

ENDINGS = (".hdf5", ".h5")


@dataclass(frozen=True)
class Convert:
    """Options of the command; see conf/data_convert.yaml."""

    data: tuple[Path, ...] | Path
    out: Path
    kind: Literal["v21", "hdf5"] | None = None
    hdf5: Hdf5Settings = field(default_factory=Hdf5Settings)

    @property
    def places(self) -> tuple[Path, ...]:
        """Files or folders, also where a single one was given."""
        return self.data if isinstance(self.data, tuple) else (self.data,)


@command("data_convert", Convert)
def main(config: Convert) -> None:
    """Convert, and say in one line what is there now."""
    import time

    from vla.data.convert import convert_hdf5, convert_v21
    from vla.data.episodes import EpisodeDataset

    for place in config.places:
        if not place.exists():
            raise BadInput(f"data={place} does not exist")
        if place.resolve() == config.out.resolve():
            raise BadInput(f"out={config.out} is what is converted; give another folder")
    if config.out.exists() and not config.out.is_dir():
        raise BadInput(f"out={config.out} is a file; give a folder that is not there yet")
    begun = any((config.out / name).exists() for name in ("meta", ".staging"))
    if config.out.is_dir() and any(config.out.iterdir()) and not begun:
        raise BadInput(f"out={config.out} holds other things; give a folder that is not there yet")
    kind, start = _kind(config), time.perf_counter()
    if kind == "v21":
        if config.hdf5 != Hdf5Settings():
            raise BadInput("hdf5.* says how to read HDF5 files, but data is a LeRobot folder; leave it out")
        if len(config.places) > 1:
            raise BadInput("v2.1 folders are converted one at a time: data=FOLDER out=FOLDER")
        made = EpisodeDataset(convert_v21(config.places[0], config.out, _command()))
    else:
        made = convert_hdf5(_files(config), config.out, config.hdf5, _command())
    size = sum(file.stat().st_size for file in config.out.rglob("*") if file.is_file())
    cameras = ", ".join(made.cameras) or "none"
    print(
        f"{config.out}: {made.num_episodes:,} episodes, {made.num_frames:,} frames at {made.fps} fps, "
        f"cameras {cameras}, {size / 1e6:,.1f} MB, {time.perf_counter() - start:.1f} s"
    )


def _command() -> str:
    """This command, for whoever finds the folder half-made."""
    import shlex

    from hydra.core.hydra_config import HydraConfig

    return f"python scripts/data.py convert {shlex.join(HydraConfig.get().overrides.task)}"


def _kind(config: Convert) -> str:
    """What is asked for, or what the first place looks like."""
    first = config.places[0]
    folder = (first / "meta" / "info.json").is_file()
    if config.kind is not None:
        return config.kind
    if not folder and not _held(first):
        raise BadInput(
            f"data={first} is neither a LeRobot folder (meta/info.json) nor HDF5 ({', '.join(ENDINGS)})"
        )
    return "v21" if folder else "hdf5"


def _held(place: Path) -> list[Path]:
    """The HDF5 files of a folder by name; or the file itself."""
    if place.is_dir():
        return sorted(file for file in place.iterdir() if file.suffix in ENDINGS)
    return [place] if place.suffix in ENDINGS else []


def _files(config: Convert) -> list[Path]:
    files: list[Path] = []
    for place in config.places:
        held = _held(place) if place.is_dir() else [place]
        if not held:
            raise BadInput(f"data={place} holds no HDF5 file ({', '.join(ENDINGS)})")
        files += held
    return files
