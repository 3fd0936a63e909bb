"""LeRobot v2.1 folders become v3 folders of the same numbers and pictures."""

import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from legacy_dataset import KEY, LENGTHS, write_legacy

from vla.data.convert import convert_v21, remux, v21
from vla.data.episodes import EpisodeDataset
from vla.data.pictures_source import open_pictures
from vla.errors import BadInput

FRAMES = sum(LENGTHS)
KINDS = [None, "av1", "h264"]


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source = write_legacy(tmp_path_factory.mktemp("old") / "set", request.param)
    return source, convert_v21(source, source.with_name("new"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_legacy(tmp_path / "set")


def _videos(source: Path) -> list[Path]:
    return sorted((source / "videos").rglob("*.mp4"))


def _plain(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_numbers_and_sentences_stay(pair: tuple[Path, Path]) -> None:
    source, target = pair
    data = EpisodeDataset(target)
    data.check_meta()
    assert np.diff(data.episode_bounds)[:, 0].tolist() == LENGTHS
    old = [pq.read_table(path) for path in sorted((source / "data").rglob("*.parquet"))]
    for name in ("action", "observation.state", "task_index", "timestamp", "annotation.points"):
        wanted = np.concatenate([np.array(table[name].to_pylist()) for table in old])
        np.testing.assert_array_equal(data.columns([name])[name], wanted.astype(np.float32))
    lines = (source / "meta/tasks.jsonl").read_text().splitlines()
    assert data.tasks == [json.loads(line)["task"] for line in lines]
    assert not list(target.rglob("*.tmp*")) and not (target / "plan.json").exists()


def test_pictures_stay_bit_for_bit(pair: tuple[Path, Path]) -> None:
    source, target = pair
    found = open_pictures(EpisodeDataset(target), "front", cached=False, workers=1)(np.arange(FRAMES))
    videos = _videos(source)
    if videos:
        wanted = [picture for video in videos for picture in _plain(video)]
        np.testing.assert_array_equal(found, np.stack(wanted))
    new = open_pictures(EpisodeDataset(target), "wrist", cached=False, workers=1)(np.arange(FRAMES))
    old = EpisodeDataset(source.with_name(f"{source.name}-v3"))
    np.testing.assert_array_equal(new, open_pictures(old, "wrist", cached=False)(np.arange(FRAMES)))


def test_again_does_nothing_and_another_target_is_not_touched(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = pair
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    convert_v21(source, target)
    assert before == {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(BadInput, match="not an empty folder"):
        convert_v21(source, tmp_path / "mine")


def test_it_goes_on_where_it_was_stopped(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = source.with_name("new")
    whole = convert_v21(source, source.with_name("whole"))
    with monkeypatch.context() as patch:
        patch.setattr(v21, "join", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            convert_v21(source, target, "the same again")
    assert not target.exists()
    for folder in (target, v21.aside_of(target)):  # neither is a dataset, and both tell how to go on
        with pytest.raises(BadInput, match=f"{folder} was never finished: .*go on with: the same again"):
            EpisodeDataset(folder)
    monkeypatch.setattr(v21, "_write_groups", lambda *a: pytest.fail("written twice"))
    convert_v21(source, target)
    assert not target.with_name(f".{target.name}.unfinished").exists()
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(target) for path in target.rglob("*") if path.is_file())
    for path in files:
        assert (whole / path).read_bytes() == (target / path).read_bytes()


def test_a_changed_source_is_begun_anew(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = source.with_name("new")
    with monkeypatch.context() as patch:
        patch.setattr(v21, "_write_meta", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            convert_v21(source, target)
    path = source / "meta/tasks.jsonl"
    path.write_text(path.read_text().replace("touch the red cube", "touch the green cube"))
    assert "touch the green cube" in EpisodeDataset(convert_v21(source, target)).tasks


def test_videos_of_two_kinds_get_two_files(source: Path) -> None:
    other = write_legacy(source.with_name("h264"), "h264")
    shutil.copy(_videos(other)[2], _videos(source)[2])
    target = convert_v21(source, source.with_name("new"))
    assert len(list((target / "videos" / KEY).rglob("*.mp4"))) == 2
    found = open_pictures(EpisodeDataset(target), "front", cached=False)(np.arange(FRAMES))
    wanted = [picture for video in _videos(source) for picture in _plain(video)]
    np.testing.assert_array_equal(found, np.stack(wanted))


def test_small_files_are_many(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v21, "DATA_BYTES", 1)
    monkeypatch.setattr(v21, "VIDEO_BYTES", 1)
    monkeypatch.setattr(v21, "CHUNK", 2)
    data = EpisodeDataset(convert_v21(source, source.with_name("new")))
    assert [path.parts[-2:] for path in data.data_files] == [
        ("chunk-000", "file-000.parquet"),
        ("chunk-000", "file-001.parquet"),
        ("chunk-001", "file-000.parquet"),
    ]
    assert len(data.video_files()) == 3
    assert open_pictures(data, "front", cached=False)(np.arange(FRAMES)).shape == (FRAMES, 64, 64, 3)


def _break(source: Path, what: str) -> str:
    """Damage the folder; returns what the line must name."""
    if what == "missing video":
        _videos(source)[1].unlink()
        return "episode_000001.mp4"
    if what == "cut video":
        raw = _videos(source)[2].read_bytes()
        _videos(source)[2].write_bytes(raw[: len(raw) // 2])
        return "episode_000002.mp4"
    if what == "long video":
        shutil.copy(_videos(source)[2], _videos(source)[0])
        return "holds 8 pictures, its episode 5 frames"
    if what == "missing data":
        (source / "data/chunk-000/episode_000002.parquet").unlink()
        return "episode_000002.parquet"
    if what == "short data":
        path = source / "data/chunk-000/episode_000002.parquet"
        pq.write_table(pq.read_table(path).slice(0, 7), path)
        return "holds 7 frames, meta/episodes.jsonl says 8"
    if what in ("no state", "no action"):
        path = source / "data/chunk-000/episode_000002.parquet"
        table, name = pq.read_table(path), {"no state": "observation.state", "no action": "action"}[what]
        values = np.array(table[name].to_pylist(), np.float32)
        values[6, 3] = np.nan if what == "no state" else -np.inf
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        pq.write_table(table.set_column(table.column_names.index(name), name, column), path)
        return f"episode_000002.parquet: '{name}' is not finite at frame 6 of episode 2; write the true"
    if what == "cut meta":
        path = source / "meta/episodes_stats.jsonl"
        path.write_text(path.read_text()[:-40])
        return "episodes_stats.jsonl, line 3 is not JSON"
    path = source / "meta/info.json"
    path.write_text(path.read_text().replace("v2.1", "v2.0"))
    return "'v2.0', not 'v2.1'"


@pytest.mark.parametrize(
    "what",
    [
        *("missing video", "cut video", "long video", "missing data", "short data", "no state", "no action"),
        *("cut meta", "version"),
    ],
)
def test_damage_is_named_and_leaves_no_dataset(source: Path, what: str) -> None:
    words = _break(source, what)
    with pytest.raises(BadInput) as caught:
        convert_v21(source, source.with_name("new"))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not source.with_name("new").exists()


def test_clips_join_at_their_times(tmp_path: Path, source: Path) -> None:
    clips = [remux.look_at(video, length, 20) for video, length in zip(_videos(source), LENGTHS, strict=True)]
    remux.join(clips, tmp_path / "all.mp4", 20)
    with av.open(str(tmp_path / "all.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(FRAMES) / 20, atol=1e-4)


@pytest.mark.slow
def test_lerobot_converts_to_the_same_and_reads_it(pair: tuple[Path, Path], tmp_path: Path) -> None:
    script: Any = pytest.importorskip("lerobot.scripts.convert_dataset_v21_to_v30")
    datasets: Any = pytest.importorskip("lerobot.datasets")
    source, target = pair
    theirs = Path(shutil.copytree(source, tmp_path / "set"))
    try:
        script.convert_dataset("some/name", root=theirs, push_to_hub=False)
    except ValueError:  # it cannot join clips that are decoded ahead by different amounts; that ours is read
        theirs = target  # as it should be is left to see
    mine, other = (datasets.LeRobotDataset("some/name", root=root) for root in (target, theirs))
    assert len(mine) == len(other) == FRAMES
    for frame in range(FRAMES):
        one, two = mine[frame], other[frame]
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert value == two[name] if isinstance(value, str) else bool((value == two[name]).all())
    infos = [json.loads((root / "meta/info.json").read_text()) for root in (target, theirs)]
    assert infos[0] == infos[1]
    stats = [json.loads((root / "meta/stats.json").read_text()) for root in (target, theirs)]
    for name, each in stats[1].items():
        for stat, value in each.items():
            np.testing.assert_allclose(np.ravel(stats[0][name][stat]), np.ravel(value), atol=1e-4)
