"""Before anything is replayed: whether policy and data can belong together at all."""

from dataclasses import dataclass, field
from typing import Any

from policies.base import Policy, Privileged
from vla.data.episodes import EpisodeDataset
from vla.data.stats_check import names_of
from vla.errors import BadInput, did_you_mean
from vla.interfaces import ACTION, STATE

__all__ = ["Setting", "check_setting"]


@dataclass(frozen=True)
class Setting:
    """What the replay needs to know. cameras: those to show. robot: as observations name it. names: of the
    action's numbers. grippers: which of them are grippers. notes: what does not fit, in a line each."""

    cameras: tuple[str, ...]
    robot: str
    names: tuple[str, ...]
    grippers: tuple[int, ...]
    notes: tuple[str, ...] = field(default=())


def check_setting(policy: Policy, dataset: EpisodeDataset, gripper: int | None = None) -> Setting:
    """gripper: the index of its number in the action; None: those whose names say so, else none.

    Raises BadInput where the policy cannot be shown this dataset: no camera in common, another width of state
    or action, an unknown robot, a policy that needs a scene.
    """
    if isinstance(policy, Privileged):
        raise BadInput(f"the policy '{policy.name}' acts on a simulated scene, which recorded frames are not")
    for name in (STATE, ACTION):
        if name not in dataset.features:
            raise BadInput(f"{dataset.root}: dataset has no feature '{name}'")
    width = int(dataset.features[ACTION]["shape"][0])
    given = names_of(dataset, ACTION)
    names = tuple(name.removesuffix(".pos") for name in given) or tuple(f"action {i}" for i in range(width))
    if gripper is not None and not 0 <= gripper < width:
        raise BadInput(f"gripper={gripper}: the data's action has {width} numbers, 0 to {width - 1}")
    named = tuple(i for i, name in enumerate(names) if "gripper" in name.lower())
    grippers = named if gripper is None else (gripper,)
    processor: Any = getattr(policy, "processor", None)
    if processor is None:  # not a trained model: it tells nothing of itself
        return Setting(tuple(dataset.cameras), "", names, grippers)
    robot = _robot(policy, processor, dataset)
    _check_widths(processor, dataset, robot, width)
    notes = []
    here = [camera for camera in processor.camera_names if camera in dataset.cameras]
    if not here:
        raise BadInput(
            f"{dataset.root} has the cameras {', '.join(dataset.cameras) or '(none)'}, the policy looks "
            f"through {', '.join(processor.camera_names)}: no picture would be seen"
        )
    for camera in processor.camera_names:
        if camera not in here:
            hint = did_you_mean(camera, dataset.cameras)
            notes.append(f"the policy's camera '{camera}' is not in the data{hint}: it was replayed without")
    hz = processor.config.processor.control_hz
    if hz is not None and abs(hz - dataset.fps) > 0.01 * hz:
        notes.append(
            f"the policy was made for {hz:g} control steps a second, the data have {dataset.fps}: its chunks "
            f"cover {dataset.fps / hz:.2f} times as many of the data's steps as they should"
        )
    longest = int(dataset.episode_meta["length"].max())
    if longest < policy.horizon:
        notes.append(
            f"the policy plans {policy.horizon} steps, the longest episode has {longest}: later steps of its "
            "chunks are compared with nothing"
        )
    return Setting(tuple(here), robot, names, grippers, tuple(notes))


def _robot(policy: Policy, processor: Any, dataset: EpisodeDataset) -> str:
    """The robot that observations are to name, empty where the model's only one has no name or is chosen."""
    chosen = str(getattr(policy, "_robot", "") or "")
    if "" in processor.joints or chosen:
        return chosen
    name = str(dataset.info.get("robot_type") or "")
    if name not in processor.joints:
        known = ", ".join(processor.joints)
        raise BadInput(
            f"{dataset.root}: robot_type is {name!r}, the policy knows: {known}; say which it is with "
            "+options.robot=NAME"
        )
    return name


def _check_widths(processor: Any, dataset: EpisodeDataset, robot: str, width: int) -> None:
    joints = processor.joints[robot]
    states = int(dataset.features[STATE]["shape"][0])
    if processor.config.state is not None and states != joints.state_dim:
        raise BadInput(
            f"{dataset.root}: '{STATE}' has {states} numbers, the policy's state {joints.state_dim}: they "
            "are of different robots"
        )
    if width != joints.action_dim:
        raise BadInput(
            f"{dataset.root}: '{ACTION}' has {width} numbers, the policy's actions {joints.action_dim}: they "
            "are of different robots"
        )
