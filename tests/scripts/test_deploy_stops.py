"""Runs on a simulated table that are stopped, killed and asked about: by signals, a file, a person."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from policies.runtime.log.runs import read_run
from scripts.deploy import main
from vla.data.episodes import EpisodeDataset

ROOT = Path(__file__).parents[2]
EXPERT = (
    *("policy=expert", "say=touch the red cube", "--yes", "robot=simulated"),
    *("+robot.options.image_size=32", "safety.stop.port=null", "safety.stop.file=null"),
)


def child(tmp_path: Path, *words: str, **how: object) -> "subprocess.Popen[str]":
    line = [sys.executable, "scripts/deploy.py", *words, f"log.folder={tmp_path}/runs"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.Popen(line, cwd=ROOT, text=True, env=environment, **given)  # type: ignore[call-overload]


def moving(tmp_path: Path, wait: float = 60.0) -> Path:
    """The folder of the run, once its journal grows."""
    end = time.monotonic() + wait
    while time.monotonic() < end:
        for journal in tmp_path.glob("runs/*/journal.bin"):
            if journal.stat().st_size > 20_000:
                return journal.parent
        time.sleep(0.05)
    raise AssertionError("the run did not begin")


SLOW = [pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.parametrize("number", [signal.SIGINT, *SLOW])
def test_an_interrupt_ends_in_a_hold_and_a_whole_log(tmp_path: Path, number: signal.Signals) -> None:
    with child(tmp_path, *EXPERT) as process:
        folder = moving(tmp_path)
        process.send_signal(number)
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 130, complained
    assert "interrupted" in said and read_run(folder).summary["ended"] == "closed"


def test_an_emergency_stop_holds_for_good(tmp_path: Path) -> None:
    button = tmp_path / "stop"
    with child(tmp_path, *EXPERT, f"safety.stop.file={button}") as process:
        folder = moving(tmp_path)
        button.touch()
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 3, complained
    assert "emergency" in said and "emergency" in (folder / "events.jsonl").read_text()


@pytest.mark.slow
def test_a_killed_run_is_recovered_by_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with child(tmp_path, *EXPERT) as process:
        folder = moving(tmp_path)
        process.kill()
    with pytest.raises(SystemExit):
        main([*EXPERT, f"log.folder={tmp_path}/runs", "control.seconds=0.2"])
    assert f"recovered the log of a run that had crashed: {folder}" in capsys.readouterr().out
    assert read_run(folder).summary["ended"] == "crashed"
    assert EpisodeDataset(folder / "dataset").num_frames > 0


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "status"), [("no", 130), ("yes", 0)])
def test_the_first_motion_is_asked_for(tmp_path: Path, answer: str, status: int) -> None:
    words = [word for word in EXPERT if word != "--yes"]
    ours, theirs = pty.openpty()
    out = tmp_path / "out"
    with (
        open(out, "w") as file,
        child(tmp_path, *words, "control.seconds=0.5", stdin=theirs, stdout=file) as process,
    ):
        end = time.monotonic() + 60
        while "control steps" not in out.read_text() and time.monotonic() < end:
            time.sleep(0.05)
        os.write(ours, f"{answer}\n".encode())
        process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == status
    said = out.read_text()
    if answer == "no":
        assert "nothing has moved" in said and not list(tmp_path.glob("runs/*"))
    else:
        assert json.loads(next(tmp_path.glob("runs/*/run.json")).read_text())["state"] == "complete"
