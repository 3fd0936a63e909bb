"""Whether numbers of one key mean the same in several datasets: the same joints, order, rate and unit."""

from collections.abc import Sequence

from vla.data.episodes import EpisodeDataset
from vla.data.motion import look_at_motion
from vla.data.motion_check import check_same_motion
from vla.data.names import names_of
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE

__all__ = ["check_same_meaning", "names_of"]


def check_same_meaning(
    datasets: Sequence[EpisodeDataset], robots: Sequence[str] | None = None, *, motion: bool = True
) -> None:
    """Raise BadInput, naming both files and what to do, where two datasets of one robot disagree on the rate,
    the width or the joints of their states or actions; or, from some rows of each, clearly on their units or
    on whether actions are absolute or deltas.

    robots: which robot each dataset is of (the same word for all: one robot); left out, their robot_type.
    motion: false for what info.json says alone. Where a dataset does not name its joints, their names are not
    compared.
    """
    kinds = robots if robots is not None else [str(data.info.get("robot_type") or "") for data in datasets]
    groups: dict[str, list[EpisodeDataset]] = {}
    for data, robot in zip(datasets, kinds, strict=True):
        for other in groups.setdefault(robot, []):
            _compare(other, data)
        groups[robot].append(data)
    for group in groups.values() if motion else ():
        if len(group) > 1 and all(key in data.features for data in group for key in (STATE, ACTION)):
            _compare_motion(group)


def _compare_motion(group: Sequence[EpisodeDataset]) -> None:
    seen = [(data.root, motion) for data in group if (motion := look_at_motion(data)) is not None]
    for number, (root, motion) in enumerate(seen):
        for other, before in seen[:number]:
            check_same_motion(other, before, root, motion)


def _compare(one: EpisodeDataset, other: EpisodeDataset) -> None:
    files = f"{one.root}/meta/info.json and {other.root}/meta/info.json"
    if one.fps != other.fps:
        raise BadInput(
            f"{files} are of one robot, but {one.fps} and {other.fps} fps: the same chunk would be "
            "motions of another speed; record or convert one at the other's rate, or train on one alone"
        )
    for key in (STATE, ACTION):
        if key not in one.features or key not in other.features:
            continue
        mine, theirs = one.features[key], other.features[key]
        if list(mine["shape"]) != list(theirs["shape"]):
            raise BadInput(
                f"{other.root}/meta/info.json: '{key}' has shape {theirs['shape']}, but {mine['shape']} in "
                f"{one.root}/meta/info.json, of the same robot; give them different robot_type and name both "
                "in model.state.robots, or train on one of them"
            )
        first, second = names_of(mine), names_of(theirs)
        if first is None or second is None or first == second:
            continue
        place = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
        raise BadInput(
            f"{files} are of one robot, but number {place} of '{key}' is {first[place]!r} in one and "
            f"{second[place]!r} in the other; "
            + (
                "put the columns of one into the other's order"
                if sorted(first) == sorted(second)
                else "give them different robot_type and name both in model.state.robots"
            )
            + ", or correct 'names' where only the words differ"
        )
