"""What a run tells while it goes: a line for people, JSON lines and the trackers' scalars for later."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from vla.training.config import TrainerConfig
from vla.training.trackers import Tracker, open_trackers

__all__ = ["Progress", "Silence", "clock"]


def clock(seconds: float) -> str:
    """``1:02:03`` or ``4:05``."""
    hours, rest = divmod(int(max(0.0, seconds)), 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


class Progress:
    """Writes ``metrics.jsonl`` into `out`, numbers to the config's trackers, and lines to stdout.

    start_step: on resuming, later entries of the run that was stopped are dropped, so each step is told once.
    every_seconds: least time between two lines where stdout is not a terminal.
    """

    def __init__(
        self, out: Path, start_step: int, config: TrainerConfig, every_seconds: float = 10.0
    ) -> None:
        self.path = out / "metrics.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        told = start_step
        if self.path.is_file():
            lines = self.path.read_text().splitlines()
            told = max([start_step, *(int(_step(line)) for line in lines if _step(line) < float("inf"))])
            kept = [line for line in lines if _step(line) <= start_step]
            self.path.write_text("".join(f"{line}\n" for line in kept))
        self._trackers: list[Tracker] = open_trackers(config, out, start_step, told)
        self._file = self.path.open("a", encoding="utf-8")
        self._terminal = sys.stdout.isatty()
        self._every = every_seconds
        self._last = -float("inf")
        self._open_line = False

    def line(
        self, step: int, samples: int, loss: float, rate: float, *, left: float, extra: str = ""
    ) -> None:
        """The progress line; on a terminal it is written over the last one."""
        now = time.monotonic()
        if not self._terminal and now - self._last < self._every:
            return
        self._last = now
        text = (
            f"step {step:,}  samples {samples:,}  loss {loss:.4f}  {rate:,.0f} samples/s  "
            f"{clock(left)} left{extra}"
        )
        print(f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n", flush=True)
        self._open_line = self._terminal

    def say(self, text: str) -> None:
        """A line that stays."""
        print(f"\n{text}" if self._open_line else text, flush=True)
        self._open_line = False

    def scalars(self, step: int, samples: int, values: Mapping[str, float]) -> None:
        """Log numbers under their names, at a step."""
        entry = {"step": step, "samples": samples, **{k: round(float(v), 6) for k, v in values.items()}}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        for tracker in self._trackers:
            tracker.scalars(step, values)

    def close(self) -> None:
        """Flush and close all logs."""
        if self._open_line:
            print(flush=True)
        self._file.close()
        for tracker in self._trackers:
            tracker.close()


class Silence:
    """What the other processes tell: nothing."""

    def line(
        self, step: int, samples: int, loss: float, rate: float, *, left: float, extra: str = ""
    ) -> None: ...

    def say(self, text: str) -> None: ...

    def scalars(self, step: int, samples: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line, from a killed run
