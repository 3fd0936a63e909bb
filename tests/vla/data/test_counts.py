"""Where the parts of a folder count differently, one line names the file, the episode and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_episodes import write_dataset

from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.inspection import inspect_robot
from vla.data.lerobot_writer import EpisodeWriter
from vla.errors import BadInput

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
AGAIN = "copy it again from where the dataset came from"
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("counts") / "set", [5, 3, 7])


def rows(change: Callable[[pa.Table], pa.Table], file: str = DATA) -> Damage:
    def damage(root: Path) -> None:
        pq.write_table(change(pq.read_table(root / file)), root / file)

    return damage


def cells(name: str, place: int, value: int, file: str = DATA) -> Damage:
    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[place] = value
        column = pa.array(values, table.schema.field(name).type)
        return table.set_column(table.column_names.index(name), name, column)

    return rows(change, file)


def info(key: str, value: Any) -> Damage:
    def damage(root: Path) -> None:
        path = root / "meta/info.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

    return damage


def gone(file: str) -> Damage:
    return lambda root: (root / file).unlink()


def cut(file: str) -> Damage:
    return lambda root: (root / file).write_bytes(
        (root / file).read_bytes()[: (root / file).stat().st_size // 2]
    )


CASES: list[tuple[Damage, tuple[str, ...]]] = [
    *((gone(file), (file, "missing", AGAIN)) for file in ("meta/tasks.parquet", "meta/stats.json")),
    *((gone(file), (file, "missing", AGAIN)) for file in (DATA, EPISODES, "meta/subtasks.parquet")),
    *((cut(file), (file, "truncated", AGAIN)) for file in (DATA, EPISODES, "meta/tasks.parquet")),
    (cut("meta/stats.json"), ("meta/stats.json", "truncated", AGAIN)),
    (
        rows(lambda table: table.slice(0, 13)),
        (f"{DATA} holds 13 frames", "says 15 for its episodes (0 to 2)", AGAIN),
    ),
    (rows(lambda table: pa.concat_tables([table, table.slice(0, 2)])), (f"{DATA} holds 17 frames", AGAIN)),
    (info("total_frames", 16), ("lengths sum up to 15 frames", "says 16 (total_frames)", AGAIN)),
    (info("total_episodes", 4), ("lists 3 episodes", "says 4 (total_episodes)", AGAIN)),
    (
        cells("task_index", 6, 2),
        ("'task_index' is 2 at frame 1 of episode 1", "tasks.parquet holds 2", AGAIN),
    ),
    (cells("task_index", 0, -1), ("'task_index' is -1 at frame 0 of episode 0", "numbered 0 to 1", AGAIN)),
    (
        rows(lambda table: table.slice(0, 1), "meta/tasks.parquet"),
        ("'task_index' is 1 at frame 0 of episode 1", "holds 1 sentence, number 0", AGAIN),
    ),
    (
        cells("dataset_to_index", 1, 9, EPISODES),
        (
            "'dataset_to_index' of episode 1 is 9",
            "its 3 frames are 5 to 7: it must be 8; correct it there",
        ),
    ),
    (
        cells("dataset_from_index", 2, 9, EPISODES),
        (
            "'dataset_from_index' of episode 2 is 9",
            "its 7 frames are 8 to 14: it must be 8",
        ),
    ),
    (cells("index", 4, 9), ("'index' is 9 at frame 4 of episode 0", "should be 4", AGAIN)),
    (cells("episode_index", 14, 1), ("'episode_index' does not hold 3 whole episodes", AGAIN)),
]


def _swapped_lengths(root: Path) -> None:
    cells("length", 0, 4, EPISODES)(root)
    cells("length", 1, 4, EPISODES)(root)


CASES.append((_swapped_lengths, ("'length' of episode 0 is 4", "hold 5 frames of it", AGAIN)))


@pytest.mark.parametrize(("damage", "words"), CASES)
def test_training_and_inspection_tell_it(
    whole: Path, tmp_path: Path, damage: Damage, words: tuple[str, ...]
) -> None:
    root = Path(shutil.copytree(whole, tmp_path / "set"))
    damage(root)
    with pytest.raises(BadInput) as caught:
        ChunkData([Source(EpisodeDataset(root))], horizon=2)
    told = inspect_robot(root).damage
    for line in (str(caught.value), next(line for line in told if words[0] in line)):
        assert all(word in line for word in words) and "\n" not in line and str(root) in line, line


def test_of_several_files_the_short_one_is_named(whole: Path, tmp_path: Path) -> None:
    """The second file, of the episodes that were added later."""
    root = write_dataset(Path(shutil.copytree(whole, tmp_path / "set")), [4, 2], first=3)
    second = root / "data/chunk-000/file-001.parquet"
    pq.write_table(pq.read_table(second).slice(1), second)
    with pytest.raises(BadInput) as caught:
        _ = EpisodeDataset(root).file_frames
    assert f"{second} holds 5 frames, but meta/episodes says 6 for its episodes (3 to 4)" in str(caught.value)


def test_a_half_made_collection_is_no_dataset(tmp_path: Path) -> None:
    """Episodes that are staged only: told as such, and the same command still puts them together."""
    writer = EpisodeWriter(
        tmp_path / "set", 20, {"action": {"dtype": "float32", "shape": [2], "names": None}}
    )
    writer.write_episode(0, {"action": [[0.0, 1.0]] * 3}, "touch it")
    with pytest.raises(BadInput, match=r"set was never finished: .*collect.py episodes=... out="):
        EpisodeDataset(tmp_path / "set")
    writer.finalize()
    assert EpisodeDataset(tmp_path / "set").num_frames == 3
