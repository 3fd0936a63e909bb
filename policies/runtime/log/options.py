"""The settings of a run's log."""

import typing
from dataclasses import dataclass
from pathlib import Path

from policies.runtime.log.pictures import Pictures
from vla.checks import at_least, at_most
from vla.errors import BadInput, did_you_mean

__all__ = ["LogOptions"]


@dataclass(frozen=True)
class LogOptions:
    """How runs are logged (``log`` in conf/deploy.yaml).

    folder: runs are folders in it; None: nothing is logged. pictures: how they are stored, see `Pictures`;
    quality: JPEG's. queue_mb: megabytes of pictures that may wait for the disk; what comes on top goes
    without its pictures, and is counted. write_s, sync_s: seconds between writes, and between flushes to the
    disk itself: what a power cut costs at most is their sum and the disk's own time. late_s: a log that is so
    many seconds behind is trouble. reserve_mb: kept for the end of a run whose disk is full; 0: nothing.
    """

    folder: Path | None = Path("outputs/runs")
    pictures: Pictures = "auto"
    quality: int = 95
    queue_mb: float = 256.0
    write_s: float = 0.1
    sync_s: float = 0.4
    late_s: float = 5.0
    reserve_mb: float = 8.0

    def __post_init__(self) -> None:
        known = typing.get_args(Pictures)
        if self.pictures not in known:
            raise BadInput(f"pictures cannot be {self.pictures!r}{did_you_mean(str(self.pictures), known)}")
        at_least(self, 1, "quality", "queue_mb", "late_s")
        at_least(self, 0, "sync_s", "reserve_mb")
        at_least(self, 0.005, "write_s")
        at_most(self, 100, "quality")
        at_most(self, 0.5, "write_s", "sync_s")
        at_most(self, 16_384, "queue_mb")
        at_most(self, 1_024, "reserve_mb")
