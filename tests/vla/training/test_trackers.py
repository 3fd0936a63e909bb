"""Numbers in the trackers: once, under one run, however often the training was stopped."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vla.errors import BadInput
from vla.structured import to_dataclass
from vla.training.config import TrainerConfig
from vla.training.progress import Progress


def told(out: Path, config: TrainerConfig, resumed_at: int, steps: range) -> None:
    """One life of a run: from the checkpoint of step `resumed_at` on."""
    progress = Progress(out, resumed_at, config)
    for step in steps:
        progress.scalars(step, 10 * step, {"train/loss": 1.0 / step, "vqa/accuracy": 0.5})
    progress.close()


def lives(out: Path, **config: Any) -> None:
    """Steps 1 to 4; resumed from 3, so that 4 comes again."""
    settings = TrainerConfig(100, **config)
    told(out, settings, 0, range(1, 5))
    told(out, settings, 3, range(4, 7))


def test_metrics_of_each_step_once(tmp_path: Path) -> None:
    lives(tmp_path, trackers=())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_tensorboard(tmp_path: Path) -> None:
    lives(tmp_path, trackers=("tensorboard",))
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert board.Scalars("vqa/accuracy")[0].value == 0.5


def wandb_records(raw: bytes) -> Iterator[bytes]:
    """Of an offline run's file: LevelDB's log format after a header of 7 bytes."""
    place, block, held = 7, 32_768, b""
    while place + 7 <= len(raw):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = int.from_bytes(raw[place + 4 : place + 6], "little"), raw[place + 6]
        held += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            yield held
            held = b""


@pytest.mark.slow
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    lives(tmp_path, trackers=("wandb", "tensorboard"), project="arms", run_name="third")
    number = json.loads((tmp_path / "run.json").read_text())["id"]
    steps, runs = [], []
    for file in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")):
        assert file.name == f"run-{number}.wandb"
        for data in wandb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                runs.append((record.run.project, record.run.display_name, record.run.run_id))
            items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            steps += [int(items["_step"])] if "train/loss" in items else []
    assert steps == [1, 2, 3, 4, 5, 6]
    assert set(runs) == {("arms", "third", number)}
    assert (tmp_path / "tensorboard").is_dir()


@pytest.mark.slow
def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    kept = tmp_path / "kept"
    monkeypatch.setenv("TRACKIO_DIR", str(kept))
    for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)  # the folder is read on import
    out = tmp_path / "fourth"
    lives(out, trackers=("trackio",), project="arms")
    number = json.loads((out / "run.json").read_text())["id"]
    with sqlite3.connect(kept / "arms.db") as database:
        found = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert [(run, step) for run, step, _ in found] == [(f"fourth-{number}", step) for step in range(1, 7)]
    assert "train/loss" in str(found[0][2])


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        BadInput, match=rf"trainer\.trackers=\[{name}\] needs {name}: pip install 'vla\[trackers\]'"
    ):
        Progress(tmp_path, 0, TrainerConfig(1, trackers=(name,)))  # type: ignore[arg-type]


def test_a_name_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="trackio"):
        to_dataclass({"samples": 1, "trackers": ["trackoi"]}, TrainerConfig, "trainer")
    with pytest.raises(ValueError, match="names one twice"):
        TrainerConfig(1, trackers=("wandb", "wandb"))
    pytest.importorskip("trackio")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(BadInput, match=r"run\.json does not say which run"):
        Progress(tmp_path, 0, TrainerConfig(1, trackers=("trackio",)))
