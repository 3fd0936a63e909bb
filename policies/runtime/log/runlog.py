"""The log of one run: told everything at microseconds a call, safe against any stop, and training data after.

While the run lasts there is a journal (see `journal`); on closing it becomes a LeRobotDataset v3 folder with
ticks, chunks and events beside it (see `convert`), and only then is it removed.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from policies.runtime.log.entries import Other, Step, Tick, packer
from policies.runtime.log.journal import JOURNAL, JournalWriter
from policies.runtime.log.options import LogOptions
from vla.arm import ArmSpec, Positions, Reading
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole
from vla.interfaces import ActionChunk, Observation

if TYPE_CHECKING:
    from policies.runtime.safety import Decision

__all__ = ["RUN", "RunLog"]

RUN = "run.json"
_FORMAT = 1


class RunLog:
    """Logs one run into `folder`, which must not hold another's.

    policy_hz: policy steps a second, a whole number, as LeRobot's datasets count frames. about: whatever
    explains the run (policy, its hash, config, commit), for JSON. Arrays that it is given must not be changed
    afterwards. Every call but `close` returns at once, whatever the disk does, and may come from any thread.
    A context manager, which closes it. Raises BadInput where nothing can be logged.
    """

    def __init__(
        self,
        folder: Path,
        spec: ArmSpec,
        task: str,
        policy_hz: float,
        about: Mapping[str, Any],
        *,
        options: LogOptions | None = None,
    ) -> None:
        if not (policy_hz >= 1 and float(policy_hz).is_integer()):
            raise BadInput(
                f"policy_hz={policy_hz:g}: a log, like LeRobot's datasets, needs a whole number a second"
            )
        if not task.strip():
            raise BadInput("a run needs a sentence that says what the arm is to do, to be logged")
        self.folder, self.options = writable_folder(folder), options or LogOptions()
        if (folder / RUN).exists() or (folder / JOURNAL).exists():
            raise BadInput(f"{folder} holds another run's log; give the run a folder of its own")
        self.dropped, self._began_ticking = 0, False
        self._lock, self._waiting, self._packed = threading.Lock(), 0, 0
        self._limit = int(self.options.queue_mb * 2**20)
        self._began, self._closed = time.monotonic(), threading.Event()
        self._dataset: Path | None = None
        begin = {
            "kind": "begin",
            "format": _FORMAT,
            "robot": spec.robot,
            "task": task,
            "fps": int(policy_hz),
            "arm_hz": spec.hz,
            "joints": [_named(joint) for joint in spec.joints],
            "cameras": list(spec.cameras),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "clock": self._began,
            "about": dict(about),
        }
        pack = packer(len(spec.joints), self.options, self._done)
        self._journal = JournalWriter(folder, self.options, pack)
        self._journal.put(Other(begin))
        write_whole(folder / RUN, json.dumps({**begin, "state": "running"}, indent=1, default=str) + "\n")

    # -- the run's side ----------------------------------------------------------------------------

    def step(
        self,
        number: int,
        observation: Observation,
        reading: Reading,
        wanted: Positions | None,
        decision: "Decision",
    ) -> None:
        """A policy step, counted from 0: what the policy is shown, and what is decided at this tick."""
        images = observation.images
        size = sum(image.nbytes for image in images.values())
        dropped: tuple[str, ...] = ()
        with self._lock:
            if images and (self._journal.starved or self._waiting - self._packed + size > self._limit):
                images, size, dropped = {}, 0, tuple(images)
                self.dropped += len(dropped)
            self._waiting += size
        tick = _tick(reading.time, reading, wanted, decision)
        self._put(Step(number, tick, observation.timestamp, observation.state, images, dropped), heavy=True)

    def tick(self, time: float, reading: Reading, wanted: Positions | None, decision: "Decision") -> None:
        """A control tick at `time`: measured, wanted (None: hold) and sent, and why the filter intervened."""
        self._began_ticking = True
        self._put(_tick(time, reading, wanted, decision))

    def chunk(self, asked: int, answered: int, seconds: float, chunk: ActionChunk) -> None:
        """An answer: asked for at policy step `asked`, there at step `answered`, after `seconds`."""
        self._put(
            Other({"kind": "chunk", "asked": asked, "answered": answered, "seconds": seconds}, chunk=chunk)
        )

    def event(self, time: float, kind: str, text: str) -> None:
        """Anything worth telling: a fault, a hold, an emergency stop, the end and its reason."""
        self._put(Other({"kind": "event", "time": time, "what": kind, "text": text}))

    @property
    def trouble(self) -> str:
        """Why it can no longer write what it is told; empty if all is well."""
        return self._journal.trouble

    # -- the end -----------------------------------------------------------------------------------

    def close(self) -> Path:
        """Write what is left and make the dataset of it: its folder, which is not there where no step was.

        Takes as long as reading and writing all pictures once. Raises BadInput where the end was lost, or the
        dataset cannot be written; the journal then stays, for ``scripts/runs.py recover``.
        """
        if self._dataset is None:
            if not self._closed.is_set():
                self._put(Other({"kind": "end", "dropped": self.dropped, "clock": time.monotonic()}))
                self._closed.set()
            self._journal.close()
            from policies.runtime.log.convert import convert

            self._dataset = convert(self.folder)
        return self._dataset

    def close_or_discard(self) -> bool:
        """Close it, or remove it where it never came to a tick. Whether it was closed."""
        if self._began_ticking:
            self.close()
            return True
        if not self._closed.is_set():
            self._closed.set()
            with suppress(BadInput):
                self._journal.close()
            for name in (JOURNAL, RUN):
                (self.folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # somebody else's file is in there
                self.folder.rmdir()
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except BadInput as failure:
            if error is None:
                raise
            print(failure, file=sys.stderr)  # what ended the run is the greater news

    def _put(self, entry: Any, heavy: bool = False) -> None:
        if not self._closed.is_set():  # a late inference thread may still tell something
            self._journal.put(entry, heavy)

    def _done(self, step: Step) -> None:
        with self._lock:
            self._packed += sum(image.nbytes for image in step.images.values())


def _tick(time: float, reading: Reading, wanted: Positions | None, decision: "Decision") -> Tick:
    # Bytes: the filter and the arm may use their arrays again.
    return Tick(
        time,
        reading.time,
        np.asarray(reading.positions, np.float64).tobytes(),
        b"" if wanted is None else np.asarray(wanted, np.float64).tobytes(),
        np.asarray(decision.command, np.float64).tobytes(),
        decision.held,
        decision.interventions,
    )


def _named(joint: Any) -> dict[str, Any]:
    """A joint as JSON, with LeRobot's name for its position."""
    told = {key: getattr(joint, key) for key in joint.__dataclass_fields__}
    return told | {"column": joint.name if joint.name.endswith(".pos") else f"{joint.name}.pos"}
