"""The speed tables: printed, and written as JSON."""

import json
from pathlib import Path

import pytest
import torch

from scripts import bench
from vla.config import load_config


def run(*overrides: str) -> int | str | None:
    """Exit status of the command; None where it ends well."""
    try:
        bench.main(list(overrides))
    except SystemExit as stop:
        return stop.code
    return None


def test_collection_is_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    bench.main(["only=[collect]", "seconds=1", "env.image_size=32", f"out={out}"])
    assert json.loads(out.read_text())["collection_steps_per_s_core"] > 10
    assert "collection steps per s core" in capsys.readouterr().out


def test_decoding_is_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, torch_threads = tmp_path / "bench.json", torch.get_num_threads()
    small = ["size=2600000", "horizon=4", "dim=2", "side=32", "rounds=1", "slice=0", "families=[plain]"]
    bench.main(["only=[decoding]", f"out={out}", *(f"decoding.{each}" for each in small)])
    torch.set_num_threads(torch_threads)
    rows = json.loads(out.read_text())["decoding"]["rows"]
    assert [row["name"] for row in rows] == ["token by token, no cache", "token by token, growing cache"]
    assert "| token by token, growing cache | 2.60 M | 8 | 9 |" in (said := capsys.readouterr().out)
    assert "round 1 of 1" in said


def test_the_config_file_says_what_the_options_default_to() -> None:
    found = load_config("bench", [], bench.Bench)
    assert found == bench.Bench(only=list(bench.get_args(bench.Name)), env=found.env)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("only=[]", "only is empty"),
        ("threads=0", "threads=0: at least 1"),
        ("seconds=nan", "seconds=nan"),
        ("out=/dev/null/x.json", "cannot make the folder /dev/null"),
        ("out=/tmp", "is a folder"),
        ("decoding.side=50", "decoding.side=50: a multiple of 32"),
        ("decoding.rounds=0", "rounds=0: at least 1"),
        ("decoding.families=[]", "decoding.families is empty"),
        ("decoding.families=[pi0]", "cannot be 'pi0'"),
        ("gpu.batches=[0]", "gpu.batches=[0]"),
        ("openvla7b.scale=7b", "cannot be '7b'"),
        ("openvla7b.horizon=1", "horizon=1: at least 2"),
    ],
)
def test_mistakes_are_answered_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    assert run("only=[collect]", override) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_a_size_that_cannot_be_built_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("only=[decoding]", "decoding.size=1000", f"out={tmp_path}/x.json") == 2
    assert "size=1000" in capsys.readouterr().err


def test_an_unknown_measure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("only=[colect]") == 2 and "colect" in capsys.readouterr().err


def test_without_a_gpu_its_measures_are_left_out_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run("only=[gpu,openvla7b]") == 2
    assert "gpu and openvla7b need a CUDA device, and this machine has none" in capsys.readouterr().err
    out = tmp_path / "bench.json"
    tiny = ["openvla7b.scale=tiny", "openvla7b.calls=1", "openvla7b.compile=false"]
    assert run("only=[gpu,openvla7b]", *tiny, f"out={out}") is None
    found = json.loads(out.read_text())
    assert found["gpu"] is None and found["openvla7b"]["parameters"] < 1e6
    assert "gpu is left out" in capsys.readouterr().out
