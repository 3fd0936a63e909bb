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


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("only=[]", "only is empty"),
        ("threads=0", "threads=0: at least 1"),
        ("seconds=nan", "seconds=nan"),
        ("out=/dev/null/x.json", "cannot make the folder /dev/null"),
        ("out=/tmp", "is a folder"),
    ],
)
def test_mistakes_are_answered_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(["only=[collect]", override])
    assert stop.value.code == 2 and line in capsys.readouterr().err


def test_an_unknown_measure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(["only=[colect]"])
    assert stop.value.code == 2 and "colect" in capsys.readouterr().err
