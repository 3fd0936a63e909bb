"""`data inspect`: what is there, what is damaged, all of it before the command ends; and its page."""

import json
from pathlib import Path

import pytest
from data_folders import write_arm, write_squares

from scripts.data import main


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_arm(tmp_path_factory.mktemp("inspect") / "arm")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("inspect") / "squares")


def ends(status: int, *arguments: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["inspect", *arguments])
    assert left.value.code == status


def test_tables_and_a_page(
    arm: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "deep" / "page.html"
    main(["inspect", f"data={arm}", "web=shards", f"web.shards.path={squares}", "samples=5", f"page={page}"])
    said, text = capsys.readouterr().out, page.read_text()
    for row in (
        "so101_follower",
        "16: 0.8 seconds at 20 fps",
        "shoulder_pan.pos",
        "1 / 7 / 8",
        "1: 1",
        "reach",
    ):
        assert row in said, row
    assert "24" in said and "touch the red cube" in text and "a red square" in text
    assert "agrees with the data" in said
    assert text.count("<article>") == 10 and text.count("<polyline") == 5 * 6
    assert text.count("<img") == 5 * 2 + 5 and "http" not in text


def test_all_are_looked_at_before_it_ends(
    arm: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard cut in half, a folder that is not there: each one line, and the good one's table all the
    same."""
    cut = tmp_path / "cut"
    cut.mkdir()
    whole = (squares / "000000.tar").read_bytes()
    (cut / "000000.tar").write_bytes(whole[: len(whole) // 2])
    page = f"page={tmp_path / 'page.html'}"
    ends(2, f"data=[{tmp_path}/none,{arm}]", "web=shards", f"web.shards.path={cut}", page, "samples=2")
    said = capsys.readouterr()
    assert "touch the red cube" in said.out
    lines = [line for line in said.err.splitlines() if line.startswith("damaged: ")]
    assert len(lines) == 2 and f"{tmp_path}/none" in lines[0] and "000000.tar" in lines[1]
    assert "Traceback" not in said.err


def test_what_training_would_refuse_is_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence that is missing does not hide that stats.json is gone."""
    arm = write_arm(tmp_path / "arm")
    (arm / "meta" / "tasks.parquet").unlink()
    (arm / "meta" / "stats.json").unlink()
    ends(2, f"data={arm}", "page=null")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("damaged: ")]
    assert len(lines) == 2 and "tasks.parquet" in lines[0] and "stats.json" in lines[1]


def test_statistics_that_disagree_are_told_but_are_no_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arm = write_arm(tmp_path / "arm")
    path = arm / "meta" / "stats.json"
    stats = json.loads(path.read_text())
    stats["action"]["max"][3] = 7.0
    path.write_text(json.dumps(stats))
    main(["inspect", f"data={arm}", "page=null"])
    assert "action[3] (wrist_flex.pos): max is 7" in capsys.readouterr().out


def test_two_robots_of_one_name_with_other_joints(
    arm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_arm(tmp_path / "other", 4, joints=4)
    ends(2, f"data=[{arm},{other}]", "page=null")
    assert "'observation.state' has " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "there is nothing to look at: give data=FOLDER"),
        (["data=x", "samples=0"], "samples=0: at least 1 is needed"),
        (["data=x", "web=shard"], "did you mean"),
        (["data=x", "sampels=3"], "did you mean 'samples'"),
        (["data=x", "page=."], "page=. is a folder; give a file"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(2, *arguments)
    said = capsys.readouterr().err.strip()
    assert expected in said and len(said.splitlines()) == 1


def test_the_dispatcher(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert "inspect" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(["inspekt"])
    assert left.value.code == 2
    assert capsys.readouterr().err == "data.py: no part 'inspekt' (did you mean 'inspect'?)\n"
