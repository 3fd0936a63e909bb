"""Words beside the task: what holds at a frame and what is said there, as LeRobot's own resolver has it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_episodes import write_dataset

from vla.data.episodes import EpisodeDataset
from vla.data.language import EVENTS, PERSISTENT, Words
from vla.errors import BadInput

LENGTHS = [5, 1, 8]
FILE = "data/chunk-000/file-000.parquet"


def _row(
    text: str | None, time: float | None = None, style: str | None = "subtask", **more: Any
) -> dict[str, Any]:
    row = {"role": "assistant", "content": text, "style": style, "camera": None, "tool_calls": None, **more}
    return row if time is None else {**row, "timestamp": float(np.float32(time))}


SAY = {"type": "function", "function": {"name": "say", "arguments": {"text": "of course"}}}
EPISODES: list[list[dict[str, Any]]] = [
    [_row("reach", 0.0), _row("grasp", 0.1), _row("reach, then grasp", 0.05, "plan")],
    [],
    [
        _row("lift", 0.15),
        _row("take it up", 0.0, "task_aug", role="user"),
        _row("raise it", 0.0, "task_aug", role="user"),
    ],
]  # fmt: skip
SAID = {
    2: [_row(None, style=None, tool_calls=[SAY]), _row("not that one", style="interjection", role="user")],
    9: [_row("where?", style="vqa", camera="observation.images.front", role="user")],
}


def _annotate(
    root: Path, persistent: list[list[dict[str, Any]]], said: dict[int, list[dict[str, Any]]]
) -> None:
    """As LeRobot's annotation writer does it: an episode's rows at each of its frames, types as they fall."""
    table = pq.read_table(root / FILE).drop_columns(["subtask_index"])
    of_frame = [rows for rows, n in zip(persistent, LENGTHS, strict=True) for _ in range(n)]
    table = table.append_column(PERSISTENT, pa.array(of_frame))
    table = table.append_column(EVENTS, pa.array([said.get(i, []) for i in range(len(table))]))
    pq.write_table(table, root / FILE)
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    del info["features"]["subtask_index"]
    for name in (PERSISTENT, EVENTS):
        info["features"][name] = {"dtype": "language", "shape": [1], "names": None}
    path.write_text(json.dumps(info))


@pytest.fixture
def data(tmp_path: Path) -> EpisodeDataset:
    root = write_dataset(tmp_path / "set", LENGTHS)
    _annotate(root, EPISODES, SAID)
    return EpisodeDataset(root)


def test_what_holds(data: EpisodeDataset) -> None:
    texts, which = data.language.labels("subtask")
    said = [texts[i] if i >= 0 else None for i in which]
    assert said == ["reach"] * 2 + ["grasp"] * 3 + [None] + [None] * 3 + ["lift"] * 5
    for frame, text in enumerate(said):
        found = data.language.holding(frame)
        assert (found.text if found else None) == text
    assert data.language.styles == ["plan", "subtask", "task_aug"]
    assert [data.language.wordings(episode) for episode in range(3)] == [[], [], ["take it up", "raise it"]]


def test_what_is_said(data: EpisodeDataset) -> None:
    assert data.language.said(2) == [
        Words("assistant", None, None, calls=(SAY,)), Words("user", "not that one", "interjection")
    ]  # fmt: skip
    assert [row.text for row in data.language.said(2, "interjection")] == ["not that one"]
    assert data.language.said(3) == []
    assert sorted(data.language.events()) == [2, 9]
    [asked] = data.language.said(9, camera="observation.images.front")
    assert (asked.text, asked.style) == ("where?", "vqa")
    assert data.language.said(9, camera="observation.images.wrist") == []


def test_numbers_and_pictures_are_read_beside_words(data: EpisodeDataset) -> None:
    data.check_meta()
    assert data.columns(["action"])["action"].shape == (14, 6)


def test_an_unknown_kind_is_named(data: EpisodeDataset) -> None:
    with pytest.raises(BadInput, match=r"'subtasks' are annotated .did you mean 'subtask'"):
        data.language.labels("subtasks")


def test_older_datasets_keep_sub_tasks_by_number(tmp_path: Path) -> None:
    data = EpisodeDataset(write_dataset(tmp_path / "set", LENGTHS))
    texts, which = data.language.labels("subtask")
    assert texts == ["reach"] and not which.any()
    assert data.language.said(0) == [] and data.language.styles == []


def test_a_column_of_something_else_is_named(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "set", LENGTHS)
    table = pq.read_table(root / FILE)
    for cells, line in (
        (pa.array(["x"] * 14), "not lists"),
        (pa.array([[{"text": "x"}]] * 14), "without role"),
    ):
        pq.write_table(table.append_column(PERSISTENT, cells), root / FILE)
        with pytest.raises(BadInput, match=line):
            EpisodeDataset(root).language.labels("subtask")


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(times=st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), data=st.data())
def test_lerobot_finds_the_same(
    times: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    render = pytest.importorskip("lerobot.datasets.language_render")
    rows = [_row(f"do {time}", time / 20) for time in data.draw(st.permutations(times))]
    root = write_dataset(tmp_path_factory.mktemp("set") / "set", LENGTHS)
    _annotate(root, [rows, rows[:1], rows], {})
    ours = EpisodeDataset(root)
    texts, which = ours.language.labels("subtask")
    stamps = ours.columns(["timestamp"])["timestamp"].reshape(-1)
    for frame in range(sum(LENGTHS)):
        own = rows[:1] if ours.episode_of_frame[frame] == 1 else rows
        theirs = render.active_at(float(stamps[frame]), persistent=own, style="subtask")
        assert (theirs["content"] if theirs else None) == (texts[which[frame]] if which[frame] >= 0 else None)


@pytest.mark.slow
def test_lerobot_reads_the_same_folder(data: EpisodeDataset) -> None:
    datasets = pytest.importorskip("lerobot.datasets")
    theirs = datasets.LeRobotDataset("some/name", root=data.root)
    assert [row["content"] for row in theirs[4][PERSISTENT]] == [row["content"] for row in EPISODES[0]]
