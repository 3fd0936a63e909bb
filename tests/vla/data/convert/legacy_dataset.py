"""A small LeRobot v2.1 folder, laid out as that version did: a file an episode, meta as JSON lines."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from synthetic_episodes import write_dataset
from synthetic_video import encode, moving

KEY = "observation.images.front"
LENGTHS = [5, 1, 8]


def write_legacy(root: Path, codec: str | None = "av1") -> Path:
    """Episodes of `LENGTHS`; the front camera as video, or with codec=None as PNG like the other."""
    new = write_dataset(root.with_name(f"{root.name}-v3"), LENGTHS, size=64)
    info: dict[str, Any] = json.loads((new / "meta/info.json").read_text())
    del info["features"]["subtask_index"]
    table = pq.read_table(new / "data/chunk-000/file-000.parquet").drop_columns(["subtask_index"])
    rows = pq.read_table(new / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    if codec is not None:
        table = table.drop_columns([KEY])
        info["features"][KEY]["dtype"] = "video"
    episodes, stats = [], []
    for row in rows:
        number, first, last = row["episode_index"], row["dataset_from_index"], row["dataset_to_index"]
        path = root / f"data/chunk-000/episode_{number:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(first, last - first), path)
        if codec is not None:
            video = root / f"videos/chunk-000/{KEY}/episode_{number:06d}.mp4"
            encode(video, moving(20)[number : number + last - first], codec)
        episodes.append({"episode_index": number, "tasks": row["tasks"], "length": last - first})
        each: dict[str, Any] = {}
        for name, value in row.items():
            kind, _, rest = name.partition("/")
            feature, _, stat = rest.rpartition("/")
            if kind == "stats" and feature in info["features"] and not stat.startswith("q"):
                each.setdefault(feature, {})[stat] = value
        stats.append({"episode_index": number, "stats": each})
    tasks = pq.read_table(new / "meta/tasks.parquet").to_pylist()
    lines = {
        "episodes": episodes,
        "episodes_stats": stats,
        "tasks": [{"task_index": row["task_index"], "task": row["task"]} for row in tasks],
    }
    (root / "meta").mkdir()
    for name, each_line in lines.items():
        (root / f"meta/{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in each_line))
    for key in ("data_files_size_in_mb", "video_files_size_in_mb"):
        info.pop(key)
    info |= {
        "codebase_version": "v2.1",
        "total_chunks": 1,
        "total_videos": len(rows) if codec else 0,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        if codec
        else None,
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    return root
