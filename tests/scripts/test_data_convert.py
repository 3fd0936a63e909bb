"""`data convert`: both formats become a folder that inspect finds whole; mistakes are one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "vla" / "data" / "convert"))
from data_folders import write_arm
from legacy_dataset import LENGTHS, write_legacy

from scripts.data import main
from vla.data.episodes import EpisodeDataset

h5py = pytest.importorskip("h5py")


def write_demos(path: Path) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["problem_info"] = json.dumps(
            {"language_instruction": "open the drawer"}
        )
        for number, length in enumerate((4, 3)):
            group = file.create_group(f"data/demo_{number}")
            group["actions"] = rng.normal(size=(length, 7))
            group["obs/agentview_rgb"] = rng.integers(0, 255, (length, 16, 16, 3), np.uint8)
            group["obs/ee_states"], group["obs/gripper_states"] = np.zeros((length, 6)), np.zeros((length, 2))
    return path


def ends(*arguments: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["convert", *arguments])
    assert left.value.code == 2


def test_v21_becomes_a_whole_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write_legacy(tmp_path / "old", codec=None)
    for _ in range(2):  # the second time there is nothing to do
        main(["convert", f"data={old}", f"out={tmp_path}/new"])
        last = capsys.readouterr().out.splitlines()
        assert len(last) == 1 and f"3 episodes, {sum(LENGTHS)} frames at 20 fps" in last[0]
    main(["inspect", f"data={tmp_path}/new", "page=null"])


def test_hdf5_of_a_folder_with_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demos").mkdir()
    write_demos(tmp_path / "demos" / "a.hdf5")
    arguments = [f"data={tmp_path}/demos", f"out={tmp_path}/new", "hdf5.orientation=rotate", "hdf5.fps=10"]
    main(["convert", *arguments])
    assert "2 episodes, 7 frames at 10 fps, cameras front" in capsys.readouterr().out
    assert EpisodeDataset(tmp_path / "new").tasks == ["open the drawer"]
    main(["inspect", f"data={tmp_path}/new", "page=null"])


def test_half_made_it_is_neither_trained_on_nor_collected_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A conversion that stopped at a bad demo: every command that meets the folder tells what goes on."""
    from scripts import collect, train

    demos, out = write_demos(tmp_path / "a.hdf5"), tmp_path / "new"
    with h5py.File(demos, "a") as file:
        file["data/demo_1/actions"][0] = np.nan
    ends(f"data={demos}", f"out={out}", "hdf5.fps=10")
    assert "leave that demo out: hdf5.skip=[demo_1]" in capsys.readouterr().err
    again = f"python scripts/data.py convert data={demos} out={out} hdf5.fps=10"
    begun = sorted(out.rglob("*"))
    for use, arguments in (
        (train.main, [f"data={out}", f"out={tmp_path}/run", "experiment=tabletop_debug"]),
        (collect.main, [f"out={out}", "episodes=3", "workers=1"]),
        (main, ["inspect", f"data={out}", "page=null"]),
    ):
        with pytest.raises(SystemExit) as left:
            use(arguments)
        said = capsys.readouterr().err.strip()
        assert left.value.code == 2 and len(said.splitlines()) == 1, said
        assert f"{out} was never finished" in said and said.endswith(f"go on with: {again}"), said
    assert sorted(out.rglob("*")) == begun
    main(["convert", f"data={demos}", f"out={out}", "hdf5.fps=10", "hdf5.skip=[demo_1]"])
    assert "1 episodes, 4 frames" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demos, arm = write_demos(tmp_path / "a.hdf5"), write_arm(tmp_path / "arm")
    file, other = tmp_path / "file", tmp_path / "other"
    file.touch()
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    old = write_legacy(tmp_path / "old", codec=None)
    for arguments, expected in (
        ([f"data={tmp_path}/none", f"out={tmp_path}/n"], "none does not exist"),
        ([f"data={other}", f"out={tmp_path}/n"], "neither a LeRobot folder (meta/info.json) nor HDF5"),
        ([f"data={other}", f"out={tmp_path}/n", "kind=hdf5"], "holds no HDF5 file"),
        ([f"data={demos}", f"out={file}"], "is a file; give a folder"),
        ([f"data={demos}", f"out={other}"], "holds other things"),
        ([f"data={old}", f"out={other}"], "holds other things"),
        ([f"data={old}", f"out={arm}"], "is another dataset already"),
        ([f"data={demos}", f"out={arm}"], "holds feature 'action'"),
        ([f"data={arm}", f"out={tmp_path}/n"], "v2.1"),
        ([f"data={old}", f"out={old}"], "is what is converted"),
        ([f"data={old}", f"out={tmp_path}/n", "hdf5.fps=3"], "leave it out"),
        ([f"data={demos}", f"out={tmp_path}/n", "hdf5.orientation=up"], "hdf5.orientation"),
        ([f"data={demos}", f"out={tmp_path}/n", "kind=v3"], "kind"),
        ([f"data={demos}"], "out"),
    ):
        ends(*arguments)
        said = capsys.readouterr().err.strip()
        assert expected in said and len(said.splitlines()) == 1, (arguments, said)
    assert not (tmp_path / "n").exists() and [path.name for path in other.iterdir()] == ["notes.txt"]
