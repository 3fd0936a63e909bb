"""robomimic's and LIBERO's HDF5 files made into a LeRobotDataset v3 folder.

LIBERO's pictures stand on their heads; ``orientation="rotate"`` turns them by 180 degrees, as most policies
trained on LIBERO have it. The numbers are not changed: conventions of the gripper and of the axes stay what
they are.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy.typing as npt
from tqdm import tqdm

from vla.data.convert.hdf5_demos import Demo, Hdf5Settings, demos_of, instruction_of, keys_of, read_demo
from vla.data.episodes import EpisodeDataset
from vla.data.lerobot_writer import EpisodeWriter, Feature
from vla.errors import BadInput
from vla.folders import output_folder
from vla.interfaces import ACTION, IMAGE_PREFIX

__all__ = ["Hdf5Settings", "convert_hdf5", "instruction_of"]


def convert_hdf5(
    files: Sequence[str | Path],
    target: str | Path,
    settings: Hdf5Settings | None = None,
    command: str | None = None,
) -> EpisodeDataset:
    """Make the v3 folder `target` of the demos in `files`, in order; returns it.

    Run again after a stop, it goes on after the last demo that was written; also with demos to skip that were
    not written yet. command: what whoever finds it half-made is told to run. Raises BadInput naming the file
    and the demo that is damaged or unlike the others, and for a `target` that was made of other demos.
    """
    settings, target = settings or Hdf5Settings(), Path(target)
    demos = demos_of([Path(file) for file in files], settings)
    keys = keys_of(demos[0], settings)
    first = read_demo(demos[0], settings, keys)
    features = {name: _feature(name, values[0], settings) for name, values in first.items()}
    command = command or f"python scripts/data.py convert data=[{','.join(map(str, files))}] out={target}"
    with output_folder(target):
        writer = EpisodeWriter(target, settings.fps, features, settings.robot_type, command)
        writer.recover()
        _check_begun(target, writer, demos, settings)
        there = writer.written()
        bar = tqdm(demos, desc=f"converting to {target.name}", unit=" episodes", mininterval=1.0)
        for number, demo in enumerate(bar):
            if number in there:
                continue
            frames = read_demo(demo, settings, keys)
            _check_alike(demo, demos[0], frames, features)
            lists = {name: list(values) for name, values in frames.items()}
            writer.write_episode(number, lists, demo.task, _origin(demo, settings))
        writer.finalize()
    return EpisodeDataset(target)


def _check_alike(
    demo: Demo, first: Demo, frames: Mapping[str, npt.NDArray[Any]], features: Mapping[str, Feature]
) -> None:
    for name, values in frames.items():
        shape, wanted = list(values.shape[1:]), list(features[name]["shape"])
        if shape != wanted:
            raise BadInput(
                f"{demo}: '{name}' has shape {shape}, in {first} {wanted}; convert them into different "
                f"folders, or leave that demo out: {demo.left_out}"
            )


def _feature(name: str, value: npt.NDArray[Any], settings: Hdf5Settings) -> Feature:
    if name.startswith(IMAGE_PREFIX):
        names: list[str] | None = ["height", "width", "channels"]
        return {"dtype": "image", "shape": list(value.shape), "names": names}
    prefix = "action" if name == ACTION else "+".join(settings.state) or "state"
    names = [f"{prefix}.{i}" for i in range(len(value))]
    return {"dtype": "float32", "shape": [len(value)], "names": names}


def _origin(demo: Demo, settings: Hdf5Settings) -> dict[str, str]:
    """Extra columns of meta/episodes: what an episode was made of, and how."""
    how = {**asdict(settings), "pick": None}
    how.pop("skip")  # which demos there are is compared one by one
    return {
        "source_file": demo.file.name,
        "source_demo": demo.name,
        "source_settings": json.dumps(how, sort_keys=True),
    }


def _check_begun(target: Path, writer: EpisodeWriter, demos: Sequence[Demo], settings: Hdf5Settings) -> None:
    """What is there already must have been made of these demos, in this order, in this way."""
    count = writer.merged()
    if max(writer.written(), default=-1) >= len(demos):
        raise BadInput(f"{target} holds more episodes than these files; give another folder")
    meta = EpisodeDataset(target).episode_meta if count else {}
    for number in sorted(writer.written()):
        wanted = _origin(demos[number], settings)
        if number < count:
            there = {name: str(meta[name][number]) if name in meta else "" for name in wanted}
        else:
            there = {name: str(writer.staged_extra(number).get(name, "")) for name in wanted}
        if there != wanted:
            raise BadInput(f"{target} was made of other files, or with other settings; give another folder")
