"""robomimic's and LIBERO's HDF5 files made into a LeRobotDataset v3 folder.

Both keep ``data/demo_0``, ``demo_1``, ... with ``actions`` and a group ``obs``. LIBERO's pictures stand on
their heads; ``orientation="rotate"`` turns them by 180 degrees, as most policies trained on LIBERO have it.
The numbers are not changed: conventions of the gripper and of the axes stay what they are.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.data.episodes import EpisodeDataset
from vla.data.lerobot_writer import EpisodeWriter, Feature
from vla.errors import BadInput, did_you_mean
from vla.folders import output_folder
from vla.interfaces import ACTION, IMAGE_PREFIX, STATE
from vla.optional import need

__all__ = ["Hdf5Settings", "convert_hdf5", "instruction_of"]

CAMERAS = {
    "agentview_rgb": "front",
    "agentview_image": "front",
    "eye_in_hand_rgb": "wrist",
    "robot0_eye_in_hand_image": "wrist",
}
"""The cameras of LIBERO (rgb) and robomimic (image), and what they are called here."""
STATES = (
    ("ee_states", "gripper_states"),
    ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"),
    ("ee_pos", "ee_ori", "gripper_states"),
)
"""Which keys make up the state, where nothing is said: the first of these that a file has."""
_SCENE = re.compile(r"^[A-Z_]+_SCENE\d+_")


@dataclass(frozen=True)
class Hdf5Settings:
    """cameras: key of ``obs`` -> the camera's name (empty: those that are known). state: keys of ``obs`` put
    one after another (empty: the end effector's pose and the gripper). action: the key beside ``obs``.
    orientation: pictures as they are, upside down (``flip``), or turned by 180 degrees (``rotate``, LIBERO).
    fps: control rate in Hz, which the files do not tell (both simulators: 20). instruction: one sentence for
    all; None takes each file's own, or makes it of the file's name. pick: only so many demos of each file."""

    cameras: Mapping[str, str] = field(default_factory=dict)
    state: tuple[str, ...] = ()
    action: str = "actions"
    orientation: Literal["as_is", "flip", "rotate"] = "as_is"
    fps: int = 20
    robot_type: str = "panda"
    instruction: str | None = None
    pick: int | None = None

    def __post_init__(self) -> None:
        if self.orientation not in ("as_is", "flip", "rotate"):
            raise BadInput(f"orientation={self.orientation!r}: as_is, flip or rotate is meant")
        if self.fps < 1 or (self.pick is not None and self.pick < 1):
            raise BadInput("fps and pick must be at least 1")
        if len(set(self.cameras.values())) != len(self.cameras):
            raise BadInput("two keys are given the same camera name")


@dataclass(frozen=True)
class _Demo:
    file: Path
    name: str
    task: str


def convert_hdf5(
    files: Sequence[str | Path], target: str | Path, settings: Hdf5Settings | None = None
) -> EpisodeDataset:
    """Make the v3 folder `target` of the demos in `files`, in order; returns it.

    Run again after a stop, it goes on after the last demo that was written. Raises BadInput naming the file
    and the demo that is damaged or unlike the others, and for a `target` that was made of other demos.
    """
    settings, target = settings or Hdf5Settings(), Path(target)
    demos = [demo for file in files for demo in _demos(Path(file), settings)]
    if not demos:
        raise BadInput("no HDF5 file is given")
    first = _read(demos[0], settings)
    features = {name: _feature(name, values[0], settings) for name, values in first.items()}
    with output_folder(target):
        writer = EpisodeWriter(target, settings.fps, features, settings.robot_type)
        writer.recover()
        _check_begun(target, writer, demos, settings)
        there = writer.written()
        bar = tqdm(demos, desc=f"converting to {target.name}", unit=" episodes", mininterval=1.0)
        for number, demo in enumerate(bar):
            if number in there:
                continue
            frames = _read(demo, settings)
            for name, values in frames.items():
                if list(values.shape[1:]) != list(features[name]["shape"]):
                    raise BadInput(
                        f"{demo.file}, {demo.name}: '{name}' has shape {list(values.shape[1:])}, in "
                        f"{demos[0].file} {features[name]['shape']}; convert them into different folders"
                    )
            lists = {name: list(values) for name, values in frames.items()}
            writer.write_episode(number, lists, demo.task, _origin(demo, settings))
        writer.finalize()
    return EpisodeDataset(target)


def instruction_of(attributes: Mapping[str, Any], file: Path) -> str:
    """The sentence of a file: what LIBERO's ``problem_info`` says, else its name without scene and ending."""
    for key in ("problem_info", "env_args"):
        try:
            held = json.loads(attributes.get(key, "{}"))
        except (TypeError, ValueError):
            continue
        said = held.get("language_instruction") if isinstance(held, dict) else None
        said = " ".join(said) if isinstance(said, list) else said
        if isinstance(said, str) and said.strip(' "'):
            return said.strip(' "')
    for key in ("language_instruction", "instruction", "task"):
        said = attributes.get(key)
        said = said.decode() if isinstance(said, bytes) else said
        if isinstance(said, str) and said.strip():
            return said.strip()
    return _SCENE.sub("", file.stem.removesuffix("_demo")).replace("_", " ").strip() or file.stem


def _demos(file: Path, settings: Hdf5Settings) -> Iterator[_Demo]:
    with _opened(file) as stored:
        if "data" not in stored:
            raise BadInput(f"{file} has no group 'data': not a file of robomimic or LIBERO")
        group = stored["data"]
        names = [name for name in group if re.fullmatch(r"demo_\d+", name)]
        if not names:
            raise BadInput(f"{file} holds no demos (data/demo_0, ...)")
        task = settings.instruction or instruction_of(dict(group.attrs), file)
        for name in sorted(names, key=lambda name: int(name[5:]))[: settings.pick]:
            yield _Demo(file, name, task)


def _opened(file: Path) -> Any:
    if not file.is_file():
        raise BadInput(f"file is missing: {file}")
    try:
        return need("h5py", "hdf5", "reading HDF5").File(file, "r")
    except OSError as error:
        raise BadInput(f"cannot be read (truncated, or no HDF5?): {file}: {error}; copy it again") from None


def _read(demo: _Demo, settings: Hdf5Settings) -> dict[str, npt.NDArray[Any]]:
    """Feature -> [frames, ...]: pictures uint8 [frames, height, width, 3], vectors float32 [frames, D]."""
    where = f"{demo.file}, {demo.name}"
    with _opened(demo.file) as stored:
        group = stored["data"][demo.name]
        if "obs" not in group:
            raise BadInput(f"{where} has no group 'obs'; robomimic writes it with dataset_states_to_obs.py")
        obs = group["obs"]
        cameras = settings.cameras or {key: name for key, name in CAMERAS.items() if key in obs}
        if not cameras:
            raise BadInput(f"{where}: no camera is known among {', '.join(sorted(obs))}; say which: cameras=")
        keys = settings.state or next((s for s in STATES if all(key in obs for key in s)), ())
        if not keys:
            raise BadInput(f"{where}: no state is known among {', '.join(sorted(obs))}; say which: state=")
        found: dict[str, npt.NDArray[Any]] = {}
        for key, name in cameras.items():
            found[IMAGE_PREFIX + name] = _upright(_values(obs, key, where), settings, f"{where}, obs/{key}")
        vectors = [_values(obs, key, where) for key in keys]
        actions = _values(group, settings.action, where)
        for key, values in zip((*keys, settings.action), (*vectors, actions), strict=True):
            if len(values) != len(actions) or not len(actions):
                raise BadInput(f"{where}: '{key}' has {len(values)} frames, the actions {len(actions)}")
            if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all():
                raise BadInput(f"{where}: '{key}' is not finite numbers; leave that demo out")
        flat = [values.reshape(len(values), -1) for values in vectors]
        found[STATE] = np.concatenate(flat, 1).astype(np.float32)
        found[ACTION] = actions.reshape(len(actions), -1).astype(np.float32)
    for name, values in found.items():
        if len(values) != len(actions):
            raise BadInput(f"{where}: '{name}' has {len(values)} frames, the actions {len(actions)}")
    return found


def _values(group: Any, key: str, where: str) -> npt.NDArray[Any]:
    if key not in group:
        raise BadInput(f"{where} has no '{key}'{did_you_mean(key, list(group))}")
    try:
        return np.asarray(group[key][()])
    except OSError as error:
        raise BadInput(f"{where}: '{key}' cannot be read ({error}); copy the file again") from None


def _upright(pictures: npt.NDArray[Any], settings: Hdf5Settings, where: str) -> npt.NDArray[np.uint8]:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise BadInput(
            f"{where} holds {pictures.dtype} {list(pictures.shape)}, not pictures uint8 [N, height, width, 3]"
        )
    if settings.orientation == "flip":
        return pictures[:, ::-1]
    return pictures[:, ::-1, ::-1] if settings.orientation == "rotate" else pictures


def _feature(name: str, value: npt.NDArray[Any], settings: Hdf5Settings) -> Feature:
    if name.startswith(IMAGE_PREFIX):
        names: list[str] | None = ["height", "width", "channels"]
        return {"dtype": "image", "shape": list(value.shape), "names": names}
    prefix = "action" if name == ACTION else "+".join(settings.state) or "state"
    names = [f"{prefix}.{i}" for i in range(len(value))]
    return {"dtype": "float32", "shape": [len(value)], "names": names}


def _origin(demo: _Demo, settings: Hdf5Settings) -> dict[str, str]:
    """Extra columns of meta/episodes: what an episode was made of, and how."""
    how = {**asdict(settings), "pick": None}
    return {
        "source_file": demo.file.name,
        "source_demo": demo.name,
        "source_settings": json.dumps(how, sort_keys=True),
    }


def _check_begun(target: Path, writer: EpisodeWriter, demos: Sequence[_Demo], settings: Hdf5Settings) -> None:
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
