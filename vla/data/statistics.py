"""Statistics of a dataset's numbers. They travel in the checkpoint, never chosen by name at run time."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = ["FeatureStatistics", "Statistics"]

QUANTILES = {"q001": 0.001, "q01": 0.01, "q99": 0.99, "q999": 0.999}
FIELDS = ("mean", "std", "min", "max", *QUANTILES)


@dataclass(frozen=True)
class FeatureStatistics:
    """Of one feature; every array has the feature's shape ([dim], or [horizon, dim] for action chunks)."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    min: npt.NDArray[np.float64]
    max: npt.NDArray[np.float64]
    q001: npt.NDArray[np.float64]
    q01: npt.NDArray[np.float64]
    q99: npt.NDArray[np.float64]
    q999: npt.NDArray[np.float64]
    count: int

    @classmethod
    def from_array(
        cls, values: npt.NDArray[np.floating], valid: npt.NDArray[np.bool_] | None = None
    ) -> "FeatureStatistics":
        """From samples along axis 0; `valid` bool [samples, ...leading feature axes] leaves numbers out."""
        data = np.asarray(values, dtype=np.float64)
        if valid is not None:
            mask = np.broadcast_to(valid.reshape(valid.shape + (1,) * (data.ndim - valid.ndim)), data.shape)
            data = np.where(mask, data, np.nan)
        if len(data) == 0 or np.isnan(data).all(axis=0).any():
            raise BadInput("cannot compute statistics: a feature has no samples")
        quantiles = np.nanquantile(data, list(QUANTILES.values()), axis=0)
        return cls(
            mean=np.nanmean(data, axis=0),
            std=np.nanstd(data, axis=0),
            min=np.nanmin(data, axis=0),
            max=np.nanmax(data, axis=0),
            **dict(zip(QUANTILES, quantiles, strict=True)),
            count=len(data),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample of the feature."""
        return self.mean.shape

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {**{name: getattr(self, name).tolist() for name in FIELDS}, "count": self.count}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "FeatureStatistics":
        """The inverse of `to_dict`."""
        arrays = {name: np.asarray(raw[name], dtype=np.float64) for name in FIELDS}
        return cls(**arrays, count=int(raw["count"]))


@dataclass(frozen=True)
class Statistics:
    """Feature name -> its statistics: ``state``, ``actions``; of a named robot ``so101/state``, ..."""

    features: Mapping[str, FeatureStatistics]

    @staticmethod
    def key(robot: str, name: str) -> str:
        """Where the statistics of a robot's `name` stand; one without a name has the bare name."""
        return f"{robot}/{name}" if robot else name

    def __getitem__(self, name: str) -> FeatureStatistics:
        if name not in self.features:
            raise BadInput(f"the statistics hold no '{name}', only: {', '.join(sorted(self.features))}")
        return self.features[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {name: feature.to_dict() for name, feature in sorted(self.features.items())}

    @property
    def hash(self) -> str:
        """sha256 of the numbers, 64 hex digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write JSON with its own hash, aside and then renamed."""
        aside = path.with_name(path.name + ".part")
        aside.write_text(json.dumps({"hash": self.hash, "features": self.to_dict()}, indent=1) + "\n")
        os.replace(aside, path)

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read what `save` wrote. Raises BadInput if it is missing, damaged or does not match its hash."""
        if not path.is_file():
            raise BadInput(f"no statistics: {path} does not exist")
        try:
            raw = json.loads(path.read_text())
            features = {name: FeatureStatistics.from_dict(value) for name, value in raw["features"].items()}
            stated = raw["hash"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"cannot read the statistics {path}: {error!r}") from None
        found = cls(features)
        if found.hash != stated:
            raise BadInput(
                f"the statistics {path} were changed: their hash is {found.hash[:12]}, not {stated[:12]}"
            )
        return found
