"""A text that the model cannot read is told with the place where it stands, before anything is trained."""

from pathlib import Path

import pytest
from data_folders import write_arm, write_squares

from scripts.data import main


def line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["mix", "experiment=tabletop_debug", "page=null", *arguments])
    said = capsys.readouterr().err.strip().splitlines()
    assert left.value.code == 2
    return said[-1]


def test_a_sentence_of_the_demonstrations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = [write_arm(tmp_path / name, 12, 14) for name in "ab"]
    said = line(capsys, f"data=[{arms[0]},{arms[1]}]", "model.text.max_length=3")
    assert f"{arms[0]}: frame 0 of episode 0 says 'touch the red cube', which does not fit the model" in said
    assert "4 words, the model reads at most 3" in said and "larger model.text.max_length" in said


def test_a_record_of_the_web(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arm, squares = write_arm(tmp_path / "arm", 12), write_squares(tmp_path / "squares")
    web = ["model/answer=words", "web=shards", f"web.shards.path={squares}", "model.answer.max_length=4"]
    said = line(capsys, f"data={arm}", *web)
    assert f"{squares / '000000.tar'}: record 0 (key " in said, said
    assert "model.answer.max_length" in said and "shorten or reword it there" in said
