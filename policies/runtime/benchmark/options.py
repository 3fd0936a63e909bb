"""What the larger measures can be told. See conf/bench.yaml."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["FAMILIES", "Decoding", "Family", "Faster", "Gpu", "Loading", "OpenVLA7B"]

Family = Literal["plain", "ours", "transformers", "act", "act_published", "smolvla", "pi0_fast"]
Faster = Literal["int8", "compile"]
FAMILIES: tuple[Family, ...] = (
    "plain", "ours", "transformers", "act", "act_published", "smolvla", "pi0_fast"
)  # fmt: skip


@dataclass(frozen=True)
class Decoding:
    """Decoders at equal size.

    size: parameters of every contender (but those that cannot be made so: they get one of ours of their own
    size). horizon, dim: control steps and joints of a chunk. side: of the two square pictures, pixels.
    batch: observations at once. rounds: how often each contender has its turn. slice: seconds of a turn, in
    which it acts at least once. families: which contenders. faster: ours are also measured after these ways
    of `vla.acceleration`. clock: `wall`; or `cpu`, the time that the process itself computed, which other
    work on the machine makes little longer (for a GPU always `wall`).
    """

    size: int = 4_200_000
    horizon: int = 16
    dim: int = 6
    side: int = 96
    batch: int = 1
    rounds: int = 9
    slice: float = 0.25
    families: tuple[Family, ...] = FAMILIES
    faster: tuple[Faster, ...] = ()
    clock: Literal["wall", "cpu"] = "wall"

    def __post_init__(self) -> None:
        at_least(self, 1, "size", "horizon", "dim", "batch", "rounds")
        at_least(self, 32, "side")
        at_least(self, 0, "slice")
        if self.side % 32:
            raise BadInput(f"decoding.side={self.side}: a multiple of 32 pixels is needed")
        if not self.families:
            raise BadInput(f"decoding.families is empty; name at least one of: {', '.join(FAMILIES)}")


@dataclass(frozen=True)
class Gpu:
    """batches: of the shipped policy. compile: whether each is also measured after `vla.acceleration`."""

    batches: tuple[int, ...] = (1, 64)
    compile: bool = True

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1:
            raise BadInput(f"gpu.batches={list(self.batches)}: one or more numbers of at least 1 are needed")


@dataclass(frozen=True)
class OpenVLA7B:
    """scale: `full`, OpenVLA's own sizes, on a GPU; or `tiny`, the same parts small, on any machine.
    horizon: control steps of the longer of two chunks, whose difference gives the time of a token; the other
    has one step, as OpenVLA's. calls: timed ones of each. compile: measured again after `vla.acceleration`.
    """

    scale: Literal["full", "tiny"] = "full"
    horizon: int = 9
    calls: int = 10
    compile: bool = True
    seed: int = field(default=0)

    def __post_init__(self) -> None:
        at_least(self, 2, "horizon")
        at_least(self, 1, "calls")
        at_least(self, 0, "seed")


@dataclass(frozen=True)
class Loading:
    """Reading training samples: two cameras and a chunk of actions, from the same two datasets, which are
    written for it (one as video, one as PNG in parquet).

    episodes, frames: how many, and control steps of each. side: of the square pictures, pixels. horizon:
    control steps of a chunk. batch, workers: of LeRobot's DataLoader; its own training command has 8 and 4.
    rounds: how often each reader has its turn. seconds: of a turn, after its first batches. folder: where the
    datasets are written, and found again; null: a temporary one.
    """

    episodes: int = 4
    frames: int = 150
    side: int = 224
    horizon: int = 50
    batch: int = 8
    workers: int = 4
    rounds: int = 5
    seconds: float = 6.0
    kinds: tuple[Literal["video", "image"], ...] = ("video", "image")
    folder: Path | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "frames", "horizon", "batch", "rounds")
        at_least(self, 0, "workers", "seconds")
        at_least(self, 64, "side")
        if self.episodes * self.frames < 2 * self.batch:
            raise BadInput("loading: episodes * frames must be at least two batches")
        if not self.kinds:
            raise BadInput("loading.kinds is empty; name video, image or both")
