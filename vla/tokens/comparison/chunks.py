"""A dataset's action chunks, normalised as a model's are: some to fit tokenizers to, others to compare on.

Whole episodes go to one side or the other, by the hash that training uses too. Legend: N chunks, H horizon,
D joints, T steps of an episode, n chunks executed one after another in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.configuration import DecoderConfig, ProcessorConfig, StateConfig, VLAConfig
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.robots import Joints, fitted
from vla.data.sampler import in_validation
from vla.data.statistics import Statistics
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE

__all__ = ["Chunks", "Executed", "Group", "read_chunks"]

Floats = npt.NDArray[np.floating]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Joints whose errors are told as one number, in one unit (empty: the dataset's own, unnamed)."""

    name: str
    unit: str
    joints: tuple[int, ...]


@dataclass(frozen=True)
class Executed:
    """One episode as a runtime would execute it: a new chunk every few steps.

    actions: as recorded, [T, D]. chunks: the true ones at steps 0, e, 2e, ..., normalised [n, H, D]. state:
    at those steps, [n, D].
    """

    actions: Floats
    chunks: Floats
    state: Floats


@dataclass(frozen=True)
class Chunks:
    """train: normalised [N, H, D]. held: of other episodes; held_state [N, D] and held_actions [N, H, D] are
    the same in the robot's units. fps: control steps a second."""

    joints: Joints
    statistics: Statistics
    names: tuple[str, ...]
    relative: tuple[bool, ...]
    robot: str
    groups: tuple[Group, ...]
    fps: int
    train: Floats
    held: Floats
    held_state: Floats
    held_actions: Floats
    executed: tuple[Executed, ...]
    execute: int
    episodes: tuple[int, int]
    """How many episodes are fitted to, and how many held out."""

    @property
    def horizon(self) -> int:
        """Steps of a chunk."""
        return self.held.shape[1]

    @property
    def dim(self) -> int:
        """Joints."""
        return self.held.shape[2]

    def physical(self, normalised: Floats, state: Floats) -> npt.NDArray[np.float64]:
        """Normalised [N, H, D] seen from `state` [N, D] -> the robot's units."""
        return np.asarray(
            self.joints.actions.inverse({"actions": normalised, "state": state})["actions"], float
        )

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """Half the normalised range of each number in the robot's units, [H, D]; 0 where it is constant."""
        zero, one = (np.full((1, self.horizon, self.dim), value, np.float32) for value in (0.0, 1.0))
        none = np.zeros((1, self.dim), np.float32)
        return (self.physical(one, none) - self.physical(zero, none))[0]


def read_chunks(
    folders: Sequence[Path],
    horizon: int,
    *,
    units: Mapping[str, str] | None = None,
    relative: tuple[bool, ...] | None = None,
    frames: int = 20_000,
    held: int = 2_000,
    share: float = 0.1,
    executed: int = 100,
    execute: int = 8,
    seed: int = 0,
) -> Chunks:
    """Read LeRobot folders of one kind of robot.

    units: part of a joint's name -> its unit; joints of one unit make a group, others stand alone. relative:
    as in `ProcessorConfig`; None: every joint but the gripper, where the state has as many numbers as the
    action, else none. frames, held: chunks at most. share: of the episodes held out, at least one.
    executed: episodes executed. Raises BadInput for a dataset that cannot be read or has nothing to code.
    """
    datasets = [EpisodeDataset(folder) for folder in folders]
    data = ChunkData([Source(dataset) for dataset in datasets], horizon)
    names = _joint_names(datasets[0])
    config = _config(datasets[0], horizon, names, relative)
    held_frame, counts = _held_out(data, seed, share)
    rng = np.random.default_rng(seed)
    train, other = np.flatnonzero(data.valid & ~held_frame), np.flatnonzero(data.valid & held_frame)
    if not len(train) or not len(other):
        raise BadInput(
            f"{_where(data)}: no valid frame is left to {'fit to' if not len(train) else 'compare on'}"
        )
    sample = _gathered(data, _with_whole_chunk(data, train, _choose(rng, train, frames - 1)))
    if np.ptp(sample["actions"], axis=(0, 1)).max() == 0:
        raise BadInput(f"{_where(data)}: every action is the same; there is nothing to code")
    pad = sample["action_is_pad"]
    statistics = Statistics(fitted(config, {"": (sample["state"], sample["actions"], pad)}))
    joints = Joints.of(config, statistics, "")

    def normalised(raw: Mapping[str, Any]) -> Floats:
        return joints.actions({"actions": raw["actions"], "state": raw["state"]})["actions"]

    def as_executed(span: tuple[int, int]) -> Executed:
        raw = data.gather(np.arange(*span, execute))
        return Executed(data.actions[slice(*span)], normalised(raw), raw["state"])

    compared = _gathered(data, _choose(rng, other, held))
    return Chunks(
        joints=joints,
        statistics=statistics,
        names=names,
        relative=config.processor.relative,
        robot=str(datasets[0].info.get("robot_type") or ""),
        groups=_groups(names, units or {}),
        fps=datasets[0].fps,
        train=normalised(sample),
        held=normalised(compared),
        held_state=compared["state"],
        held_actions=compared["actions"],
        executed=tuple(map(as_executed, _whole(data, held_frame, rng, executed, execute))),
        execute=execute,
        episodes=counts,
    )


def _config(
    dataset: EpisodeDataset, horizon: int, names: tuple[str, ...], relative: tuple[bool, ...] | None
) -> VLAConfig:
    """The part of a model's config that says how numbers are normalised."""
    dim, state = len(names), int(np.prod(dataset.features[STATE]["shape"]))
    if relative is None:
        relative = tuple(state == dim and "gripper" not in name.lower() for name in names)
    return VLAConfig(
        state=StateConfig(dim=state) if any(relative) else None,
        decoder=DecoderConfig(horizon=horizon, dim=dim),
        processor=ProcessorConfig(relative=relative),
    )


def _joint_names(dataset: EpisodeDataset) -> tuple[str, ...]:
    """The actions' names as the dataset gives them, else numbers."""
    dim = int(np.prod(dataset.features[ACTION]["shape"]))
    given = dataset.features[ACTION].get("names")
    if isinstance(given, Mapping):  # {"motors": [...]}, in older LeRobot folders
        given = next(iter(given.values()), None)
    if isinstance(given, list) and len(given) == dim:
        return tuple(str(name) for name in given)
    return tuple(f"action {joint}" for joint in range(dim))


def _groups(names: tuple[str, ...], units: Mapping[str, str]) -> tuple[Group, ...]:
    """Joints by unit, in the order in which they stand."""
    of: dict[str, list[int]] = {}
    alone: list[Group] = []
    for joint, name in enumerate(names):
        unit = next((unit for part, unit in units.items() if part in name), None)
        if unit is None:
            alone.append(Group(name, "", (joint,)))
        else:
            of.setdefault(unit, []).append(joint)
    named = [
        Group(
            names[joints[0]].removesuffix(".pos") if len(joints) == 1 else f"{len(joints)} joints",
            unit,
            tuple(joints),
        )
        for unit, joints in of.items()
    ]
    return (*named, *alone)


def _held_out(data: ChunkData, seed: int, share: float) -> tuple[npt.NDArray[np.bool_], tuple[int, int]]:
    """bool [frames]: of an episode held out; at least one episode stands on either side."""
    sides = [
        in_validation(source.dataset.num_episodes, seed, share, source.dataset.root.name)
        for source in data.sources
    ]
    chosen = np.concatenate(sides)
    if len(chosen) < 2:
        raise BadInput(f"{_where(data)} has one episode; two are needed, one to fit to and one to compare on")
    if not chosen.any():
        chosen[-1] = True
    if chosen.all():
        chosen[0] = False
    lengths = np.concatenate([np.diff(source.dataset.episode_bounds)[:, 0] for source in data.sources])
    return np.repeat(chosen, lengths), (int((~chosen).sum()), int(chosen.sum()))


def _whole(
    data: ChunkData, held: npt.NDArray[np.bool_], rng: np.random.Generator, count: int, execute: int
) -> list[tuple[int, int]]:
    """First frame and one past the last of some held episodes that have a join and a step beyond it."""
    firsts = np.flatnonzero((np.arange(len(held)) == data.start) & held)
    long = firsts[data.end[firsts] - firsts >= execute + 3]
    return [(int(first), int(data.end[first])) for first in _choose(rng, long, count)]


def _choose(rng: np.random.Generator, items: _Ints, count: int) -> _Ints:
    return np.sort(rng.permutation(items)[:count])


def _with_whole_chunk(data: ChunkData, frames: _Ints, chosen: _Ints) -> _Ints:
    """The chosen frames, and one from which a whole chunk of steps was seen: each step needs statistics."""
    run = data.stop[frames] - frames
    if run.max() < data.horizon:
        raise BadInput(
            f"{_where(data)}: horizon={data.horizon} is longer than any episode to fit to; give {run.max()} "
            "or less"
        )
    return np.union1d(chosen, frames[run.argmax()])


def _gathered(data: ChunkData, frames: _Ints) -> dict[str, Any]:
    """Chunks in which steps past the end hold the last action before them."""
    raw = data.gather(frames)
    steps = np.where(raw["action_is_pad"], 0, np.arange(data.horizon))
    last = np.maximum.accumulate(steps, axis=1)[..., None]
    return {**raw, "actions": np.take_along_axis(raw["actions"], last, axis=1)}


def _where(data: ChunkData) -> str:
    return ", ".join(str(source.dataset.root) for source in data.sources)
