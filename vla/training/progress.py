"""What a run tells while it goes: a line for people, JSON lines and TensorBoard scalars for later."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Progress", "clock"]


def clock(seconds: float) -> str:
    """``1:02:03`` or ``4:05``."""
    hours, rest = divmod(int(max(0.0, seconds)), 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


class Progress:
    """Writes ``metrics.jsonl`` and TensorBoard files into `out`, and lines to stdout.

    start_step: on resuming, later entries of the run that was stopped are dropped, so each step is told once.
    every_seconds: least time between two lines where stdout is not a terminal.
    """

    def __init__(
        self, out: Path, start_step: int, tensorboard: bool = True, every_seconds: float = 10.0
    ) -> None:
        self.path = out / "metrics.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            kept = [line for line in self.path.read_text().splitlines() if _step(line) <= start_step]
            self.path.write_text("".join(f"{line}\n" for line in kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start_step + 1)
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
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both logs."""
        if self._open_line:
            print(flush=True)
        self._file.close()
        if self._board is not None:
            self._board.close()


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line, from a killed run
