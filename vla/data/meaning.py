"""Whether numbers of one key mean the same in several datasets: the same joints, in one order and rate."""

from collections.abc import Mapping, Sequence
from typing import Any

from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE

__all__ = ["check_same_meaning", "names_of"]


def names_of(feature: Mapping[str, Any]) -> list[str] | None:
    """What each number of a feature is, where its dataset says so: ``names`` is a list, or lists by name."""
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return names if len(names) == feature["shape"][-1] else None


def check_same_meaning(datasets: Sequence[EpisodeDataset], robots: Sequence[str] | None = None) -> None:
    """Raise BadInput, naming both files and what to do, where two datasets of one robot disagree on the rate,
    the width or the joints of their states or actions.

    robots: which robot each dataset is of (the same word for all: one robot); left out, their robot_type.
    Where a dataset does not name its joints, only rate and width can be compared.
    """
    kinds = robots if robots is not None else [str(data.info.get("robot_type") or "") for data in datasets]
    for number, (data, robot) in enumerate(zip(datasets, kinds, strict=True)):
        others = [d for d, r in zip(datasets[:number], kinds, strict=False) if r == robot]
        for other in others:
            _compare(other, data)


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
