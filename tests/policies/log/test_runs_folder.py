"""Folders of runs: told of, joined into training data, and given back as a policy."""

from pathlib import Path

import numpy as np
import pytest
from run_making import NAMES, spec_of, start, told

from policies.recorded import RecordedPolicy
from policies.runtime.control.fit import check_fit, rates
from policies.runtime.log import RunLog
from policies.runtime.log.newest import NewestTick
from policies.runtime.log.report import run_page, runs_table
from policies.runtime.log.runs import join, list_runs, read_run
from scripts.runs import main
from vla.arm import ArmSpec, Joint
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput
from vla.interfaces import Observation


def run(folder: Path, steps: int, seed: int = 0, robot: str = "so101_follower", hz: float = 20) -> Path:
    log = start(folder, robot, hz)
    list(told(log, steps, seed=seed))
    log.event(0.0, "end", f"{steps} control steps are over")
    log.close()
    return folder


def test_runs_become_one_dataset_and_later_ones_are_added(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "joined"
    for number, steps in enumerate((5, 3)):
        run(runs / f"{number}", steps, seed=number)
    assert join(list_runs(runs), out) == (2, 2)
    run(runs / "2", 4, seed=2)
    start(runs / "empty").close()
    assert join(list_runs(runs), out) == (1, 3)
    assert join(list_runs(runs), out) == (0, 3)
    data = EpisodeDataset(out)
    data.check_meta()
    assert data.episode_meta["length"].tolist() == [5, 3, 4]
    assert data.episode_meta["run"].tolist() == ["0", "1", "2"]
    apart = [EpisodeDataset(runs / name / "dataset") for name in "012"]
    for name in ("action", "observation.state", "held", "annotation.valid", "step"):
        whole = np.concatenate([each.columns([name])[name] for each in apart])
        assert np.array_equal(data.columns([name])[name], whole)
    pictures = [it for each in apart for it in each.encoded_images(each.data_files[0], "front")]
    files = [picture for file in data.data_files for picture in data.encoded_images(file, "front")]
    assert files == pictures, "pictures are passed on as they are"
    assert ChunkData([Source(data)], 2).valid.sum() == 12 - 3


def test_runs_that_differ_are_not_joined(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run(runs / "0", 3)
    run(runs / "1", 3, robot="koch_follower")
    with pytest.raises(BadInput, match="'robot' is koch_follower here and so101_follower there"):
        join(list_runs(runs), tmp_path / "joined")
    run(runs / "2", 3, hz=30)
    with pytest.raises(BadInput, match="'steps a second' is 30 here and 20 there"):
        join([read_run(runs / "0"), read_run(runs / "2")], tmp_path / "other")
    with pytest.raises(BadInput, match="nothing to join"):
        join([], tmp_path / "third")
    with pytest.raises(BadInput, match="holds no run"):
        read_run(tmp_path)


def test_a_dry_run_is_no_training_data(tmp_path: Path) -> None:
    about = {"policy": "p", "dry_run": True}
    with RunLog(tmp_path / "runs/dry", spec_of(), "lift", 20, about) as log:
        list(told(log, 3))
    with pytest.raises(BadInput, match="dry run"):
        join(list_runs(tmp_path / "runs"), tmp_path / "joined")
    run(tmp_path / "runs/real", 3)
    with pytest.raises(SystemExit):
        main([f"folder={tmp_path}/runs", "do=join", f"out={tmp_path}/a", "runs=[dry]"])
    main([f"folder={tmp_path}/runs", "do=join", f"out={tmp_path}/joined"])
    assert EpisodeDataset(tmp_path / "joined").episode_meta["run"].tolist() == ["real"]


def test_runs_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "one", 6)
    log = start(tmp_path / "two")
    table = runs_table(list_runs(tmp_path))
    assert "one" in table and "running" in table and "lift the red cube" in table
    log._journal.close()
    main([f"folder={tmp_path}"])
    assert "crashed" in capsys.readouterr().out
    main([f"folder={tmp_path}", "do=recover"])
    assert str(tmp_path / "two") in capsys.readouterr().out
    page = run_page(read_run(tmp_path / "one"))
    for shown in ("so101_follower", "policies/mine", "speed", "6 control steps are over"):
        assert shown in page
    main([f"folder={tmp_path}", "do=recover"])
    assert "nothing to recover" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["do=join"], "needs out=FOLDER"),
        (["out=x"], "out= is for do=join"),
        (["do=shwo"], "did you mean 'show'"),
        (["runs=[tow]", "do=show"], "did you mean 'two'"),
        (["folder=nowhere"], "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    run(tmp_path / "two", 1)
    with pytest.raises(SystemExit) as stopped:
        main([f"folder={tmp_path}", *words])
    said = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and len(said) == 1 and line in said[0]


def test_a_recording_acts_as_it_was_recorded(tmp_path: Path) -> None:
    actions = EpisodeDataset(run(tmp_path / "run", 12) / "dataset").columns(["action"])["action"]
    policy = RecordedPolicy(tmp_path / "run/dataset", horizon=5)
    policy.reset(1)
    seen = Observation({}, np.zeros(6, np.float32), "", timestamp=1.0, frame_index=3)
    [chunk] = policy.act([seen], [0])
    assert np.array_equal(chunk.actions, actions[3:8]) and chunk.frame_index == 3
    np.testing.assert_allclose(chunk.timestamps, 1 + np.arange(5) / 20)
    [end] = policy.act([Observation({}, seen.state, "", frame_index=10)], [0])
    assert np.array_equal(end.actions, actions[10:])
    [over] = policy.act([Observation({}, seen.state, "", frame_index=12)], [0])
    assert over.hold == "the recording is over"
    policy.reset(1)
    count = [len(policy.act([Observation({}, seen.state, "")], [0])[0].actions) for _ in range(7)]
    assert count == [5, 5, 5, 5, 4, 2, 0], "without numbers, steps are counted, two from chunk to chunk"


def test_a_recording_is_for_the_arm_it_was_made_on(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", 3) / "dataset"
    policy = RecordedPolicy.named(f"recorded:{folder}#0")
    check_fit(policy, spec_of())
    assert rates(policy, spec_of(), None, None) == (100.0, 20.0) and policy.task == "lift the red cube"
    joints = tuple(Joint(name, "rad", -1, 1, 1, 1, 1) for name in NAMES[::-1])
    with pytest.raises(BadInput, match="in another order"):
        check_fit(policy, ArmSpec("so101_follower", joints, 100))
    with pytest.raises(BadInput, match="another robot"):
        check_fit(policy, ArmSpec("fr3", joints, 100))
    with pytest.raises(BadInput, match="has no episode 3: its episodes are 0 to 0"):
        RecordedPolicy.named(f"recorded:{folder}#3")
    with pytest.raises(BadInput, match="recorded:FOLDER#EPISODE"):
        RecordedPolicy.named(f"recorded:{folder}#x")
    with pytest.raises(BadInput, match="does not exist"):
        RecordedPolicy.named("recorded:nowhere")


def test_the_newest_tick_is_remembered_with_and_without_a_log(tmp_path: Path) -> None:
    with start(tmp_path / "run") as log:
        for seen in (NewestTick(log), NewestTick(None)):
            assert seen.newest is None and seen.trouble == ""
            sent = [command for _, command in told(seen, 2)]  # type: ignore[arg-type]
            assert seen.newest is not None and seen.newest[2].shape == sent[-1].shape
    assert EpisodeDataset(log.close()).num_frames == 2
