"""Settings of how numbers become tokens, and of the noise on training batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["AugmentConfig", "Convention", "ProcessorConfig"]

Convention = Literal["min_max", "q001_q999", "q01_q99", "mean_std"]


@dataclass(frozen=True)
class ProcessorConfig:
    """How numbers become tokens.

    relative: for each joint, whether its targets are offsets from the present state (else absolute).
    normalised: for each joint, whether its targets are normalised at all (OpenVLA leaves the gripper raw);
    None: all.
    robots: as `StateConfig.robots`, for a model that takes no state: names of the robots (or data sets) whose
    action statistics it has, chosen by an observation's `robot`.
    control_hz: control steps a second, by which chunks get their time stamps; None: the training data's.
    """

    relative: tuple[bool, ...] = (True, True, True, True, True, False)
    actions: Convention = "q001_q999"
    state: Convention = "min_max"
    normalised: tuple[bool, ...] | None = None
    robots: tuple[str, ...] = ()
    control_hz: float | None = None

    def __post_init__(self) -> None:
        at_least(self, 1e-3, "control_hz")
        if self.actions == "mean_std":
            raise BadInput("processor.actions: 'mean_std' has no bounds, so it cannot be cut into bins")
        if len(set(self.robots)) != len(self.robots) or "" in self.robots:
            raise BadInput(
                f"processor.robots needs different names that are not empty, not {list(self.robots)}"
            )


@dataclass(frozen=True)
class AugmentConfig:
    """Noise on training batches. Colours are what sentences name, so the hue is left alone.

    shift: at most so many pixels either way, a camera; the labelled points move along.
    brightness: added, of 1. contrast: around mid grey, relative. color: gain of each channel, relative.
    state_noise: standard deviation, in normalised units.
    drop: modality dropout: for a camera's name, ``audio`` or ``state``, the probability that a sample is
    seen without it. At least one camera stays.
    """

    shift: int = 0
    brightness: float = 0.1
    contrast: float = 0.15
    color: float = 0.05
    state_noise: float = 0.003
    drop: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(self, 0, "shift", "brightness", "contrast", "color", "state_noise")
        for name, share in self.drop.items():
            if not 0 <= share <= 1:
                raise BadInput(f"augment.drop.{name} must be from 0 to 1, not {share}")
