"""The command: metrics.json, page and videos; mistakes in one line."""

import json
from pathlib import Path

import pytest

from scripts import rollout

FEW = ["env.image_size=32", "workers=1", "video_size=48"]


def test_the_expert_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    rollout.main(["policy=expert", "episodes=4", "videos=2", "env.skills=[touch,push]", f"out={out}", *FEW])
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["episodes"] == 4 and metrics["policy"] == "expert" and metrics["seed"] == 1000
    assert set(metrics["tasks"]) == {"touch", "push"} and metrics["split"] == "seen"
    assert metrics["interval"][0] <= metrics["success_rate"] <= metrics["interval"][1]
    page = (out / "index.html").read_text()
    assert page.count("<video") == 2
    assert sorted(p.name for p in (out / "videos").glob("*.mp4")) == ["episode-0000.mp4", "episode-0001.mp4"]
    assert "touch" in capsys.readouterr().out


@pytest.mark.parametrize("split", ["held_out_sentences", "held_out_objects"])
def test_the_held_out_splits_run(tmp_path: Path, split: str) -> None:
    few = [
        "policy=expert",
        "episodes=2",
        "videos=0",
        "env.skills=[lift]",
        f"split={split}",
        f"out={tmp_path}",
    ]
    rollout.main([*few, *FEW])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["split"] == split and metrics["episodes"] == 2


def test_the_swap_test_through_the_command(tmp_path: Path) -> None:
    few = ["policy=expert", "episodes=2", "videos=0", "env.skills=[touch]", "swap=true", f"out={tmp_path}"]
    rollout.main([*few, *FEW])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["swap"]["pairs"] == 2 and metrics["episodes"] == 4
    assert "Swap test" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("policy=nobody", "no policy 'nobody'"),
        ("split=train_ing", "'split' cannot be 'train_ing'"),
        ("episodes=0", "episodes=0: at least 1"),
        ("episods=3", "did you mean 'episodes'"),
        ("seed=-1", "seed=-1: at least 0"),
        ("workers=0", "workers=0: at least 1"),
        ("video_size=9999", "video_size=9999: at most 1280"),
        ("policy=", "policy is empty"),
        ("options={device: cuda}", "add one with +options.KEY=VALUE"),
        ("out=", "'out' must be a path, not ''"),
        ("out=/dev/null/x", "cannot make the folder /dev/null/x"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        rollout.main(["policy=expert", f"out={tmp_path / 'x'}", *FEW, override])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and line in error and "Traceback" not in error
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("+options.a=1", "the policy 'expert' has no options, but got: a"),
        ("env.id=nope:Foo-v0", "there is no module 'nope'"),
        ("env.id=vla/Nope-v0", "env.id=vla/Nope-v0"),
        ("env.image_size=5000", "image_size=5000 is out of range"),
    ],
)
def test_what_only_the_run_can_tell_is_one_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        rollout.main(["policy=expert", "episodes=1", f"out={tmp_path / 'x'}", *FEW, override])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and line in error and "Traceback" not in error
    assert not list((tmp_path / "x").rglob("*"))
