"""Each robot's own joints: how many it has, and how its own statistics make their numbers the model's.

Several robots may share one model. A narrower robot's vectors are filled up with zeros to the model's width,
and a mask says which numbers are real. Legend: H horizon, d a robot's own joints.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vla.configuration import VLAConfig
from vla.data.statistics import FeatureStatistics, Statistics
from vla.data.transforms import Chain, Normalise, RelativeActions
from vla.errors import BadInput

__all__ = [
    "Joints",
    "Sample",
    "fitted",
    "own_rows",
    "own_sample",
    "relative_actions",
    "robot_names",
    "rows_by_robot",
    "widen",
]

Floats = npt.NDArray[np.float32]
Sample = tuple[Floats | None, Floats, npt.NDArray[np.bool_] | None]
"""State [N, d], absolute actions [N, H, d], which steps to leave out, bool [N, H]."""


@dataclass(frozen=True)
class Joints:
    """One robot's numbers. state_dim, action_dim: how many are its own (state_dim 0: none is looked at).

    state: normalises ``state`` [..., d]. actions: makes ``actions`` [..., H, d] relative and normalised.
    """

    state_dim: int
    action_dim: int
    state: Normalise | None
    actions: Chain

    @classmethod
    def of(cls, config: VLAConfig, statistics: Statistics, robot: str) -> "Joints":
        """From the robot's entries. Raises BadInput where their shapes are not the model's."""
        key = Statistics.key(robot, "actions")
        found = statistics[key]
        horizon, dim = config.decoder.horizon, config.decoder.dim
        own = _own_width(key, found.shape, (horizon, dim), bool(robot))
        masks = config.processor
        normalised = None if masks.normalised is None else masks.normalised[:own]
        normalise = Normalise.by_convention("actions", found, masks.actions, normalised)
        relative = relative_actions(config, own)
        state, state_dim = None, 0
        if config.state is not None:
            key = Statistics.key(robot, "state")
            state_dim = _own_width(key, statistics[key].shape, (config.state.dim,), bool(robot))
            state = Normalise.by_convention("state", statistics[key], masks.state)
            if any(relative.mask) and state_dim != own:
                raise BadInput(
                    f"robot '{robot}': relative actions need a state of as many joints; the statistics say "
                    f"{own} actions and {state_dim} joints"
                )
        return cls(state_dim, own, state, Chain((relative, normalise)))


def relative_actions(config: VLAConfig, width: int) -> RelativeActions:
    """Of a robot with `width` joints: the first ones of the model's."""
    return RelativeActions(config.processor.relative[:width])


def fitted(config: VLAConfig, samples: Mapping[str, Sample]) -> dict[str, FeatureStatistics]:
    """Statistics of robots, by the names under which `Statistics` holds them, from a sample of each one's
    data; the name "" is that of a single robot."""
    features = {}
    for robot, (state, actions, pad) in samples.items():
        relative = relative_actions(config, actions.shape[-1])
        sample: dict[str, Any] = {"state": state, "actions": actions}
        offsets = relative(sample)["actions"]
        if config.state is not None and state is not None:
            features[Statistics.key(robot, "state")] = FeatureStatistics.from_array(state)
        valid = None if pad is None else ~pad
        features[Statistics.key(robot, "actions")] = FeatureStatistics.from_array(offsets, valid)
    return features


def robot_names(config: VLAConfig) -> tuple[str, ...]:
    """The robots that the model serves; one empty name where it serves a single one without a name."""
    return config.robots or ("",)


def _own_width(key: str, found: tuple[int, ...], wanted: tuple[int, ...], narrower: bool) -> int:
    fits = len(found) == len(wanted) and found[:-1] == wanted[:-1]
    if not fits or found[-1] > wanted[-1] or (found[-1] < wanted[-1] and not narrower):
        shape = f"{list(wanted)}{' or narrower' if narrower else ''}"
        raise BadInput(f"the statistics of '{key}' have shape {list(found)}, the model needs {shape}")
    return found[-1]


def widen(values: npt.NDArray[np.floating], width: int) -> Floats:
    """float [..., d] -> float32 [..., width], zeros after the robot's own numbers."""
    out = np.zeros((*values.shape[:-1], width), np.float32)
    out[..., : values.shape[-1]] = values
    return out


def rows_by_robot(robots: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Each robot in a batch and its rows."""
    names = np.asarray(robots)
    for name in dict.fromkeys(robots):
        yield name, np.flatnonzero(names == name)


def own_rows(widths: Sequence[int], width: int) -> Tensor:
    """bool [B, width]: the first of each row."""
    return torch.arange(width) < torch.tensor(widths)[:, None]


def own_sample(joints: Joints, state: Floats | None, actions: Floats) -> dict[str, Any]:
    """A robot's own numbers out of rows filled up to the model's width."""
    dim = joints.action_dim
    own = None if state is None else np.asarray(state, dtype=np.float32)[..., :dim]
    return {"state": own, "actions": np.asarray(actions)[..., :dim]}
