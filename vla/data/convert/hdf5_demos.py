"""The demos of robomimic's and LIBERO's HDF5 files: which there are, and what each holds.

Both keep ``data/demo_0``, ``demo_1``, ... with ``actions`` and a group ``obs``. Each way a demo can be unlike
the others ends in one line with the file, the demo and, where that helps, how to leave it out.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput, did_you_mean
from vla.interfaces import ACTION, IMAGE_PREFIX, STATE
from vla.optional import need

__all__ = ["Demo", "Hdf5Settings", "Keys", "demos_of", "instruction_of", "keys_of", "read_demo"]

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
    all; None takes each file's own, or makes it of the file's name. pick: only so many demos of each file.
    skip: demos to leave out: ``demo_3`` of every file, or ``NAME.hdf5/demo_3`` of one."""

    cameras: Mapping[str, str] = field(default_factory=dict)
    state: tuple[str, ...] = ()
    action: str = "actions"
    orientation: Literal["as_is", "flip", "rotate"] = "as_is"
    fps: int = 20
    robot_type: str = "panda"
    instruction: str | None = None
    pick: int | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.orientation not in ("as_is", "flip", "rotate"):
            raise BadInput(f"orientation={self.orientation!r}: as_is, flip or rotate is meant")
        if self.fps < 1 or (self.pick is not None and self.pick < 1):
            raise BadInput("fps and pick must be at least 1")
        if len(set(self.cameras.values())) != len(self.cameras):
            raise BadInput("two keys are given the same camera name")


@dataclass(frozen=True)
class Demo:
    """One of a file's. alone: whether there is but one file, so that the demo's name tells which it is."""

    file: Path
    name: str
    task: str
    alone: bool

    def __str__(self) -> str:
        return f"{self.file}, {self.name}"

    @property
    def left_out(self) -> str:
        """The option that leaves it out."""
        return f"hdf5.skip=[{self.name if self.alone else f'{self.file.name}/{self.name}'}]"


@dataclass(frozen=True)
class Keys:
    """Which of ``obs`` are read. cameras: key -> the camera's name. state: put one after another."""

    cameras: Mapping[str, str]
    state: tuple[str, ...]


def demos_of(files: Sequence[Path], settings: Hdf5Settings) -> list[Demo]:
    """All demos in order, but for those to be skipped. Raises BadInput for a file that holds none, and for a
    demo to skip that is nowhere."""
    if not files:
        raise BadInput("no HDF5 file is given")
    known: set[str] = set()
    demos = [demo for file in files for demo in _of_file(file, settings, len(files) == 1, known)]
    for skipped in settings.skip:
        if skipped not in known:
            raise BadInput(f"hdf5.skip names {skipped!r}, which is in no file{did_you_mean(skipped, known)}")
    if not demos:
        raise BadInput(f"hdf5.skip leaves none of the demos in {', '.join(map(str, files))}")
    return demos


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


def keys_of(demo: Demo, settings: Hdf5Settings) -> Keys:
    """What is read of every demo: as the settings say, else what is known among the keys of `demo`."""
    with _opened(demo.file) as stored:
        obs = _obs(stored, demo)
        there = ", ".join(sorted(obs))
        cameras = settings.cameras or {key: name for key, name in CAMERAS.items() if key in obs}
        if not cameras:
            raise BadInput(
                f"{demo}: no camera is known among {there}; say which: hdf5.cameras={{KEY: front}}"
            )
        state = settings.state or next((s for s in STATES if all(key in obs for key in s)), ())
        if not state:
            raise BadInput(f"{demo}: no state is known among {there}; say which: hdf5.state=[KEY, ...]")
    return Keys(cameras, state)


def read_demo(demo: Demo, settings: Hdf5Settings, keys: Keys) -> dict[str, npt.NDArray[Any]]:
    """Feature -> [frames, ...]: pictures uint8 [frames, height, width, 3], vectors float32 [frames, D]."""
    with _opened(demo.file) as stored:
        obs, group = _obs(stored, demo), stored["data"][demo.name]
        actions = _values(group, settings.action, demo, "hdf5.action")
        if not len(actions):
            raise BadInput(f"{demo}: '{settings.action}' has no frames; leave that demo out: {demo.left_out}")
        found: dict[str, npt.NDArray[Any]] = {}
        for key, name in keys.cameras.items():
            if key not in obs:
                raise BadInput(_no_camera(demo, key, obs))
            pictures = _values(obs, key, demo, "hdf5.cameras")
            found[IMAGE_PREFIX + name] = _upright(pictures, settings.orientation, f"{demo}: obs/{key}")
            _same_length(demo, f"obs/{key}", pictures, actions)
        vectors = {key: _values(obs, key, demo, "hdf5.state") for key in keys.state}
        for key, values in {**vectors, settings.action: actions}.items():
            _same_length(demo, key, values, actions)
            if not np.issubdtype(values.dtype, np.number):
                raise BadInput(f"{demo}: '{key}' holds {values.dtype}, not numbers; name another key")
            finite = np.isfinite(values).reshape(len(values), -1).all(1)
            if not finite.all():
                frame = int(np.argmin(finite))
                raise BadInput(
                    f"{demo}: '{key}' is not finite at frame {frame}; leave that demo out: {demo.left_out}"
                )
        flat = [values.reshape(len(values), -1) for values in vectors.values()]
        found[STATE] = np.concatenate(flat, 1).astype(np.float32)
        found[ACTION] = actions.reshape(len(actions), -1).astype(np.float32)
    return found


def _of_file(file: Path, settings: Hdf5Settings, alone: bool, known: set[str]) -> Iterator[Demo]:
    """known: gets the names by which demos can be skipped."""
    with _opened(file) as stored:
        if "data" not in stored:
            raise BadInput(f"{file} has no group 'data': not a file of robomimic or LIBERO")
        group = stored["data"]
        names = [name for name in group if re.fullmatch(r"demo_\d+", name)]
        if not names:
            raise BadInput(f"{file} holds no demos (data/demo_0, ...)")
        known.update(names, (f"{file.name}/{name}" for name in names))
        kept = [n for n in names if n not in settings.skip and f"{file.name}/{n}" not in settings.skip]
        task = settings.instruction or instruction_of(dict(group.attrs), file)
        for name in sorted(kept, key=lambda name: int(name[5:]))[: settings.pick]:
            yield Demo(file, name, task, alone)


def _opened(file: Path) -> Any:
    if not file.is_file():
        raise BadInput(f"file is missing: {file}")
    try:
        return need("h5py", "hdf5", "reading HDF5").File(file, "r")
    except OSError as error:
        raise BadInput(f"cannot be read (truncated, or no HDF5?): {file}: {error}; copy it again") from None


def _obs(stored: Any, demo: Demo) -> Any:
    group = stored["data"][demo.name]
    if "obs" not in group:
        raise BadInput(
            f"{demo} has no group 'obs'; robomimic writes it with dataset_states_to_obs.py; or leave that "
            f"demo out: {demo.left_out}"
        )
    return group["obs"]


def _no_camera(demo: Demo, key: str, obs: Any) -> str:
    """The cameras that there are: whatever looks like pictures."""
    pictures = [name for name in sorted(obs) if _looks_like_pictures(obs[name])]
    near = did_you_mean(key, pictures).partition(" (known")[0]  # they are all named below
    named = ", ".join(pictures) or "none"
    return (
        f"{demo}: obs has no camera '{key}'{near}; its cameras are: {named}; name one of them "
        f"(hdf5.cameras={{KEY: front}}), or leave that demo out: {demo.left_out}"
    )


def _looks_like_pictures(stored: Any) -> bool:
    return getattr(stored, "dtype", None) == np.uint8 and len(stored.shape) == 4


def _values(group: Any, key: str, demo: Demo, option: str) -> npt.NDArray[Any]:
    if key not in group:
        raise BadInput(f"{demo} has no '{key}'{did_you_mean(key, _keys(group))}; say which with {option}=")
    try:
        return np.asarray(group[key][()])
    except OSError as error:
        raise BadInput(
            f"{demo}: '{key}' cannot be read ({error}); copy the file again, or leave that demo out: "
            f"{demo.left_out}"
        ) from None


def _keys(group: Any) -> Iterable[str]:
    return [name for name in group if hasattr(group[name], "shape")]


def _same_length(demo: Demo, key: str, values: npt.NDArray[Any], actions: npt.NDArray[Any]) -> None:
    if len(values) != len(actions):
        raise BadInput(
            f"{demo}: '{key}' has {len(values)} frames, the actions {len(actions)}; leave that demo out: "
            f"{demo.left_out}"
        )


def _upright(pictures: npt.NDArray[Any], orientation: str, where: str) -> npt.NDArray[np.uint8]:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise BadInput(
            f"{where} holds {pictures.dtype} {list(pictures.shape)}, not pictures uint8 [N, height, width, "
            "3]; name another key with hdf5.cameras="
        )
    if orientation == "flip":
        return pictures[:, ::-1]
    return pictures[:, ::-1, ::-1] if orientation == "rotate" else pictures
