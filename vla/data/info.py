"""meta/info.json of a LeRobotDataset v3 folder, read and checked key by key: nothing trips on it later."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla.data.unfinished import check_finished
from vla.errors import BadInput

__all__ = ["CODEBASE_VERSION", "COPY_AGAIN", "DATA_PATH", "VIDEO_PATH", "read_info", "read_json"]

CODEBASE_VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
COPY_AGAIN = "copy it again from where the dataset came from, or make the dataset anew"
"""What helps where a file is missing or cut short."""
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the dataset. Raises BadInput naming the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"dataset file is missing: {path}; {COPY_AGAIN}") from None
    except OSError as error:
        raise BadInput(f"dataset file cannot be read: {path}: {error.strerror}") from None
    except ValueError as error:  # not JSON, or not text
        raise BadInput(f"dataset file is not JSON (truncated?): {path}: {error}; {COPY_AGAIN}") from None
    if not isinstance(found, dict):
        raise BadInput(f"dataset file does not hold a JSON object: {path}")
    return found


def read_info(root: Path) -> dict[str, Any]:
    """The checked content of `root`/meta/info.json. Raises BadInput naming the file and the key."""
    path = root / "meta" / "info.json"
    check_finished(root)
    if not root.is_dir():
        raise BadInput(f"dataset folder does not exist: {root}")
    if not path.is_file():
        raise BadInput(f"not a LeRobot v3 dataset, file is missing: {path}; give the folder that holds meta/")
    info = read_json(path)
    for key in ("codebase_version", "fps", "features", "total_episodes", "total_frames"):
        if key not in info:
            raise BadInput(f"{path} has no key '{key}'; {COPY_AGAIN}")
    version = info["codebase_version"]
    if not str(version).startswith(CODEBASE_VERSION):
        how = f": python scripts/data.py convert data={root} out=..." if str(version) == "v2.1" else ""
        raise BadInput(f"{path} has codebase_version {version!r}; only {CODEBASE_VERSION} is read{how}")
    if info["total_frames"] == 0 or info["total_episodes"] == 0:
        raise BadInput(f"dataset is empty (total_frames is {info['total_frames']}): {path}")
    for key in ("fps", "total_episodes", "total_frames"):
        if not _is_count(info[key]):
            raise BadInput(f"{path}: '{key}' must be a whole number above 0, not {info[key]!r}")
    _check_features(info["features"], path)
    pattern = info.get("data_path") or DATA_PATH
    try:
        pattern.format(chunk_index=0, file_index=0)
    except (AttributeError, LookupError, ValueError):
        raise BadInput(f"{path}: 'data_path' must be like {DATA_PATH!r}, not {pattern!r}") from None
    return info


def _is_count(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and value >= 1 and float(value).is_integer()


def _check_features(features: Any, path: Path) -> None:
    if not isinstance(features, Mapping):
        raise BadInput(f"{path}: 'features' must map names to features, not {type(features).__name__}")
    for name, feature in features.items():
        where = f"{path}: feature '{name}'"
        if not isinstance(feature, Mapping) or not isinstance(feature.get("dtype"), str):
            raise BadInput(f"{where} must be an object with 'dtype' and 'shape'")
        shape = feature.get("shape")
        if not isinstance(shape, list) or not all(_is_count(size) for size in shape):
            raise BadInput(f"{where} must have a 'shape' of whole numbers above 0, not {shape!r}")
