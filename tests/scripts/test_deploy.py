"""The command that moves an arm: what it refuses, what it asks, and whole runs on a simulated table."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from policies.runtime.log.runs import list_runs, read_run
from scripts.deploy import _override, main
from vla.data.episodes import EpisodeDataset

ROOT = Path(__file__).parents[2]
TABLE = ("robot=simulated", "+robot.options.image_size=32", "safety.stop.port=null", "safety.stop.file=null")
EXPERT = ("policy=expert", "say=touch the red cube", "--yes", *TABLE)


def refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a mistake."""
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert stopped.value.code == 2 and len(lines) == 1, said
    return lines[0]


def test_help_and_mistakes_load_nothing_heavy() -> None:
    code = (
        "import sys, scripts.deploy; "
        "print(sorted({'torch', 'mujoco', 'lerobot', 'pyarrow', 'websockets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "policy=NAME_OR_FOLDER, or server=ws://HOST:PORT"),
        (("policy=random", "server=ws://127.0.0.1:1"), "policy=NAME_OR_FOLDER, or server="),
        (("policy=tabletop-smal", "--yes"), "did you mean 'tabletop-small'"),
        (("policy=tabletop-small",), "--yes does without"),
        (("policy=tabletop-small", "--yes", "robot=simulate"), "did you mean 'simulated'"),
        (("policy=tabletop-small", "--yes", "robot.kind=lerbot"), "did you mean 'lerobot'"),
        (("policy=tabletop-small", "--yes", "robot.sede=1"), "did you mean 'robot.seed'"),
        (("policy=tabletop-small", "--yes", "robot.seed=-1"), "seed=-1"),
        (("policy=random", "--yes", "say= "), "say is empty"),
        (("policy=random", "--yes", "token_file=x"), "give server=wss://"),
        (("server=http://there", "--yes"), "ws://HOST:PORT"),
        (("server=ws://127.0.0.1:9", "--yes", "timeout_s=0.5"), "ws://127.0.0.1:9"),
        (("server=ws://127.0.0.1:9", "--yes", "token_file=nowhere"), "no token can be read from nowhere"),
        (("policy=recorded:nowhere#0", "--yes"), "dataset folder does not exist: nowhere"),
        (("policy=recorded:nowhere#x", "--yes"), "recorded:FOLDER#EPISODE"),
        (("policy=expert", "--yes", "robot.world=envs:vla/Tabeltop-v0"), "Tabeltop"),
        (("policy=expert", "--yes", "+robot.options.image_sise=9"), "did you mean 'image_size'"),
        (
            ("policy=tabletop-small", "--yes", "robot=so101_emulated", "robot.image_size=2", "say=touch it"),
            "the emulator: image_size=2",
        ),
        (("policy=expert", "--yes", "say=touch the red elephant"), "elephant"),
        (("policy=tabletop-small", "--yes", "robot.robot=fr3", "control.policy_hz=200"), "policy_hz=200"),
        (("policy=expert", "--yes", "log.pictures=pgn"), "did you mean 'png'"),
        (("policy=expert", "--yes", "control.policy_hz=12.5", "say=touch the red cube"), "whole number"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_moves(
    words: tuple[str, ...],
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert line in refused((*words, f"log.folder={tmp_path}/runs"), capsys)
    assert not list(tmp_path.glob("runs/*")), "what never came to a tick leaves no log"


def test_flags_and_sentences_are_made_readable_for_hydra() -> None:
    assert _override("--dry-run") == "dry_run=true" and _override("--yes") == "yes=true"
    assert _override("say=it's the cube, isn't it") == "say=\"it's the cube, isn't it\""
    assert _override("say='quoted already'") == "say='quoted already'"
    assert _override("policy=recorded:a b#3") == 'policy="recorded:a b#3"'
    assert _override("--help") == "--help" and _override("say=null") == "say=null"


def run(tmp_path: Path, *words: str) -> tuple[int, Path]:
    """Exit status, and the folder of the only run there is now."""
    with pytest.raises(SystemExit) as stopped:
        main([*words, f"log.folder={tmp_path}/runs"])
    [folder] = [each.folder for each in list_runs(tmp_path / "runs")]
    return int(stopped.value.code or 0), folder


def test_a_run_from_the_first_motion_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, folder = run(tmp_path, *EXPERT, "control.seconds=1.5", "control.ramp=0.3", "robot.hz=100")
    said = capsys.readouterr().out
    assert status == 0, said
    for part in ("shoulder_pan", "touch the red cube", "deg/s", "ended", "period", "safety filter", "log"):
        assert part in said
    data = EpisodeDataset(folder / "dataset")
    data.check_meta()
    assert data.tasks == ["touch the red cube"] and sorted(data.cameras) == ["front", "wrist"]
    state = data.columns(["observation.state"])["observation.state"]
    assert np.ptp(state[:, :5], axis=0).max() > 5, "the arm has moved"
    told = read_run(folder).told
    assert told["about"]["policy"] == "expert" and told["about"]["config"]["control"]["seconds"] == 1.5
    assert re.fullmatch(r"[0-9a-f]{12}\+?|unknown", told["about"]["commit"])
    # The same again, from the log alone, on an arm that stands where it stood.
    words = (f"policy=recorded:{folder}/dataset#0", "--yes", *TABLE, "robot.hz=100", "control.ramp=0.3")
    with pytest.raises(SystemExit) as stopped:
        main([*words, f"log.folder={tmp_path}/again"])
    assert stopped.value.code == 0, capsys.readouterr()
    [again] = list_runs(tmp_path / "again")
    assert again.told["task"] == "touch the red cube"
    ends = [pq.read_table(f / "ticks.parquet")["sent"].to_pylist()[-1] for f in (folder, again.folder)]
    np.testing.assert_allclose(ends[1], ends[0], atol=8.0)


def test_a_dry_run_sends_nothing_and_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in EXPERT if word != "--yes"]
    status, folder = run(tmp_path, *words, "--dry-run", "control.seconds=1")
    said = capsys.readouterr()
    assert status == 0 and "nothing was sent to the arm" in said.out
    assert "would send: shoulder_pan" in said.err
    ticks = pq.read_table(folder / "ticks.parquet")
    assert np.ptp(np.array(ticks["measured"].to_pylist()), axis=0).max() == 0
    assert np.ptp(np.array(ticks["sent"].to_pylist()), axis=0).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("where", ["thread", "process"])
def test_the_shipped_policy_runs(tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("policy=tabletop-small", *EXPERT[1:3], "robot=simulated", *TABLE[2:])
    status, folder = run(tmp_path, *words, f"control.inference={where}", "control.seconds=4")
    said = capsys.readouterr().out
    assert status == 0, said
    summary = read_run(folder).summary
    assert summary["chunks"] > 2 and summary["steps"] > 5
    chunks = pq.read_table(folder / "chunks.parquet").to_pylist()
    assert all(chunk["rows"] == 10 for chunk in chunks if not chunk["hold"])
