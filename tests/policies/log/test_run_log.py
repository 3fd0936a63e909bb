"""A run's log: cheap to tell, complete on closing, and training data then."""

import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from run_making import CAMERAS, NAMES, picture, spec_of, start, told

from policies.runtime.log import RunLog
from policies.runtime.safety.decision import Decision
from vla.arm import Picture, Reading, observed
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.stored_pictures import StoredReader
from vla.errors import BadInput
from vla.interfaces import ActionChunk


def pixels(data: EpisodeDataset, camera: str, frame: int) -> np.ndarray:
    out = np.zeros((1, *data.image_shape(camera)), np.uint8)
    StoredReader(data, camera).read(np.array([frame]), out)
    return out[0]


@pytest.mark.parametrize("how", ["auto", "png", "raw"])
def test_the_dataset_holds_what_was_told(tmp_path: Path, how: str) -> None:
    log = start(tmp_path / "run", pictures=how)
    seen = list(told(log, 12))
    log.event(time.monotonic(), "end", "done")
    data = EpisodeDataset(log.close())
    data.check_meta()
    assert log.trouble == "" and log.dropped == 0
    assert (data.num_frames, data.fps, data.tasks) == (12, 20, ["lift the red cube"])
    assert data.info["robot_type"] == "so101_follower"
    columns = data.columns(["observation.state", "action", "wanted", "held", "safety", "step"])
    assert np.array_equal(columns["observation.state"], [each.state for each, _ in seen])
    assert np.array_equal(columns["action"], np.array([sent for _, sent in seen], np.float32))
    np.testing.assert_allclose(columns["wanted"], columns["action"] * 2, rtol=1e-6)
    assert columns["held"].tolist() == [1] + [0] * 11 and columns["step"].tolist() == list(range(12))
    assert columns["safety"].tolist() == [int(i % 4 == 0) for i in range(12)]
    assert data.features["action"]["names"] == [f"{name}.pos" for name in NAMES]
    for frame, (each, _) in enumerate(seen):
        for camera in CAMERAS:
            assert np.array_equal(pixels(data, camera, frame), each.images[camera])


def test_the_tables_hold_every_tick_chunk_and_event(tmp_path: Path) -> None:
    log = start(tmp_path / "run")
    list(told(log, 8))
    log.chunk(8, 9, 0.02, ActionChunk(np.zeros((0, 6), np.float32), hold="no plan"))
    log.event(time.monotonic(), "watchdog", "camera 'front' gives no picture")
    log.close()
    ticks = pq.read_table(tmp_path / "run/ticks.parquet")
    assert ticks.num_rows == 40 and sum(map(len, ticks["safety"].to_pylist())) == 10
    assert ticks["safety"].to_pylist()[0] == ["speed elbow_flex: 190 deg/s"]
    wanted = np.array(ticks["wanted"].to_pylist())
    assert np.isnan(wanted[:5]).all() and np.isfinite(wanted[5:]).all()
    np.testing.assert_allclose(np.array(ticks["sent"].to_pylist())[5:], wanted[5:] * 0.5)
    chunks = pq.read_table(tmp_path / "run/chunks.parquet").to_pylist()
    assert [(c["asked"], c["answered"], c["rows"], c["hold"]) for c in chunks] == [
        (0, 1, 8, ""),
        (4, 5, 8, ""),
        (8, 9, 0, "no plan"),
    ]
    assert len(chunks[0]["actions"]) == 48 and chunks[0]["tokens"] == list(range(9))
    [event] = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    assert event["what"] == "watchdog" and event["text"] == "camera 'front' gives no picture"
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["state"] == "complete" and about["about"]["hash"] == "ab12"
    assert about["summary"]["interventions"] == {"speed": 10} and about["summary"]["ended"] == "closed"
    assert not list((tmp_path / "run").glob("journal*")), "the journal goes when the dataset is there"


def test_missed_steps_and_lost_pictures_are_not_learned_from(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with start(tmp_path / "run") as log:
        for number in (0, 1, 4, 5, 6):
            reading = Reading(np.full(6, float(number)), time.monotonic())
            cameras = CAMERAS if number != 5 else CAMERAS[:1]
            pictures = {name: Picture(picture(random), reading.time) for name in cameras}
            seen = observed(reading, pictures, spec_of(), "lift")
            log.step(number, seen, reading, None, Decision(reading.positions, number == 6, ()))
    data = EpisodeDataset(log.close())
    columns = data.columns(["step", "annotation.valid", "action"])
    assert columns["step"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert columns["annotation.valid"].tolist() == [1, 1, 0, 0, 1, 0, 0]
    assert columns["action"][:, 0].tolist() == [0, 1, 1, 1, 4, 5, 6]
    assert np.array_equal(pixels(data, "wrist", 5), pixels(data, "wrist", 4))
    assert not np.array_equal(pixels(data, "front", 5), pixels(data, "front", 4))
    assert ChunkData([Source(data)], 3).valid.tolist() == [True, True, False, False, True, False, False]


def test_nonsense_of_a_policy_is_kept_in_the_table_and_out_of_the_dataset(tmp_path: Path) -> None:
    with start(tmp_path / "run") as log:
        for number, wanted in enumerate((np.full(6, np.nan), np.full(6, np.inf), np.zeros(7), None)):
            reading = Reading(np.zeros(6), time.monotonic())
            decision = Decision(np.ones(6), True, ())
            log.step(number, observed(reading, {}, spec_of(), "lift"), reading, wanted, decision)
            log.tick(reading.time, reading, wanted, decision)
        broken = Reading(np.full(6, np.nan), time.monotonic())
        log.step(4, observed(broken, {}, spec_of(), "lift"), broken, None, decision)
    data = EpisodeDataset(log.close())
    assert np.array_equal(data.columns(["wanted"])["wanted"], np.ones((4, 6)))
    wanted = np.array(pq.read_table(tmp_path / "run/ticks.parquet")["wanted"].to_pylist())
    assert np.isnan(wanted[[0, 2, 3]]).all() and np.isinf(wanted[1]).all()


def test_what_cannot_be_packed_is_an_event_and_the_log_goes_on(tmp_path: Path) -> None:
    with start(tmp_path / "run") as log:
        log.chunk(0, 1, 0.1, ActionChunk(np.array([["left"]])))  # type: ignore[arg-type]
        list(told(log, 2))
    assert EpisodeDataset(log.close()).num_frames == 2
    assert "could not be packed" in (tmp_path / "run/events.jsonl").read_text()


def test_its_calls_never_wait(tmp_path: Path) -> None:
    log = start(tmp_path / "run")
    reading, decision = Reading(np.zeros(6), 0.0), Decision(np.zeros(6), False, ())
    costs = []
    for _ in range(5000):
        before = time.perf_counter()
        log.tick(0.0, reading, reading.positions, decision)
        costs.append(time.perf_counter() - before)
    log.close()
    assert (
        np.median(costs) < 100e-6
    )  # 1.5 us measured on an idle core; a busy one is slower, a disk much more


def test_a_run_without_a_step_leaves_its_tables(tmp_path: Path) -> None:
    with start(tmp_path / "run") as log:
        log.event(time.monotonic(), "fault", "elbow_flex: overload")
    assert not log.close().exists()
    assert "overload" in (tmp_path / "run/events.jsonl").read_text()


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    start(tmp_path / "run").close()
    with pytest.raises(BadInput, match="holds another run's log"):
        start(tmp_path / "run")
    with pytest.raises(BadInput, match=r"policy_hz=12\.5: .* whole number"):
        start(tmp_path / "other", hz=12.5)
    with pytest.raises(BadInput, match="needs a sentence"):
        RunLog(tmp_path / "other", spec_of(), "  ", 20, {})
    with pytest.raises(BadInput, match="MB are free on the disk"):
        start(tmp_path / "third", reserve_mb=1024) if _little_space(tmp_path) else _full(tmp_path / "third")
    with pytest.raises(BadInput, match="did you mean 'jpeg'"):
        start(tmp_path / "fourth", pictures="jpg")


def _little_space(path: Path) -> bool:
    import shutil

    return shutil.disk_usage(path).free < 2**30


def _full(folder: Path) -> None:
    """A disk that says it is full."""
    import os
    from unittest import mock

    space = os.statvfs(folder.parent)
    full = os.statvfs_result((*space[:4], 10, *space[5:]))
    with mock.patch("os.statvfs", return_value=full):
        start(folder)


@pytest.mark.slow
def test_the_real_lerobot_reads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("lerobot.datasets")
    log = start(tmp_path / "run")
    seen = list(told(log, 6))
    root = log.close()
    data = datasets.LeRobotDataset("run", root=root)
    assert len(data) == 6 and data.meta.robot_type == "so101_follower"
    frame = data[3]
    assert frame["task"] == "lift the red cube"
    np.testing.assert_allclose(frame["action"].numpy(), seen[3][1], rtol=1e-6)
    shown = (frame["observation.images.front"].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)
    assert np.array_equal(shown, seen[3][0].images["front"])
    features = pytest.importorskip("lerobot.utils.feature_utils").dataset_to_policy_features(
        data.meta.features
    )
    assert set(features) == {"observation.state", "action", *(f"observation.images.{c}" for c in CAMERAS)}
