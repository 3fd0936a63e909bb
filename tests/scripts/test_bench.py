"""The speed table: printed, and written as JSON."""

import json
from pathlib import Path

import pytest

from scripts import bench


def test_collection_is_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    bench.main(["only=[collect]", "seconds=1", "env.image_size=32", f"out={out}"])
    assert json.loads(out.read_text())["collection_steps_per_s_core"] > 10
    assert "collection steps per s core" in capsys.readouterr().out


def test_an_unknown_measure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(["only=[colect]"])
    assert stop.value.code == 2 and "colect" in capsys.readouterr().err
