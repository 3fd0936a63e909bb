"""The demonstration: a line and a video for each sentence; bad sentences in one line."""

import re
from pathlib import Path

import pytest

from scripts import demo
from vla.config import load_config

FEW = ["policy=expert", "env.image_size=32", "video_size=48", "workers=1"]


def test_one_sentence_of_the_users_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main([f"out={tmp_path}", "say='put the red cube in the blue bowl'", *FEW])
    printed = capsys.readouterr().out
    assert re.search(
        r"\[1/1\] put the red cube in the blue bowl +\w[\w ]+ +[\d.]+ s +control [\d,]+ Hz", printed
    )
    page = (tmp_path / "index.html").read_text()
    assert "put the red cube in the blue bowl" in page and page.count("<video") == 1
    assert (tmp_path / "videos" / "episode-0000.mp4").stat().st_size > 1000


def test_there_are_at_least_eight_sentences_and_all_can_be_followed(tmp_path: Path) -> None:
    sentences = load_config("demo", [], demo.Demo).sentences
    assert len(set(sentences)) >= 8
    demo.main([f"out={tmp_path}", *FEW])
    assert (tmp_path / "index.html").read_text().count("<video") == len(sentences)


@pytest.mark.parametrize(
    ("sentence", "line"),
    [
        ("say='touch the purple octopus'", "octopus"),
        ("say=''", "the instruction is empty"),
        ("sentences=[]", "sentences is empty"),
        ("policy=nobody", "no policy 'nobody'"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sentence: str, line: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        demo.main([f"out={tmp_path / 'x'}", *FEW, sentence])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and line in error and len(error.splitlines()) == 1
    assert not (tmp_path / "x").exists()
