"""Small invertible transforms of state and actions. The inverse of a chain is derived, never written twice.

A sample is a mapping with ``state`` [..., dim] and ``actions`` [..., horizon, dim]; a transform returns a new
mapping and leaves the given one alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vla.data.statistics import FeatureStatistics
from vla.errors import BadInput, did_you_mean

__all__ = ["CONVENTIONS", "Chain", "Normalise", "RelativeActions", "Sample", "Transform"]

Array = npt.NDArray[np.floating]
Sample = Mapping[str, Array]

CONVENTIONS = ("min_max", "q001_q999", "q01_q99", "mean_std")


class Transform(Protocol):
    """``inverse(self(sample)) == sample``, but for what a transform says it clips."""

    def __call__(self, sample: Sample) -> dict[str, Array]:
        """Forwards: towards the model."""
        ...

    def inverse(self, sample: Sample) -> dict[str, Array]:
        """Backwards: towards the robot."""
        ...


@dataclass(frozen=True)
class Chain:
    """Transforms in a row; the inverse runs their inverses in the opposite order."""

    transforms: tuple[Transform, ...]

    def __call__(self, sample: Sample) -> dict[str, Array]:
        """First to last."""
        out = dict(sample)
        for transform in self.transforms:
            out = transform(out)
        return out

    def inverse(self, sample: Sample) -> dict[str, Array]:
        """Last to first."""
        out = dict(sample)
        for transform in reversed(self.transforms):
            out = transform.inverse(out)
        return out


@dataclass(frozen=True)
class RelativeActions:
    """Targets become offsets from the present state for the joints where `mask` is True."""

    mask: tuple[bool, ...]

    def _offset(self, sample: Sample) -> Array:
        mask = np.asarray(self.mask)
        if not mask.any():
            return np.zeros((1, len(mask)), dtype=np.float32)
        return np.where(mask, sample["state"], 0.0)[..., None, :]

    def __call__(self, sample: Sample) -> dict[str, Array]:
        """actions - state, masked."""
        return {**sample, "actions": sample["actions"] - self._offset(sample)}

    def inverse(self, sample: Sample) -> dict[str, Array]:
        """actions + state, masked."""
        return {**sample, "actions": sample["actions"] + self._offset(sample)}


@dataclass(frozen=True)
class Normalise:
    """``(x - offset) / scale`` on one key.

    A range convention maps its two statistics to -1 and 1 and clips what lies outside; `mean_std` maps to
    mean 0 and deviation 1 and clips nothing. A constant dimension (scale 0) becomes 0 and comes back as
    the constant. Dimensions where `mask` is False pass both ways as they are, neither scaled nor clipped.
    """

    key: str
    offset: Array
    scale: Array
    clip: bool
    mask: tuple[bool, ...] | None = None

    @classmethod
    def by_convention(
        cls, key: str, statistics: FeatureStatistics, convention: str, mask: tuple[bool, ...] | None = None
    ) -> "Normalise":
        """From statistics and one of CONVENTIONS. mask: bool [dim], see above (None: all True).

        Raises BadInput for another name.
        """
        if convention not in CONVENTIONS:
            raise BadInput(f"unknown normalisation '{convention}'{did_you_mean(convention, CONVENTIONS)}")
        if convention == "mean_std":
            offset, scale = statistics.mean, statistics.std
        else:
            low, high = (getattr(statistics, name) for name in convention.split("_"))
            offset, scale = (high + low) / 2, (high - low) / 2
        # Rounding must not turn a constant into a tiny range that blows up noise.
        scale = np.where(scale > 1e-6 * np.maximum(1.0, np.abs(offset)), scale, 0.0)
        return cls(key, offset.astype(np.float32), scale.astype(np.float32), convention != "mean_std", mask)

    def __call__(self, sample: Sample) -> dict[str, Array]:
        """To the model's units."""
        scale = np.where(self.scale > 0, self.scale, 1.0)
        values = np.where(self.scale > 0, (sample[self.key] - self.offset) / scale, 0.0)
        values = np.clip(values, -1.0, 1.0) if self.clip else values
        return {**sample, self.key: self._masked(values, sample[self.key])}

    def inverse(self, sample: Sample) -> dict[str, Array]:
        """To the robot's units."""
        return {
            **sample,
            self.key: self._masked(sample[self.key] * self.scale + self.offset, sample[self.key]),
        }

    def _masked(self, changed: Array, given: Array) -> Array:
        out = changed if self.mask is None else np.where(self.mask, changed, given)
        return out.astype(np.float32)
