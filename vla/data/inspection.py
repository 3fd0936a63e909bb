"""What a robot data set holds, and all that is wrong with it, in a table.

Each check that training makes is made here one by one, so that one fault does not hide the next.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from vla.data.counts import check_tasks
from vla.data.episodes import EpisodeDataset
from vla.data.language import EVENTS, PERSISTENT
from vla.data.motion import LEAST_ROWS, look_at_motion
from vla.data.names import names_of
from vla.data.stats_check import BOOKKEEPING, check_stats
from vla.data.times import check_times
from vla.data.video import VideoPlaces
from vla.errors import BadInput
from vla.interfaces import ACTION, IMAGE_PREFIX, STATE

__all__ = ["RobotInspection", "inspect_robot"]

VALID = "annotation.valid"
NAMED = 6
"""One-step episodes, disagreements, sentences: so many are told one by one."""
_NONE = np.zeros((0, 2), np.int64)


@dataclass
class RobotInspection:
    """root: of the data set. rows: (what, its value) for a table. damage: a line for each thing that training
    would refuse. dataset: None where not even meta/info.json can be read."""

    root: Path
    rows: list[tuple[str, str]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    dataset: EpisodeDataset | None = None

    def look(self, instead: Any, check: Callable[..., Any], *arguments: Any) -> Any:
        """What ``check(*arguments)`` gives; where it raises BadInput, that is noted and `instead` given."""
        try:
            return check(*arguments)
        except BadInput as error:
            line = str(error)
            if line not in self.damage:
                self.damage.append(line)
            return instead


def inspect_robot(root: str | Path) -> RobotInspection:
    """Look at all of a LeRobot v3 folder but its pictures, of which only the places are checked."""
    found = RobotInspection(Path(root))
    data = found.look(None, EpisodeDataset, root)
    if data is None:
        return found
    found.dataset = data
    seconds = data.num_frames / data.fps
    found.rows = [
        ("robot", str(data.info.get("robot_type") or "not said")),
        ("episodes", f"{data.num_episodes:,}"),
        ("frames", f"{data.num_frames:,}: {_duration(seconds)} at {data.fps} fps"),
        *_cameras(data, found),
        *((what, _numbers(data, key, found)) for what, key in (("state", STATE), ("action", ACTION))),
        *_motion(data),
        *_lengths(data, found),
        *_sentences(data, found),
        *_language(data, found),
        *_valid(data, found),
        *_statistics(data, found),
    ]
    found.look(None, check_times, data)
    rest = [name for name in data.features if name not in (STATE, ACTION, VALID) and _is_number(data, name)]
    for name in rest:
        found.look({}, data.columns, [name])
    return found


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours" if seconds >= 360 else f"{seconds:.1f} seconds"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _is_number(data: EpisodeDataset, name: str) -> bool:
    return str(data.features[name]["dtype"]).startswith(("float", "int", "uint", "bool"))


def _cameras(data: EpisodeDataset, found: RobotInspection) -> list[tuple[str, str]]:
    rows = []
    for camera in data.cameras:
        shape = found.look(None, data.image_shape, camera)
        if shape is None:
            continue
        stored = data.features[IMAGE_PREFIX + camera]["dtype"]
        if stored == "video":
            how = _video(data, camera, found)
        else:
            size = found.look(0, _column_bytes, data, camera)
            how = f"pictures in parquet, {_bytes(size)}"
        rows.append((f"camera {camera}", f"{shape[1]} x {shape[0]} pixels, {how}"))
    return rows or [("cameras", "none")]


def _video(data: EpisodeDataset, camera: str, found: RobotInspection) -> str:
    """Where each frame's picture lies is looked up: a video cut short, or one at another rate, shows."""
    places = found.look(None, VideoPlaces, data, camera)
    if places is None:
        return "video"
    for number in range(len(places.files)):
        found.look(None, places.index, number)
    size = sum(file.stat().st_size for file in places.files)
    info = data.features[IMAGE_PREFIX + camera].get("info") or {}
    codec = info.get("video.codec") if isinstance(info, dict) else None
    files = f"{len(places.files)} file{'' if len(places.files) == 1 else 's'}"
    return f"video{f' ({codec})' if codec else ''}, {files}, {_bytes(size)}"


def _column_bytes(data: EpisodeDataset, camera: str) -> int:
    total = 0
    for file, _, _ in data.file_frames:
        meta = pq.read_metadata(file)
        for group in range(meta.num_row_groups):
            columns = (meta.row_group(group).column(i) for i in range(meta.num_columns))
            total += sum(
                c.total_compressed_size
                for c in columns
                if c.path_in_schema.startswith(f"{IMAGE_PREFIX}{camera}.")
            )
    return total


def _numbers(data: EpisodeDataset, key: str, found: RobotInspection) -> str:
    feature = data.features.get(key)
    if feature is None:
        found.damage.append(f"{data.root}: dataset has no feature '{key}'")
        return "missing"
    found.look({}, data.columns, [key])
    names, units = names_of(feature), feature.get("units") or feature.get("unit")
    told = f"{feature['shape'][-1]} numbers" + (f": {', '.join(names)}" if names else ", not named")
    return told + (f" ({units})" if units else "")


def _motion(data: EpisodeDataset) -> list[tuple[str, str]]:
    """What the numbers do tells their unit, and whether actions are places or steps; nothing else does."""
    if STATE not in data.features or ACTION not in data.features:
        return []
    motion = look_at_motion(data)
    if motion is None:  # what cannot be read is told as damage
        few = data.num_frames < LEAST_ROWS
        return [("action to state", f"unclear: fewer than {LEAST_ROWS} frames")] if few else []
    kinds = Counter(motion.relations)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return [
        *(
            (
                f"  {what}, 98% within",
                ", ".join(f"{a:.3g}..{b:.3g}" for a, b in zip(span.low, span.high, strict=True)),
            )
            for what, span in (("state", motion.spans[STATE]), ("action", motion.spans[ACTION]))
        ),
        ("action to state", motion.relation + (f" ({told})" if len(kinds) > 1 else "")),
    ]


def _lengths(data: EpisodeDataset, found: RobotInspection) -> list[tuple[str, str]]:
    bounds = found.look(_NONE, getattr, data, "episode_bounds")
    if not len(bounds):
        return []
    lengths = np.diff(bounds)[:, 0]
    rows = [
        (
            "frames an episode, least / median / most",
            f"{lengths.min():,} / {np.median(lengths):g} / {lengths.max():,}",
        )
    ]
    short = np.flatnonzero(lengths == 1).tolist()
    if short:
        named = ", ".join(map(str, short[:NAMED])) + (", ..." if len(short) > NAMED else "")
        rows.append(("episodes of one step", f"{len(short):,}: {named}"))
    return rows


def _sentences(data: EpisodeDataset, found: RobotInspection) -> list[tuple[str, str]]:
    tasks = found.look([], getattr, data, "tasks")
    numbers = found.look(None, check_tasks, data) if tasks else None
    bounds = found.look(_NONE, getattr, data, "episode_bounds")
    if not tasks or numbers is None or not len(bounds):
        return []
    words = Counter(word for task in tasks for word in task.lower().split())
    often = Counter(tasks[int(number)] for number in numbers[bounds[:, 0]]).most_common(3)
    rows = [
        ("sentences", f"{len(tasks):,} different, {len(words):,} words"),
        ("most frequent words", ", ".join(f"{word} {count:,}" for word, count in words.most_common(12))),
    ]
    return rows + [(f"  in {count:,} episode{'' if count == 1 else 's'}", task) for task, count in often]


def _language(data: EpisodeDataset, found: RobotInspection) -> list[tuple[str, str]]:
    rows = []
    if PERSISTENT in data.features:
        styles = found.look([], getattr, data.language, "styles")
        rows.append((PERSISTENT, ", ".join(styles) or "empty"))
    if EVENTS in data.features:
        events = found.look({}, data.language.events)
        kinds = Counter(words.style or "speech" for said in events.values() for words in said)
        rows.append((EVENTS, ", ".join(f"{count:,} x {kind}" for kind, count in kinds.items()) or "none"))
    if "subtask_index" in data.features:
        subtasks, _ = found.look(([], None), data.language.labels)
        rows.append(("sub-tasks", ", ".join(subtasks[:12]) or "none"))
    return rows


def _valid(data: EpisodeDataset, found: RobotInspection) -> list[tuple[str, str]]:
    if VALID not in data.features:
        return []
    columns = found.look({}, data.columns, [VALID])
    if not columns:
        return []
    bad = int((columns[VALID] <= 0).sum())
    return [("frames not to learn from", f"{bad:,} ({bad / data.num_frames:.1%}, {VALID})")]


def _statistics(data: EpisodeDataset, found: RobotInspection) -> list[tuple[str, str]]:
    """What stats.json says wrongly is no damage: nothing of ours takes statistics from it."""
    numeric = [name for name in data.features if _is_number(data, name) and name not in BOOKKEEPING]
    if any(f"'{name}'" in line for name in numeric for line in found.damage):
        return []  # what cannot be read or summed was told
    checked = found.look(None, check_stats, data)
    if checked is None:
        return []
    wrong, note = checked.wrong, [("", checked.note)] if checked.note else []
    if not wrong:
        return [("meta/stats.json", "agrees with the data"), *note]
    more = [("", f"and {len(wrong) - NAMED:,} more")] if len(wrong) > NAMED else []
    return [
        ("meta/stats.json", f"disagrees in {len(wrong):,} numbers, the worst first:"),
        *(("", str(each)) for each in wrong[:NAMED]),
        *more,
        *note,
    ]
