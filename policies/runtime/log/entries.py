"""What a run tells its log, as records of the journal. This runs in the log's own thread.

Ticks come by the hundred a second and are put together into blocks, one record each; every other entry is a
record of its own. An entry that cannot be packed becomes an event that says so: it never stops the log.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from policies.runtime.log.options import LogOptions
from policies.runtime.log.pictures import encoded
from policies.runtime.log.records import Encoded, pack
from vla.interfaces import ActionChunk

__all__ = ["Other", "Step", "Tick", "packer"]


class Tick(NamedTuple):
    """One control tick; positions as the bytes of float64 ``[joints]``, wanted empty for "hold"."""

    time: float
    read: float
    measured: bytes
    wanted: bytes
    sent: bytes
    held: bool
    interventions: Sequence[tuple[str, str, str]]


class Step(NamedTuple):
    """One policy step: the tick at it, and what the policy was shown. dropped: pictures left out."""

    number: int
    tick: Tick
    timestamp: float | None
    state: npt.NDArray[np.float32]
    images: Mapping[str, npt.NDArray[np.uint8]]
    dropped: tuple[str, ...]


class Other(NamedTuple):
    """Anything else: a header and parts, or a chunk."""

    header: Mapping[str, Any]
    chunk: ActionChunk | None = None


def packer(
    joints: int, options: LogOptions, done: Callable[[Step], None]
) -> Callable[[Sequence[Any]], list[bytes]]:
    """Entries -> records, for an arm with so many joints. done: told of each step that is packed."""

    def records(entries: Sequence[Any]) -> list[bytes]:
        ticks = [entry for entry in entries if isinstance(entry, Tick)]
        made = [_tried(partial(_ticks, ticks, joints))] if ticks else []
        for entry in entries:
            if isinstance(entry, Step):
                made.append(_tried(partial(_step, entry, joints, options)))
                done(entry)
            elif isinstance(entry, Other):
                made.append(_tried(partial(_other, entry)))
        return made

    return records


def _tried(make: Callable[[], bytes]) -> bytes:
    try:
        return make()
    except Exception as error:
        text = f"an entry of the log could not be packed: {type(error).__name__}: {error}"
        return pack({"kind": "event", "time": None, "what": "log", "text": text}, {})


def _positions(rows: Sequence[bytes], joints: int) -> npt.NDArray[np.float64]:
    """``[rows, joints]``; what has another length, such as "hold" or a policy's nonsense, is NaN."""
    found = np.full((len(rows), joints), np.nan)
    for row, data in zip(found, rows, strict=True):
        if len(data) == row.nbytes:
            row[:] = np.frombuffer(data)
    return found


def _ticks(ticks: Sequence[Tick], joints: int) -> bytes:
    columns = list(zip(*ticks, strict=True))
    told = [
        [row, *map(str, each)] for row, found in enumerate(columns[6]) for each in found
    ]  # few ticks have any
    return pack(
        {"kind": "ticks", "interventions": told},
        {
            "time": np.array(columns[0], np.float64),
            "read": np.array(columns[1], np.float64),
            "measured": _positions(columns[2], joints),
            "wanted": _positions(columns[3], joints),
            "sent": _positions(columns[4], joints),
            "held": np.array(columns[5], np.uint8),
        },
    )


def _step(step: Step, joints: int, options: LogOptions) -> bytes:
    tick = step.tick
    parts: dict[str, npt.NDArray[Any] | Encoded] = {
        "state": np.asarray(step.state, np.float32),
        "wanted": _positions([tick.wanted], joints)[0],
        "sent": _positions([tick.sent], joints)[0],
    }
    for name, image in step.images.items():
        parts[f"image:{name}"] = encoded(np.ascontiguousarray(image), options.pictures, options.quality)
    header = {
        "kind": "step",
        "number": step.number,
        "time": tick.time,
        "timestamp": step.timestamp,
        "held": bool(tick.held),
        "safety": [list(map(str, each)) for each in tick.interventions],
        "dropped": list(step.dropped),
    }
    return pack(header, parts)


def _other(entry: Other) -> bytes:
    chunk = entry.chunk
    if chunk is None:
        return pack(entry.header, {})
    header = {
        **entry.header,
        "hold": chunk.hold,
        "info": dict(chunk.info),
        "observed_at": chunk.observed_at,
        "frame_index": chunk.frame_index,
    }
    # In definite types, whatever a policy makes them of: nothing can then go wrong on reading them.
    parts = {"actions": np.atleast_2d(np.asarray(chunk.actions, np.float32))}
    for name, dtype in (("timestamps", np.float64), ("uncertainty", np.float32), ("tokens", np.int64)):
        found = getattr(chunk, name)
        if found is not None:
            parts[name] = np.asarray(found, dtype)
    return pack(header, parts)
